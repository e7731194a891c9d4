"""Where a run comes from: the command, the revision of the code, the versions, the date."""

import datetime
import importlib.metadata
import platform
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

import torch

import dualpath

__all__ = ["command_line", "describe_origin", "git_revision", "manifest_origin"]

_GIT_SECONDS = 10


def describe_origin(arguments: Sequence[str]) -> dict[str, str]:
    """One entry of `origins` in config.json; `git_revision` only where the code lies in a git checkout.

    Args:
        arguments: of the command, without its name.
    """
    revision = git_revision(Path(dualpath.__file__))
    return {
        "command": command_line(arguments),
        **({"git_revision": revision} if revision else {}),
        **_version(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def command_line(arguments: Sequence[str]) -> str:
    """The command as it was typed; of absolute paths the last part only, for they are private."""
    return shlex.join(["dualpath", *(_public(argument) for argument in arguments)])


def git_revision(file: Path) -> str | None:
    """The commit of the checkout that tracks `file`, with "-dirty" where it was changed; else None."""
    tracked = _git(file.parent, "ls-files", "--error-unmatch", file.name)
    if tracked is None:
        return None
    return _git(file.parent, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")


def manifest_origin(config: Mapping[str, Any]) -> dict[str, str]:
    """`command` and `git_revision` for kinoscore.json, from config.json; of a resumed run all of them."""
    origins = config.get("origins", [])
    revisions = list(dict.fromkeys(origin["git_revision"] for origin in origins if "git_revision" in origin))
    return {
        "command": "; ".join(origin["command"] for origin in origins) or "dualpath fit",
        **({"git_revision": "; ".join(revisions)} if revisions else {}),
    }


def _public(argument: str) -> str:
    option, equals, value = argument.partition("=")
    if option.startswith("-") and equals:
        return f"{option}={_public(value)}"
    kind, colon, path = argument.partition(":")
    if colon and path.startswith(("/", "~")) and not path.startswith("//"):
        return f"{kind}:{PurePath(path).name}"
    return PurePath(argument).name if argument.startswith(("/", "~")) else argument


def _version() -> dict[str, str]:
    """Nothing where the code runs without being installed."""
    try:
        return {"kinoscore": importlib.metadata.version("kinoscore")}
    except importlib.metadata.PackageNotFoundError:
        return {}


def _git(folder: Path, *arguments: str) -> str | None:
    """What git prints, or None where there is no git, or nothing to tell."""
    try:
        answer = subprocess.run(
            ["git", *arguments], cwd=folder, capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() or None
