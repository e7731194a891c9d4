"""The model repository: Triton's layout, kinoscore.json, and the embedding space id."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from dualpath.config import EMOTION_LABELS, NetworkConfig
from dualpath.export.graphs import Graph, Port, graphs
from dualpath.export.onnx import PARITY_LIMIT, measure_parity, write_onnx
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.networks.music_spectra import BINS, MEL_FRAMES_PER_BIN
from kinoscore.errors import InternalError
from kinoscore.inference import targets

__all__ = ["FORMAT", "config_text", "export_repository", "space_id", "write_models"]

FORMAT = 1
_VERSION = 1
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
    options: targets.TargetOptions | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> str:
    """Writes the repository and checks its parity; returns the space id.

    Everything is written beside the destination and renamed at the end, so a reader sees the old repository
    or the new one. An existing repository is replaced; any other folder that is not empty is refused.

    Args:
        options: how Triton is to run the models; the ONNX files are the same for every target.

    Raises:
        FailedPrecondition: the destination holds something else.
        InternalError: torch and ONNX Runtime differ by more than 1e-4.
    """
    network = network.eval()
    space = space_id(network)
    with targets.new_repository(destination) as folder:
        models, parity = write_models(
            graphs(network), space, folder, options or targets.TargetOptions(), progress
        )
        manifest = {
            "format": FORMAT,
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
        (folder / "kinoscore.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
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
    """config.pbtxt of one model, for the default target."""
    return targets.config_text(name, _signature(graph), graph.max_batch_size)


def _signature(graph: Graph) -> targets.Signature:
    def ports(of: tuple[Port, ...]) -> tuple[targets.Port, ...]:
        return tuple(targets.Port(port.name, np.dtype(port.dtype), port.shape) for port in of)

    return targets.Signature(ports(graph.inputs), ports(graph.outputs))


def write_models(
    written: Sequence[Graph],
    space: str,
    folder: Path,
    options: targets.TargetOptions,
    progress: Callable[[str], None],
) -> tuple[dict[str, Any], dict[str, float]]:
    """The models of a repository that is being made: its manifest's entries, and the parity of each.

    Raises:
        InternalError: torch and ONNX Runtime differ by more than 1e-4.
    """
    models: dict[str, Any] = {}
    parity: dict[str, float] = {}
    for graph in written:
        name = f"{graph.name}_{space}"
        file = folder / name / str(_VERSION) / "model.onnx"
        file.parent.mkdir(parents=True)
        write_onnx(graph, file)
        targets.write_model_files(folder, name, _VERSION, _signature(graph), graph.max_batch_size, options)
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
            "version": _VERSION,
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
