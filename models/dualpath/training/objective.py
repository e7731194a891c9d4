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
from dualpath.networks.paths import Emotion

__all__ = ["objective"]


def objective(
    video: Side, music: Side, batch: Batch, config: TrainingConfig, valence_centre: float
) -> tuple[Tensor, dict[str, float]]:
    """The weighted sum of the losses, and each of them unweighted.

    Losses that need an emotion look at the rows that have one, and are left out where none has. The polarity
    factor is 1 where either emotion is not known, and 0 between rows of one item: they are no negatives.

    Args:
        valence_centre: mean valence of the training pairs; polarity is relative to it.
    """
    polarities = polarity(batch.valence_arousal[:, 0], valence_centre, config.neutral_band)
    weights = torch.nan_to_num(polarity_factor(polarities, config.polarity_factor), nan=1.0)
    weights = weights.masked_fill(batch.same_item, 0.0)
    fused = video.fused @ music.fused.T
    content = video.content @ music.content.T
    losses: dict[str, tuple[float, Tensor]] = {
        "contrastive": (config.contrastive_weight, info_nce_loss(fused, weights, config.temperature)),
        "content": (config.content_weight, info_nce_loss(content, weights, config.temperature)),
        "margin": (config.margin_weight, max_margin_loss(fused, weights, config.margin)),
        **_emotion_losses(video, music, batch, config),
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


def _emotion_losses(
    video: Side, music: Side, batch: Batch, config: TrainingConfig
) -> dict[str, tuple[float, Tensor]]:
    known = torch.isfinite(batch.valence_arousal).all(dim=1)
    if not known.any():
        return {}
    target, labels = batch.valence_arousal[known], batch.labels[known]
    felt, heard = (_rows(side.emotion, known) for side in (video, music))
    return {
        "emotion": (
            config.emotion_weight,
            _mean(emotion_regression_loss(side.valence_arousal, target) for side in (felt, heard)),
        ),
        "frame_emotion": (
            config.frame_emotion_weight,
            _mean(_parts_loss(side, known, target, labels) for side in (video, music)),
        ),
        "distinguish": (
            config.distinguish_weight,
            distinguish_loss(
                felt.logits, heard.logits, felt.embedding, heard.embedding, labels, config.temperature
            ),
        ),
    }


def _parts_loss(side: Side, known: Tensor, target: Tensor, labels: Tensor) -> Tensor:
    """Weak supervision: each frame or window is told the emotion of its clip or passage.

    `target` and `labels` are those of the `known` rows.
    """
    repeats = side.parts_mask.shape[0] // known.shape[0]
    parts_known = known.repeat_interleave(repeats)
    parts, mask = _rows(side.parts, parts_known), side.parts_mask[parts_known]
    regression = emotion_regression_loss(
        parts.valence_arousal, target.repeat_interleave(repeats, dim=0), mask
    )
    classification = functional.cross_entropy(
        parts.logits, labels.repeat_interleave(repeats), reduction="none"
    )
    return regression + 0.2 * (classification * mask).sum() / mask.sum().clamp(min=1.0)


def _rows(emotion: Emotion, which: Tensor) -> Emotion:
    return Emotion(*(values[which] for values in emotion))


def _mean(losses: Iterator[Tensor]) -> Tensor:
    return torch.stack(list(losses)).mean()
