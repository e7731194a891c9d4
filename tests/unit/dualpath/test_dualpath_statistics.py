"""The fixed statistics of pictures and music say what their names promise, on signals made for each."""

import math

import pytest
import torch

from dualpath.config import MusicNumbers, VideoNumbers
from dualpath.networks.music_spectra import MusicSpectra
from dualpath.networks.music_statistics import PassageStatistics, WindowStatistics
from dualpath.networks.picture_texture import PictureTexture

MUSIC = MusicNumbers()
TEXTURE = PictureTexture(VideoNumbers())
GLINTS, STEEPNESS = slice(0, 5), 5
SPECTRUM, PEAKS = slice(35, 131), slice(131, 139)
MOTION = 2 * 84 + 3 * 64 + 8 * 8 + 8
SLOPES = MOTION + 3 * 33

ROWS, COLUMNS = torch.meshgrid(torch.arange(80.0), torch.arange(128.0), indexing="ij")


def _texture(luminance: torch.Tensor) -> torch.Tensor:
    return TEXTURE(luminance.expand(1, 3, 80, 128))[0]


def _edge(width: float, contrast: float) -> torch.Tensor:
    return 0.5 + contrast * ((COLUMNS - 63.5) / width).clamp(-0.5, 0.5)


def _stripes(degrees: float) -> torch.Tensor:
    angle = math.radians(degrees)
    return 0.5 + 0.4 * torch.sin((COLUMNS * math.cos(angle) + ROWS * math.sin(angle)) * (2 * math.pi / 10))


def _windows(samples: torch.Tensor) -> torch.Tensor:
    """f32[m] -> [1, windows, WIDTH]."""
    windows = samples.reshape(-1, MUSIC.window_samples)
    valid = torch.ones(len(windows))
    return WindowStatistics()(MusicSpectra(MUSIC)(windows, valid), valid).unsqueeze(0)


def _glide(from_midi: float, to_midi: float) -> torch.Tensor:
    progress = torch.linspace(0.0, 1.0, MUSIC.window_samples)
    hertz = 440.0 * 2.0 ** ((from_midi + (to_midi - from_midi) * progress - 69.0) / 12.0)
    return 0.3 * torch.sin(2 * math.pi * torch.cumsum(hertz / MUSIC.sample_rate, 0))


def test_a_sharp_edge_is_steeper_than_a_soft_one_whatever_its_contrast() -> None:
    sharp, faint, soft = _edge(1.0, 0.8), _edge(1.0, 0.3), _edge(20.0, 0.8)
    steepness = [float(_texture(picture)[STEEPNESS]) for picture in (sharp, faint, soft)]
    assert steepness[0] > 0.9
    assert steepness[1] > 0.85
    assert steepness[2] < 0.75


def test_white_specks_are_glints_and_coloured_ones_are_not() -> None:
    specks = torch.zeros(1, 3, 80, 128)
    specks[:, :, 8::16, 8::16] = 1.0
    coloured = specks.clone()
    coloured[:, 2] = 0.0
    assert float(TEXTURE(specks)[0, 4]) > 0.002
    assert float(TEXTURE(coloured)[0, GLINTS].abs().max()) < 1e-5


@pytest.mark.parametrize("degrees", [-60.0, -30.0, 0.0, 30.0, 60.0])
def test_stripes_stand_out_in_their_own_direction(degrees: float) -> None:
    power = _texture(_stripes(degrees))[SPECTRUM].reshape(8, 12)
    centre = -90.0 + (int(power.amax(dim=0).argmax()) + 0.5) * 15.0
    assert abs(centre - degrees) <= 7.6


def test_a_lattice_is_more_peaked_than_noise() -> None:
    noise = torch.rand(80, 128, generator=torch.Generator().manual_seed(1))
    lattice = 0.5 + 0.25 * torch.sin(COLUMNS * 0.8) + 0.25 * torch.sin(ROWS * 0.8)
    assert float(_texture(lattice)[PEAKS].max()) > float(_texture(noise)[PEAKS].max()) + 1.0


def test_detail_is_found_where_it_lies() -> None:
    picture = torch.full((80, 128), 0.5)
    picture[64:, 112:] = torch.rand(16, 16, generator=torch.Generator().manual_seed(1))
    assert int(_texture(picture)[139:].argmax()) == 39


def test_a_rising_glide_rises_and_a_falling_one_falls() -> None:
    up, down = _windows(_glide(60.0, 72.0)), _windows(_glide(72.0, 60.0))
    slopes = slice(WindowStatistics.CURVES + SLOPES, WindowStatistics.CURVES + SLOPES + 1)
    assert float(up[0, 0, slopes]) > 0.02
    assert float(down[0, 0, slopes]) < -0.02
    # Twelve semitones in 3 s are two in half a second: the first shifts are those within one bin.
    shifts = up[0, 0, WindowStatistics.CURVES + MOTION : WindowStatistics.CURVES + MOTION + 33]
    assert abs(int(shifts.argmax()) - 16) in (1, 2, 3)
    assert int(shifts.argmax()) - 16 == -(
        int(down[0, 0, WindowStatistics.CURVES + MOTION : WindowStatistics.CURVES + MOTION + 33].argmax())
        - 16
    )


@pytest.mark.parametrize("rate", [2.0, 3.7, 6.0])
def test_the_tempogram_of_a_passage_names_the_rate_of_its_clicks(rate: float) -> None:
    time = torch.arange(4 * MUSIC.window_samples) / MUSIC.sample_rate
    noise = torch.randn(len(time), generator=torch.Generator().manual_seed(1))
    clicks = 0.3 * noise * torch.exp(-40.0 * (time % (1.0 / rate)))
    passage = PassageStatistics(MUSIC)(_windows(clicks), torch.ones(1, 4))[0]
    tempogram = passage[2 * WindowStatistics.STATISTICS :][:64]
    found = 0.6 * (12.0 / 0.6) ** ((int(tempogram.argmax()) + 0.5) / 64)
    # A click train has all multiples of its rate too, the lowest of them strongest or nearly so.
    assert min(abs(found / multiple - rate) / rate for multiple in (1, 2, 3)) < 0.05


def test_a_bell_stands_out_and_noise_does_not() -> None:
    noise = 0.1 * torch.randn(MUSIC.window_samples, generator=torch.Generator().manual_seed(1))
    time = torch.arange(MUSIC.window_samples) / MUSIC.sample_rate
    bells = noise + 0.3 * torch.sin(2 * math.pi * 4000.0 * time) * torch.exp(-6.0 * (time % 0.5))
    peaks = WindowStatistics.CURVES + 2 * 84 + 3 * 64 + 8 * 8
    assert float(_windows(bells)[0, 0, peaks]) > float(_windows(noise)[0, 0, peaks]) + 0.3
