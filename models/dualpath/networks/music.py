"""Music: the encoder of one window, and the head of a passage."""

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from dualpath.config import NetworkConfig
from dualpath.networks.backbones import open_backbone
from dualpath.networks.music_cues import KeyCues, MusicCues, masked_mean, mel_relative_to_level
from dualpath.networks.music_reading import READ_CUES, MusicReading
from dualpath.networks.music_spectra import BINS, Spectra, frame_mask
from dualpath.networks.music_statistics import PassageStatistics, WindowStatistics
from dualpath.networks.paths import ChannelAttention, Emotion, EmotionHead, SequenceAdapter

__all__ = ["PassageEncoder", "PassageSummary", "WindowEncoder", "WindowResult"]

_MEL_STRIDES = ((2, 2), (2, 2), (1, 2))
_BIN_EMBEDDING = 48
_TONAL_EMBEDDING = 32
_TONAL_WIDTH = 24
_BIN_FEATURES = _BIN_EMBEDDING + _TONAL_EMBEDDING + MusicCues.BIN_CUES + 1
_CHROMA = 12
_WINDOW_FEATURES = MusicCues.WINDOW_CUES + _CHROMA + 1
_RHYTHM = 24
_LOUDNESS_MEAN = -20.0
_LOUDNESS_SCALE = 0.1


class WindowResult(NamedTuple):
    """features [n, G], emotion of single windows, onset_strength [n, 126]."""

    features: Tensor
    emotion: Emotion
    onset_strength: Tensor


class WindowEncoder(nn.Module):
    """(spectra, statistics [n, WindowStatistics.WIDTH], valid [n]) -> WindowResult.

    A row of features is [six bins x (mel 48 | tonal 32 | cues 8 | is sound 1) | window cues | chroma 12 |
    loudness | statistics].
    """

    feature_dimension = BINS * _BIN_FEATURES + _WINDOW_FEATURES + WindowStatistics.WIDTH

    def __init__(self, config: NetworkConfig, reading: MusicReading, weights: str = "") -> None:
        super().__init__()
        self.reading = reading
        seconds = config.music.window_samples / config.music.sample_rate
        self.cues = MusicCues(seconds)
        self.key = KeyCues()
        self.normalise_bins = nn.BatchNorm1d(MusicCues.BIN_CUES)
        self.normalise_window = nn.BatchNorm1d(MusicCues.WINDOW_CUES)
        self.backbone = open_backbone(config.window_backbone, 1, _MEL_STRIDES, weights)
        self.project = nn.Sequential(nn.Linear(self.backbone.dimension, _BIN_EMBEDDING), nn.ReLU())
        # Convolutions over semitones see a figure alike in every key; pooling over pitch forgets the key.
        self.tonal = nn.Sequential(
            nn.Conv2d(1, 12, (3, 5), stride=(1, 2), padding=(1, 2), bias=False),
            nn.BatchNorm2d(12),
            nn.ReLU(inplace=True),
            nn.Conv2d(12, _TONAL_WIDTH, 3, stride=(1, 2), padding=1, bias=False),
            nn.BatchNorm2d(_TONAL_WIDTH),
            nn.ReLU(inplace=True),
        ).to(memory_format=torch.channels_last)
        self.project_tonal = nn.Sequential(nn.Linear(2 * _TONAL_WIDTH, _TONAL_EMBEDDING), nn.ReLU())
        pooled = _BIN_EMBEDDING + _TONAL_EMBEDDING + MusicCues.BIN_CUES
        self.emotion = EmotionHead(pooled + MusicCues.WINDOW_CUES + KeyCues.CUES + 1, config.dimensions)

    def forward(self, spectra: Spectra, statistics: Tensor, valid: Tensor) -> WindowResult:
        with torch.no_grad():
            cues = self.cues(spectra.mel, spectra.pitch, valid)
            key = self.key(cues.chroma)
        sounding = frame_mask(valid, BINS)
        bin_cues = self.normalise_bins(cues.bins.transpose(1, 2)).transpose(1, 2).clamp(-4.0, 4.0)
        window_cues = self.normalise_window(cues.window).clamp(-4.0, 4.0)
        loudness = ((spectra.loudness - _LOUDNESS_MEAN) * _LOUDNESS_SCALE).unsqueeze(1)
        bins = torch.cat(
            [self._mel_bins(spectra.mel, valid), self._tonal_bins(spectra.pitch, valid), bin_cues], dim=2
        )
        bins = bins * sounding.unsqueeze(2)
        pooled = masked_mean(bins, sounding)
        emotion = self.emotion(torch.cat([pooled, window_cues, key, loudness], dim=1))
        emotion = self.reading(emotion, _read_cues(pooled, window_cues, key, loudness))
        features = torch.cat(
            [
                torch.cat([bins, sounding.unsqueeze(2)], dim=2).flatten(1),
                window_cues,
                cues.chroma,
                loudness,
                statistics,
            ],
            dim=1,
        )
        return WindowResult(features, emotion, cues.onset_strength)

    def _mel_bins(self, mel: Tensor, valid: Tensor) -> Tensor:
        maps = self.backbone(mel_relative_to_level(mel, valid).unsqueeze(1)).mean(dim=3)
        return self.project(_pool_to_bins(maps).transpose(1, 2))

    def _tonal_bins(self, pitch: Tensor, valid: Tensor) -> Tensor:
        picture = torch.log(1.0 + 20.0 * pitch) * frame_mask(valid, pitch.shape[1]).unsqueeze(2)
        maps = self.tonal(picture.unsqueeze(1).contiguous(memory_format=torch.channels_last))
        pooled = torch.cat([maps.mean(dim=3), maps.amax(dim=3)], dim=1)
        return self.project_tonal(_pool_to_bins(pooled).transpose(1, 2))


class PassageSummary(NamedTuple):
    """summary [n, 256] for the content encoder, emotion of the passage, the cues [n, 24] of READ_CUES."""

    summary: Tensor
    emotion: Emotion
    cues: Tensor


class PassageEncoder(nn.Module):
    """(features [n, 4, G], window_mask [n, 4]) -> PassageSummary.

    The level of each bin is taken relative to the passage's mean, so that gain moves only the loudness
    feature. The passage's fixed statistics reach the content directly.
    """

    def __init__(self, config: NetworkConfig, reading: MusicReading) -> None:
        super().__init__()
        self.reading = reading
        self.key = KeyCues()
        self.key_scale = nn.BatchNorm1d(KeyCues.CUES)
        steps = config.music.passage_windows * BINS
        extra = MusicCues.WINDOW_CUES + KeyCues.CUES + 1
        channels = _BIN_FEATURES - 1 + 1
        self.statistics = PassageStatistics(config.music)
        self.normalise_statistics = nn.BatchNorm1d(PassageStatistics.WIDTH)
        # Convolutions over logarithmic rates see a rhythm alike at every tempo.
        self.rhythm = nn.Sequential(
            nn.Conv1d(WindowStatistics.BANDS, _RHYTHM, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(_RHYTHM, _RHYTHM, 5, padding=2),
            nn.ReLU(),
        )
        self.adapter = SequenceAdapter(channels, steps, extra + PassageStatistics.WIDTH + 2 * _RHYTHM)
        pooled = channels + 128 + extra
        self.attention = ChannelAttention(pooled) if config.channel_attention else nn.Identity()
        self.emotion = EmotionHead(pooled, config.dimensions)

    def forward(self, features: Tensor, window_mask: Tensor) -> PassageSummary:
        features = features * window_mask.unsqueeze(2)
        with torch.no_grad():
            statistics = self.statistics(features[:, :, -WindowStatistics.WIDTH :], window_mask)
        statistics = self.normalise_statistics(statistics).clamp(-4.0, 4.0)
        tempogram = statistics[:, PassageStatistics.TEMPOGRAM]
        rhythm = self.rhythm(tempogram.reshape(-1, WindowStatistics.BANDS, PassageStatistics.RATES))
        features = features[:, :, : -WindowStatistics.WIDTH]
        split = BINS * _BIN_FEATURES
        bins = features[:, :, :split].reshape(features.shape[0], -1, _BIN_FEATURES)
        mask, steps = bins[:, :, -1], bins[:, :, :-1]
        window_cues = features[:, :, split : split + MusicCues.WINDOW_CUES]
        chroma = features[:, :, split + MusicCues.WINDOW_CUES : -1]
        loudness = features[:, :, -1:]
        mean_loudness = masked_mean(loudness, window_mask)
        swell = (loudness - mean_loudness.unsqueeze(1)) * window_mask.unsqueeze(2)
        swell = swell.repeat_interleave(BINS, dim=1)
        key = self.key(masked_mean(chroma, window_mask))
        mean_cues = masked_mean(window_cues, window_mask)
        cues = _read_cues(masked_mean(steps, mask), mean_cues, key, mean_loudness)
        extra = torch.cat([mean_cues, self.key_scale(key), mean_loudness], dim=1)
        steps = torch.cat([steps, swell], dim=2)
        known = torch.cat([extra, statistics, rhythm.mean(dim=2), rhythm.amax(dim=2)], dim=1)
        summary, hidden = self.adapter(steps, mask, known)
        pooled = torch.cat([masked_mean(torch.cat([steps, hidden], dim=2), mask), extra], dim=1)
        emotion = self.reading(self.emotion(self.attention(pooled)), cues)
        return PassageSummary(summary, emotion, cues)


def _read_cues(bins: Tensor, window_cues: Tensor, key: Tensor, loudness: Tensor) -> Tensor:
    """Pooled bins [n, 88], window cues [n, 43], key [n, 5], loudness [n, 1] -> [n, 24], see READ_CUES."""
    before_tempogram = len(READ_CUES) - MusicCues.BIN_CUES - KeyCues.CUES - 1
    return torch.cat(
        [bins[:, -MusicCues.BIN_CUES :], window_cues[:, :before_tempogram], key, loudness], dim=1
    )


def _pool_to_bins(maps: Tensor) -> Tensor:
    """[n, c, t'] -> [n, c, 6]: each bin averages the steps that it covers, in proportion."""
    steps = int(maps.shape[2])  # a plain number, also while tracing
    edges = np.linspace(0.0, steps, BINS + 1)
    position = np.arange(steps)[:, None]
    overlap = np.minimum(position + 1, edges[None, 1:]) - np.maximum(position, edges[None, :-1])
    weights = np.clip(overlap, 0.0, None)
    weights /= weights.sum(axis=0, keepdims=True)
    return maps @ torch.from_numpy(weights.astype(np.float32)).to(maps.device)
