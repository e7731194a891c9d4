#!/usr/bin/env python3
"""Rehearses the deployment.

Starts the unmodified compose.yaml under a project name of its own, indexes and recommends through the
published port, takes everything down and up again, replaces the images by those of another version, backs up,
removes all volumes and restores them; it fails unless all that was indexed is still there each time.

    python3 deploy/rehearse.py                with the vendors' images, pulled where they are missing
    python3 deploy/rehearse.py --stand-ins    builds what stands in for a missing one: deploy/stand-ins/

It needs Docker 25 or newer with Compose 2.24 or newer, and Python 3.11 or newer. What it started and the
volumes it made are removed at the end. So are the stand-ins: their names are the vendors', and they must not
be taken for the real ones later.
"""

import argparse
import json
import os
import secrets
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

DEPLOY = Path(__file__).resolve().parent
PROJECT = "kinoscore-rehearsal"
STAND_IN = "kinoscore.stand-in"
NEWER = "rehearsal"
JOBS = ("migrate", "models", "sample")
# Generous: the machine may be busy with something else.
START_SECONDS = 900
LOG_LINES = "40"
# What cannot be made again: see README.md.
VOLUMES = ("etcd", "minio", "milvus")
# Scores are printed with four decimals; batches may be formed otherwise the second time.
SCORE_TOLERANCE = 0.001


def say(text: str) -> None:
    print(f"[{time.monotonic() - STARTED:6.1f} s] {text}", flush=True)


def run(*command: str, quiet: bool = True) -> str:
    """The standard output of a command that must succeed."""
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE if quiet else None, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"failed: {' '.join(command)}\n{done.stdout}{done.stderr or ''}")
    return done.stdout


class Deployment:
    """The compose file under our project name, with secrets and a port of this rehearsal.

    Args:
        folder: for the environment and the backup.
        settings: what an operator writes into deploy/.env.
    """

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        environment = folder / f"environment-{settings.get('KINOSCORE_VERSION', 'default')}"
        self._backup = folder / "backup"
        self._backup.mkdir(exist_ok=True)
        environment.write_text("".join(f"{name}={value}\n" for name, value in settings.items()))
        self.address = f"127.0.0.1:{settings['KINOSCORE_PORT']}"
        self._compose = (
            *("docker", "compose", "--project-name", PROJECT, "--env-file", str(environment)),
            *("--file", str(DEPLOY / "compose.yaml")),
        )
        services = json.loads(self.compose("config", "--format", "json"))["services"]
        self.images: dict[str, str] = {name: service["image"] for name, service in services.items()}

    def compose(self, *arguments: str, quiet: bool = True) -> str:
        return run(*self._compose, *arguments, quiet=quiet)

    def start(self) -> None:
        """Starts everything; returns once all is healthy and the jobs have ended well."""
        self.compose("up", "--detach", quiet=False)
        limit = time.monotonic() + START_SECONDS
        while unready := self._unready():
            if time.monotonic() > limit or any("exited with" in state for state in unready.values()):
                print(self.compose("ps", "--all"))
                print(self.compose("logs", "--tail", LOG_LINES, *unready))
                raise SystemExit(f"not ready: {unready}")
            time.sleep(1)

    def _unready(self) -> dict[str, str]:
        """What is not yet as it should be, and how it is."""
        lines = self.compose("ps", "--all", "--format", "json").splitlines()
        found = {entry["Service"]: entry for entry in map(json.loads, lines)}
        unready = {name: "not there" for name in self.images if name not in found}
        for name, entry in found.items():
            if name in JOBS:
                ready = entry["State"] == "exited" and entry["ExitCode"] == 0
            else:
                ready = entry["State"] == "running" and entry["Health"] == "healthy"
            if entry["State"] == "exited" and entry["ExitCode"]:
                unready[name] = f"exited with {entry['ExitCode']}"
            elif not ready:
                unready[name] = f"{entry['State']} {entry['Health']}".strip()
        return unready

    def kinoscore(self, *arguments: str) -> str:
        """The command line outside of the deployment, at its published port; it sees the sample's files."""
        return run(
            *("docker", "run", "--rm", "--network", "host", "--read-only", "--tmpfs", "/tmp"),
            *("--volume", f"{PROJECT}_sample:/var/lib/kinoscore:ro"),
            *("--env", f"KINOSCORE_ADDRESS={self.address}"),
            *(self.images["recommend"], *arguments),
        )

    def back_up(self) -> None:
        """As README.md says."""
        self.compose("stop")
        for volume in VOLUMES:
            self._tar(
                f"{PROJECT}_{volume}:/from:ro",
                f"{self._backup}:/to",
                *("--create", "--gzip", "--file", f"/to/{volume}.tar.gz", "--directory", "/from", "."),
            )

    def restore(self) -> None:
        """As README.md says, where there are no volumes."""
        self.compose("create")
        for volume in VOLUMES:
            self._tar(
                f"{PROJECT}_{volume}:/to",
                f"{self._backup}:/from:ro",
                *("--extract", "--gzip", "--file", f"/from/{volume}.tar.gz", "--directory", "/to"),
            )

    def _tar(self, source: str, target: str, *arguments: str) -> None:
        run(
            *("docker", "run", "--rm", "--user", "0", "--entrypoint", "tar"),
            *("--volume", source, "--volume", target),
            *(self.images["recommend"], *arguments),
        )


def is_there(image: str) -> bool:
    command = ["docker", "image", "inspect", image]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def is_stand_in(image: str) -> bool:
    label = f'{{{{index .Config.Labels "{STAND_IN}"}}}}'
    return run("docker", "image", "inspect", "--format", label, image).strip() == "true"


def build(image: str, context: Path, dockerfile: Path, *options: str) -> None:
    say(f"builds {image}")
    run("docker", "build", "--file", str(dockerfile), "--tag", image, *options, str(context))
    size = int(run("docker", "image", "inspect", "--format", "{{.Size}}", image)) // 1_000_000
    say(f"built {image}: {size} MB")


def provide_engines(images: dict[str, str], *, stand_ins: bool, base: str | None) -> None:
    """Pulls or builds the vendors' images that are missing, and says of each what it is."""
    for name, image in images.items():
        folder = DEPLOY / "stand-ins" / name
        if not folder.is_dir():
            continue
        if not is_there(image):
            if stand_ins:
                label = ("--label", f"{STAND_IN}=true")
                build(image, folder, folder / "Dockerfile", *label, *argument("BASE", base))
            else:
                run("docker", "pull", "--quiet", image)
        say(f"{'STAND-IN' if is_stand_in(image) else 'real'}: {image}")


def argument(name: str, value: str | None) -> tuple[str, ...]:
    """The build argument, where it is not to keep its default."""
    return ("--build-arg", f"{name}={value}") if value else ()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


@contextmanager
def deployment() -> Iterator[Callable[..., Deployment]]:
    """Makes deployments; at the end the containers, the networks and the volumes are removed."""
    with tempfile.TemporaryDirectory() as folder:
        made: list[Deployment] = []

        def make(**settings: str) -> Deployment:
            made.append(Deployment(Path(folder), settings))
            return made[-1]

        try:
            yield make
        finally:
            if made:
                made[-1].compose("down", "--volumes", "--remove-orphans")


def answers(of: Deployment, catalogue: str) -> dict[str, Any]:
    """All that a user can ask: the tracks of a catalogue, and what is recommended for the two clips."""
    clips = "/var/lib/kinoscore/demo/clips"
    ask = ("--catalogue", catalogue, "--json")
    return {
        "tracks": json.loads(of.kinoscore("tracks", "list", *ask)),
        "joyful": json.loads(of.kinoscore("recommend", f"{clips}/joyful-carnival.mp4", *ask))["hits"],
        "sad": json.loads(of.kinoscore("recommend", f"{clips}/sad-vigil.mp4", *ask))["hits"],
    }


def differences(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    found = [] if before["tracks"] == after["tracks"] else ["the tracks differ"]
    for clip in ("joyful", "sad"):
        first, second = ([hit["track"]["track_id"] for hit in said[clip]] for said in (before, after))
        if first != second:
            found.append(f"{clip}: other tracks or another order: {first} and {second}")
            continue
        for one, other in zip(before[clip], after[clip], strict=True):
            if abs(one["scores"]["total"] - other["scores"]["total"]) > SCORE_TOLERANCE:
                found.append(f"{clip}: another score of {one['track']['title']}")
    return found


def rehearse(at: Deployment, newer: Deployment) -> None:
    """All that is rehearsed.

    Args:
        newer: the same with another version of our image.
    """
    at.start()
    say("everything is healthy, and the sample is indexed")
    expected = index_and_ask(at)

    at.compose("down", quiet=False)
    at.start()
    say("everything went down and is healthy again")
    require_same(at, expected)
    repeated = at.compose("logs", "--no-log-prefix", "sample")
    assert "12 unchanged" in repeated, repeated

    newer.start()
    say(f"upgraded to {newer.images['recommend']}")
    require_same(newer, expected)

    newer.back_up()
    newer.compose("down", "--volumes", quiet=False)
    newer.restore()
    newer.start()
    say("backed up, removed with all volumes, and restored")
    require_same(newer, expected)


def index_and_ask(at: Deployment) -> dict[str, dict[str, Any]]:
    """Adds to the sample a catalogue of two tracks; all answers by catalogue."""
    sample = answers(at, "sample")
    assert len(sample["tracks"]) == 12, sample["tracks"]
    assert len(sample["joyful"]) == len(sample["sad"]) == 10
    moods = {clip: sample[clip][0]["track"]["title"] for clip in ("joyful", "sad")}
    say(f"12 tracks through the published port; first of the joyful and the sad clip: {moods}")

    music = "/var/lib/kinoscore/demo/tracks"
    files = (f"{music}/01-joyful-carnival.ogg", f"{music}/10-sad-vigil.ogg")
    at.kinoscore("index", *files, "--catalogue", "rehearsal")
    own = answers(at, "rehearsal")
    assert len(own["tracks"]) == len(own["joyful"]) == 2, own
    say("2 tracks indexed through the published port")
    return {"sample": sample, "rehearsal": own}


def require_same(at: Deployment, expected: dict[str, dict[str, Any]]) -> None:
    lost = [line for name, before in expected.items() for line in differences(before, answers(at, name))]
    if lost:
        raise SystemExit("lost: " + "; ".join(lost))
    say("nothing was lost")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stand-ins", action="store_true", help="build stand-ins for missing images")
    parser.add_argument("--base", metavar="IMAGE", help="build on this image instead of the one pinned")
    parser.add_argument("--keep-stand-ins", action="store_true", help="leave them for the next rehearsal")
    options = parser.parse_args()
    settings = {
        "REDIS_PASSWORD": secrets.token_hex(16),
        "MINIO_ROOT_USER": secrets.token_hex(8),
        "MINIO_ROOT_PASSWORD": secrets.token_hex(16),
        "KINOSCORE_LIVE_KEY": secrets.token_hex(16),
        "COMPOSE_PROFILES": "sample",
        "KINOSCORE_PORT": str(free_port()),
    }
    # What this shell sets would win over these settings.
    for name in [name for name in os.environ if name.startswith(("KINOSCORE_", "COMPOSE_"))]:
        del os.environ[name]
    with deployment() as make:
        at = make(**settings)
        dockerfile = DEPLOY / "Dockerfile"
        build(at.images["recommend"], DEPLOY.parent, dockerfile, *argument("PYTHON_IMAGE", options.base))
        provide_engines(at.images, stand_ins=options.stand_ins, base=options.base)
        if is_stand_in(at.images["triton"]):
            settings["KINOSCORE_MODEL_TARGET"] = "python"
        newer = make(**settings, KINOSCORE_VERSION=NEWER)
        run("docker", "tag", at.images["recommend"], newer.images["recommend"])
        rehearse(make(**settings), newer)
        run("docker", "image", "rm", newer.images["recommend"])
    if not options.keep_stand_ins:
        for image in {image for image in at.images.values() if is_stand_in(image)}:
            run("docker", "image", "rm", image)
    say("the rehearsal succeeded")


STARTED = time.monotonic()

if __name__ == "__main__":
    main()
