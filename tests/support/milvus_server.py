"""A real Milvus server of the tests' own: standalone, from the `milvus` wheel, over a folder of theirs."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.environments import private_environment
from support.servers import became_ready, free_ports

__all__ = ["MilvusServer", "milvus_server"]

START_SECONDS = 180
UNPACK_SECONDS = 600
_FIELD = re.compile(r"\{\{\s*(?P<name>\w+)(?:\(\w+\))?(?::\s*(?P<default>[^}\s]*))?\s*\}\}")


class MilvusServer:
    """The server; its address, `url`, stays the same when it is started again.

    Args:
        folder: for its data, its configuration and its logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()
        self._template, self._programs = _installed()
        self._ports: dict[str, int] = {}
        self.process: subprocess.Popen[bytes] | None = None
        self.url = f"http://127.0.0.1:{self._port('proxy_port')}"

    def start(self) -> None:
        """Starts the server and returns when it is ready."""
        assert self.process is None, "it runs already"
        self._configure()
        with (self._folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self._programs / "milvus", "run", "standalone"],
                cwd=self._folder,
                env={
                    **os.environ,
                    "DEPLOY_MODE": "STANDALONE",
                    "LD_LIBRARY_PATH": str(self._programs),
                    "METRICS_PORT": str(self._port("metrics_port")),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            self._wait()
        except BaseException:
            self.kill()
            raise

    def kill(self) -> None:
        """Ends the server at once, as a crash would, also while it hangs; what it wrote stays."""
        if self.process is None:
            return
        self.process.kill()
        self.process.wait()
        # It lies outside of the server's folder, whatever the configuration says.
        Path("/tmp/milvus", f"server_id_{self.process.pid}").unlink(missing_ok=True)
        self.process = None

    def hang(self) -> None:
        """The server answers nothing until `go_on`; connections to it stay open."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    def erase(self) -> None:
        """Removes all that the server, which does not run, has stored."""
        assert self.process is None, "it runs"
        shutil.rmtree(self._folder / "data")

    def _port(self, name: str) -> int:
        if name not in self._ports:
            # One more than are given out, so that one of them is new.
            free = set(free_ports(len(self._ports) + 1)) - set(self._ports.values())
            self._ports[name] = free.pop()
        return self._ports[name]

    def _configure(self) -> None:
        configs, data, logs = (self._folder / name for name in ("configs", "data", "logs"))
        for folder in (configs, data, logs):
            folder.mkdir(parents=True, exist_ok=True)
        places = {
            "etcd_log_path": logs / "etcd.log",
            "system_log_path": logs,
            "etcd_data_dir": data / "etcd.data",
            "local_storage_dir": data,
            "rocksmq_data_dir": data / "rocksmq",
        }

        def value(field: re.Match[str]) -> str:
            name = field["name"]
            found = self._port(name) if name.endswith("_port") else places.get(name, field["default"])
            return str(found)

        text = _FIELD.sub(value, (self._template / "config.yaml.template").read_text())
        # The etcd inside of the server would take fixed ports.
        etcd = configs / "etcd.yaml"
        text = text.replace("    embed: true", f"    embed: true\n  config:\n    path: {etcd}", 1)
        client, peer = (f"http://127.0.0.1:{self._port(name)}" for name in ("etcd_client", "etcd_peer"))
        etcd.write_text(
            f"listen-client-urls: {client}\nadvertise-client-urls: {client}\n"
            f"listen-peer-urls: {peer}\ninitial-advertise-peer-urls: {peer}\n"
            f"initial-cluster: default={peer}\n"
        )
        (configs / "milvus.yaml").write_text(text)
        shutil.copy(self._template / "glog.conf", configs)

    def _wait(self) -> None:
        assert self.process is not None
        page = f"http://127.0.0.1:{self._port('metrics_port')}/healthz"

        def ready() -> bool:
            with urllib.request.urlopen(page, timeout=5) as answer:
                return b"OK" in answer.read()

        if not became_ready(self.process, ready, seconds=START_SECONDS):
            raise AssertionError(f"the Milvus server did not start; see {self._folder / 'log'}")


@contextmanager
def milvus_server(folder: Path) -> Iterator[MilvusServer]:
    """A server that runs, over a folder that may hold the data of one before."""
    server = MilvusServer(folder)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def _installed() -> tuple[Path, Path]:
    """The folders of the configuration's template and of the programs, unpacked on first use."""
    environment = private_environment("milvus-2.3.5", ["milvus==2.3.5"])
    unpacked = environment / "unpacked"
    with (environment / "unpacking.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not unpacked.exists():
            unfinished = environment / "unpacking"
            subprocess.run(
                [
                    environment / "bin/python",
                    "-c",
                    f"import milvus; milvus._initialize_data_files({str(unfinished)!r})",
                ],
                check=True,
                timeout=UNPACK_SECONDS,
            )
            unfinished.rename(unpacked)
    [template] = environment.glob("lib/python*/site-packages/milvus/data")
    return template, unpacked / "bin"
