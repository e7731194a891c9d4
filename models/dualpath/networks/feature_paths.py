"""The dual path on precomputed features.

    content path   pooled tokens -> the modality's adapter -> the shared encoder -> content
    emotion path   key tokens of the video, channel attention over the music -> emotion
    fusion         content and emotion -> the fused space
    course         what happens when, see `networks.course`

The first three are the publication's, each with its switch. The course is ours.

The adapters begin at the canonical directions of the training pairs (`networks.canonical`): from a random
start, a few hundred pairs teach a network less than canonical correlation knows.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dualpath.networks.canonical import Canonical
from dualpath.networks.course import CourseEncoder, CourseStandard
from dualpath.networks.paths import ChannelAttention
from dualpath.networks.video import select_key_frames

__all__ = ["FeatureDualPath", "FeaturePathsConfig", "FeatureSide", "pooled"]

_KEY_TOKENS = 8
_KEY_SEPARATION = 2
_EMOTION = 32
_HIDDEN = 64


@dataclass(frozen=True, slots=True)
class FeaturePathsConfig:
    """The switches of the method; each off is one ablation.

    Attributes:
        fusion: "mlp", or "sum": content and emotion beside each other, so that their similarities add.
        course: time-aligned passages (ours).
        canonical: adapters begin at the canonical directions and emotion at logistic regression (ours), else
            both at random.
        near_positives: strangers of the same labelled emotion are no negatives (ours).
        dropout: of everything that is pooled.
        directions, course_directions: widths of the content and of a token of the course.
    """

    shared_encoder: bool = True
    decoders: bool = True
    emotion_path: bool = True
    key_frames: bool = True
    channel_attention: bool = True
    fusion: str = "mlp"
    course: bool = True
    canonical: bool = True
    near_positives: bool = True
    dropout: float = 0.3
    directions: int = 30
    course_directions: int = 8


class FeatureSide(NamedTuple):
    """Of one modality: content [n, k] and fused [n, f], unit; course [n, t k'], unit; emotion embedding
    [n, 32], unit, and logits [n, e]; reconstruction [n, d] or None, and what it is to be, pooled [n, d]."""

    content: Tensor
    fused: Tensor
    course: Tensor
    emotion: Tensor
    logits: Tensor
    reconstruction: Tensor | None
    pooled: Tensor


def pooled(tokens: Tensor) -> Tensor:
    """[n, t, d] -> mean and deviation over time [n, 2 d]."""
    return torch.cat([tokens.mean(dim=1), tokens.std(dim=1, correction=0)], dim=1)


class _SharedEncoder(nn.Module):
    """[n, k] -> unit [n, k]: the adapted features and a correction, which starts at zero."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.correction = nn.Sequential(
            nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Dropout(dropout), nn.Linear(_HIDDEN, width)
        )
        nn.init.zeros_(self.correction[-1].weight)
        nn.init.zeros_(self.correction[-1].bias)

    def forward(self, adapted: Tensor) -> Tensor:
        return functional.normalize(adapted + self.correction(adapted), dim=1)


class _EmotionHead(nn.Module):
    """[n, d] -> (unit embedding [n, 32], logits [n, e]): a linear classifier and a correction, which starts
    at zero."""

    def __init__(self, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.trunk = nn.Sequential(nn.Dropout(dropout), nn.Linear(width, _HIDDEN), nn.ReLU())
        self.embed = nn.Linear(_HIDDEN, _EMOTION)
        self.linear = nn.Linear(width, classes)
        self.correction = nn.Linear(_HIDDEN, classes)
        nn.init.zeros_(self.correction.weight)
        nn.init.zeros_(self.correction.bias)

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        hidden = self.trunk(features)
        return functional.normalize(self.embed(hidden), dim=1), self.linear(features) + self.correction(
            hidden
        )


class _Fusion(nn.Module):
    """(content [n, k], emotion [n, 32]) -> unit [n, k + 32]; the same for both modalities."""

    def __init__(self, width: int, kind: str, share: float) -> None:
        super().__init__()
        self.share = share
        self.layers: nn.Sequential | None = None
        if kind == "mlp":
            self.layers = nn.Sequential(nn.Linear(width, _HIDDEN), nn.ReLU(), nn.Linear(_HIDDEN, width))
            nn.init.zeros_(self.layers[-1].weight)
            nn.init.zeros_(self.layers[-1].bias)

    def forward(self, content: Tensor, emotion: Tensor) -> Tensor:
        joined = torch.cat([content, self.share * emotion], dim=1)
        if self.layers is not None:
            joined = joined + self.layers(joined)
        return functional.normalize(joined, dim=1)


class FeatureDualPath(nn.Module):
    """Both modalities.

    Args:
        video_width, music_width: of a token.
        steps: tokens an item; with the course, of both sides.
        classes: emotions; 0 leaves the emotion path out.
        emotion_share: weight of the emotion embedding beside the content as fusion begins.
    """

    def __init__(
        self,
        config: FeaturePathsConfig,
        video_width: int,
        music_width: int,
        steps: int,
        classes: int,
        emotion_share: float,
    ) -> None:
        super().__init__()
        self.config = config
        self.sizes = (video_width, music_width, steps, classes, emotion_share)
        self.use_emotion = config.emotion_path and classes > 0
        widths, k, dropout = (video_width, music_width), config.directions, config.dropout
        for name, width in zip(("video", "music"), widths, strict=True):
            self.register_buffer(f"{name}_mean", torch.zeros(2 * width))
        self.dropout = nn.Dropout(dropout)
        self.adapters = nn.ModuleList(nn.Linear(2 * width, k) for width in widths)
        encoders = [_SharedEncoder(k, dropout) for _ in range(1 if config.shared_encoder else 2)]
        self.encoders = nn.ModuleList(encoders)
        self.decoders = nn.ModuleList(nn.Linear(k, 2 * width) for width in widths if config.decoders)
        self.key_logits = nn.Linear(video_width, max(classes, 1))
        self.attention = ChannelAttention(2 * music_width) if config.channel_attention else None
        self.emotions = nn.ModuleList(_EmotionHead(2 * width, max(classes, 1), dropout) for width in widths)
        self.fusion = _Fusion(k + _EMOTION, config.fusion, emotion_share)
        self.standards = nn.ModuleList(CourseStandard(steps, width) for width in widths)
        self.courses = nn.ModuleList(
            CourseEncoder(width, config.course_directions, dropout) for width in widths
        )

    def begin_at(self, content: Canonical | None, course: Canonical | None) -> None:
        """Puts canonical directions, weighted by their correlations, into the adapters and the course."""
        with torch.no_grad():
            if content is not None:
                for adapter, side in zip(self.adapters, content[:2], strict=True):
                    adapter.weight.copy_(torch.from_numpy(side * content.correlation).T)
                    adapter.bias.zero_()
            if course is not None:
                for encoder, side in zip(self.courses, course[:2], strict=True):
                    encoder.map.weight.copy_(torch.from_numpy(side * course.correlation).T)

    def begin_emotion_at(self, side: int, weight: Tensor, bias: Tensor) -> None:
        """Puts a linear classifier of `whole` features into the emotion of a side, [e, 2 d] and [e]; that of
        the video chooses the key tokens too."""
        with torch.no_grad():
            self.emotions[side].linear.weight.copy_(weight)
            self.emotions[side].linear.bias.copy_(bias)
            if not side:
                width = self.key_logits.in_features
                own = weight[:, :width]
                self.key_logits.weight.copy_(own)
                self.key_logits.bias.copy_(bias - own @ self.get_buffer("video_mean")[:width])

    def learn_moments(self, video: Tensor, music: Tensor) -> None:
        """Keeps the mean of what is pooled of the training items, and the moments of their course."""
        if self.config.course:
            self.standards[0].learn(video)
            self.standards[1].learn(music)
        for name, tokens in (("video", video), ("music", music)):
            self.get_buffer(f"{name}_mean").copy_(pooled(tokens).mean(dim=0))

    def whole_video(self, tokens: Tensor) -> Tensor:
        """[n, t, dv] -> centred pooled features [n, 2 dv]."""
        return pooled(tokens) - self.get_buffer("video_mean")

    def whole_music(self, tokens: Tensor) -> Tensor:
        """[n, t, dm] -> centred pooled features [n, 2 dm]."""
        return pooled(tokens) - self.get_buffer("music_mean")

    def key_salience(self, video: Tensor) -> Tensor:
        """Confidence of each token's emotion, chance at 0 and certainty at 1: [n, t, d] -> [n, t]."""
        highest = torch.softmax(self.key_logits(video), dim=2).amax(dim=2)
        chance = 1.0 / self.key_logits.out_features
        return ((highest - chance) / max(1.0 - chance, chance)).clamp(0.0, 1.0)

    def course(self, side: int, tokens: Tensor) -> Tensor:
        """The standardised course [n, t, d], or the tokens where it is switched off."""
        standard: Tensor = self.standards[side](tokens) if self.config.course else tokens
        return standard

    def encode_video(self, tokens: Tensor) -> FeatureSide:
        """[n, t, dv] -> FeatureSide."""
        return self.read_video(tokens, self.whole_video(tokens), self.course(0, tokens))

    def encode_music(self, tokens: Tensor) -> FeatureSide:
        """[n, t, dm] -> FeatureSide."""
        return self.read_music(self.whole_music(tokens), self.course(1, tokens))

    def read_video(self, tokens: Tensor, whole: Tensor, course: Tensor) -> FeatureSide:
        """What is learned; training computes `whole_video` and `course` once."""
        return self._encode(0, whole, course, self.felt_video(tokens, whole))

    def read_music(self, whole: Tensor, course: Tensor) -> FeatureSide:
        """See `read_video`."""
        return self._encode(1, whole, course, self.felt_music(whole))

    def felt_video(self, tokens: Tensor, whole: Tensor) -> Tensor:
        """What the emotion of a video is read from: its key tokens, pooled and centred as a whole is."""
        if not (self.config.key_frames and self.use_emotion and tokens.shape[1] > _KEY_TOKENS):
            return whole
        with torch.no_grad():
            salience = self.key_salience(tokens)
            chosen = select_key_frames(salience, torch.ones_like(salience), _KEY_TOKENS, _KEY_SEPARATION)
            weights = chosen / chosen.sum(dim=1, keepdim=True)
            mean = torch.bmm(weights.unsqueeze(1), tokens).squeeze(1)
            square = torch.bmm(weights.unsqueeze(1), tokens**2).squeeze(1)
            deviation = torch.sqrt((square - mean**2).clamp(min=0.0))
            return torch.cat([mean, deviation], dim=1) - self.get_buffer("video_mean")

    def felt_music(self, whole: Tensor) -> Tensor:
        """What the emotion of music is read from: its pooled features, their channels attended to."""
        return whole if self.attention is None else self.attention(whole)

    def name_emotion(self, side: int, felt: Tensor) -> Tensor:
        """Logits [n, e] alone; side 0 is video, 1 music."""
        logits: Tensor = self.emotions[side](felt)[1]
        return logits

    def _encode(self, side: int, whole: Tensor, course: Tensor, felt: Tensor) -> FeatureSide:
        content = self.encoders[side % len(self.encoders)](self.adapters[side](self.dropout(whole)))
        emotion, logits = self.emotions[side](felt)
        return FeatureSide(
            content=content,
            fused=self.fusion(content, emotion if self.use_emotion else emotion * 0.0),
            course=self.courses[side](course) if self.config.course else content,
            emotion=emotion,
            logits=logits,
            reconstruction=self.decoders[side](content) if self.config.decoders else None,
            pooled=whole,
        )
