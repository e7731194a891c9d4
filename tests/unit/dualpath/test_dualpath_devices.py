import importlib.util
import math
from pathlib import Path

import pytest
import torch

from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.training.loop import fit
from dualpath.training.run_folder import RunFolder
from kinoscore.errors import FailedPrecondition, InvalidRequest

NETWORK = NetworkConfig(themes=3, attributes=2)


def _config(**values: object) -> TrainingConfig:
    return TrainingConfig(**{"epochs": 1, "batch_size": 4, "threads": 1, "seed": 3, **values})


def _losses(run: RunFolder) -> list[float]:
    return [row["total"] for row in run.load(run.last)["history"]]


def test_half_precision_trains_about_as_single_precision(tmp_path: Path, made_up_split) -> None:
    split = made_up_split(8)
    single, half = RunFolder(tmp_path / "single"), RunFolder(tmp_path / "half")
    fit(single, split, split, NETWORK, _config())
    fit(half, split, split, NETWORK, _config(precision="bf16"))
    assert _losses(half) != _losses(single)
    assert _losses(half) == pytest.approx(_losses(single), rel=0.05)
    weights = half.load(half.last)["weights"].values()
    assert {values.dtype for values in weights if values.is_floating_point()} == {torch.float32}


def test_a_run_is_not_resumed_in_another_precision(tmp_path: Path, made_up_split) -> None:
    run, split = RunFolder(tmp_path), made_up_split(4)
    fit(run, split, split, NETWORK, _config())
    with pytest.raises(InvalidRequest, match="precision = 32, not bf16"):
        fit(run, split, split, NETWORK, _config(epochs=2, precision="bf16"), resume=True)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"precision": "16", "accelerator": "cpu"}, "--precision 16 needs a GPU"),
        ({"accelerator": "cuda", "devices": 4}, "torch finds . GPUs here, not 4"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    values: dict, words: str, tmp_path: Path, made_up_split
) -> None:
    split = made_up_split(4)
    with pytest.raises(FailedPrecondition, match=words):
        fit(RunFolder(tmp_path), split, split, NETWORK, _config(**values))


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"precision": "64"}, "precision"),
        ({"accelerator": "tpu"}, "accelerator"),
        ({"devices": 3}, "devices"),
    ],
)
def test_settings_that_no_device_knows_are_refused(values: dict, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        _config(**values)
    assert caught.value.field == field


def test_early_stopping_counts_epochs_without_a_better_score(
    tmp_path: Path, made_up_split, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.3, 0.5, 0.4, 0.5, 0.9])
    monkeypatch.setattr("dualpath.training.loop._validate", lambda state, validation: next(scores))
    run, split = RunFolder(tmp_path), made_up_split(4)
    summary = fit(run, split, split, NETWORK, _config(epochs=9, patience=2))
    assert (summary["epochs"], summary["best_epoch"], summary["validation_score"]) == (4, 2, 0.5)
    again = fit(run, split, split, NETWORK, _config(epochs=9, patience=2), resume=True)
    assert again["epochs"] == 4
    longer = fit(run, split, split, NETWORK, _config(epochs=5, patience=3), resume=True)
    assert (longer["epochs"], longer["best_epoch"]) == (5, 5)


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_its_checkpoint(
    tmp_path: Path, made_up_split
) -> None:
    run, split = RunFolder(tmp_path), made_up_split(4)
    fit(run, split, split, NETWORK, _config())
    state = run.load(run.last)
    next(iter(state["weights"].values())).fill_(math.nan)
    run.save(run.last, state)
    with pytest.raises(FailedPrecondition, match="the loss of epoch 2 is not finite"):
        fit(run, split, split, NETWORK, _config(epochs=2), resume=True)
    assert run.load(run.last)["epoch"] == 1


def test_tensorboard_has_the_rows_of_the_log(tmp_path: Path, made_up_split) -> None:
    pytest.importorskip("tensorboard", reason="needs kinoscore[tensorboard]")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run, split = RunFolder(tmp_path), made_up_split(4)
    fit(run, split, split, NETWORK, _config(), tensorboard=True)
    fit(run, split, split, NETWORK, _config(epochs=2), tensorboard=True, resume=True)
    events = EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("validation_score")] == [1, 2]
    assert [event.value for event in events.Scalars("total")] == pytest.approx(_losses(run))


def test_tensorboard_that_is_not_installed_names_the_extra(
    tmp_path: Path, made_up_split, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    split = made_up_split(4)
    with pytest.raises(FailedPrecondition, match=r"kinoscore\[train,tensorboard\]"):
        fit(RunFolder(tmp_path), split, split, NETWORK, _config(), tensorboard=True)
    assert list(tmp_path.iterdir()) == []
