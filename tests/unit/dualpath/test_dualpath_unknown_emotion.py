"""Training pairs whose emotion is not known, and rows that share a video or a track."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.data.batches import gather
from dualpath.evaluation.embeddings import embed, similarity
from dualpath.evaluation.report import emotion_figures
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.training.calibration import calibrate
from dualpath.training.loop import Split, fit
from dualpath.training.objective import objective
from dualpath.training.run_folder import RunFolder

TRAINING = TrainingConfig(epochs=1, batch_size=4, threads=1)
NEEDS_EMOTION = {"emotion", "frame_emotion", "distinguish"}
ALIKE = {"fused": 1.0, "content": 0.0, "emotion": 0.0}


def _losses(network: DualPathNetwork, split: Split) -> tuple[torch.Tensor, dict[str, float]]:
    batch = gather(split.arrays, split.index, np.arange(len(split.index)))
    video = network.encode_clips(batch.pictures / 255.0, batch.texture, batch.frame_mask)
    music = network.encode_passages(batch.spectra, batch.statistics, batch.valid)
    return objective(video, music, batch, TRAINING, split.index.valence_centre)


def test_without_any_emotion_its_losses_are_left_out(network: DualPathNetwork, made_up_split) -> None:
    split = made_up_split(4)
    split.index.valence_arousal[:] = np.nan
    total, losses = _losses(network, split)
    assert not NEEDS_EMOTION & set(losses)
    assert torch.isfinite(total)


def test_emotion_losses_see_the_rows_that_have_one(made_up_split) -> None:
    torch.manual_seed(0)
    network = DualPathNetwork(NetworkConfig(themes=3, attributes=2)).eval()
    split, known = made_up_split(6), made_up_split(6)
    split.index.valence_arousal[4:] = np.nan
    first = np.arange(4)
    arrays = replace(
        known.arrays, **{name: getattr(known.arrays, name)[first] for name in known.arrays.__slots__}
    )
    index = replace(
        known.index,
        identifiers=known.index.identifiers[:4],
        valence_arousal=known.index.valence_arousal[first],
        themes=known.index.themes[first],
        video_attributes=known.index.video_attributes[first],
        music_attributes=known.index.music_attributes[first],
    )
    total, losses = _losses(network, split)
    _, alone = _losses(network, Split(index, arrays))
    for name in NEEDS_EMOTION:
        assert losses[name] == pytest.approx(alone[name], rel=1e-4)
    total.backward()
    assert all(torch.isfinite(one.grad).all() for one in network.parameters() if one.grad is not None)


def test_rows_of_one_item_are_no_negatives(network: DualPathNetwork, made_up_split) -> None:
    split = made_up_split(2)
    strangers = _losses(network, split)[1]
    index = replace(split.index, video_digests=("a", "b"), music_digests=("c", "c"))
    same = _losses(network, Split(index, split.arrays))[1]
    assert strangers["contrastive"] > 0
    assert same["contrastive"] == pytest.approx(0.0, abs=1e-6)
    assert same["margin"] == 0.0


def test_rows_of_one_item_are_no_wrong_answers(network: DualPathNetwork, made_up_split) -> None:
    split = made_up_split(3)
    index = replace(split.index, video_digests=("a", "b", "d"), music_digests=("c", "e", "c"))
    matrix = similarity(embed(network, split.arrays, index), ALIKE)
    assert np.argwhere(np.isneginf(matrix)).tolist() == [[0, 2], [2, 0]]


def test_a_run_without_emotion_says_so_in_its_calibration(tmp_path, made_up_split) -> None:
    training, validation = made_up_split(8), made_up_split(6, seed=1)
    for split in (training, validation):
        split.index.valence_arousal[:] = np.nan
    run = RunFolder(tmp_path)
    summary = fit(run, training, validation, NetworkConfig(themes=3, attributes=2), TRAINING)
    assert summary["calibration"]["music"]["valence_error"] == 1.0
    assert "NaN" not in (tmp_path / "summary.json").read_text()


def test_the_error_of_an_emotion_is_measured_where_it_is_known(network, made_up_split) -> None:
    split = made_up_split(4)
    side = embed(network, split.arrays, split.index).video
    truth = split.index.valence_arousal.copy()
    truth[2:] = np.nan
    expected = np.sqrt(((side.valence_arousal[:2] - truth[:2]) ** 2).mean(axis=0))
    assert calibrate(side, side, truth)["valence_error"] == pytest.approx(expected[0])


def test_a_truth_that_does_not_vary_correlates_with_nothing() -> None:
    prediction = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    labels = np.zeros(5, np.int64)
    assert (
        emotion_figures(prediction, np.full((5, 2), 0.5, np.float32), labels, labels)["valence_correlation"]
        == 0.0
    )
