"""A graph to an ONNX file, and the parity of torch and ONNX Runtime."""

import copy
import warnings
from pathlib import Path

import numpy as np
import onnx
import torch

from dualpath.export.graphs import Graph
from kinoscore.errors import InternalError

__all__ = ["OPSET", "PARITY_LIMIT", "measure_parity", "write_onnx"]

OPSET = 17
PARITY_LIMIT = 1e-4
"""Largest absolute difference of any output between torch and ONNX Runtime."""
_TRACED_BATCH = 2
_CHECKED_BATCHES = (1, 3, 8)


def write_onnx(graph: Graph, path: Path) -> None:
    """Writes model.onnx with a dynamic batch axis.

    The tracing exporter is used: it needs no package beside `onnx`, and these graphs have no control flow.
    """
    # Channels-last weights would be traced with transpositions that ONNX Runtime does not need.
    module = copy.deepcopy(graph.module).to(memory_format=torch.contiguous_format).eval()
    names = [port.name for port in (*graph.inputs, *graph.outputs)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter announces its successor at every call
        torch.onnx.export(
            module,
            graph.example(_TRACED_BATCH, torch.Generator().manual_seed(0)),
            str(path),
            input_names=[port.name for port in graph.inputs],
            output_names=[port.name for port in graph.outputs],
            dynamic_axes={name: {0: "batch"} for name in names},
            opset_version=OPSET,
            do_constant_folding=True,
            dynamo=False,
        )
    _declare_shapes(graph, path)


def _declare_shapes(graph: Graph, path: Path) -> None:
    """Writes the promised sizes where tracing left a symbol, so that a reader of the file sees them."""
    model = onnx.load(str(path))
    ports = {port.name: port for port in (*graph.inputs, *graph.outputs)}
    for value in (*model.graph.input, *model.graph.output):
        axes = value.type.tensor_type.shape.dim
        for axis, size in zip(axes[1:], ports[value.name].shape, strict=True):
            axis.Clear()
            axis.dim_value = size
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def measure_parity(graph: Graph, path: Path) -> float:
    """Largest absolute difference of any output over batches of 1, 3 and 8.

    Raises:
        InternalError: an output has another shape than it promises.
    """
    import onnxruntime  # only export needs it

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(1)
    worst = 0.0
    for count in _CHECKED_BATCHES:
        inputs = graph.example(count, generator)
        with torch.no_grad():
            result = graph.module(*inputs)
        expected = result if isinstance(result, tuple) else (result,)
        feed = {port.name: values.numpy() for port, values in zip(graph.inputs, inputs, strict=True)}
        actual = session.run([port.name for port in graph.outputs], feed)
        for port, ours, theirs in zip(graph.outputs, expected, actual, strict=True):
            if theirs.shape != (count, *port.shape):
                raise InternalError(
                    f"{graph.name}.{port.name} has shape {theirs.shape}, not {(count, *port.shape)}"
                )
            worst = max(worst, float(np.abs(ours.numpy() - theirs).max()))
    return worst
