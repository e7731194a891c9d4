"""For whom a model repository is written: Triton's `config.pbtxt` for each backend.

The ONNX files and the manifest are the same for every target; so `onnx:` runs in-process whatever the target.
The trainer writes its repositories through this module, hence it needs neither ONNX Runtime nor a server.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import numpy as np

from kinoscore.errors import FailedPrecondition, InvalidRequest
from kinoscore.inference.repository import MANIFEST_FILE
from kinoscore.inference.signature import Port, Signature

__all__ = [
    "BACKENDS",
    "TRITON_TYPES",
    "Device",
    "Port",
    "Signature",
    "Target",
    "TargetOptions",
    "config_text",
    "new_repository",
    "write_model_files",
]

# Our choices, for models of milliseconds.
_QUEUE_SIZE = 256
# A request's own time limit may only lower this one.
_LONGEST_QUEUEING_MICROSECONDS = 600_000_000
_SMALLEST_PREFERRED_BATCH = 4
_TENSORRT_WORKSPACE_BYTES = 1 << 30

TRITON_TYPES = {np.dtype(np.uint8): "TYPE_UINT8", np.dtype(np.float32): "TYPE_FP32"}


class Target(StrEnum):
    """How Triton runs the models."""

    ONNXRUNTIME = "onnxruntime"
    """Triton's ONNX Runtime backend, on GPU or CPU."""
    TENSORRT = "tensorrt"
    """The same backend with its TensorRT accelerator, on GPU."""
    PYTHON = "python"
    """A script beside each model.onnx, for a Triton whose Python has the package onnxruntime."""


class Device(StrEnum):
    """Where instances of the models live; `auto` is a GPU where Triton sees one."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


BACKENDS = {Target.ONNXRUNTIME: "onnxruntime", Target.TENSORRT: "onnxruntime", Target.PYTHON: "python"}


@dataclass(frozen=True, slots=True)
class TargetOptions:
    """What can be chosen of the configuration.

    Attributes:
        instances: of each model, on each device that it lives on.
        half_precision: let TensorRT compute with 16 bits; vectors then differ by about 1e-3.

    Raises:
        InvalidRequest: the options contradict each other.
    """

    target: Target = Target.ONNXRUNTIME
    device: Device = Device.AUTO
    instances: int = 1
    half_precision: bool = False

    def __post_init__(self) -> None:
        if self.instances < 1:
            raise InvalidRequest("a model needs at least one instance", field="instances")
        if self.half_precision and self.target is not Target.TENSORRT:
            raise InvalidRequest("fp16 is an option of the target tensorrt only", field="fp16")
        if self.target is Target.TENSORRT and self.device is Device.CPU:
            raise InvalidRequest("the target tensorrt needs a GPU", field="device")


def config_text(
    name: str, signature: Signature, max_batch_size: int, options: TargetOptions | None = None
) -> str:
    """The content of config.pbtxt.

    Sizes exclude the batch; a row that is a single number is declared [1] and reshaped, since Triton knows no
    row without sizes. Every preferred batch size is run once before the model counts as ready: the first
    batch of a size is slow.

    Args:
        name: of the model in Triton; it carries the embedding space.
    """
    options = options or TargetOptions()
    kind = Device.GPU if options.target is Target.TENSORRT else options.device
    sizes = _preferred_batch_sizes(max_batch_size)
    sections = [
        f'name: "{name}"\nbackend: "{BACKENDS[options.target]}"\nmax_batch_size: {max_batch_size}\n',
        *(_port_text("input", port) for port in signature.inputs),
        *(_port_text("output", port) for port in signature.outputs),
        "version_policy { latest { num_versions: 1 } }\n",
        f"instance_group [ {{ kind: KIND_{kind.upper()} count: {options.instances} }} ]\n",
        _dynamic_batching_text(sizes),
        _tensorrt_text(options.half_precision) if options.target is Target.TENSORRT else "",
        *(_warm_up_text(size, signature.inputs) for size in sorted({1, *sizes})),
    ]
    return "".join(sections)


def write_model_files(
    folder: Path, name: str, version: int, signature: Signature, max_batch_size: int, options: TargetOptions
) -> None:
    """Writes what the target needs beside `<folder>/<name>/<version>/model.onnx`."""
    model = folder / name
    (model / "config.pbtxt").write_text(
        config_text(name, signature, max_batch_size, options), encoding="utf-8"
    )
    if options.target is Target.PYTHON:
        shutil.copyfile(Path(__file__).with_name("python_backend.py"), model / str(version) / "model.py")


@contextmanager
def new_repository(destination: Path) -> Iterator[Path]:
    """A folder to write a repository into, which takes the destination's place when the block has ended well.

    A reader sees the old repository or the new one. An existing repository is replaced.

    Raises:
        FailedPrecondition: the destination holds something else.
    """
    if destination.exists() and any(destination.iterdir()) and not (destination / MANIFEST_FILE).is_file():
        raise FailedPrecondition(f"{destination} is not empty and no model repository: choose another folder")
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}")
    replaced = temporary.with_suffix(".replaced")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    try:
        yield temporary
        if destination.exists():
            destination.rename(replaced)
        temporary.rename(destination)
    finally:
        for leftover in (temporary, replaced):
            shutil.rmtree(leftover, ignore_errors=True)


def _preferred_batch_sizes(largest: int) -> list[int]:
    """Powers of two, and the largest."""
    sizes = []
    size = _SMALLEST_PREFERRED_BATCH
    while size < largest:
        sizes.append(size)
        size *= 2
    return [*sizes, largest]


def _port_text(kind: str, port: Port) -> str:
    reshape = "" if port.shape else "\n  reshape: { shape: [ ] }"
    return (
        f'{kind} {{\n  name: "{port.name}"\n  data_type: {TRITON_TYPES[port.dtype]}\n'
        f"  dims: [ {_dimensions(port)} ]{reshape}\n}}\n"
    )


def _dimensions(port: Port) -> str:
    return ", ".join(map(str, port.shape)) or "1"


def _dynamic_batching_text(sizes: list[int]) -> str:
    # Nothing waits for a batch to fill: batches form while the model is busy, as large ones as with a delay.
    return (
        "dynamic_batching {\n"
        f"  preferred_batch_size: [ {', '.join(map(str, sizes))} ]\n"
        "  default_queue_policy {\n"
        "    timeout_action: REJECT\n"
        f"    default_timeout_microseconds: {_LONGEST_QUEUEING_MICROSECONDS}\n"
        "    allow_timeout_override: true\n"
        f"    max_queue_size: {_QUEUE_SIZE}\n"
        "  }\n"
        "}\n"
    )


def _tensorrt_text(half_precision: bool) -> str:
    precision = "FP16" if half_precision else "FP32"
    return (
        "optimization {\n  execution_accelerators {\n    gpu_execution_accelerator [ {\n"
        '      name: "tensorrt"\n'
        f'      parameters {{ key: "precision_mode" value: "{precision}" }}\n'
        f'      parameters {{ key: "max_workspace_size_bytes" value: "{_TENSORRT_WORKSPACE_BYTES}" }}\n'
        "    } ]\n  }\n}\n"
    )


def _warm_up_text(size: int, inputs: tuple[Port, ...]) -> str:
    values = "".join(
        f'  inputs {{ key: "{port.name}" value {{ data_type: {TRITON_TYPES[port.dtype]} '
        f"dims: [ {_dimensions(port)} ] random_data: true }} }}\n"
        for port in inputs
    )
    return f'model_warmup {{\n  name: "batch of {size}"\n  batch_size: {size}\n{values}}}\n'
