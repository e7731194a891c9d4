"""Accelerators, precision and processes: the one place that knows Lightning Fabric.

Several devices are several processes, each with its share of every batch. The embeddings of all shares are
gathered, with their gradients, before the loss: the negatives of a pair are the whole batch, as on one
device. What differs is batch normalisation, which sees each share alone, and the draws of dropout.

In mixed precision the network computes in half precision where torch.autocast thinks it safe; its input, the
losses, the weights and their average stay float32, and validation is float32.

Tested on a CPU, with two processes too (gloo). Nothing here has run on a GPU yet.
"""

import os
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from lightning_utilities.core.apply_func import apply_to_collection
from torch import Tensor, nn

from dualpath.config import TrainingConfig
from kinoscore.errors import FailedPrecondition

__all__ = ["Devices", "chosen_device", "is_further_process"]

Value = TypeVar("Value")
_PRECISION = {"32": "32-true", "bf16": "bf16-mixed", "16": "16-mixed"}


class Devices:
    """Where a run computes. One CPU in float32 computes exactly what plain torch does.

    Raises:
        FailedPrecondition: there are fewer devices, or the accelerator does not know the precision.
    """

    def __init__(self, config: TrainingConfig) -> None:
        accelerator = _accelerator(config.accelerator, config.devices)
        if accelerator == "cpu" and config.precision == "16":
            raise FailedPrecondition("--precision 16 needs a GPU: use bf16 or 32")
        self.count = config.devices
        self._fabric = Fabric(
            accelerator=accelerator,
            devices=config.devices,
            precision=_PRECISION[config.precision],
            # Weights that a loss switched off leaves without a gradient are not waited for.
            strategy=DDPStrategy(find_unused_parameters=True) if config.devices > 1 else "auto",
        )
        self._forward: Callable[..., Any] | None = None
        self._optimiser: Any = None

    @property
    def device(self) -> torch.device:
        """Of this process."""
        return self._fabric.device

    @property
    def rank(self) -> int:
        """The number of this process, known after `launch`; 0 writes the run folder."""
        return self._fabric.global_rank

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def launch(self) -> None:
        """Starts the other processes: the command line of this one once more, for each further device."""
        self._fabric.launch()

    def setup(self, step: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Moves the module here and wires it to its copies in the other processes."""
        self._forward, self._optimiser = self._fabric.setup(step, optimiser)

    def forward(self, values: Any) -> Any:
        """The module on `values`, in the precision of the run; float32 comes back."""
        assert self._forward is not None, "setup comes first"
        return self._forward(_Opaque(values))

    def update(self, loss: Tensor, network: nn.Module, clip: float) -> None:
        """One step of the optimiser, with the norm of all gradients clipped."""
        self._optimiser.zero_grad(set_to_none=True)
        self._fabric.backward(loss)
        self._precision.unscale_gradients(self._optimiser.optimizer)
        torch.nn.utils.clip_grad_norm_(network.parameters(), clip)
        self._optimiser.step()

    def share(self, rows: Any) -> Any:
        """This process's part of the rows of a batch."""
        size = len(rows) // self.count
        return rows[self.rank * size : (self.rank + 1) * size]

    def gather(self, values: Value) -> Value:
        """Tensors [share, ...] of all processes as [batch, ...], with gradients; in any nesting."""
        if self.count == 1:
            return values
        gathered = self._fabric.all_gather(values, sync_grads=True)  # type: ignore[arg-type]
        return apply_to_collection(gathered, Tensor, lambda tensor: tensor.flatten(0, 1))

    def agree(self, value: Value) -> Value:
        """What the first process says."""
        return value if self.count == 1 else self._fabric.broadcast(value)

    def state_dict(self) -> dict[str, Any]:
        """The scale of gradients in 16-bit floats; else empty."""
        return self._precision.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if state:
            self._precision.load_state_dict(state)

    def __enter__(self) -> "Devices":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        """Waits for the other processes, or ends them where this one fails and they would wait in vain."""
        children: list[Any] = getattr(self._fabric.strategy.launcher, "procs", [])
        if kind is None and self.count > 1:
            torch.distributed.destroy_process_group()
            for child in children:
                child.wait()
        for child in children:
            child.terminate()
            child.wait()
        # Fabric kills this process when a child of the list ends otherwise than well.
        children.clear()

    @property
    def _precision(self) -> Any:
        return self._fabric.strategy.precision


class _Opaque:
    """Hides a batch from Fabric, which would round it to half precision before the network sees it."""

    def __init__(self, values: Any) -> None:
        self.values = values


def is_further_process() -> bool:
    """Whether `Devices.launch` of another process started this one, which writes nothing."""
    return os.environ.get("LOCAL_RANK", "0") != "0"


def chosen_device(accelerator: str) -> torch.device:
    """Where one process computes.

    Args:
        accelerator: "cpu", "cuda", or "auto", which is cuda where there is a GPU.

    Raises:
        FailedPrecondition: there is no GPU.
    """
    return torch.device(_accelerator(accelerator, devices=1))


def _accelerator(wanted: str, devices: int) -> str:
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if wanted == "auto":
        return "cuda" if found else "cpu"
    if wanted == "cuda" and found < devices:
        raise FailedPrecondition(f"torch finds {found} GPUs here, not {devices}: use --accelerator cpu")
    return wanted
