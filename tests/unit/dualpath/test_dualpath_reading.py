"""The emotion of music read from fixed cues: what is fitted, and when it is used."""

from pathlib import Path

import numpy as np
import pytest
import torch

from dualpath.config import EMOTION_LABELS, NetworkConfig, TrainingConfig
from dualpath.evaluation.embeddings import embed
from dualpath.networks.music_reading import AROUSAL_CUES, READ_CUES, VALENCE_CUES, MusicReading
from dualpath.networks.paths import Emotion
from dualpath.training.loop import fit
from dualpath.training.reading import fit_reading
from dualpath.training.run_folder import RunFolder

LEARNED = Emotion(torch.ones(3, 64), torch.full((3, 2), 0.25), torch.zeros(3, len(EMOTION_LABELS)))


def _passages(count: int = 400) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cues whose mode is the valence and whose flux is the arousal, with the quadrants as classes."""
    random = np.random.default_rng(0)
    cues = random.normal(3.0, 2.0, (count, len(READ_CUES))).astype(np.float32)
    truth = 0.2 * (cues[:, [READ_CUES.index("mode"), READ_CUES.index("flux")]] - 3.0) / 2.0
    labels = np.select([(truth > 0).all(1), truth[:, 1] > 0, truth[:, 0] < 0], [0, 1, 2], 3)
    return cues, truth.astype(np.float32), labels.astype(np.int64)


def test_a_reading_finds_the_cues_that_carry_the_emotion() -> None:
    cues, truth, labels = _passages()
    reading = MusicReading()
    assert fit_reading(reading, cues, truth, labels)
    read = reading.eval()(Emotion(*(torch.zeros(400, 1) for _ in range(3))), torch.from_numpy(cues))
    assert np.corrcoef(read.valence_arousal[:, 0], truth[:, 0])[0, 1] > 0.99
    assert np.corrcoef(read.valence_arousal[:, 1], truth[:, 1])[0, 1] > 0.99
    assert float((read.logits.argmax(dim=1) == torch.from_numpy(labels)).float().mean()) > 0.9


def test_valence_and_arousal_are_read_from_their_own_cues_alone() -> None:
    cues, truth, labels = _passages()
    reading = MusicReading().eval()
    fit_reading(reading, cues, truth, labels)
    for axis, names in enumerate((VALENCE_CUES, AROUSAL_CUES)):
        used = {READ_CUES[row] for row in torch.nonzero(reading.get_buffer("weight")[:, axis]).flatten()}
        assert used == set(names)


def test_the_learned_emotion_stays_while_training_and_until_something_is_fitted() -> None:
    reading, cues = MusicReading(), torch.zeros(3, len(READ_CUES))
    assert reading.eval()(LEARNED, cues) is LEARNED
    fit_reading(reading, *_passages())
    assert reading.train()(LEARNED, cues) is LEARNED
    read = reading.eval()(LEARNED, cues)
    assert read.embedding is LEARNED.embedding
    assert not torch.equal(read.valence_arousal, LEARNED.valence_arousal)


def test_passages_without_an_emotion_are_left_out() -> None:
    cues, truth, labels = _passages()
    half = truth.copy()
    half[200:] = np.nan
    first, second = MusicReading(), MusicReading()
    fit_reading(first, cues, half, labels)
    fit_reading(second, cues[:200], truth[:200], labels[:200])
    for name, values in first.state_dict().items():
        torch.testing.assert_close(values, second.state_dict()[name])
    assert not fit_reading(MusicReading(), cues, np.full_like(truth, np.nan), labels)


@pytest.mark.parametrize("kept", [[0], [0, 2], [1, 2, 4]])
def test_classes_that_training_does_not_hold_are_never_named(kept: list[int]) -> None:
    cues, truth, labels = _passages()
    labels = np.array(kept)[labels % len(kept)]
    reading = MusicReading().eval()
    fit_reading(reading, cues, truth, labels)
    _, logits = reading.read(torch.from_numpy(cues))
    assert set(logits.argmax(dim=1).tolist()) <= set(kept)


def test_fit_ends_with_a_reading_that_is_evaluated_and_kept(tmp_path: Path, made_up_split) -> None:
    run, split = RunFolder(tmp_path), made_up_split(32)
    fit(run, split, split, NetworkConfig(), TrainingConfig(epochs=1, batch_size=8, threads=1))
    network = run.load_best()
    assert bool(network.reading.get_buffer("fitted"))
    music = embed(network, split.arrays, split.index).music
    assert music.cues is not None
    read = network.reading.point(torch.from_numpy(music.cues)).numpy()
    np.testing.assert_allclose(music.valence_arousal, read, atol=1e-6)
    side = run.read_json("summary")["calibration"]["music"]
    assert side["arousal_mean"] == pytest.approx(float(read[:, 1].mean()), abs=1e-5)
