import csv
import ctypes
from pathlib import Path

import numpy as np
import pytest
import torch

from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.data.augmentation import augment_pictures, augment_spectra
from dualpath.data.batches import gather
from dualpath.evaluation.embeddings import Embeddings, SideEmbeddings
from dualpath.memory import keep_freed_memory
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.training.average import averaged_copy, update_average
from dualpath.training.calibration import tune_weights
from dualpath.training.loop import fit
from dualpath.training.objective import objective
from dualpath.training.run_folder import RunFolder
from kinoscore.errors import FailedPrecondition, InvalidRequest, NotFound

NETWORK = NetworkConfig(themes=3, attributes=2)
SHORT = TrainingConfig(epochs=2, batch_size=4, threads=1, seed=3)


def _weights(run: RunFolder) -> dict[str, torch.Tensor]:
    return run.load(run.last)["weights"]


def _losses(run: RunFolder) -> list[dict[str, float]]:
    history = run.load(run.last)["history"]
    return [{name: value for name, value in row.items() if name != "seconds"} for row in history]


def test_a_resumed_run_gives_the_losses_and_weights_of_an_uninterrupted_one(
    tmp_path: Path, made_up_split
) -> None:
    training, validation = made_up_split(8), made_up_split(6, seed=1)
    whole, halves = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "halves")
    fit(whole, training, validation, NETWORK, SHORT)

    class StoppedError(Exception):
        pass

    def interrupt(line: str) -> None:
        raise StoppedError

    with pytest.raises(StoppedError):
        fit(halves, training, validation, NETWORK, SHORT, progress=interrupt)
    assert halves.load(halves.last)["epoch"] == 1
    fit(halves, training, validation, NETWORK, SHORT, resume=True)
    torch.testing.assert_close(_weights(halves), _weights(whole), rtol=0, atol=0)
    assert _losses(halves) == _losses(whole)
    with (halves.path / "log.csv").open() as lines:
        assert [row["epoch"] for row in csv.DictReader(lines)] == ["1", "2"]


def test_a_run_ends_with_everything_that_an_export_needs(tmp_path: Path, made_up_split) -> None:
    run = RunFolder(tmp_path)
    fit(run, made_up_split(8), made_up_split(6, seed=1), NETWORK, SHORT)
    summary = run.read_json("summary")
    assert set(summary["calibration"]["video"]) == {
        f"{axis}_{kind}" for axis in ("valence", "arousal") for kind in ("mean", "deviation", "error")
    }
    assert set(summary["weights"]) == {"fused", "content", "emotion"}
    assert not run.load_best().training


def test_the_objective_falls_when_a_batch_is_learnt(made_up_split) -> None:
    torch.manual_seed(0)
    split = made_up_split(6)
    network = DualPathNetwork(NETWORK)
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3)
    batch = gather(split.arrays, split.index, np.arange(6))
    totals = []
    for _ in range(12):
        video = network.encode_clips(batch.pictures / 255.0, batch.texture, batch.frame_mask)
        music = network.encode_passages(batch.spectra, batch.statistics, batch.valid)
        total, _ = objective(video, music, batch, SHORT, 0.0)
        optimiser.zero_grad()
        total.backward()
        optimiser.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.8 * totals[0]


def test_every_trained_weight_gets_a_gradient(made_up_split) -> None:
    split = made_up_split(4)
    network = DualPathNetwork(NETWORK)
    batch = gather(split.arrays, split.index, np.arange(4))
    total, losses = objective(
        network.encode_clips(batch.pictures / 255.0, batch.texture, batch.frame_mask),
        network.encode_passages(batch.spectra, batch.statistics, batch.valid),
        batch,
        SHORT,
        0.0,
    )
    total.backward()
    unused = [name for name, values in network.named_parameters() if values.grad is None]
    # The embedding of single frames and windows is not compared with anything.
    assert unused == [
        f"{encoder}.emotion.embed.{kind}"
        for encoder in ("frame_encoder", "window_encoder")
        for kind in ("weight", "bias")
    ]
    assert {"contrastive", "margin", "reconstruction", "distinguish", "theme", "attributes"} <= set(losses)


def test_fewer_pairs_than_a_batch_are_refused(tmp_path: Path, made_up_split) -> None:
    with pytest.raises(InvalidRequest, match="3 training pairs are fewer than a batch of 4"):
        fit(RunFolder(tmp_path), made_up_split(3), made_up_split(3), NETWORK, SHORT)


def test_a_run_of_another_configuration_is_not_resumed(tmp_path: Path, made_up_split) -> None:
    run, training = RunFolder(tmp_path), made_up_split(4)
    one = TrainingConfig(epochs=1, batch_size=4, threads=1)
    fit(run, training, training, NETWORK, one)
    with pytest.raises(InvalidRequest, match="seed = 1, not 2"):
        fit(run, training, training, NETWORK, TrainingConfig(epochs=1, batch_size=4, seed=2), resume=True)
    with pytest.raises(InvalidRequest, match="another network"):
        fit(run, training, training, NetworkConfig(fusion="sum"), one, resume=True)


def test_missing_and_foreign_checkpoints_are_told_apart(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(NotFound, match="dualpath fit"):
        run.load_best()
    run.best.write_text("a letter")
    with pytest.raises(FailedPrecondition, match="no checkpoint of dualpath"):
        run.load_best()


def test_the_budget_of_minutes_ends_a_run(tmp_path: Path, made_up_split) -> None:
    config = TrainingConfig(epochs=500, minutes=1e-6, batch_size=4, threads=1)
    summary = fit(RunFolder(tmp_path), made_up_split(4), made_up_split(4), NETWORK, config)
    assert summary["epochs"] == 1


def test_the_average_of_weights_follows_the_network() -> None:
    network = torch.nn.Linear(2, 2)
    average = averaged_copy(network)
    start = average.weight.clone()
    with torch.no_grad():
        network.weight.add_(1.0)
    update_average(average, network, 0.9, step=1_000_000)
    torch.testing.assert_close(average.weight, start + 0.1)


def test_weights_of_a_useless_path_are_zero() -> None:
    random = np.random.default_rng(0)

    def unit(width: int) -> np.ndarray:
        values = random.normal(size=(30, width)).astype(np.float32)
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    fused, none = unit(256), np.zeros((30, 2), np.float32)
    video = SideEmbeddings(unit(128), unit(64), fused, none, none)
    music = SideEmbeddings(unit(128), unit(64), fused, none, none)
    assert tune_weights(Embeddings(video, music)) == {"fused": 1.0, "content": 0.0, "emotion": 0.0}


def test_augmentation_repeats_with_its_seed_and_keeps_shapes_and_ranges(made_up_split) -> None:
    split = made_up_split(3)
    batch = gather(split.arrays, split.index, np.arange(3))

    def both(seed: int) -> tuple[torch.Tensor, ...]:
        generator = torch.Generator().manual_seed(seed)
        pictures = augment_pictures(batch.pictures, 1.0, generator)
        return pictures, *augment_spectra(batch.spectra, 1.0, generator)

    first, again, other = both(1), both(1), both(2)
    assert first[0].shape == batch.pictures.shape
    assert float(first[0].min()) >= 0.0
    assert float(first[0].max()) <= 1.0
    for one, same, different, original in zip(first[1:], again[1:], other[1:], batch.spectra, strict=True):
        assert one.shape == original.shape
        assert torch.equal(one, same)
        assert not torch.equal(one, different)


def test_no_augmentation_changes_nothing(made_up_split) -> None:
    split = made_up_split(2)
    batch = gather(split.arrays, split.index, np.arange(2))
    pictures = augment_pictures(batch.pictures, 0.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(pictures, batch.pictures / 255.0, rtol=0, atol=1e-5)
    spectra = augment_spectra(batch.spectra, 0.0, torch.Generator().manual_seed(1))
    for changed, original in zip(spectra, batch.spectra, strict=True):
        torch.testing.assert_close(changed, original)


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="another C library than glibc")
def test_the_allocator_takes_the_advice_to_keep_freed_memory() -> None:
    assert keep_freed_memory()
