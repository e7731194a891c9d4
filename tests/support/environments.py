"""Virtual environments for programs that cannot live in the tests' own: made on first use, then kept."""

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

from platformdirs import user_cache_dir

__all__ = ["private_environment"]

INSTALL_SECONDS = 900


def private_environment(name: str, requirements: list[str]) -> Path:
    """The folder of an environment with these packages.

    It lies in the folder KINOSCORE_TEST_CACHE, or in the user's cache. Sessions that want the same one at the
    same time wait for the first. Change the name when the requirements change.
    """
    cache = Path(os.environ.get("KINOSCORE_TEST_CACHE") or user_cache_dir("kinoscore-tests"))
    cache.mkdir(parents=True, exist_ok=True)
    environment = cache / name
    with (cache / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not environment.exists():
            unfinished = cache / f"{name}.unfinished"
            shutil.rmtree(unfinished, ignore_errors=True)
            # Links to the interpreter stay right when the folder is renamed.
            _run([sys.executable, "-m", "venv", unfinished])
            _run([unfinished / "bin/python", "-m", "pip", "install", "--quiet", *requirements])
            unfinished.rename(environment)
    return environment


def _run(command: list[str | Path]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}{done.stderr}"
