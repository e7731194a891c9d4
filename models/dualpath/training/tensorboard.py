"""Event files for TensorBoard, beside log.csv: an optional extra."""

import importlib.util
from collections.abc import Mapping
from pathlib import Path

from kinoscore.errors import FailedPrecondition

__all__ = ["TensorBoard", "require_tensorboard"]


def require_tensorboard() -> None:
    """Called before the work begins.

    Raises:
        FailedPrecondition: the extra is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise FailedPrecondition(
            "--tensorboard needs the package tensorboard; install it with "
            "`pip install 'kinoscore[train,tensorboard]'`"
        )


class TensorBoard:
    """The rows of log.csv as scalars over epochs.

    Args:
        folder: of the events; made where missing.
        first_epoch: a resumed run hides what an earlier one wrote of this epoch and later.
    """

    def __init__(self, folder: Path, first_epoch: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=first_epoch)

    def add(self, row: Mapping[str, float]) -> None:
        """One epoch, on the disk when this returns."""
        for name, value in row.items():
            if name != "epoch":
                self._writer.add_scalar(name, value, int(row["epoch"]))
        self._writer.flush()

    def close(self) -> None:
        self._writer.close()
