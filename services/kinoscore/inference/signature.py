"""What a model takes and gives: names, types and the sizes of a row."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from kinoscore.errors import InternalError
from kinoscore.inference.engine import Array

__all__ = ["Port", "Signature", "declared_shape"]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output; `shape` is that of one row, without the batch axis."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Signature:
    """The inputs and outputs of a model. The first axis of everything is the batch."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def checked_rows(self, model: str, inputs: Mapping[str, Array]) -> int:
        """The number of rows of well-formed inputs.

        Raises:
            InternalError: a name, shape or type is not the model's.
        """
        names = sorted(port.name for port in self.inputs)
        if sorted(inputs) != names:
            raise InternalError(f"model {model} takes {names}, not {sorted(inputs)}")
        rows = len(inputs[names[0]])
        for port in self.inputs:
            array = inputs[port.name]
            if array.dtype != port.dtype or array.shape != (rows, *port.shape) or rows == 0:
                raise InternalError(
                    f"model {model} takes {port.name} as {port.dtype}[n, {', '.join(map(str, port.shape))}] "
                    f"with n > 0, not {array.dtype}{list(array.shape)}"
                )
        return rows


def declared_shape(port: Any) -> tuple[int, ...]:
    """The sizes of a row of an input or output of Triton's ModelConfig, after its reshape."""
    return tuple(port.reshape.shape if port.HasField("reshape") else port.dims)
