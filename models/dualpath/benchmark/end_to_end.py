"""Networks that are trained end to end on a world: the dual path as `fit` trains it, the dual path less one
idea each, and plain InfoNCE on the same backbones.

All are one network with switches, so that nothing but the idea differs: the same backbones, fixed cues,
adapters, augmentation, optimiser and number of steps. All are compared in the fused space alone; a weighted
sum of paths at query time would bring an emotion back that a switch took away.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.evaluation.embeddings import embed, similarity
from dualpath.methods.method import Kind
from dualpath.training.loop import Split, fit
from dualpath.training.run_folder import RunFolder

__all__ = ["ABLATIONS", "BASELINES", "CONTROLS", "DUAL_PATH", "EndToEnd", "head", "trained_similarity"]

_FUSED_ALONE = {"fused": 1.0, "content": 0.0, "emotion": 0.0}
_PLAIN_NETWORK = {
    "shared_encoder": False,
    "decoders": False,
    "emotion_path": False,
    "key_frames": False,
    "channel_attention": False,
    "fusion": "sum",
}
_PLAIN_TRAINING = {
    "polarity_factor": 0.0,
    "content_weight": 0.0,
    "margin_weight": 0.0,
    "distinguish_weight": 0.0,
    "emotion_weight": 0.0,
    "frame_emotion_weight": 0.0,
}


@dataclass(frozen=True, slots=True)
class EndToEnd:
    """One network by its switches.

    Attributes:
        name: as in `--methods`.
        kind: how the table treats it.
        network, training: what differs from the defaults of NetworkConfig and TrainingConfig.
        labels: whether the content also learns the world's own labels, theme and rendered cues.
    """

    name: str
    kind: Kind
    network: Mapping[str, Any]
    training: Mapping[str, Any]
    labels: bool = True

    def train(
        self,
        run: RunFolder,
        training: Split,
        validation: Split,
        config: TrainingConfig,
        progress: Callable[[str], None] = lambda line: None,
    ) -> dict[str, Any]:
        """Trains in the run folder, or goes on there; the summary of the run.

        Args:
            config: the budget; this method's own switches are put on top.

        Raises:
            InvalidRequest, StorageFull: see `fit`.
        """
        index = training.index
        network = NetworkConfig(
            themes=len(index.theme_names) if self.labels else 0,
            attributes=len(index.attribute_names) if self.labels else 0,
            **self.network,
        )
        return fit(
            run,
            training,
            validation,
            network,
            replace(config, **self.training),
            resume=True,
            progress=lambda line: progress(f"{self.name}: {line}"),
        )


def _without(idea: str, *, labels: bool = True, **network: bool | str) -> EndToEnd:
    return EndToEnd(f"dual-path-no-{idea}", Kind.ABLATION, network, {}, labels)


DUAL_PATH = EndToEnd("dual-path", Kind.OURS, {}, {})
BASELINES = (
    # The strongest plain method: our backbones, every fixed cue and the augmentation, and pairs alone.
    EndToEnd("info-nce-end-to-end", Kind.BASELINE, _PLAIN_NETWORK, _PLAIN_TRAINING, labels=False),
)
CONTROLS = (
    # Real pairs have no such labels; beside it the table shows what the ideas bring where there are some.
    EndToEnd("info-nce-world-labels", Kind.CONTROL, _PLAIN_NETWORK, _PLAIN_TRAINING),
)
ABLATIONS = (
    _without("shared-encoder", shared_encoder=False),
    _without("decoders", decoders=False),
    _without("emotion-path", emotion_path=False),
    _without("key-frames", key_frames=False),
    _without("channel-attention", channel_attention=False),
    EndToEnd("dual-path-no-distinguish", Kind.ABLATION, {}, {"distinguish_weight": 0.0}),
    EndToEnd("dual-path-no-polarity-factor", Kind.ABLATION, {}, {"polarity_factor": 0.0}),
    _without("fusion-mlp", fusion="sum"),
    _without("world-labels", labels=False),
)


def trained_similarity(
    run: RunFolder, test: Split, weights: Mapping[str, float] = _FUSED_ALONE
) -> NDArray[np.float32]:
    """Of all videos of a split with all its music, by the best epoch of a run: [n, n].

    Raises:
        NotFound, FailedPrecondition: see `RunFolder.load`.
    """
    return similarity(embed(run.load_best(), test.arrays, test.index), dict(weights))


def head(split: Split, pairs: int) -> Split:
    """The first pairs of a split; the arrays stay where they are."""
    arrays = split.arrays
    return Split(
        split.index.rows(np.arange(min(pairs, len(split.index)))),
        replace(arrays, **{name: getattr(arrays, name)[:pairs] for name in arrays.__slots__}),
    )
