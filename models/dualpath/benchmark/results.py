"""A file for each method, repetition and fold, written whole: what is there is not repeated."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dualpath.benchmark.tasks import Measured
from kinoscore.errors import FailedPrecondition, StorageFull

__all__ = ["Results", "Unit"]


@dataclass(frozen=True, slots=True)
class Unit:
    """One method on one fold of one repetition.

    Attributes:
        rows: identifiers of the test rows, in the order of the measured numbers.
        measured: see `Task.measure`.
        settings: the best of the trials. trials: all of them, with their validation scores.
        seconds: of CPU, tuning and training together.
    """

    method: str
    seed: int
    fold: int
    rows: list[str]
    measured: Measured
    settings: dict[str, Any]
    trials: list[dict[str, Any]]
    seconds: float


class Results:
    """A folder of units that belong to one benchmark.

    Args:
        folder: made where missing.
        benchmark: what must be equal for results to be comparable; kept in benchmark.json.

    Raises:
        FailedPrecondition: the folder holds another benchmark, or a file that is none of its own.
    """

    def __init__(self, folder: Path, benchmark: Mapping[str, Any]) -> None:
        self.folder = folder
        facts = json.loads(json.dumps(benchmark))
        marker = folder / "benchmark.json"
        if marker.is_file():
            there = _read(marker)
            changed = [name for name in facts if there.get(name) != facts[name]]
            if changed:
                raise FailedPrecondition(
                    f"{folder} holds results with {changed[0]} = {there.get(changed[0])}, not "
                    f"{facts[changed[0]]}: use another --out"
                )
        (folder / "units").mkdir(parents=True, exist_ok=True)
        self._write(marker, facts)

    def find(self, method: str, seed: int, fold: int) -> Unit | None:
        """What is known already."""
        path = self._path(method, seed, fold)
        return Unit(**_read(path)) if path.is_file() else None

    def add(self, unit: Unit) -> None:
        """Keeps a unit.

        Raises:
            StorageFull: it does not fit on the disk.
        """
        self._write(self._path(unit.method, unit.seed, unit.fold), asdict(unit))

    def _path(self, method: str, seed: int, fold: int) -> Path:
        return self.folder / "units" / f"{method}-seed{seed}-fold{fold}.json"

    def _write(self, path: Path, values: Mapping[str, Any]) -> None:
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            temporary.write_text(json.dumps(values) + "\n", encoding="utf-8")
            temporary.replace(path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageFull(f"cannot write {path}: {error}; free some space and run again") from error


def _read(path: Path) -> dict[str, Any]:
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise FailedPrecondition(f"{path} is no result of dualpath benchmark: remove it") from error
    return values
