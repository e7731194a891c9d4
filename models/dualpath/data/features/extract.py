"""Files to features, once: frozen backbones over whole videos and tracks, one .npy a content.

A step of video is a frame, one a second; a step of music a window of 3 s. With the backbone "none" a step is
our fixed cues: of a picture, 28 cues and 333 of texture; of a window, the statistics of its spectra. With any
other, it is the mean of the backbone's map over the picture; a model of torchaudio reads the window's sound.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dualpath.config import MusicNumbers, VideoNumbers
from dualpath.data.reading import naming
from dualpath.networks.backbones import open_backbone
from dualpath.networks.music_cues import mel_relative_to_level
from dualpath.networks.music_spectra import MusicSpectra
from dualpath.networks.music_statistics import WindowStatistics
from dualpath.networks.picture_cues import PictureCues, PicturePreparation
from dualpath.networks.picture_texture import PictureTexture
from dualpath.networks.sound_towers import SoundTower, open_sound_tower
from kinoscore.errors import InvalidRequest, StorageFull
from kinoscore.media.decoding import iter_audio, iter_frames
from kinoscore.media.types import FrameSpec

__all__ = ["Extractor", "MusicFeatures", "VideoFeatures", "extract_all"]

FRAMES_PER_SECOND = 1.0
CPU = torch.device("cpu")
_LEAST_SOUND = 0.5
# Models of waveforms give nothing for much less.
_LEAST_SECONDS = 0.1
_STRIDES = ((2, 2), (2, 2), (1, 1))


class Extractor(Protocol):
    """From a file to steps.

    Attributes:
        seconds: between steps.
        width: of a step.
    """

    seconds: float
    width: int

    def extract(self, path: Path) -> NDArray[np.float32]:
        """float32 [steps, width]."""
        ...


class VideoFeatures:
    """Frames of one file to steps.

    Args:
        backbone, weights: see `open_backbone`.
        device: that the backbone computes on; fixed cues are a CPU's work.

    Raises:
        InvalidRequest: the backbone is not known, or would be random.
    """

    seconds = 1.0 / FRAMES_PER_SECOND

    def __init__(self, backbone: str, weights: str, device: torch.device = CPU) -> None:
        numbers = VideoNumbers()
        self._device = device
        self._backbone = _frozen(backbone, 3, weights, device)
        if self._backbone is None:
            self._preparation, self._cues = PicturePreparation(numbers), PictureCues()
            self._size = (numbers.frame_height, numbers.frame_width)
            self.width = PictureCues.CUES + PictureTexture.TEXTURE
        else:
            self._size = self._backbone.picture_size
            self.width = self._backbone.dimension

    def extract(self, path: Path) -> NDArray[np.float32]:
        """See `Extractor`.

        Raises:
            InvalidMedia, MediaTooLarge: of the file, which the message names.
        """
        height, width = self._size
        with naming(path), torch.inference_mode():
            return np.concatenate(
                [
                    self._steps(torch.from_numpy(batch.frames)).numpy()
                    for batch in iter_frames(path, FrameSpec(width, height, FRAMES_PER_SECOND))
                ]
            )

    def _steps(self, frames: Tensor) -> Tensor:
        if self._backbone is None:
            pictures, texture = self._preparation(frames)
            return torch.cat([self._cues(pictures)[0], texture], dim=1)
        pictures = frames.to(self._device).permute(0, 3, 1, 2).to(torch.float32) * (1.0 / 255.0)
        return self._backbone(pictures).mean(dim=(2, 3)).cpu()


class MusicFeatures:
    """Windows of one file to steps; see `VideoFeatures`."""

    def __init__(self, backbone: str, weights: str, device: torch.device = CPU) -> None:
        numbers = MusicNumbers()
        self.seconds = numbers.window_samples / numbers.sample_rate
        self._windows = _open_windows(backbone, weights, numbers, device)
        self.width = self._windows.width

    def extract(self, path: Path) -> NDArray[np.float32]:
        """See `Extractor`. A last window with less than half of its sound is left out, unless it is alone.

        Raises:
            InvalidMedia, MediaTooLarge: of the file, which the message names.
        """
        steps: list[NDArray[np.float32]] = []
        with naming(path), torch.inference_mode():
            for samples, valid in self._cut(path):
                if valid >= _LEAST_SOUND or not steps:
                    share = torch.tensor([valid], dtype=torch.float32)
                    steps.append(self._windows.step(torch.from_numpy(samples.copy())[None], share).numpy())
        return np.concatenate(steps)

    def _cut(self, path: Path) -> Iterator[tuple[NDArray[np.float32], float]]:
        """Consecutive windows, the last padded, each with the share of it that is sound."""
        size = round(self.seconds * self._windows.sample_rate)
        held = np.zeros(0, np.float32)
        for block in iter_audio(path, self._windows.sample_rate):
            held = np.concatenate([held, block.samples])
            while len(held) >= size:
                yield held[:size], 1.0
                held = held[size:]
        if len(held):
            yield np.pad(held, (0, size - len(held))), len(held) / size


class _Windows(Protocol):
    """From a window's samples [1, m] at `sample_rate`, a share [1] of them sound, to a step [1, width]."""

    sample_rate: int
    width: int

    def step(self, samples: Tensor, share: Tensor) -> Tensor: ...


class _FixedWindows:
    """Our statistics of the spectra."""

    width = WindowStatistics.STATISTICS

    def __init__(self, numbers: MusicNumbers) -> None:
        self.sample_rate = numbers.sample_rate
        self._spectra, self._statistics = MusicSpectra(numbers), WindowStatistics()

    def step(self, samples: Tensor, share: Tensor) -> Tensor:
        return self._statistics(self._spectra(samples, share), share)[:, WindowStatistics.CURVES :]


class _PicturedWindows:
    """The mean of a backbone's map of the log-mel window."""

    def __init__(self, numbers: MusicNumbers, backbone: torch.nn.Module, device: torch.device) -> None:
        self.sample_rate = numbers.sample_rate
        self._spectra, self._backbone, self._device = MusicSpectra(numbers), backbone, device
        self.width = int(backbone.dimension)

    def step(self, samples: Tensor, share: Tensor) -> Tensor:
        mel = self._spectra(samples, share).mel
        # As WindowEncoder shows it to its backbone.
        pictured = mel_relative_to_level(mel, share).unsqueeze(1).to(self._device)
        return self._backbone(pictured).mean(dim=(2, 3)).cpu()


class _SoundingWindows:
    """What a model of waveforms makes of the sound itself, without the silence at its end."""

    def __init__(self, tower: SoundTower, device: torch.device) -> None:
        self.sample_rate, self.width = tower.sample_rate, tower.dimension
        self._tower, self._device = tower.requires_grad_(False).to(device), device

    def step(self, samples: Tensor, share: Tensor) -> Tensor:
        size = max(round(float(share) * samples.shape[1]), round(_LEAST_SECONDS * self.sample_rate))
        return self._tower(samples[:, :size].to(self._device)).cpu()


def _open_windows(backbone: str, weights: str, numbers: MusicNumbers, device: torch.device) -> _Windows:
    family, _, model = backbone.partition(":")
    if family == "torchaudio":
        if weights:
            raise InvalidRequest(
                "a model of torchaudio has its own weights: name the model alone", field="weights"
            )
        return _SoundingWindows(open_sound_tower(model), device)
    frozen = _frozen(backbone, 1, weights, device)
    return _FixedWindows(numbers) if frozen is None else _PicturedWindows(numbers, frozen, device)


def extract_all(
    extractor: Extractor,
    files: dict[str, Path],
    folder: Path,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> None:
    """Writes <folder>/<item>.npy, float16 [steps, width], for every item that has none yet; each whole.

    Raises:
        InvalidMedia, MediaTooLarge: of a file, which the message names.
        StorageFull: the disk is full; what was written stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number, (item, path) in enumerate(files.items()):
        progress(number, len(files))
        target = folder / f"{item}.npy"
        if target.is_file():
            continue
        steps = extractor.extract(path).astype(np.float16)
        temporary = folder / f".{item}.npy"
        try:
            np.save(temporary, steps)
            temporary.replace(target)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise StorageFull(f"cannot write {target}: {error}; free some space and run again") from error
    progress(len(files), len(files))


def _frozen(name: str, channels: int, weights: str, device: torch.device) -> torch.nn.Module | None:
    if name == "none":
        return None
    backbone = open_backbone(name, channels, _STRIDES, weights)
    if not backbone.has_weights:
        raise InvalidRequest(
            f"features of {name} without weights would be random: name some, as file:PATH or by their "
            "published name, or take 'none', our fixed cues",
            field="weights",
        )
    return backbone.eval().requires_grad_(False).to(device)
