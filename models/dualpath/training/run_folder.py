"""The run folder of one training run, owned by one process at a time.

config.json       network, training, and the origins: command, git revision, versions
data.json         kind, name and digests of the data, and what there was to say of it
log.csv           one row an epoch; tensorboard/ too where that was asked for
last.pt           the state after the last whole epoch, to resume
best.pt           the averaged weights of the best epoch, to evaluate and export
summary.json      the end of the run: best epoch, calibration, ranking weights
curves.png        losses and validation score over the epochs
model-card.md     all of it in words
evaluation-*.json figures of `dualpath evaluate`, by split
run.lock          who trains here now
"""

import csv
import fcntl
import io
import json
import os
import shlex
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from dualpath.config import NetworkConfig
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.training.files import (
    PARTIAL,
    make_folder,
    not_written,
    require_writable,
    write_text_whole,
    write_whole,
)
from kinoscore.errors import FailedPrecondition, InvalidRequest, NotFound

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

    @property
    def heads(self) -> Path:
        """What a run on features holds instead, see `benchmark.feature_run`."""
        return self.path / "features.pt"

    def require_free(self, *, resume: bool, on_features: bool = False) -> None:
        """Before anything costs time: whether `fit` may train here.

        Args:
            on_features: training on features, which is done in one go and never resumed.

        Raises:
            FailedPrecondition: another process trains here, there is a run and it is not to be resumed, or
                the folder cannot be made or written.
        """
        held = [path for path in (self.heads, self.last, self.best) if path.is_file()]
        if held and (on_features or held[0] == self.heads):
            kind = "a finished run on features" if held[0] == self.heads else "a run on media"
            raise FailedPrecondition(
                f"{self.path} holds {kind} already ({held[0].name}): choose another --run"
            )
        if held and not resume:
            raise FailedPrecondition(
                f"{self.path} holds a run already ({held[0].name}): --resume goes on with it, another --run "
                "leaves it alone"
            )
        require_writable(self.path)
        if self.path.is_dir():
            with self.locked():
                pass

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Makes the folder, and owns it; the kernel drops the lock when the process ends, however it ends.

        Raises:
            FailedPrecondition: another process trains here, or the folder cannot be made or written.
            StorageFull: the disk is full.
        """
        make_folder(self.path)
        path = self.path / "run.lock"
        try:
            lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise not_written(path, error) from error
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                owner = os.pread(lock, 4096, 0).decode(errors="replace").strip() or "another process"
                raise FailedPrecondition(
                    f"the run folder {self.path} is in use by {owner}: wait until it has ended, "
                    "or use another --run"
                ) from None
            os.ftruncate(lock, 0)
            os.pwrite(lock, f"process {os.getpid()} ({shlex.join(sys.argv)[:200]})".encode(), 0)
            for left_over in self.path.glob(f".*.pt.*{PARTIAL}"):
                left_over.unlink(missing_ok=True)
            yield
        finally:
            os.close(lock)

    def save(self, path: Path, state: Mapping[str, Any]) -> None:
        """Writes a checkpoint.

        Raises:
            StorageFull, FailedPrecondition: see `write_whole`; the previous checkpoint is still there.
        """
        # torch turns an error of the file into one of its own; bytes in memory keep them apart.
        buffer = io.BytesIO()
        torch.save(dict(state), buffer)
        write_whole(path, lambda file: file.write(buffer.getbuffer()))

    def load(self, path: Path) -> dict[str, Any]:
        """Reads a checkpoint.

        Raises:
            NotFound: there is none.
            FailedPrecondition: it cannot be read.
        """
        if not path.is_file():
            raise NotFound(f"no checkpoint {path}: train with 'dualpath fit' first")
        try:
            state = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch.load raises almost anything on a foreign file
            raise _damaged(path) from error
        if not isinstance(state, dict):
            raise _damaged(path)
        return state

    def load_best(self) -> DualPathNetwork:
        """The network of the best epoch, in evaluation mode, deaf to statistics that never vary.

        Raises:
            NotFound, FailedPrecondition: see `load`.
        """
        state = self.load(self.best)
        try:
            network = DualPathNetwork(NetworkConfig.from_dict(state["network"]))
            network.load_state_dict(state["weights"])
        except (RuntimeError, KeyError, TypeError, InvalidRequest) as error:
            raise FailedPrecondition(
                f"{self.best} holds another network than this version of dualpath builds: "
                "evaluate or export it with the version that made it, or train again"
            ) from error
        _silence_constants(network)
        return network.eval()

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Writes <name>.json whole."""
        write_text_whole(self.path / f"{name}.json", json.dumps(values, indent=2) + "\n")

    def read_json(self, name: str) -> dict[str, Any]:
        """Reads <name>.json.

        Raises:
            NotFound: there is none.
            FailedPrecondition: it cannot be read.
        """
        path = self.path / f"{name}.json"
        if not path.is_file():
            raise NotFound(f"no {path}: finish the run with 'dualpath fit --run {self.path} --resume'")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise self._damaged_json(path) from error
        if not isinstance(values, dict):
            raise self._damaged_json(path)
        return values

    def _damaged_json(self, path: Path) -> FailedPrecondition:
        remedy = f"remove it and run the same 'dualpath fit --run {self.path}' with --resume"
        if path.name.startswith("evaluation-"):
            remedy = "remove it and evaluate again"
        elif self.heads.is_file():  # a run on features cannot be resumed
            remedy = "train again with another --run"
        return FailedPrecondition(f"{path} is damaged: put a copy back, or {remedy}")

    def write_log(self, history: list[dict[str, float]]) -> None:
        """Writes log.csv from the whole history, so that a resumed run has no row twice."""
        columns = list(dict.fromkeys(name for row in history for name in row))
        lines = io.StringIO()
        writer = csv.DictWriter(lines, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({name: f"{value:.6g}" for name, value in row.items()} for row in history)
        write_text_whole(self.path / "log.csv", lines.getvalue())


def _damaged(checkpoint: Path) -> FailedPrecondition:
    return FailedPrecondition(
        f"{checkpoint} is damaged, or no checkpoint of dualpath: put a copy back, or train again with "
        "another --run"
    )


def _silence_constants(network: DualPathNetwork) -> None:
    """A statistic that did not vary in training becomes its bias, whatever it is measured to be.

    It says nothing, and normalisation by its deviation would make 300 times more of its rounding error, which
    no two runtimes share.
    """
    with torch.no_grad():
        for layer in network.modules():
            if isinstance(layer, torch.nn.BatchNorm1d) and layer.running_var is not None:
                layer.weight[layer.running_var < _NO_VARIANCE] = 0.0
