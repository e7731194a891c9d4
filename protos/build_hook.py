"""Generates the protobuf stubs while the wheel is built, so that none are kept in the repository."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class StubsBuildHook(BuildHookInterface):
    """Runs `protos/generate.py` before hatchling collects the files of a wheel or an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        sys.path.insert(0, str(Path(self.root) / "protos"))
        try:
            from generate import generate
        finally:
            sys.path.pop(0)
        generate()
