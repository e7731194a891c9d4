"""The model repository: Triton's layout, kinoscore.json, and the embedding space id."""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dualpath.config import EMOTION_LABELS, NetworkConfig
from dualpath.export.graphs import Graph, graphs
from dualpath.export.onnx import PARITY_LIMIT, measure_parity, write_onnx
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.networks.music_spectra import BINS, MEL_FRAMES_PER_BIN
from kinoscore.errors import FailedPrecondition, InternalError

__all__ = ["config_text", "export_repository", "space_id"]

_FORMAT = 1
_TYPES = {"uint8": "TYPE_UINT8", "float32": "TYPE_FP32"}
_TRAINING_ONLY = ("video_decoder.", "music_decoder.", "labels.")


def export_repository(
    network: DualPathNetwork,
    destination: Path,
    *,
    calibration: Mapping[str, Mapping[str, float]],
    weights: Mapping[str, float],
    neutral_band: float,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    progress: Callable[[str], None] = lambda line: None,
) -> str:
    """Writes the repository and checks its parity; returns the space id.

    Everything is written beside the destination and renamed at the end, so a reader sees the old repository
    or the new one. An existing repository is replaced; any other folder that is not empty is refused.

    Raises:
        FailedPrecondition: the destination holds something else.
        InternalError: torch and ONNX Runtime differ by more than 1e-4.
    """
    if destination.exists() and any(destination.iterdir()) and not (destination / "kinoscore.json").is_file():
        raise FailedPrecondition(f"{destination} is not empty and no model repository: choose another folder")
    network = network.eval()
    space = space_id(network)
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        models, parity = _write_models(network, space, temporary, progress)
        manifest = {
            "format": _FORMAT,
            "space": space,
            "models": models,
            **_numbers(network),
            "emotion_labels": list(EMOTION_LABELS),
            "calibration": {
                **{side: dict(values) for side, values in calibration.items()},
                "neutral_band": neutral_band,
            },
            "weights": dict(weights),
            "training": dict(training),
            "metrics": {**metrics, "parity": parity},
        }
        (temporary / "kinoscore.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
        if destination.exists():
            shutil.rmtree(destination)
        temporary.rename(destination)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return space


def space_id(network: DualPathNetwork) -> str:
    """`s` and 12 hex digits of a SHA-256 over all exported weights and all numbers that shape a vector."""
    digest = hashlib.sha256(json.dumps(_numbers(network), sort_keys=True).encode())
    for name, values in sorted(network.state_dict().items()):
        if not name.startswith(_TRAINING_ONLY):
            digest.update(name.encode())
            digest.update(values.contiguous().numpy().tobytes())
    return f"s{digest.hexdigest()[:12]}"


def config_text(graph: Graph, name: str) -> str:
    """config.pbtxt of one model; dims exclude the batch axis, and Triton reshapes scalars from [1]."""
    lines = [
        f'name: "{name}"',
        'backend: "onnxruntime"',
        f"max_batch_size: {graph.max_batch_size}",
    ]
    for kind, ports in (("input", graph.inputs), ("output", graph.outputs)):
        for port in ports:
            dims = ", ".join(str(size) for size in port.shape) or "1"
            reshape = "" if port.shape else "\n  reshape: { shape: [ ] }"
            lines += [
                f"{kind} {{",
                f'  name: "{port.name}"',
                f"  data_type: {_TYPES[port.dtype]}",
                f"  dims: [ {dims} ]{reshape}",
                "}",
            ]
    lines += [
        "dynamic_batching { max_queue_delay_microseconds: 1000 }",
        "instance_group [ { kind: KIND_AUTO count: 1 } ]",
    ]
    return "\n".join(lines) + "\n"


def _write_models(
    network: DualPathNetwork, space: str, folder: Path, progress: Callable[[str], None]
) -> tuple[dict[str, Any], dict[str, float]]:
    models: dict[str, Any] = {}
    parity: dict[str, float] = {}
    for graph in graphs(network):
        name = f"{graph.name}_{space}"
        file = folder / name / "1" / "model.onnx"
        file.parent.mkdir(parents=True)
        write_onnx(graph, file)
        (folder / name / "config.pbtxt").write_text(config_text(graph, name), encoding="utf-8")
        difference = measure_parity(graph, file)
        progress(
            f"{graph.name:15s} {file.stat().st_size / 1e6:6.2f} MB   "
            f"torch against ONNX Runtime {difference:.1e}"
        )
        if difference > PARITY_LIMIT:
            raise InternalError(
                f"{graph.name}: torch and ONNX Runtime differ by {difference:.1e} > {PARITY_LIMIT:.0e}"
            )
        parity[graph.name] = difference
        models[graph.name] = {
            "name": name,
            "version": 1,
            "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
            "max_batch_size": graph.max_batch_size,
        }
    return models, parity


def _numbers(network: DualPathNetwork) -> dict[str, Any]:
    """The sections of the manifest that say how input is cut and how wide vectors are."""
    config: NetworkConfig = network.config
    window_seconds = config.music.window_samples / config.music.sample_rate
    return {
        "video": {**asdict(config.video), "feature_dimension": network.frame_encoder.feature_dimension},
        "music": {
            **asdict(config.music),
            "feature_dimension": network.window_encoder.feature_dimension,
            "onset_rate": BINS * MEL_FRAMES_PER_BIN / window_seconds,
        },
        "dimensions": asdict(config.dimensions),
    }
