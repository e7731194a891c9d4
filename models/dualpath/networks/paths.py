"""What both modalities meet in: adapters, the content encoder, emotion heads, the fused shared space."""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualpath.config import EMOTION_LABELS, Dimensions

__all__ = [
    "SUMMARY",
    "ChannelAttention",
    "ContentEncoder",
    "ContentLabels",
    "Decoder",
    "Emotion",
    "EmotionHead",
    "Fusion",
    "SequenceAdapter",
    "salience",
]

SUMMARY = 256
"""Width of the summary of a clip or passage that the content encoder reads."""
_HIDDEN = 128
_CURVES = 8


class Emotion(NamedTuple):
    """embedding [n, 64] (unit), valence_arousal [n, 2] in -1..1, logits [n, classes]."""

    embedding: Tensor
    valence_arousal: Tensor
    logits: Tensor

    @property
    def probabilities(self) -> Tensor:
        """[n, classes], each row summing to 1."""
        return torch.softmax(self.logits, dim=1)


def salience(valence_arousal: Tensor, probabilities: Tensor) -> Tensor:
    """Distance from neutral times confidence, in 0..1: [n, 2], [n, classes] -> [n].

    Distance is relative to the corner of the square; confidence is the highest class probability, rescaled so
    that chance is 0. Our choice.
    """
    distance = torch.sqrt((valence_arousal**2).sum(dim=1) * 0.5 + 1e-8)
    chance = 1.0 / probabilities.shape[1]
    confidence = (probabilities.amax(dim=1) - chance) / (1.0 - chance)
    return (distance * confidence).clamp(0.0, 1.0)


class SequenceAdapter(nn.Module):
    """One modality's way into the shared encoder.

    (steps [n, t, c], mask [n, t]) -> (summary [n, 256], steps [n, t, 128]).

    Two temporal convolutions; then the mean, the spread and the maximum over real steps, and eight curves of
    the whole length, so that *when* something happens counts as well as what. `extra` [n, e], what is known
    of the whole, goes to the summary directly: wide and plain, so it is dropped out more.
    """

    def __init__(self, channels: int, steps: int, extra: int) -> None:
        super().__init__()
        self.enter = nn.Linear(channels, _HIDDEN)
        self.first = nn.Conv1d(_HIDDEN, _HIDDEN, 3, padding=1)
        self.second = nn.Conv1d(_HIDDEN, _HIDDEN, 3, padding=1)
        self.curves = nn.Linear(_HIDDEN, _CURVES)
        width = 3 * _HIDDEN + _CURVES * steps + extra
        self.dropout = nn.Dropout(0.2)
        self.dropout_extra = nn.Dropout(0.4)
        self.summarise = nn.Sequential(nn.Linear(width, SUMMARY), nn.LayerNorm(SUMMARY), nn.ReLU())

    def forward(self, steps: Tensor, mask: Tensor, extra: Tensor) -> tuple[Tensor, Tensor]:
        weights = mask.unsqueeze(2)
        hidden = functional.relu(self.enter(steps)) * weights
        hidden = hidden + functional.relu(self.first(hidden.transpose(1, 2))).transpose(1, 2)
        hidden = hidden * weights
        hidden = hidden + functional.relu(self.second(hidden.transpose(1, 2))).transpose(1, 2)
        hidden = hidden * weights
        count = weights.sum(dim=1).clamp(min=1e-3)
        mean = hidden.sum(dim=1) / count
        spread = torch.sqrt((((hidden - mean.unsqueeze(1)) * weights) ** 2).sum(dim=1) / count + 1e-6)
        curves = self.curves(hidden - mean.unsqueeze(1)) * weights
        seen = torch.cat([mean, spread, hidden.amax(dim=1), curves.flatten(1)], dim=1)
        return self.summarise(torch.cat([self.dropout(seen), self.dropout_extra(extra)], dim=1)), hidden


class ContentEncoder(nn.Module):
    """summary [n, 256] -> content [n, 128], unit length. Its weights are shared by video and music."""

    def __init__(self, dimensions: Dimensions, dropout: float = 0.1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(SUMMARY, SUMMARY),
            nn.LayerNorm(SUMMARY),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(SUMMARY, dimensions.content),
        )

    def forward(self, summary: Tensor) -> Tensor:
        return functional.normalize(self.layers(summary), dim=1)


class Decoder(nn.Module):
    """content [n, 128] -> the modality's summary [n, 256]; one a modality, used in training only."""

    def __init__(self, dimensions: Dimensions) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(dimensions.content, SUMMARY), nn.ReLU(), nn.Linear(SUMMARY, SUMMARY)
        )

    def forward(self, content: Tensor) -> Tensor:
        return self.layers(content)


class ContentLabels(nn.Module):
    """content [n, 128] -> (themes [n, t], attributes [n, a]); in training only, shared by both modalities.

    Linear, so that what is labelled lies open in the embedding itself.
    """

    def __init__(self, dimensions: Dimensions, themes: int, attributes: int) -> None:
        super().__init__()
        self.themes = nn.Linear(dimensions.content, themes)
        self.attributes = nn.Linear(dimensions.content, attributes)
        self.scale = dimensions.content**0.5

    def forward(self, content: Tensor) -> tuple[Tensor, Tensor]:
        scaled = content * self.scale
        return self.themes(scaled), self.attributes(scaled)


class ChannelAttention(nn.Module):
    """Squeeze-and-excitation (Hu, Shen and Sun, 2018) over channels of pooled features: [n, c] -> [n, c]."""

    def __init__(self, channels: int, reduction: int = 8) -> None:
        super().__init__()
        self.gate = nn.Sequential(
            nn.LayerNorm(channels),
            nn.Linear(channels, channels // reduction),
            nn.ReLU(),
            nn.Linear(channels // reduction, channels),
        )

    def forward(self, features: Tensor) -> Tensor:
        return features * (2.0 * torch.sigmoid(self.gate(features)))


class EmotionHead(nn.Module):
    """features [n, c] -> Emotion."""

    def __init__(self, channels: int, dimensions: Dimensions, dropout: float = 0.1) -> None:
        super().__init__()
        self.trunk = nn.Sequential(
            nn.LayerNorm(channels), nn.Dropout(dropout), nn.Linear(channels, _HIDDEN), nn.ReLU()
        )
        self.embed = nn.Linear(_HIDDEN, dimensions.emotion)
        self.regress = nn.Linear(_HIDDEN, 2)
        self.classify = nn.Linear(_HIDDEN, len(EMOTION_LABELS))

    def forward(self, features: Tensor) -> Emotion:
        hidden = self.trunk(features)
        return Emotion(
            functional.normalize(self.embed(hidden), dim=1),
            torch.tanh(self.regress(hidden)),
            self.classify(hidden),
        )


class Fusion(nn.Module):
    """(content [n, 128], emotion [n, 64]) -> fused [n, 256], unit length; the same for both modalities.

    Args:
        kind: "mlp", or "sum" of a linear projection of each (the ablation).
        use_emotion: False puts zeros in the emotion's place (the ablation of the emotion path).
    """

    def __init__(self, dimensions: Dimensions, kind: str, use_emotion: bool) -> None:
        super().__init__()
        self.use_emotion = use_emotion
        width = dimensions.content + dimensions.emotion
        if kind == "mlp":
            self.layers = nn.Sequential(
                nn.Linear(width, dimensions.fused), nn.ReLU(), nn.Linear(dimensions.fused, dimensions.fused)
            )
        else:
            # One matrix on the concatenation is the sum of one projection of each part.
            self.layers = nn.Sequential(nn.Linear(width, dimensions.fused, bias=False))

    def forward(self, content: Tensor, emotion: Tensor) -> Tensor:
        if not self.use_emotion:
            emotion = emotion * 0.0
        # Unit vectors have components of size 1 / sqrt(width); the layers like them near 1.
        joined = torch.cat([content * content.shape[1] ** 0.5, emotion * emotion.shape[1] ** 0.5], dim=1)
        return functional.normalize(self.layers(joined), dim=1)
