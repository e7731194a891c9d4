"""`dualpath benchmark world`: the same pairs and passages for all, galleries, resumable, one table."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dualpath import cli
from dualpath.benchmark import world as world_module
from dualpath.benchmark.end_to_end import ABLATIONS, BASELINES, CONTROLS, DUAL_PATH, head
from dualpath.benchmark.results import Results
from dualpath.benchmark.tables import as_text
from dualpath.benchmark.tasks import Retrieval
from dualpath.benchmark.world import Budget, TrainedRun, World, run_world, world_rows
from dualpath.benchmark.world_methods import ON_FEATURES, choose_world_methods
from dualpath.config import MusicNumbers, NetworkConfig, TrainingConfig
from dualpath.data.features.world import MUSIC_WIDTH, TOKENS, VIDEO_WIDTH, world_features
from dualpath.methods.method import Kind
from dualpath.training.loop import Split, fit
from dualpath.training.run_folder import RunFolder
from kinoscore.errors import InvalidRequest

MUSIC = MusicNumbers()


@pytest.fixture
def world(made_up_split: Callable[..., Split], tmp_path: Path) -> World:
    splits = {
        "train": made_up_split(140, seed=1),
        "validation": made_up_split(20, seed=2),
        "test": made_up_split(24, seed=3),
    }
    return World(splits, "test", tmp_path / "features")


def test_a_gallery_holds_consecutive_pairs_and_a_rest_is_left_out() -> None:
    matrix = np.eye(7)
    matrix[0, 3] = 2.0
    assert Retrieval(3).ranks(matrix)["video to music"] == [1.0] * 6
    assert Retrieval(7).ranks(matrix)["video to music"] == [2.0] + [1.0] * 6
    assert Retrieval().ranks(matrix)["music to video"] == [1.0] * 3 + [2.0] + [1.0] * 3
    with pytest.raises(InvalidRequest, match="a gallery holds 2 to 7 pairs here, not 8"):
        Retrieval(8).ranks(matrix)


def test_features_are_tokens_of_both_sides_at_the_same_times(made_up_split, tmp_path: Path) -> None:
    split = made_up_split(3)
    before = world_features(tmp_path / "a", split.index, split.arrays, MUSIC)
    assert before.video.shape == (3, TOKENS, VIDEO_WIDTH)
    assert before.music.shape == (3, TOKENS, MUSIC_WIDTH)
    split.arrays.pictures[:, :2] = 0  # the first second
    split.arrays.mel[:, 0] = 0.0  # the first window, three seconds
    after = world_features(tmp_path / "b", split.index, split.arrays, MUSIC)
    assert np.flatnonzero((before.video != after.video).any(axis=(0, 2))).tolist() == [0]
    assert np.flatnonzero((before.music != after.music).any(axis=(0, 2))).tolist() == [0, 1]


def test_an_interrupted_extraction_goes_on_and_more_pairs_follow(
    made_up_split, tmp_path: Path, monkeypatch
) -> None:
    split = made_up_split(70)
    whole = world_features(tmp_path / "whole", split.index, split.arrays, MUSIC)

    def interrupt(done: int, total: int) -> None:
        if done >= 32:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        world_features(tmp_path / "cut", split.index, split.arrays, MUSIC, interrupt)
    seen: list[tuple[int, int]] = []
    some = world_features(
        tmp_path / "cut", split.index, split.arrays, MUSIC, lambda *at: seen.append(at), pairs=40
    )
    assert seen == [(32, 40), (40, 40)]
    assert len(some) == 40
    rest = world_features(tmp_path / "cut", split.index, split.arrays, MUSIC, lambda *at: seen.append(at))
    assert seen[2:] == [(40, 70), (70, 70)]
    assert np.array_equal(rest.video, whole.video)
    assert np.array_equal(rest.music, whole.music)


def test_features_of_another_world_with_the_same_names_are_made_anew(made_up_split, tmp_path: Path) -> None:
    first, second = made_up_split(3, seed=1), made_up_split(3, seed=2)
    assert first.index.identifiers == second.index.identifiers
    world_features(tmp_path, first.index, first.arrays, MUSIC)
    mixed = world_features(tmp_path, second.index, second.arrays, MUSIC)
    alone = world_features(tmp_path / "alone", second.index, second.arrays, MUSIC)
    assert np.array_equal(mixed.video, alone.video)


def test_an_ablation_differs_in_one_thing_and_plain_info_nce_in_every_idea() -> None:
    for method in ABLATIONS:
        assert method.kind is Kind.ABLATION
        assert len(method.network) + len(method.training) + (not method.labels) == 1
    ideas = {name for method in ABLATIONS for name in method.network}
    (plain,), (labelled,) = BASELINES, CONTROLS
    assert ideas <= set(plain.network)
    assert not plain.labels
    assert labelled.labels
    assert (plain.network, plain.training) == (labelled.network, labelled.training)
    defaults, settings = NetworkConfig(), replace(TrainingConfig(), **plain.training)
    assert all(getattr(defaults, name) != value for name, value in plain.network.items())
    weights = [name for name, value in settings.as_dict().items() if name.endswith("_weight") and value]
    # The last three belong to decoders and labels, which are not there.
    assert weights == ["contrastive_weight", "reconstruction_weight", "theme_weight", "attribute_weight"]


def test_every_method_of_a_name_or_a_group_is_found() -> None:
    assert [method.name for method in choose_world_methods(["cca", "dual-path"])] == ["cca", "dual-path"]
    assert choose_world_methods(["ablations"]) == list(ABLATIONS)
    assert choose_world_methods(["standard"]) == [*ON_FEATURES, *BASELINES, DUAL_PATH]
    with pytest.raises(InvalidRequest, match="no method 'cc'; there are standard, features"):
        choose_world_methods(["cc"])


def test_a_network_on_features_passes_over_the_pairs_as_often_as_the_others() -> None:
    seen = {}

    class Recorder:
        name, kind, space = "recorder", Kind.BASELINE, {"steps": (160, 80), "value": (1,)}

        def fit(self, training, settings, seed):
            seen.update(settings)

    method = world_module.OnFeatures(Recorder())  # type: ignore[arg-type]
    assert "steps" not in method.space
    method.fit([None] * 640, {"value": 1}, 1, epochs=3)  # type: ignore[arg-type]
    assert seen == {"value": 1, "steps": 15}


def test_the_table_lists_the_budget_and_what_is_done_is_not_repeated(
    world: World, tmp_path: Path, monkeypatch
) -> None:
    methods = choose_world_methods(["random", "emotion-agreement", "triplet", "info-nce-end-to-end"])
    budget, task = Budget(pairs=130, epochs=1, trials=2), Retrieval(12)
    lines: list[str] = []
    units = run_world(world, methods, [1], task, Results(tmp_path / "out", {}), budget, progress=lines.append)
    rows = {row["method"]: row for row in world_rows(units, methods, 12) if row["direction"] == "both"}
    assert [rows["triplet"][name] for name in ("pairs", "epochs", "trials")] == [130, 1, 2]
    assert [rows["emotion-agreement"][name] for name in ("pairs", "epochs", "trials")] == [130, None, 2]
    assert [rows["info-nce-end-to-end"][name] for name in ("pairs", "epochs", "trials")] == [130, 1, 1]
    assert rows["(chance)"]["R@1"] == pytest.approx(100 / 12)
    assert {row["against"] for row in rows.values() if "against" in row} < {method.name for method in methods}
    assert "R@1 low" in rows["emotion-agreement"]
    assert "12" in as_text(list(rows.values()))
    assert all(len(unit.rows) == 24 for unit in units)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("repeated")

    for name in ("_measure_on_features", "_measure_end_to_end"):
        monkeypatch.setattr(world_module, name, never)
    again = run_world(world, methods, [1], task, Results(tmp_path / "out", {}), budget, progress=lines.append)
    assert again == units
    assert lines[-1] == "[4/4] seed 1: info-nce-end-to-end (kept)"


def test_a_training_goes_on_where_it_was_interrupted(world: World, tmp_path: Path) -> None:
    (method,) = choose_world_methods(["info-nce-end-to-end"])
    budget, task = Budget(pairs=64, epochs=2, trials=1), Retrieval(24)
    whole = run_world(world, [method], [1], task, Results(tmp_path / "whole", {}), budget)

    def interrupt(line: str) -> None:
        if "epoch   1" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_world(world, [method], [1], task, Results(tmp_path / "cut", {}), budget, progress=interrupt)
    lines: list[str] = []
    rest = run_world(world, [method], [1], task, Results(tmp_path / "cut", {}), budget, progress=lines.append)
    assert not any("epoch   1" in line.split("(")[0] for line in lines)
    assert rest[0].measured == whole[0].measured


def test_a_trained_run_is_measured_with_its_own_budget_and_again_when_it_changes(
    world: World, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "shipped")
    train, validation = head(world.splits["train"], 64), world.splits["validation"]
    fit(run, train, validation, NetworkConfig(), TrainingConfig(epochs=1, threads=1))
    results, budget = Results(tmp_path / "out", {}), Budget(pairs=140, epochs=9, trials=1)
    methods = [TrainedRun(run)]
    (first,) = run_world(world, methods, [1], Retrieval(24), results, budget)
    assert first.method == "shipped (trained before)"
    assert (first.settings["pairs"], first.settings["epochs"]) == (64, 1)
    assert run_world(world, methods, [1], Retrieval(24), results, budget) == [first]
    shutil.rmtree(run.path)
    fit(run, train, validation, NetworkConfig(), TrainingConfig(epochs=2, threads=1, seed=2))
    (second,) = run_world(world, methods, [1], Retrieval(24), results, budget)
    assert second.settings["weights"] != first.settings["weights"]
    assert second.settings["epochs"] == 2


def test_the_command_writes_the_table_where_its_marker_is(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.setattr("dualpath.data.index.read_index", lambda data, name: world.splits[name].index)
    monkeypatch.setattr(
        "dualpath.data.cache.open_cache", lambda folder, *_, **__: world.splits[folder.name].arrays
    )
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- small -->\nold\n<!-- end -->\nafter\n")
    command = ["dualpath", "benchmark", "world", "--data", str(tmp_path), "--gallery", "12", "--threads", "1"]
    command += ["--epochs", "1", "--trials", "1", "--methods", "random", "--out", str(tmp_path / "out")]
    monkeypatch.setattr(sys, "argv", [*command, "--into", str(page), "--marker", "small"])
    cli.main()
    title = "world: 24 test pairs in galleries of 12; trained on 140 pairs, 1 epochs, 1 seeds"
    assert capsys.readouterr().out.startswith(f"{title}\n")
    assert page.read_text().startswith(f"before\n<!-- small -->\n{title}\n\n| method |")
    record = json.loads((tmp_path / "out" / "table.json").read_text())
    assert record["gallery"] == 12
    assert {path.name for path in (tmp_path / "out").glob("table.*")} == {
        f"table.{form}" for form in ("txt", "csv", "json", "md")
    }


def test_nothing_to_compare_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    monkeypatch.setattr(
        sys, "argv", ["dualpath", "benchmark", "world", "--data", str(tmp_path), "--methods", "none"]
    )
    with pytest.raises(SystemExit):
        cli.main()
    assert capsys.readouterr().err == "dualpath: nothing to compare: name --methods or a --trained run\n"
