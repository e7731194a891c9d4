"""The model of the target `python`: Triton's Python backend runs the model.onnx that lies beside this file.

A copy of it is the model.py of each model. It runs inside Triton, needs numpy and onnxruntime there, and
imports nothing of kinoscore.
"""

import json
import os
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils  # only there inside Triton


class TritonPythonModel:
    """All requests that Triton hands over at once are one batch of ONNX Runtime."""

    def initialize(self, args: dict[str, str]) -> None:
        """Loads the graph."""
        config = json.loads(args["model_config"])
        self._inputs = [port["name"] for port in config["input"]]
        self._outputs = [port["name"] for port in config["output"]]
        options = onnxruntime.SessionOptions()
        # For models of milliseconds, waking further threads takes as long as they save. More instances of a
        # model use more cores.
        options.intra_op_num_threads = 1
        # Planned memory is kept for each batch size that ever came.
        options.enable_mem_pattern = False
        options.log_severity_level = 3
        on_gpu = args["model_instance_kind"] == "GPU"
        self._session = onnxruntime.InferenceSession(
            os.path.join(args["model_repository"], args["model_version"], "model.onnx"),
            options,
            providers=[*(["CUDAExecutionProvider"] if on_gpu else []), "CPUExecutionProvider"],
        )

    def execute(self, requests: list[Any]) -> list[Any]:
        """Runs the batch and gives each request its own rows."""
        tensors = {
            name: [pb_utils.get_input_tensor_by_name(request, name).as_numpy() for request in requests]
            for name in self._inputs
        }
        counts = [len(array) for array in tensors[self._inputs[0]]]
        results = self._session.run(
            self._outputs, {name: np.concatenate(arrays) for name, arrays in tensors.items()}
        )
        bounds = np.cumsum(counts)[:-1]
        pieces = zip(*(np.split(result, bounds) for result in results), strict=True)
        return [
            pb_utils.InferenceResponse(
                [
                    pb_utils.Tensor(name, np.ascontiguousarray(rows))
                    for name, rows in zip(self._outputs, piece, strict=True)
                ]
            )
            for piece in pieces
        ]
