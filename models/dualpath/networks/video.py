"""Video: the encoder of one frame, and the head of a clip."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dualpath.config import NetworkConfig
from dualpath.networks.backbones import global_pool, open_backbone
from dualpath.networks.music_cues import masked_deviation, masked_mean
from dualpath.networks.paths import Emotion, EmotionHead, SequenceAdapter, salience
from dualpath.networks.picture_cues import GRID_HEIGHT, GRID_WIDTH, PictureCues
from dualpath.networks.picture_texture import PictureTexture

__all__ = ["ClipEncoder", "ClipSummary", "FrameEncoder", "FrameResult", "select_key_frames"]

_FRAME_STRIDES = ((2, 2), (2, 2), (1, 1))
_FRAME_EMBEDDING = 96
_PLACE_CHANNELS = 16
_GRID = GRID_HEIGHT * GRID_WIDTH
_MOTION = 24
_MOTION_CUES = 4
_FIXED = PictureCues.CUES + PictureTexture.TEXTURE


class FrameResult(NamedTuple):
    """features [n, F], emotion of single frames, salience [n] in 0..1."""

    features: Tensor
    emotion: Emotion
    salience: Tensor


class FrameEncoder(nn.Module):
    """(pictures [n, 3, 40, 64] in 0..1, their texture [n, 333]) -> FrameResult.

    A row of features is [embedding 96 | cues 28 | texture 333 | luminance grid 160]: all that a clip's head
    needs.
    """

    feature_dimension = _FRAME_EMBEDDING + _FIXED + _GRID

    def __init__(self, config: NetworkConfig, weights: str = "") -> None:
        super().__init__()
        self.cues = PictureCues()
        self.normalise_cues = nn.BatchNorm1d(_FIXED)
        self.backbone = open_backbone(config.frame_backbone, 3, _FRAME_STRIDES, weights)
        height, width = _map_size(self.backbone, config)
        # What is in the picture is pooled; where it is goes through few channels and keeps its place.
        self.place = nn.Conv2d(self.backbone.dimension, _PLACE_CHANNELS, 1)
        pooled = 2 * self.backbone.dimension + _PLACE_CHANNELS * height * width
        self.project = nn.Sequential(nn.Linear(pooled, _FRAME_EMBEDDING), nn.ReLU())
        self.emotion = EmotionHead(_FRAME_EMBEDDING + PictureCues.CUES, config.dimensions)

    def forward(self, pictures: Tensor, texture: Tensor) -> FrameResult:
        with torch.no_grad():
            cues, grid = self.cues(pictures)
        fixed = self.normalise_cues(torch.cat([cues, texture], dim=1)).clamp(-4.0, 4.0)
        cues = fixed[:, : PictureCues.CUES]
        maps = self.backbone(pictures)
        embedding = self.project(torch.cat([global_pool(maps), self.place(maps).flatten(1)], dim=1))
        seen = torch.cat([embedding, cues], dim=1)
        emotion = self.emotion(seen)
        return FrameResult(
            torch.cat([embedding, fixed, grid], dim=1),
            emotion,
            salience(emotion.valence_arousal, emotion.probabilities),
        )


def _map_size(backbone: nn.Module, config: NetworkConfig) -> tuple[int, int]:
    was_training = backbone.training
    backbone.eval()
    with torch.no_grad():
        maps = backbone(torch.zeros(1, 3, config.video.frame_height // 2, config.video.frame_width // 2))
    backbone.train(was_training)
    return int(maps.shape[2]), int(maps.shape[3])


class ClipSummary(NamedTuple):
    """summary [n, 256] for the content encoder, emotion of the clip."""

    summary: Tensor
    emotion: Emotion


class ClipEncoder(nn.Module):
    """(features [n, 24, F], frame_mask [n, 24], key_frame_mask [n, 24]) -> ClipSummary.

    Motion comes from the luminance grids of consecutive frames. Content pools all frames, emotion the key
    frames. The plain statistics of the fixed cues over time also reach the content directly.
    """

    def __init__(self, config: NetworkConfig) -> None:
        super().__init__()
        self.use_key_frames = config.key_frames
        steps = config.video.window_frames
        self.motion = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, _MOTION, 3, padding=1),
            nn.ReLU(),
        )
        self.normalise_motion = nn.BatchNorm1d(_MOTION_CUES)
        channels = _FRAME_EMBEDDING + _FIXED + _MOTION + _MOTION_CUES
        statistics = 3 * (_FIXED + _GRID)
        self.normalise_statistics = nn.BatchNorm1d(statistics)
        self.adapter = SequenceAdapter(channels, steps, statistics)
        self.emotion = EmotionHead(channels + 128, config.dimensions)

    def forward(self, features: Tensor, frame_mask: Tensor, key_frame_mask: Tensor) -> ClipSummary:
        features = features * frame_mask.unsqueeze(2)
        grids = features[:, :, -_GRID:]
        steps = torch.cat([features[:, :, :-_GRID], self._motion(grids, frame_mask)], dim=2)
        with torch.no_grad():
            statistics = _statistics(features[:, :, _FRAME_EMBEDDING:], frame_mask)
        statistics = self.normalise_statistics(statistics).clamp(-4.0, 4.0)
        summary, hidden = self.adapter(steps, frame_mask, statistics)
        chosen = key_frame_mask * frame_mask if self.use_key_frames else frame_mask
        emotion = self.emotion(masked_mean(torch.cat([steps, hidden], dim=2), chosen))
        return ClipSummary(summary, emotion)

    def _motion(self, grids: Tensor, mask: Tensor) -> Tensor:
        """[n, t, 160] -> [n, t, motion]: change since the frame before; zero at the first and at padding."""
        before = torch.cat([grids[:, :1], grids[:, :-1]], dim=1)
        both = (mask * torch.cat([torch.zeros_like(mask[:, :1]), mask[:, :-1]], dim=1)).reshape(-1, 1)
        now, before = grids.reshape(-1, _GRID), before.reshape(-1, _GRID)
        change = now - before
        centred_now = now - now.mean(dim=1, keepdim=True)
        centred_before = before - before.mean(dim=1, keepdim=True)
        contrast = torch.sqrt((centred_now**2).mean(dim=1) * (centred_before**2).mean(dim=1) + 1e-6)
        cues = torch.stack(
            [
                torch.log(change.abs().mean(dim=1) + 1e-2),
                torch.log(change.abs().amax(dim=1) + 1e-2),
                torch.log((centred_now - centred_before).abs().mean(dim=1) + 1e-2),
                (centred_now * centred_before).mean(dim=1) / contrast,
            ],
            dim=1,
        )
        pictures = torch.stack([centred_now, centred_before, change], dim=1).reshape(
            -1, 3, GRID_HEIGHT, GRID_WIDTH
        )
        learned = self.motion(pictures * 4.0).mean(dim=(2, 3))
        motion = torch.cat([learned, self.normalise_motion(cues).clamp(-4.0, 4.0)], dim=1) * both
        return motion.reshape(mask.shape[0], mask.shape[1], -1)


def _statistics(fixed: Tensor, mask: Tensor) -> Tensor:
    """[n, t, 521] -> [n, 1563]: mean, deviation and mean change over time; the grid relative to its mean."""
    cues, grids = fixed[:, :, :-_GRID], fixed[:, :, -_GRID:]
    values = torch.cat([cues, grids - grids.mean(dim=2, keepdim=True)], dim=2)
    change = masked_mean((values[:, 1:] - values[:, :-1]).abs(), mask[:, 1:] * mask[:, :-1])
    return torch.cat([masked_mean(values, mask), masked_deviation(values, mask), change], dim=1)


def select_key_frames(salience: Tensor, mask: Tensor, count: int, separation_frames: float) -> Tensor:
    """The `count` most salient frames, no two closer than `separation_frames`: [n, t], [n, t] -> mask [n, t].

    Greedy temporal non-maximum suppression; the earlier frame wins a tie. Not differentiable: call it on
    detached salience.
    """
    steps = salience.shape[1]
    position = torch.arange(steps, device=salience.device)
    near = (position[:, None] - position[None, :]).abs() < separation_frames
    open_salience = salience.masked_fill(mask <= 0, -1.0)
    chosen = torch.zeros_like(salience)
    for _ in range(count):
        best = open_salience.argmax(dim=1)
        real = open_salience.gather(1, best[:, None]) >= 0
        chosen = chosen.scatter_add(1, best[:, None], real.to(chosen.dtype))
        open_salience = open_salience.masked_fill(near[best], -1.0)
    return chosen.clamp(max=1.0)
