"""The one interface that the services know of inference."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

__all__ = ["Array", "BatchObserver", "Inference", "InferenceEngine", "ignore_batch"]

Array = NDArray[Any]
BatchObserver = Callable[[str, int], None]
"""Told of each batch that runs: the model's short name, and its rows."""


def ignore_batch(model: str, rows: int) -> None:
    """The observer of nobody."""


@dataclass(frozen=True, slots=True)
class Inference:
    """What one call brought.

    Attributes:
        outputs: by name; the first axis is that of the inputs.
        queue_seconds: waiting for a place in a batch.
        compute_seconds: running the batches that the rows were part of.
    """

    outputs: Mapping[str, Array]
    queue_seconds: float
    compute_seconds: float

    @classmethod
    def joined(cls, parts: "list[Inference]") -> "Inference":
        """One inference of the rows of several, in their order."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            outputs={
                name: np.concatenate([part.outputs[name] for part in parts]) for name in parts[0].outputs
            },
            queue_seconds=sum(part.queue_seconds for part in parts),
            compute_seconds=sum(part.compute_seconds for part in parts),
        )


class InferenceEngine(Protocol):
    """Runs the models of one repository. Calls may come concurrently; the engine forms the batches."""

    async def infer(self, model: str, inputs: Mapping[str, Array], *, timeout: float) -> Inference:
        """Runs a model over rows.

        Args:
            model: the short name (`frame_encoder`).
            inputs: by name, at least one row in each; more rows than the model's largest batch are split.
            timeout: seconds; waiting rows are dropped when they have passed or when the caller is cancelled.

        Raises:
            DeadlineExceeded: the time was up first.
            QueueFull: too many calls wait for this model.
            Unavailable: the engine is lost or closed.
            InternalError: an unknown model, or an input of another name, shape or type than the model's.
        """

    async def check(self) -> None:
        """Makes sure that the engine answers.

        Raises:
            Unavailable: it does not.
        """

    async def close(self) -> None:
        """Frees the engine; waiting calls end with Unavailable."""
