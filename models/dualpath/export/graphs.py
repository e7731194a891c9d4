"""The five models: raw input in, named outputs out. The first axis of everything is the batch."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from dualpath.config import EMOTION_LABELS
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.networks.music_spectra import BINS, MEL_FRAMES_PER_BIN, MusicSpectra
from dualpath.networks.music_statistics import WindowStatistics
from dualpath.networks.paths import Emotion
from dualpath.networks.picture_cues import PicturePreparation

__all__ = ["Graph", "Port", "graphs"]


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output without its batch axis; dtype is "uint8" or "float32"."""

    name: str
    shape: tuple[int, ...]
    dtype: str = "float32"


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """One model of the repository.

    Attributes:
        example: random but plausible inputs for a batch size; used to trace and to check parity.
    """

    name: str
    module: nn.Module
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    max_batch_size: int
    example: Callable[[int, torch.Generator], tuple[Tensor, ...]]


class FrameGraph(nn.Module):
    """frames -> features, valence_arousal, emotion_probabilities, salience."""

    def __init__(self, network: DualPathNetwork) -> None:
        super().__init__()
        self.preparation = PicturePreparation(network.config.video)
        self.encoder = network.frame_encoder

    def forward(self, frames: Tensor) -> tuple[Tensor, ...]:
        result = self.encoder(*self.preparation(frames))
        return result.features, result.emotion.valence_arousal, result.emotion.probabilities, result.salience


class ClipGraph(nn.Module):
    """features, frame_mask, key_frame_mask -> content, emotion, valence_arousal, emotion_probabilities."""

    def __init__(self, network: DualPathNetwork) -> None:
        super().__init__()
        self.encoder = network.clip_encoder
        self.content = network.video_content

    def forward(self, features: Tensor, frame_mask: Tensor, key_frame_mask: Tensor) -> tuple[Tensor, ...]:
        clip = self.encoder(features, frame_mask, key_frame_mask)
        return self.content(clip.summary), *_emotion_outputs(clip.emotion)


class WindowGraph(nn.Module):
    """samples, valid -> features, valence_arousal, emotion_probabilities, onset_strength."""

    def __init__(self, network: DualPathNetwork) -> None:
        super().__init__()
        self.spectra = MusicSpectra(network.config.music)
        self.statistics = WindowStatistics()
        self.encoder = network.window_encoder

    def forward(self, samples: Tensor, valid: Tensor) -> tuple[Tensor, ...]:
        spectra = self.spectra(samples, valid)
        result = self.encoder(spectra, self.statistics(spectra, valid), valid)
        return (
            result.features,
            result.emotion.valence_arousal,
            result.emotion.probabilities,
            result.onset_strength,
        )


class TrackGraph(nn.Module):
    """features, window_mask -> content, emotion, valence_arousal, emotion_probabilities."""

    def __init__(self, network: DualPathNetwork) -> None:
        super().__init__()
        self.encoder = network.passage_encoder
        self.content = network.music_content

    def forward(self, features: Tensor, window_mask: Tensor) -> tuple[Tensor, ...]:
        passage = self.encoder(features, window_mask)
        return self.content(passage.summary), *_emotion_outputs(passage.emotion)


def graphs(network: DualPathNetwork) -> tuple[Graph, ...]:
    """The five models of a network in evaluation mode."""
    config = network.config
    video, music, dimensions = config.video, config.music, config.dimensions
    frame_features = network.frame_encoder.feature_dimension
    window_features = network.window_encoder.feature_dimension
    feelings = (Port("valence_arousal", (2,)), Port("emotion_probabilities", (len(EMOTION_LABELS),)))
    heads = (Port("content", (dimensions.content,)), Port("emotion", (dimensions.emotion,)), *feelings)
    frame_ports = (Port("frames", (video.frame_height, video.frame_width, 3), "uint8"),)
    clip_ports = (
        Port("features", (video.window_frames, frame_features)),
        Port("frame_mask", (video.window_frames,)),
        Port("key_frame_mask", (video.window_frames,)),
    )
    window_ports = (Port("samples", (music.window_samples,)), Port("valid", ()))
    track_ports = (
        Port("features", (music.passage_windows, window_features)),
        Port("window_mask", (music.passage_windows,)),
    )
    onsets = Port("onset_strength", (BINS * MEL_FRAMES_PER_BIN,))

    def frames(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        coarse = torch.rand(count, 3, 5, 8, generator=generator)
        smooth = torch.nn.functional.interpolate(
            coarse, (video.frame_height, video.frame_width), mode="bicubic"
        )
        return ((smooth.clamp(0, 1) * 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous(),)

    def windows(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        time = torch.arange(music.window_samples) / music.sample_rate
        pitch = 110.0 * 2.0 ** (torch.rand(count, 3, 1, generator=generator) * 3)
        tones = torch.sin(2 * torch.pi * pitch * time).mean(dim=1)
        noise = 0.1 * torch.randn(count, music.window_samples, generator=generator)
        valid = torch.linspace(0.3, 1.0, count) if count > 1 else torch.ones(1)
        return 0.3 * tones + noise, valid

    def clips(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        (pictures,) = frames(count * video.window_frames, generator)
        with torch.no_grad():
            features = FrameGraph(network)(pictures)[0].reshape(count, video.window_frames, -1)
        length = torch.randint(1, video.window_frames + 1, (count, 1), generator=generator)
        mask = (torch.arange(video.window_frames) < length).to(torch.float32)
        key_frames = mask * (torch.rand(mask.shape, generator=generator) < 0.4)
        key_frames[:, 0] = 1.0
        return features, mask, key_frames

    def passages(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        samples, _ = windows(count * music.passage_windows, generator)
        with torch.no_grad():
            features = WindowGraph(network)(samples, torch.ones(len(samples)))[0]
        mask = torch.ones(count, music.passage_windows)
        mask[0, 1:] = 0.0
        return features.reshape(count, music.passage_windows, -1), mask

    def pairs(count: int, generator: torch.Generator) -> tuple[Tensor, ...]:
        content = torch.randn(count, dimensions.content, generator=generator)
        emotion = torch.randn(count, dimensions.emotion, generator=generator)
        return torch.nn.functional.normalize(content), torch.nn.functional.normalize(emotion)

    return (
        Graph(
            "frame_encoder",
            FrameGraph(network),
            frame_ports,
            (Port("features", (frame_features,)), *feelings, Port("salience", ())),
            64,
            frames,
        ),
        Graph("clip_encoder", ClipGraph(network), clip_ports, heads, 64, clips),
        Graph(
            "window_encoder",
            WindowGraph(network),
            window_ports,
            (Port("features", (window_features,)), *feelings, onsets),
            32,
            windows,
        ),
        Graph("track_encoder", TrackGraph(network), track_ports, heads, 64, passages),
        Graph(
            "fusion",
            network.fusion,
            (Port("content", (dimensions.content,)), Port("emotion", (dimensions.emotion,))),
            (Port("fused", (dimensions.fused,)),),
            256,
            pairs,
        ),
    )


def _emotion_outputs(emotion: Emotion) -> tuple[Tensor, Tensor, Tensor]:
    return emotion.embedding, emotion.valence_arousal, emotion.probabilities
