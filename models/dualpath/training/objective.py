"""The objective: the weighted sum of the losses."""

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.nn import functional

from dualpath.config import TrainingConfig
from dualpath.data.batches import Batch
from dualpath.losses.distinguish import distinguish_loss
from dualpath.losses.emotion import emotion_regression_loss
from dualpath.losses.metric import info_nce_loss, max_margin_loss, polarity, polarity_factor
from dualpath.losses.reconstruction import reconstruction_loss
from dualpath.networks.dual_path import Side

__all__ = ["objective"]


def objective(
    video: Side, music: Side, batch: Batch, config: TrainingConfig, valence_centre: float
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum of the losses, and each of them unweighted.

    Args:
        valence_centre: mean valence of the training pairs; polarity is relative to it.
    """
    polarities = polarity(batch.valence_arousal[:, 0], valence_centre, config.neutral_band)
    weights = polarity_factor(polarities, config.polarity_factor)
    fused = video.fused @ music.fused.T
    content = video.content @ music.content.T
    losses: dict[str, tuple[float, Tensor]] = {
        "contrastive": (config.contrastive_weight, info_nce_loss(fused, weights, config.temperature)),
        "content": (config.content_weight, info_nce_loss(content, weights, config.temperature)),
        "margin": (config.margin_weight, max_margin_loss(fused, weights, config.margin)),
        "emotion": (
            config.emotion_weight,
            _mean(
                emotion_regression_loss(side.emotion.valence_arousal, batch.valence_arousal)
                for side in (video, music)
            ),
        ),
        "frame_emotion": (
            config.frame_emotion_weight,
            _mean(_parts_loss(side, batch) for side in (video, music)),
        ),
        "distinguish": (
            config.distinguish_weight,
            distinguish_loss(
                video.emotion.logits,
                music.emotion.logits,
                video.emotion.embedding,
                music.emotion.embedding,
                batch.labels,
                config.temperature,
            ),
        ),
    }
    if video.reconstruction is not None and music.reconstruction is not None:
        losses["reconstruction"] = (
            config.reconstruction_weight,
            0.5 * reconstruction_loss(video.reconstruction, video.summary)
            + 0.5 * reconstruction_loss(music.reconstruction, music.summary),
        )
    if video.labels is not None and music.labels is not None:
        (video_themes, video_attributes), (music_themes, music_attributes) = video.labels, music.labels
        losses["theme"] = (
            config.theme_weight,
            _mean(functional.cross_entropy(logits, batch.themes) for logits in (video_themes, music_themes)),
        )
        if batch.video_attributes.shape[1]:
            losses["attributes"] = (
                config.attribute_weight,
                0.5 * functional.mse_loss(video_attributes, batch.video_attributes)
                + 0.5 * functional.mse_loss(music_attributes, batch.music_attributes),
            )
    total = torch.stack([weight * loss for weight, loss in losses.values()]).sum()
    return total, {name: float(loss.detach()) for name, (_, loss) in losses.items()}


def _parts_loss(side: Side, batch: Batch) -> Tensor:
    """Weak supervision: each frame or window is told the emotion of its clip or passage."""
    repeats = side.parts_mask.shape[0] // batch.labels.shape[0]
    target = batch.valence_arousal.repeat_interleave(repeats, dim=0)
    labels = batch.labels.repeat_interleave(repeats)
    regression = emotion_regression_loss(side.parts.valence_arousal, target, side.parts_mask)
    classification = functional.cross_entropy(side.parts.logits, labels, reduction="none")
    return regression + 0.2 * (classification * side.parts_mask).sum() / side.parts_mask.sum().clamp(min=1.0)


def _mean(losses: Iterator[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
