"""The dual-path network: two modalities, a content path and an emotion path each, one fused space."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dualpath.config import NetworkConfig
from dualpath.networks.music import PassageEncoder, WindowEncoder, WindowResult
from dualpath.networks.music_spectra import Spectra
from dualpath.networks.paths import ContentEncoder, ContentLabels, Decoder, Emotion, Fusion
from dualpath.networks.video import ClipEncoder, FrameEncoder, FrameResult, select_key_frames

__all__ = ["DualPathNetwork", "Side"]


class Side(NamedTuple):
    """What the network says about a batch of one modality.

    Attributes:
        content, emotion, fused: unit embeddings [n, 128], Emotion, [n, 256].
        summary: [n, 256], what the content was encoded from.
        reconstruction: [n, 256] from the content, or None without decoders.
        labels: what the content says of theme and attributes ([n, themes], [n, attributes]), or None without
            labels.
        parts: emotion of the single frames or windows, flattened to [n * parts, ...]; None where their
            features were given.
        parts_mask: [n * parts], 1 where a part is real.
    """

    content: Tensor
    emotion: Emotion
    fused: Tensor
    summary: Tensor
    reconstruction: Tensor | None
    labels: tuple[Tensor, Tensor] | None
    parts: Emotion | None
    parts_mask: Tensor


class DualPathNetwork(nn.Module):
    """Both modalities. `weights` are those of the frame backbone, see `open_backbone`."""

    def __init__(self, config: NetworkConfig, weights: str = "") -> None:
        super().__init__()
        self.config = config
        self.frame_encoder = FrameEncoder(config, weights)
        self.clip_encoder = ClipEncoder(config)
        self.window_encoder = WindowEncoder(config)
        self.passage_encoder = PassageEncoder(config)
        self.video_content = ContentEncoder(config.dimensions)
        self.music_content = (
            self.video_content if config.shared_encoder else ContentEncoder(config.dimensions)
        )
        self.video_decoder = Decoder(config.dimensions) if config.decoders else None
        self.music_decoder = Decoder(config.dimensions) if config.decoders else None
        self.labels: ContentLabels | None = None
        if config.themes or config.attributes:
            self.labels = ContentLabels(config.dimensions, config.themes, config.attributes)
        self.fusion = Fusion(config.dimensions, config.fusion, config.emotion_path)

    def encode_clips(self, pictures: Tensor, texture: Tensor, frame_mask: Tensor) -> Side:
        """Pictures [n, 24, 3, 40, 64] in 0..1, their texture [n, 24, 333], mask [n, 24] -> Side."""
        frames = self.encode_frames(pictures, texture)
        side = self.join_frames(frames.features, frames.salience.detach(), frame_mask)
        return side._replace(parts=frames.emotion)

    def encode_frames(self, pictures: Tensor, texture: Tensor) -> FrameResult:
        """Pictures, texture as for clips -> features [n, 24, F], emotion [n * 24], salience [n, 24]."""
        frames = self.frame_encoder(pictures.flatten(0, 1), texture.flatten(0, 1))
        shape = pictures.shape[:2]
        return frames._replace(
            features=frames.features.unflatten(0, shape), salience=frames.salience.unflatten(0, shape)
        )

    def join_frames(self, features: Tensor, salience: Tensor, frame_mask: Tensor) -> Side:
        """What follows the frame encoder: features [n, 24, F], salience and mask [n, 24] -> Side."""
        video = self.config.video
        key_frames = select_key_frames(
            salience,
            frame_mask,
            video.key_frames,
            video.key_frame_separation_seconds * video.frames_per_second,
        )
        clip = self.clip_encoder(features, frame_mask, key_frames)
        content = self.video_content(clip.summary)
        return Side(
            content=content,
            emotion=clip.emotion,
            fused=self.fusion(content, clip.emotion.embedding),
            summary=clip.summary,
            reconstruction=self.video_decoder(content) if self.video_decoder is not None else None,
            labels=self.labels(content) if self.labels is not None else None,
            parts=None,
            parts_mask=frame_mask.flatten(),
        )

    def encode_passages(self, spectra: Spectra, statistics: Tensor, valid: Tensor) -> Side:
        """Spectra and statistics of [n, 4] windows (with these two leading axes), valid [n, 4] -> Side."""
        windows = self.encode_windows(spectra, statistics, valid)
        side = self.join_windows(windows.features, (valid > 0).to(torch.float32))
        return side._replace(parts=windows.emotion)

    def encode_windows(self, spectra: Spectra, statistics: Tensor, valid: Tensor) -> WindowResult:
        """Spectra, statistics, valid as for passages -> features [n, 4, G], emotion and onsets [n * 4]."""
        flat = Spectra(*(field.flatten(0, 1) for field in spectra))
        windows = self.window_encoder(flat, statistics.flatten(0, 1), valid.flatten())
        return windows._replace(features=windows.features.unflatten(0, valid.shape))

    def join_windows(self, features: Tensor, window_mask: Tensor) -> Side:
        """What follows the window encoder: features [n, 4, G], mask [n, 4] -> Side."""
        passage = self.passage_encoder(features, window_mask)
        content = self.music_content(passage.summary)
        return Side(
            content=content,
            emotion=passage.emotion,
            fused=self.fusion(content, passage.emotion.embedding),
            summary=passage.summary,
            reconstruction=self.music_decoder(content) if self.music_decoder is not None else None,
            labels=self.labels(content) if self.labels is not None else None,
            parts=None,
            parts_mask=window_mask.flatten(),
        )
