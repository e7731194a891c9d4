"""The run folder: config.json, log.csv, last.pt (to resume), best.pt (to export), summary.json."""

import csv
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dualpath.config import NetworkConfig
from dualpath.networks.dual_path import DualPathNetwork
from kinoscore.errors import FailedPrecondition, NotFound, StorageFull

__all__ = ["RunFolder"]

_NO_VARIANCE = 1e-5


@dataclass(frozen=True, slots=True)
class RunFolder:
    """A folder of one training run. Files are replaced whole: an interruption leaves the previous ones."""

    path: Path

    @property
    def last(self) -> Path:
        """The state after the last whole epoch."""
        return self.path / "last.pt"

    @property
    def best(self) -> Path:
        """The averaged weights of the best epoch."""
        return self.path / "best.pt"

    def save(self, path: Path, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint.

        Raises:
            StorageFull: the disk is full; the previous checkpoint is still there.
        """
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            torch.save(dict(state), temporary)
            temporary.replace(path)
        except (OSError, RuntimeError) as error:
            temporary.unlink(missing_ok=True)
            raise StorageFull(
                f"cannot write {path}: {error}; free some space and run again with --resume"
            ) from error

    def load(self, path: Path) -> dict[str, Any]:
        """Reads a checkpoint.

        Raises:
            NotFound: there is none.
            FailedPrecondition: it cannot be read.
        """
        if not path.is_file():
            raise NotFound(f"no checkpoint {path}: train with 'dualpath fit' first")
        try:
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises almost anything on a foreign file
            raise FailedPrecondition(
                f"{path} is no checkpoint of dualpath: {error}".splitlines()[0]
            ) from error
        return state

    def load_best(self) -> DualPathNetwork:
        """The network of the best epoch, in evaluation mode, deaf to statistics that never vary.

        Raises:
            NotFound, FailedPrecondition: see `load`.
        """
        state = self.load(self.best)
        network = DualPathNetwork(NetworkConfig.from_dict(state["network"]))
        try:
            network.load_state_dict(state["weights"])
        except RuntimeError as error:
            raise FailedPrecondition(
                f"{self.best} holds another network; its version of dualpath made it"
            ) from error
        _silence_constants(network)
        return network.eval()

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Writes <name>.json whole."""
        path = self.path / f"{name}.json"
        temporary = path.with_name(f".{name}.{os.getpid()}.json")
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
        temporary.replace(path)

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads <name>.json.

        Raises:
            NotFound: there is none.
        """
        path = self.path / f"{name}.json"
        if not path.is_file():
            raise NotFound(f"no {path}: finish the run with 'dualpath fit --run {self.path} --resume'")
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return values

    def write_log(self, history: list[dict[str, float]]) -> None:
        """Writes log.csv from the whole history, so that a resumed run has no row twice."""
        columns = list(dict.fromkeys(name for row in history for name in row))
        path = self.path / "log.csv"
        temporary = path.with_name(f".log.{os.getpid()}.csv")
        with temporary.open("w", newline="", encoding="utf-8") as lines:
            writer = csv.DictWriter(lines, columns)
            writer.writeheader()
            writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in history)
        temporary.replace(path)


def _silence_constants(network: DualPathNetwork) -> None:
    """A statistic that did not vary in training becomes its bias, whatever it is measured to be.

    It says nothing, and normalisation by its deviation would make 300 times more of its rounding error, which
    no two runtimes share.
    """
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm1d) and layer.running_var is not None:
                layer.weight[layer.running_var < _NO_VARIANCE] = 0.0
