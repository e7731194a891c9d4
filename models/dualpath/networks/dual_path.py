"""The dual-path network: two modalities, a content path and an emotion path each, one fused space."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from dualpath.config import NetworkConfig
from dualpath.networks.music import PassageEncoder, WindowEncoder
from dualpath.networks.music_reading import MusicReading
from dualpath.networks.music_spectra import Spectra
from dualpath.networks.paths import ContentEncoder, ContentLabels, Decoder, Emotion, Fusion
from dualpath.networks.video import ClipEncoder, FrameEncoder, select_key_frames
from kinoscore.errors import InvalidRequest

__all__ = ["DualPathNetwork", "Side"]


class Side(NamedTuple):
    """What the network says about a batch of one modality.

    Attributes:
        content, emotion, fused: unit embeddings [n, 128], Emotion, [n, 256].
        summary: [n, 256], what the content was encoded from.
        reconstruction: [n, 256] from the content, or None without decoders.
        labels: what the content says of theme and attributes ([n, themes], [n, attributes]), or None without
            labels.
        parts: emotion of the single frames or windows, flattened to [n * parts, ...].
        parts_mask: [n * parts], 1 where a part is real.
        cues: of music [n, 24], what its emotion is read from (READ_CUES); None of video.
    """

    content: Tensor
    emotion: Emotion
    fused: Tensor
    summary: Tensor
    reconstruction: Tensor | None
    labels: tuple[Tensor, Tensor] | None
    parts: Emotion
    parts_mask: Tensor
    cues: Tensor | None = None


class DualPathNetwork(nn.Module):
    """Both modalities.

    Args:
        weights, window_weights: of the frame and of the window backbone, see `open_backbone`.
    """

    def __init__(self, config: NetworkConfig, weights: str = "", window_weights: str = "") -> None:
        super().__init__()
        self._frozen: tuple[nn.Module, ...] = ()
        self.config = config
        self.frame_encoder = FrameEncoder(config, weights)
        self.clip_encoder = ClipEncoder(config)
        self.reading = MusicReading()
        self.window_encoder = WindowEncoder(config, self.reading, window_weights)
        self.passage_encoder = PassageEncoder(config, self.reading)
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

    @property
    def backbones(self) -> tuple[nn.Module, nn.Module]:
        """That of frames and that of windows."""
        return self.frame_encoder.backbone, self.window_encoder.backbone

    def freeze_backbones(self) -> None:
        """Stops the backbones that began with weights from learning, their running statistics too.

        Raises:
            InvalidRequest: none of them did.
        """
        self._frozen = tuple(backbone for backbone in self.backbones if backbone.has_weights)
        if not self._frozen:
            raise InvalidRequest(
                "no backbone has weights to keep: name some with --weights or --window-weights, or do not "
                "freeze",
                field="freeze_backbones",
            )
        for backbone in self._frozen:
            backbone.requires_grad_(False)
        self.train(self.training)

    def train(self, mode: bool = True) -> "DualPathNetwork":
        """As of any module; frozen backbones stay in evaluation mode."""
        super().train(mode)
        for backbone in self._frozen:
            backbone.eval()
        return self

    def encode_clips(self, pictures: Tensor, texture: Tensor, frame_mask: Tensor) -> Side:
        """Pictures [n, 24, 3, 40, 64] in 0..1, their texture [n, 24, 333], mask [n, 24] -> Side."""
        count, steps = frame_mask.shape
        frames = self.frame_encoder(pictures.flatten(0, 1), texture.flatten(0, 1))
        video = self.config.video
        key_frames = select_key_frames(
            frames.salience.detach().reshape(count, steps),
            frame_mask,
            video.key_frames,
            video.key_frame_separation_seconds * video.frames_per_second,
        )
        clip = self.clip_encoder(frames.features.reshape(count, steps, -1), frame_mask, key_frames)
        content = self.video_content(clip.summary)
        return Side(
            content=content,
            emotion=clip.emotion,
            fused=self.fusion(content, clip.emotion.embedding),
            summary=clip.summary,
            reconstruction=self.video_decoder(content) if self.video_decoder is not None else None,
            labels=self.labels(content) if self.labels is not None else None,
            parts=frames.emotion,
            parts_mask=frame_mask.flatten(),
        )

    def encode_passages(self, spectra: Spectra, statistics: Tensor, valid: Tensor) -> Side:
        """Spectra and statistics of [n, 4] windows (with these two leading axes), valid [n, 4] -> Side."""
        count, windows = valid.shape
        flat = Spectra(*(field.flatten(0, 1) for field in spectra))
        encoded = self.window_encoder(flat, statistics.flatten(0, 1), valid.flatten())
        window_mask = (valid > 0).to(torch.float32)
        passage = self.passage_encoder(encoded.features.reshape(count, windows, -1), window_mask)
        content = self.music_content(passage.summary)
        return Side(
            content=content,
            emotion=passage.emotion,
            fused=self.fusion(content, passage.emotion.embedding),
            summary=passage.summary,
            reconstruction=self.music_decoder(content) if self.music_decoder is not None else None,
            labels=self.labels(content) if self.labels is not None else None,
            parts=encoded.emotion,
            parts_mask=window_mask.flatten(),
            cues=passage.cues.detach(),
        )
