"""Features of music by models of torchaudio: a small one of its own kind stands in for the published."""

from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from support.media_files import sine, write_sound

from dualpath.data.features.extract import MusicFeatures
from dualpath.networks.backbones import open_backbone
from kinoscore.errors import InvalidRequest

pipelines = pytest.importorskip("torchaudio.pipelines")
models = pytest.importorskip("torchaudio.models")
NUMBERS = {
    "extractor_mode": "group_norm",
    "extractor_conv_layer_config": [(8, 10, 5), (8, 3, 2), (8, 8, 8)],
    "extractor_conv_bias": False,
    "encoder_embed_dim": 12,
    "encoder_projection_dropout": 0.0,
    "encoder_pos_conv_kernel": 8,
    "encoder_pos_conv_groups": 2,
    "encoder_num_layers": 2,
    "encoder_num_heads": 2,
    "encoder_attention_dropout": 0.0,
    "encoder_ff_interm_features": 16,
    "encoder_ff_interm_dropout": 0.0,
    "encoder_dropout": 0.0,
    "encoder_layer_norm_first": False,
    "encoder_layer_drop": 0.0,
    "aux_num_out": None,
}


class TinyBundle(pipelines.Wav2Vec2Bundle):
    """One with weights of its own that need no download."""

    def __init__(self) -> None:
        super().__init__(
            _path="", _params=NUMBERS, _sample_rate=16_000, _normalize_waveform=False, _model_type="Wav2Vec2"
        )

    def get_model(self) -> torch.nn.Module:
        torch.manual_seed(0)
        return models.wav2vec2_model(**NUMBERS)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipelines, "TINY", TinyBundle(), raising=False)


def test_a_model_of_waveforms_gives_one_vector_a_window(tiny: None, tmp_path: Path) -> None:
    music = MusicFeatures("torchaudio:TINY", "")
    steps = music.extract(write_sound(tmp_path / "music.wav", sine(9.0)))
    assert (music.width, music.seconds) == (12, 3.0)
    assert steps.shape == (3, 12)
    assert np.isfinite(steps).all()
    # The tone goes on as it was: its windows are alike.
    np.testing.assert_allclose(steps[0], steps[1], atol=0.05)


def test_a_sound_of_an_instant_gives_a_vector(tiny: None, tmp_path: Path) -> None:
    steps = MusicFeatures("torchaudio:TINY", "").extract(write_sound(tmp_path / "short.wav", sine(0.05)))
    assert steps.shape == (1, 12)


def test_a_bundle_without_features_is_refused() -> None:
    for name in ("HDEMUCS_HIGH_MUSDB", "NO_SUCH_BUNDLE", ""):
        with pytest.raises(InvalidRequest, match="torchaudio:HUBERT_BASE"):
            MusicFeatures(f"torchaudio:{name}", "")


def test_weights_that_cannot_be_downloaded_are_told_with_the_remedy(
    tiny: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(bundle: TinyBundle) -> torch.nn.Module:
        raise URLError("no network")

    monkeypatch.setattr(TinyBundle, "get_model", refuse)
    with pytest.raises(InvalidRequest, match="TORCH_HOME"):
        MusicFeatures("torchaudio:TINY", "")


def test_a_bundle_takes_no_other_weights(tiny: None) -> None:
    with pytest.raises(InvalidRequest, match="its own weights"):
        MusicFeatures("torchaudio:TINY", "file:other.pt")


def test_training_on_waveforms_is_refused_with_the_way_to_go() -> None:
    with pytest.raises(InvalidRequest, match="dualpath features --window-backbone torchaudio:TINY"):
        open_backbone("torchaudio:TINY", 1, ((2, 2),) * 3)
