"""The fixed statistics of pictures and music say what their names promise, on signals made for each."""

import math

import pytest
import torch

from dualpath.config import MusicNumbers, VideoNumbers
from dualpath.networks.music_spectra import MusicSpectra
from dualpath.networks.music_statistics import PassageStatistics, WindowStatistics
from dualpath.networks.picture_texture import PictureTexture

MUSIC = MusicNumbers()
PICTURE_TEXTURE = PictureTexture(VideoNumbers())
GLINTS, STEEPNESS, STEEPNESS_OF_SHAPES = slice(0, 5), 5, 35
SPECTRUM, RINGS = slice(65, 149), slice(149, 293)
PEAKS, COLOUR_PEAKS = slice(161, 173), slice(257, 269)
DETAIL = slice(293, 333)
MOTION = 2 * 84 + 3 * 64 + 8 * 8 + 8
SLOPES = MOTION + 3 * 33

ROWS, COLUMNS = torch.meshgrid(torch.arange(80.0), torch.arange(128.0), indexing="ij")


def _textures(pictures: torch.Tensor) -> torch.Tensor:
    return PICTURE_TEXTURE(pictures, torch.nn.functional.avg_pool2d(pictures, 2))


def _texture(luminance: torch.Tensor) -> torch.Tensor:
    return _textures(luminance.expand(1, 3, 80, 128))[0]


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
    assert float(_textures(specks)[0, 4]) > 0.002
    assert float(_textures(coloured)[0, GLINTS].abs().max()) < 1e-5


def test_glints_over_a_soft_picture_leave_its_shapes_soft() -> None:
    soft = 0.5 + 0.3 * torch.sin(COLUMNS * 0.1)
    specks = soft.clone()
    specks[8::16, 8::16] = 1.0
    with_specks, without = _texture(specks), _texture(soft)
    assert float(with_specks[STEEPNESS]) > float(without[STEEPNESS]) + 0.1
    assert abs(float(with_specks[STEEPNESS_OF_SHAPES] - without[STEEPNESS_OF_SHAPES])) < 0.02


@pytest.mark.parametrize("degrees", [-60.0, -30.0, 0.0, 30.0, 60.0])
def test_stripes_stand_out_in_their_own_direction(degrees: float) -> None:
    power = _texture(_stripes(degrees))[SPECTRUM].reshape(7, 12)
    centre = -90.0 + (int(power.amax(dim=0).argmax()) + 0.5) * 15.0
    assert abs(centre - degrees) <= 7.6


def test_a_lattice_is_more_peaked_than_noise() -> None:
    noise = torch.rand(80, 128, generator=torch.Generator().manual_seed(1))
    lattice = 0.5 + 0.25 * torch.sin(COLUMNS * 0.8) + 0.25 * torch.sin(ROWS * 0.8)
    assert float(_texture(lattice)[PEAKS].max()) > float(_texture(noise)[PEAKS].max()) + 1.0


def test_colours_are_as_peaked_whichever_hue_they_have() -> None:
    lattice = (0.25 * torch.sin(COLUMNS * 0.8) + 0.25 * torch.sin(ROWS * 0.8)).expand(1, 1, 80, 128)
    grey = torch.full_like(lattice, 0.5)
    weights = torch.tensor([0.299, 0.587, 0.114])
    red, blue = torch.tensor([1.0, 0.0, 0.0]), torch.tensor([0.0, 0.0, 1.0])
    pictures = [
        grey + lattice * (hue - weights @ hue).view(1, 3, 1, 1) for hue in (red, blue)
    ]  # neither has a lattice in its luminance
    peaks = [_textures(picture)[0, COLOUR_PEAKS] for picture in pictures]
    assert float(peaks[0].max()) > 2.0
    assert int(peaks[0].argmax()) == int(peaks[1].argmax())


def test_detail_is_found_where_it_lies() -> None:
    picture = torch.full((80, 128), 0.5)
    picture[64:, 112:] = torch.rand(16, 16, generator=torch.Generator().manual_seed(1))
    assert int(_texture(picture)[DETAIL].argmax()) == 39


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


def test_a_strict_pulse_is_stronger_than_a_loose_one() -> None:
    strengths = [_pulse_strength(looseness) for looseness in (0.0, 0.4, 0.8)]
    assert strengths[0] > 0.8
    assert strengths[0] > strengths[1] + 0.1
    assert strengths[1] > strengths[2] + 0.1


def _pulse_strength(looseness: float) -> float:
    """Of clicks at 6 Hz that are late or early by up to half that share of a period."""
    random = torch.Generator().manual_seed(1)
    samples = torch.zeros(4 * MUSIC.window_samples)
    click = 0.3 * torch.randn(800, generator=random) * torch.exp(-torch.arange(800) / 150.0)
    for number in range(2, 70):
        late = looseness * (float(torch.rand(1, generator=random)) - 0.5)
        start = int((number + late) / 6.0 * MUSIC.sample_rate)
        samples[start : start + 800] += click
    passage = PassageStatistics(MUSIC)(_windows(samples), torch.ones(1, 4))[0]
    pulse = PassageStatistics.TEMPOGRAM.stop + 4 * 5
    return float(passage[pulse + 5 + 2 * 5])


def test_a_bell_stands_out_and_noise_does_not() -> None:
    noise = 0.1 * torch.randn(MUSIC.window_samples, generator=torch.Generator().manual_seed(1))
    time = torch.arange(MUSIC.window_samples) / MUSIC.sample_rate
    bells = noise + 0.3 * torch.sin(2 * math.pi * 4000.0 * time) * torch.exp(-6.0 * (time % 0.5))
    peaks = WindowStatistics.CURVES + 2 * 84 + 3 * 64 + 8 * 8
    assert float(_windows(bells)[0, 0, peaks]) > float(_windows(noise)[0, 0, peaks]) + 0.3
