import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.config import MusicNumbers, NetworkConfig, VideoNumbers
from dualpath.export.graphs import graphs
from dualpath.networks.backbones import open_backbone
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.networks.music_cues import KeyCues
from dualpath.networks.music_spectra import LOWEST_PITCH, MusicSpectra, Spectra, mel_centres
from dualpath.networks.music_statistics import WindowStatistics
from dualpath.networks.paths import Fusion, salience
from dualpath.networks.picture_cues import PictureCues, PicturePreparation
from dualpath.networks.picture_texture import PictureTexture
from dualpath.networks.video import select_key_frames
from kinoscore.errors import InvalidRequest

MUSIC = MusicNumbers()
TIME = torch.arange(MUSIC.window_samples) / MUSIC.sample_rate


def _tone(hertz: float) -> torch.Tensor:
    return 0.3 * torch.sin(2 * torch.pi * hertz * TIME).unsqueeze(0)


def _graph(network: DualPathNetwork, name: str):
    return next(graph for graph in graphs(network) if graph.name == name)


# Padding and masks


def test_what_lies_in_padded_frames_does_not_reach_a_clip(network: DualPathNetwork) -> None:
    graph = _graph(network, "clip_encoder")
    features, _, _ = graph.example(2, torch.Generator().manual_seed(3))
    mask = (torch.arange(24) < 7).to(torch.float32).expand(2, -1)
    key_frames = (torch.arange(24) % 3 == 0).to(torch.float32).expand(2, -1)
    other = features.clone()
    other[:, 7:] = 50.0
    with torch.no_grad():
        for first, second in zip(
            graph.module(features, mask, key_frames), graph.module(other, mask, key_frames), strict=True
        ):
            torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_what_lies_in_padded_samples_does_not_reach_a_window(network: DualPathNetwork) -> None:
    graph = _graph(network, "window_encoder")
    samples, _ = graph.example(2, torch.Generator().manual_seed(3))
    valid = torch.tensor([0.4, 0.75])
    other = samples.clone()
    for row in range(2):
        other[row, int(valid[row] * MUSIC.window_samples) + 1 :] = 1.0
    with torch.no_grad():
        for first, second in zip(graph.module(samples, valid), graph.module(other, valid), strict=True):
            torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_what_lies_in_padded_windows_does_not_reach_a_passage(network: DualPathNetwork) -> None:
    graph = _graph(network, "track_encoder")
    features, _ = graph.example(2, torch.Generator().manual_seed(3))
    mask = torch.tensor([[1.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
    other = torch.where(mask.unsqueeze(2) > 0, features, torch.full_like(features, 50.0))
    with torch.no_grad():
        for first, second in zip(graph.module(features, mask), graph.module(other, mask), strict=True):
            torch.testing.assert_close(first, second, rtol=0, atol=1e-6)


def test_a_row_does_not_depend_on_the_rest_of_its_batch(network: DualPathNetwork) -> None:
    for graph in graphs(network):
        inputs = graph.example(3, torch.Generator().manual_seed(5))
        with torch.no_grad():
            together, alone = graph.module(*inputs), graph.module(*(values[1:2] for values in inputs))
        pairs = zip(together, alone, strict=True) if isinstance(together, tuple) else [(together, alone)]
        for whole, single in pairs:
            torch.testing.assert_close(whole[1:2], single, rtol=0, atol=1e-5)


def test_silence_and_black_pictures_give_finite_unit_vectors(network: DualPathNetwork) -> None:
    with torch.no_grad():
        spectra = MusicSpectra(MUSIC)(torch.zeros(4, MUSIC.window_samples), torch.ones(4))
        statistics = WindowStatistics()(spectra, torch.ones(4))
        music = network.encode_passages(
            Spectra(*(field.unsqueeze(0) for field in spectra)), statistics.unsqueeze(0), torch.ones(1, 4)
        )
        pictures, texture = PicturePreparation(VideoNumbers())(torch.zeros(24, 80, 128, 3, dtype=torch.uint8))
        video = network.encode_clips(pictures.unsqueeze(0), texture.unsqueeze(0), torch.ones(1, 24))
    for side in (music, video):
        for vector in (side.content, side.emotion.embedding, side.fused):
            assert float(vector.norm()) == pytest.approx(1.0, abs=1e-5)


# Music front end


def test_gain_moves_only_the_loudness() -> None:
    spectra = MusicSpectra(MUSIC)
    sound = _tone(330.0) + 0.05 * torch.randn(
        1, MUSIC.window_samples, generator=torch.Generator().manual_seed(1)
    )
    quiet, loud = spectra(sound * 0.1, torch.ones(1)), spectra(sound, torch.ones(1))
    torch.testing.assert_close(quiet.mel, loud.mel, rtol=0, atol=1e-3)
    torch.testing.assert_close(quiet.pitch, loud.pitch, rtol=0, atol=1e-3)
    assert float(loud.loudness - quiet.loudness) == pytest.approx(20.0, abs=1e-3)


@pytest.mark.parametrize("midi", [45, 60, 69, 81])
def test_a_tone_stands_at_its_pitch_with_its_amplitude(midi: int) -> None:
    spectra = MusicSpectra(MUSIC)(_tone(440.0 * 2 ** ((midi - 69) / 12)), torch.ones(1))
    middle = spectra.pitch[0, 10:20].mean(dim=0)
    assert int(middle.argmax()) + LOWEST_PITCH == midi
    # The window was scaled to a root mean square of 1.
    assert float(middle.max()) == pytest.approx(np.sqrt(2), rel=0.03)


def test_a_tone_stands_in_its_mel_band() -> None:
    spectra = MusicSpectra(MUSIC)(_tone(1000.0), torch.ones(1))
    assert int(spectra.mel[0, 60].argmax()) == int(np.abs(mel_centres() - 1000.0).argmin())


def test_a_major_chord_is_major_in_every_key() -> None:
    chroma = torch.zeros(24, 12)
    for key in range(12):
        for step, weight in zip((0, 2, 4, 5, 7, 9, 11), (3, 1, 2, 1, 2.5, 1, 1), strict=True):
            chroma[key, (key + step) % 12] = weight
        for step, weight in zip((0, 2, 3, 5, 7, 8, 10), (3, 1, 2, 1, 2.5, 1, 1), strict=True):
            chroma[12 + key, (key + step) % 12] = weight
    mode = KeyCues()(chroma)[:, 2]
    assert bool((mode[:12] > 0.1).all())
    assert bool((mode[12:] < -0.1).all())
    torch.testing.assert_close(mode[:12], mode[:1].expand(12), rtol=0, atol=1e-5)


# Pictures


def test_colour_cues_ignore_grey_and_rise_with_colour() -> None:
    grey = torch.rand(1, 1, 40, 64, generator=torch.Generator().manual_seed(1)).expand(1, 3, 40, 64)
    colourful = torch.rand(1, 3, 5, 8, generator=torch.Generator().manual_seed(1)).repeat_interleave(8, 2)
    colourful = colourful.repeat_interleave(8, 3)
    cues = PictureCues()
    assert float(cues(grey)[0][0, 0]) < 0.01
    assert float(cues(colourful)[0][0, 0]) > 0.2


def test_the_luminance_grid_is_the_picture_in_small() -> None:
    picture = torch.zeros(1, 3, 40, 64)
    picture[:, :, :4, 60:] = 1.0
    grid = PictureCues()(picture)[1].reshape(10, 16)
    assert float(grid[0, 15]) == pytest.approx(1.0, abs=1e-5)
    assert float(grid.sum()) == pytest.approx(1.0, abs=1e-5)


# Key frames and salience


@given(
    salience_values=st.lists(st.floats(0, 1, width=32), min_size=24, max_size=24),
    real=st.integers(1, 24),
    count=st.integers(1, 8),
    separation=st.integers(1, 5),
)
@settings(max_examples=60, deadline=None)
def test_key_frames_are_real_apart_bounded_and_hold_the_most_salient(
    salience_values: list[float], real: int, count: int, separation: int
) -> None:
    values = torch.tensor([salience_values])
    mask = (torch.arange(24) < real).to(torch.float32).unsqueeze(0)
    chosen = select_key_frames(values, mask, count, separation)[0]
    places = torch.nonzero(chosen).flatten().tolist()
    assert 1 <= len(places) <= count
    assert max(places) < real
    assert all(later - earlier >= separation for earlier, later in itertools.pairwise(places))
    assert float(values[0, places].max()) == float(values[0, :real].max())


def test_salience_is_zero_for_neutral_or_undecided_and_one_at_a_sure_corner() -> None:
    sure = torch.tensor([[1.0, 0, 0, 0, 0]])
    undecided = torch.full((1, 5), 0.2)
    corner, neutral = torch.tensor([[1.0, -1.0]]), torch.tensor([[0.0, 0.0]])
    assert float(salience(corner, sure)) == pytest.approx(1.0, abs=1e-5)
    assert float(salience(neutral, sure)) == pytest.approx(0.0, abs=1e-3)
    assert float(salience(corner, undecided)) == pytest.approx(0.0, abs=1e-5)


# Switches of the method


def test_the_content_encoder_is_one_or_two_by_its_switch() -> None:
    shared, separate = DualPathNetwork(NetworkConfig()), DualPathNetwork(NetworkConfig(shared_encoder=False))
    assert shared.video_content is shared.music_content
    assert separate.video_content is not separate.music_content


@pytest.mark.parametrize(
    "switch",
    [
        {"decoders": False},
        {"emotion_path": False},
        {"key_frames": False},
        {"channel_attention": False},
        {"fusion": "sum"},
        {"shared_encoder": False},
    ],
)
def test_every_switch_leaves_a_network_that_encodes_both_modalities(switch: dict) -> None:
    network = DualPathNetwork(NetworkConfig(**switch)).eval()
    with torch.no_grad():
        texture = torch.rand(2, 24, PictureTexture.TEXTURE)
        video = network.encode_clips(torch.rand(2, 24, 3, 40, 64), texture, torch.ones(2, 24))
        spectra = Spectra(torch.rand(2, 4, 126, 64), torch.rand(2, 4, 30, 84), torch.zeros(2, 4))
        statistics = torch.rand(2, 4, WindowStatistics.WIDTH)
        music = network.encode_passages(spectra, statistics, torch.ones(2, 4))
    assert video.fused.shape == music.fused.shape == (2, 256)
    assert (video.reconstruction is None) == (switch.get("decoders") is False)


def test_without_the_emotion_path_emotion_does_not_move_the_fused_vector() -> None:
    dimensions = NetworkConfig().dimensions
    content, emotion = torch.randn(3, 128), torch.randn(3, 64)
    for kind in ("mlp", "sum"):
        blind, seeing = Fusion(dimensions, kind, False), Fusion(dimensions, kind, True)
        torch.testing.assert_close(blind(content, emotion), blind(content, -emotion))
        assert not torch.allclose(seeing(content, emotion), seeing(content, -emotion))


def test_all_frames_instead_of_key_frames_makes_their_choice_irrelevant() -> None:
    network = DualPathNetwork(NetworkConfig(key_frames=False)).eval()
    features = torch.rand(1, 24, network.frame_encoder.feature_dimension)
    mask, first, last = torch.ones(1, 24), torch.zeros(1, 24), torch.zeros(1, 24)
    first[:, 0], last[:, -1] = 1.0, 1.0
    with torch.no_grad():
        one, other = network.clip_encoder(features, mask, first), network.clip_encoder(features, mask, last)
    torch.testing.assert_close(one.emotion.valence_arousal, other.emotion.valence_arousal)


# Configuration and backbones


def test_a_configuration_survives_its_dictionary() -> None:
    config = dataclasses.replace(NetworkConfig(), fusion="sum", themes=24)
    assert NetworkConfig.from_dict(config.as_dict()) == config


def test_an_unknown_configuration_key_is_named() -> None:
    with pytest.raises(InvalidRequest, match="channel_atention"):
        NetworkConfig.from_dict({"channel_atention": True})


@pytest.mark.parametrize("name", ["smal", "torchvision:", "torchvision:no_such_network", "timm:resnet18"])
def test_an_unknown_backbone_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequest, match=name.split(":")[-1] or "no backbone"):
        open_backbone(name, 3, ((2, 2), (2, 2), (1, 1)))


def test_a_torchvision_backbone_serves_pictures_and_spectra() -> None:
    pytest.importorskip("torchvision")
    network = DualPathNetwork(NetworkConfig(frame_backbone="torchvision:shufflenet_v2_x0_5")).eval()
    with torch.no_grad():
        texture = torch.rand(1, 24, PictureTexture.TEXTURE)
        side = network.encode_clips(torch.rand(1, 24, 3, 40, 64), texture, torch.ones(1, 24))
    assert side.content.shape == (1, 128)


def test_weights_of_a_backbone_come_from_a_file(tmp_path) -> None:
    strides = ((2, 2), (2, 2), (1, 1))
    donor = open_backbone("small", 3, strides)
    torch.save(donor.state_dict(), tmp_path / "weights.pt")
    heir = open_backbone("small", 3, strides, str(tmp_path / "weights.pt"))
    for ours, theirs in zip(heir.state_dict().values(), donor.state_dict().values(), strict=True):
        torch.testing.assert_close(ours, theirs)
    (tmp_path / "text.pt").write_text("no weights")
    with pytest.raises(InvalidRequest, match=r"text\.pt holds no weights"):
        open_backbone("small", 3, strides, str(tmp_path / "text.pt"))
    with pytest.raises(InvalidRequest, match=r"missing\.pt"):
        open_backbone("small", 3, strides, str(tmp_path / "missing.pt"))
