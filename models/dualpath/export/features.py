"""A dual path on features to a model repository: the two heads, and what features they need.

The services encode media themselves and refuse such a repository. It is for those who have the features and
run ONNX Runtime or Triton on their own. The similarity of a video and a music is the sum over the paths of
the manifest's `similarity` of share times inner product of the two heads' outputs of that name.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from dualpath.benchmark.feature_run import FeatureModel
from dualpath.data.features.layouts import Feature, layout_named
from dualpath.data.features.prepare import Preparation
from dualpath.export.graphs import Graph, Port
from dualpath.export.repository import FORMAT, write_models
from dualpath.networks.feature_paths import FeatureDualPath, FeatureSide
from kinoscore.inference import targets

__all__ = ["export_features", "feature_graphs"]

_LARGEST_BATCH = 64


class Head(nn.Module):
    """tokens as they are read [n, t, d] -> one vector a path: [n, k] each, in the order of `paths`."""

    def __init__(self, model: FeatureModel, side: int) -> None:
        super().__init__()
        self.network, self.side, self.paths = model.network, side, tuple(model.shares)
        preparation = model.preparation
        moments = (preparation.video_moments, preparation.music_moments)[side]
        self.prepare = _Prepare(preparation if side == 0 else None, moments)

    def forward(self, tokens: Tensor) -> tuple[Tensor, ...]:
        prepared = self.prepare(tokens)
        encoded = self.network.encode_music(prepared) if self.side else self.network.encode_video(prepared)
        return tuple(_vector(path, encoded) for path in self.paths)


class _Prepare(nn.Module):
    """`Preparation.apply` of one side: principal components of wide blocks, then standardised columns."""

    def __init__(
        self, blocks: Preparation | None, moments: tuple[NDArray[np.float32], NDArray[np.float32]]
    ) -> None:
        super().__init__()
        self.widths = blocks.blocks if blocks is not None else ()
        for name, values in zip(("mean", "deviation"), moments, strict=True):
            self.register_buffer(name, torch.from_numpy(values))
        self.components = nn.ModuleList(
            nn.Identity() if basis is None else _Components(*basis)
            for basis in (blocks.bases if blocks is not None else ())
        )

    def forward(self, tokens: Tensor) -> Tensor:
        if self.widths:
            parts = torch.split(tokens, list(self.widths), dim=2)
            tokens = torch.cat([own(part) for own, part in zip(self.components, parts, strict=True)], dim=2)
        return (tokens - self.get_buffer("mean")) / self.get_buffer("deviation")


class _Components(nn.Module):
    """[n, t, d] -> [n, t, k]."""

    def __init__(self, mean: NDArray[np.float32], directions: NDArray[np.float32]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.from_numpy(mean))
        self.register_buffer("directions", torch.from_numpy(directions))

    def forward(self, block: Tensor) -> Tensor:
        return (block - self.get_buffer("mean")) @ self.get_buffer("directions")


def feature_graphs(model: FeatureModel) -> tuple[Graph, Graph]:
    """video_head and music_head."""
    heads = []
    for side, (name, examples) in enumerate(
        (("video_head", model.video_examples), ("music_head", model.music_examples))
    ):
        head = Head(model, side).eval()
        known = torch.from_numpy(examples)
        with torch.no_grad():
            outputs = head(known[:1])
        heads.append(
            Graph(
                name,
                head,
                (Port("tokens", tuple(known.shape[1:])),),
                tuple(
                    Port(path, tuple(vector.shape[1:]))
                    for path, vector in zip(head.paths, outputs, strict=True)
                ),
                _LARGEST_BATCH,
                lambda count, generator, known=known: (  # type: ignore[misc]
                    known[torch.randint(len(known), (count,), generator=generator)],
                ),
            )
        )
    return heads[0], heads[1]


def export_features(
    model: FeatureModel,
    destination: Path,
    *,
    training: Mapping[str, Any],
    metrics: Mapping[str, Any],
    options: targets.TargetOptions | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> str:
    """Writes the repository and checks its parity; returns the space id. See `export_repository`.

    Raises:
        FailedPrecondition: the destination holds something else.
        InternalError: torch and ONNX Runtime differ by more than 1e-4.
    """
    layout = layout_named(model.layout)
    graphs = feature_graphs(model)
    numbers = {
        "layout": layout.name,
        "tokens": layout.tokens,
        "video": _side(layout.video, model.video_examples),
        "music": _side(layout.music, model.music_examples),
    }
    space = _space(model.network, model.preparation, {**numbers, "similarity": dict(model.shares)})
    with targets.new_repository(destination) as folder:
        models, parity = write_models(graphs, space, folder, options or targets.TargetOptions(), progress)
        manifest = {
            "format": FORMAT,
            "kind": "features",
            "space": space,
            "models": models,
            "features": numbers,
            "similarity": dict(model.shares),
            "emotion_labels": list(model.emotion_names),
            "training": dict(training),
            "metrics": {**metrics, "parity": parity},
        }
        (folder / "kinoscore.json").write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    return space


def _side(features: tuple[Feature, ...], examples: NDArray[np.float32]) -> dict[str, Any]:
    """Arrays that are needed, and the shape of the tokens that are made of them; one array fills a token."""
    steps, width = examples.shape[1:]
    return {
        "tokens": steps,
        "token_width": width,
        "arrays": [
            {**asdict(feature), "width": width if feature.width is None else feature.width}
            for feature in features
        ],
    }


def _space(network: FeatureDualPath, preparation: Preparation, numbers: Mapping[str, Any]) -> str:
    digest = hashlib.sha256(json.dumps(numbers, sort_keys=True).encode())
    for name, values in sorted(network.state_dict().items()):
        digest.update(name.encode())
        digest.update(values.contiguous().numpy().tobytes())
    for arrays in (*preparation.bases, preparation.video_moments, preparation.music_moments):
        for values in arrays or ():
            digest.update(values.tobytes())
    return f"s{digest.hexdigest()[:12]}"


def _vector(path: str, encoded: FeatureSide) -> Tensor:
    """The vector whose inner product is the path's similarity."""
    if path == "agreement":
        return torch.softmax(encoded.logits, dim=1)
    vector: Tensor = getattr(encoded, path)
    return vector
