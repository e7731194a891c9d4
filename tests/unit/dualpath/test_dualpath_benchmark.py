"""`dualpath benchmark`: folds that leak nothing, one budget for all, results that resume, honest tables."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.benchmark import run
from dualpath.benchmark.folds import folds_of_split, grouped_folds, repeated_folds, validation_part
from dualpath.benchmark.results import Results, Unit
from dualpath.benchmark.tables import as_csv, as_markdown, as_text, match_rows, retrieval_rows
from dualpath.benchmark.tasks import Retrieval, task_of
from dualpath.benchmark.tuning import draw_settings, fit_within_budget
from dualpath.benchmark_command import _replace_between
from dualpath.evaluation.matching import area_under_curve, percentiles
from dualpath.methods.by_name import choose_methods
from dualpath.methods.method import Kind
from kinoscore.errors import FailedPrecondition, InvalidRequest, StorageFull


@given(
    groups=st.lists(st.integers(0, 12), min_size=8, max_size=60).filter(lambda some: len(set(some)) >= 3),
    seed=st.integers(0, 100),
)
@settings(max_examples=40, deadline=None)
def test_folds_part_all_rows_and_never_a_group(groups: list[int], seed: int) -> None:
    numbers = np.array(groups)
    parts = grouped_folds(numbers, 3, seed)
    assert sorted(np.concatenate(parts).tolist()) == list(range(len(groups)))
    assert sum(len(set(numbers[part].tolist())) for part in parts) == len(set(groups))


def test_more_folds_than_groups_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"of 2 sources .* cannot make 3 folds: use --folds 2 to 2"):
        grouped_folds(np.array([0, 0, 1, 1]), 3, 0)


def test_settings_are_chosen_on_a_whole_source_where_there_are_few() -> None:
    groups = np.array([4, 4, 4, 7, 7, 9, 9, 9, 9])
    for seed in range(4):
        chosen = set(groups[validation_part(groups, seed)])
        assert len(chosen) == 1
        assert not chosen & set(np.delete(groups, validation_part(groups, seed)))
    with pytest.raises(InvalidRequest, match=r"share one source .* use more --folds"):
        validation_part(np.zeros(9, np.int64), 0)


@pytest.mark.parametrize(
    ("count", "parts", "words"),
    [
        (9, 3, "leaves 5 pairs to train with, 8 are the least"),
        (14, 14, "tests 1 pairs, 2 are the least: use fewer --folds"),
    ],
)
def test_too_few_pairs_are_refused_before_anything_is_trained(
    count: int, parts: int, words: str, made_up_features, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(run, "fit_within_budget", None)
    pairs = made_up_features(count)
    folds, methods = repeated_folds(pairs, parts, [1]), choose_methods(["cca"])
    with pytest.raises(InvalidRequest, match=words):
        run.run_benchmark(pairs, folds, methods, Retrieval(), Results(tmp_path, {}), trials=1)


def test_no_row_of_a_tested_group_trains_or_validates(made_up_features) -> None:
    pairs = replace(made_up_features(60), groups=np.arange(60) // 3)
    folds = repeated_folds(pairs, 5, [1, 2])
    assert [(fold.seed, fold.number) for fold in folds] == [(s, n) for s in (1, 2) for n in range(5)]
    for fold in folds:
        everything = np.concatenate([fold.training, fold.validation, fold.test])
        assert sorted(everything.tolist()) == list(range(60))
        for first, second in (
            (fold.training, fold.validation),
            (fold.training, fold.test),
            (fold.validation, fold.test),
        ):
            assert not set(pairs.groups[first]) & set(pairs.groups[second])
    assert not np.array_equal(folds[0].test, folds[5].test)


def test_a_published_split_trains_with_what_comes_before_it(made_up_features) -> None:
    splits = ("train",) * 30 + ("val",) * 8 + ("test",) * 6
    pairs = replace(made_up_features(44), splits=splits)
    (fold,) = folds_of_split(pairs, "val", [1])
    assert fold.test.tolist() == list(range(30, 38))
    assert len(fold.training) + len(fold.validation) == 30
    (fold,) = folds_of_split(pairs, "test", [1])
    assert len(fold.training) + len(fold.validation) == 38
    with pytest.raises(InvalidRequest, match="no rows to test"):
        folds_of_split(made_up_features(20), "test", [1])


@given(seed=st.integers(0, 1000), trials=st.integers(1, 12))
@settings(max_examples=30, deadline=None)
def test_trials_begin_at_the_defaults_and_never_repeat(seed: int, trials: int) -> None:
    space = {"a": (3, 1, 2), "b": (True, False)}
    drawn = draw_settings(space, trials, np.random.default_rng(seed))
    assert drawn[0] == {"a": 3, "b": True}
    assert len(drawn) == min(trials, 6)
    assert len({tuple(one.items()) for one in drawn}) == len(drawn)


def test_the_best_trial_on_validation_is_trained_again_on_both() -> None:
    seen = []

    class Recorder:
        name, kind, space = "recorder", Kind.BASELINE, {"value": (1, 2, 3)}

        def fit(self, training, chosen, seed):
            seen.append((training, chosen["value"]))
            return chosen["value"]

    class Task:
        name = "task"

        def rows(self, pairs):
            return pairs

        def score(self, fitted, pairs):
            return float(fitted == 2)

    tuned = fit_within_budget(Recorder(), "training", "validation", "both", Task(), 3, seed=0)  # type: ignore[arg-type]
    assert [rows for rows, _ in seen] == ["training"] * 3 + ["both"]
    assert seen[-1][1] == tuned.best.settings["value"] == 2
    assert len(tuned.trials) == 3


def test_area_under_the_curve_counts_ties_half() -> None:
    truth = np.array([True, True, False, False])
    assert area_under_curve(np.array([3.0, 1.0, 2.0, 0.0]), truth) == 0.75
    assert area_under_curve(np.zeros(4), truth) == 0.5
    assert percentiles(np.array([5.0, -1.0, 5.0, 9.0])).tolist() == [0.5, 0.125, 0.5, 0.875]
    with pytest.raises(InvalidRequest, match="needs rows that match and rows that do not"):
        area_under_curve(np.zeros(2), np.array([True, True]))


@given(seed=st.integers(0, 1000), size=st.integers(4, 40))
@settings(max_examples=30, deadline=None)
def test_the_area_is_the_share_of_pairs_in_order(seed: int, size: int) -> None:
    random = np.random.default_rng(seed)
    scores, truth = random.integers(0, 6, size), np.arange(size) % 2 == 0
    above = scores[truth][:, None] - scores[~truth][None, :]
    expected = (above > 0).mean() + 0.5 * (above == 0).mean()
    assert area_under_curve(scores, truth) == pytest.approx(expected)


def _unit(method: str, ranks: list[float], **changes: object) -> Unit:
    rows = [f"pair{number}" for number in range(len(ranks))]
    measured = {"video to music": ranks, "music to video": ranks}
    return Unit(**{"method": method, "seed": 1, "fold": 0, "rows": rows, "measured": measured, "settings": {},
                   "trials": [], "seconds": 1.0, **changes})  # fmt: skip


def test_the_difference_is_taken_pair_by_pair_against_the_best_baseline() -> None:
    methods = choose_methods(["cca", "pls", "cca-aligned", "dual-path"])
    units = [
        _unit("cca", [1.0, 20.0] * 50),
        _unit("pls", [20.0, 20.0] * 50),
        _unit("cca-aligned", [1.0, 1.0] * 50),
        _unit("dual-path", [1.0, 2.0] * 50),
    ]
    rows = {row["method"]: row for row in retrieval_rows(units, methods) if row["direction"] == "both"}
    assert rows["dual-path"]["R@10"] == 100.0
    assert rows["dual-path"]["against"] == "cca"
    assert rows["dual-path"]["difference"] == pytest.approx(50.0)
    assert 38 < rows["dual-path"]["difference low"] < 50 < rows["dual-path"]["difference high"] < 62
    assert "difference" not in rows["cca"]
    assert rows["(chance)"]["R@10"] == pytest.approx(10.0)
    assert rows["dual-path"]["gallery"] == "100"


def test_an_idea_brings_what_the_method_loses_without_it() -> None:
    methods = choose_methods(["cca", "dual-path", "dual-path-no-decoders"])
    units = [
        _unit("cca", [20.0, 20.0] * 50),
        _unit("dual-path", [1.0, 2.0] * 50),
        _unit("dual-path-no-decoders", [1.0, 20.0] * 50),
    ]
    rows = {row["method"]: row for row in retrieval_rows(units, methods) if row["direction"] == "both"}
    without = rows["dual-path-no-decoders"]
    assert without["idea brings"] == pytest.approx(50.0)
    assert 38 < without["idea brings low"] < 50 < without["idea brings high"] < 62
    assert without["difference"] == pytest.approx(50.0)
    assert not any("idea brings" in rows[name] for name in ("cca", "dual-path"))
    assert as_text([without]).count("+50.0 (") == 2


def test_pairs_of_a_group_are_drawn_together() -> None:
    methods = choose_methods(["cca", "dual-path"])
    hits = np.repeat([1.0, 20.0], 10).tolist() * 10
    units = [_unit("cca", [20.0] * 200), _unit("dual-path", hits)]
    tracks = {f"pair{number}": number // 10 for number in range(200)}
    alone = {f"pair{number}": number for number in range(200)}
    plain, same, grouped = (retrieval_rows(units, methods, groups=groups) for groups in (None, alone, tracks))
    assert same == plain
    ours = [next(row for row in rows if row["method"] == "dual-path") for rows in (plain, grouped)]
    assert ours[0]["difference"] == ours[1]["difference"] == 50.0
    widths = [row["difference high"] - row["difference low"] for row in ours]
    # Twenty tracks tell as much as twenty pairs: wider by the root of ten.
    assert widths[1] / widths[0] == pytest.approx(np.sqrt(10), rel=0.2)


def test_pairs_of_one_track_are_no_wrong_answers_to_each_other(made_up_features) -> None:
    pairs = made_up_features(4)
    pairs.music[1] = pairs.music[0]

    class Fitted:
        def similarity(self, video, music):
            # Music 0 is that of pair 1: it beats pair 0's own in both directions.
            return np.array([[2.0, 9, 0, 0], [9, 2, 0, 0], [0, 0, 2, 9], [0, 0, 0, 2]])

    measured = Retrieval().measure(Fitted(), pairs)
    assert measured["video to music"] == [1.0, 1.0, 2.0, 1.0]
    assert measured["music to video"] == [1.0, 1.0, 1.0, 2.0]
    assert Retrieval().ranks(Fitted().similarity(0, 0))["video to music"] == [2.0, 2.0, 2.0, 1.0]


def test_without_the_whole_method_nothing_is_said_of_an_idea() -> None:
    methods = choose_methods(["cca", "dual-path-no-decoders"])
    rows = retrieval_rows([_unit(one.name, [1.0, 20.0] * 50) for one in methods], methods)
    assert not any("idea brings" in row for row in rows)


def test_tables_say_the_same_in_every_form() -> None:
    methods = choose_methods(["cca", "dual-path"])
    rows = retrieval_rows([_unit("cca", [1.0, 20.0] * 50), _unit("dual-path", [1.0] * 100)], methods)
    text, markdown, table = as_text(rows), as_markdown(rows), list(csv.DictReader(as_csv(rows).splitlines()))
    assert "+50.0 (" in text
    assert "+50.0 (" in markdown
    assert [row["method"] for row in table] == [row["method"] for row in rows]
    assert len(markdown.splitlines()) == len(rows) + 2
    assert len({line.count("|") for line in markdown.splitlines()}) == 1


def test_match_rows_pool_folds_by_percentile(made_up_features) -> None:
    pairs = made_up_features(80, labelled=True)
    methods = choose_methods(["random", "dual-path", "dual-path-no-emotion-path"])
    perfect = pairs.match.astype(float)
    units = []
    for method, scores in (
        ("random", np.zeros(80)),
        ("dual-path", perfect),
        ("dual-path-no-emotion-path", np.zeros(80)),
    ):
        for fold in range(2):
            at = np.arange(fold, 80, 2) if method == "none" else np.arange(40 * fold, 40 * fold + 40)
            units.append(
                _unit(
                    method,
                    [],
                    fold=fold,
                    rows=[pairs.identifiers[row] for row in at],
                    measured={"percentile": percentiles(scores[at]).tolist()},
                )
            )
    rows = {row["method"]: row for row in match_rows(units, methods, pairs)}
    assert rows["random"]["AUC"] == 50.0
    assert rows["dual-path"]["AUC"] == 100.0
    assert rows["dual-path"]["difference"] == 50.0
    assert rows["dual-path"]["rows"] == 80
    assert rows["dual-path-no-emotion-path"]["idea brings"] == 50.0


def test_what_is_done_is_not_repeated(made_up_features, tmp_path: Path, monkeypatch) -> None:
    pairs = made_up_features(60)
    folds, methods = repeated_folds(pairs, 3, [1]), choose_methods(["random", "cca"])
    first = run.run_benchmark(pairs, folds, methods, task_of(pairs), Results(tmp_path, {}), trials=2)

    def never(*_: object) -> None:
        raise AssertionError("repeated")

    monkeypatch.setattr(run, "fit_within_budget", never)
    lines: list[str] = []
    again = run.run_benchmark(
        pairs, folds, methods, task_of(pairs), Results(tmp_path, {}), trials=2, progress=lines.append
    )
    assert again == first
    assert lines[-1] == "[6/6] repetition 1 fold 2: cca (kept)"


def test_a_method_that_may_try_other_settings_is_run_again_alone(
    made_up_features, tmp_path: Path, monkeypatch
) -> None:
    pairs = made_up_features(60)
    folds, methods = repeated_folds(pairs, 2, [1]), choose_methods(["random", "pls", "cca"])
    run.run_benchmark(pairs, folds, methods, task_of(pairs), Results(tmp_path, {}), trials=2)
    monkeypatch.setattr(type(methods[1]), "space", {**methods[1].space, "directions": (3,)})
    lines: list[str] = []
    run.run_benchmark(
        pairs, folds, methods, task_of(pairs), Results(tmp_path, {}), trials=2, progress=lines.append
    )
    assert lines[0] == "run again, because the settings to try have changed: pls"
    again = [line for line in lines[1:] if not line.endswith("(kept)")]
    assert len(again) == 2
    assert all(": pls (" in line for line in again)


def test_two_runs_of_one_seed_give_the_same_figures(made_up_features, tmp_path: Path) -> None:
    pairs = made_up_features(60)
    methods = choose_methods(["random", "pls", "emotion-agreement"])
    folds = repeated_folds(pairs, 2, [4])
    results = []
    for name in ("a", "b"):
        units = run.run_benchmark(pairs, folds, methods, Retrieval(), Results(tmp_path / name, {}), trials=2)
        results.append([(unit.measured, unit.settings) for unit in units])
    assert results[0] == results[1]


def test_results_of_another_benchmark_are_not_mixed(tmp_path: Path) -> None:
    Results(tmp_path, {"data": "abc", "trials": 4})
    with pytest.raises(FailedPrecondition, match="trials = 4, not 8: use another --out"):
        Results(tmp_path, {"data": "abc", "trials": 8})


def test_a_broken_result_is_named(tmp_path: Path) -> None:
    results = Results(tmp_path, {})
    (tmp_path / "units" / "cca-seed1-fold0.json").write_text("{")
    with pytest.raises(FailedPrecondition, match=r"cca-seed1-fold0\.json is no result"):
        results.find("cca", 1, 0)


def test_a_full_disk_leaves_the_previous_result(tmp_path: Path, monkeypatch) -> None:
    results = Results(tmp_path, {})
    results.add(_unit("cca", [1.0]))

    def full(self: Path, *_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageFull, match="free some space"):
        results.add(_unit("cca", [2.0]))
    found = results.find("cca", 1, 0)
    assert found is not None
    assert found.measured["video to music"] == [1.0]


def test_the_command_prints_one_table_and_writes_all_forms(tmp_path: Path, dualpath, mgsv_folder) -> None:
    data = mgsv_folder(30)
    out = tmp_path / "results"
    command = ["benchmark", "mgsv", "--data", data, "--out", out, "--seeds", "1"]
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- benchmark mgsv -->\noutdated\n<!-- end -->\nafter\n")
    command += ["--folds", "3", "--methods", "random,cca", "--trials", "2", "--into", page]
    status, printed, told = dualpath(*command)
    assert status == 0
    assert printed.startswith("mgsv: 30 pairs, 3 folds, 1 repetitions, 2 trials a method and fold\n")
    assert "(chance)" in printed
    assert told.count("\n") == 6
    assert {path.name for path in out.glob("table.*")} == {
        "table.txt",
        "table.csv",
        "table.json",
        "table.md",
    }
    assert page.read_text().startswith("before\n<!-- benchmark mgsv -->\nmgsv: 30 pairs")
    assert page.read_text().endswith("|\n<!-- end -->\nafter\n")
    assert "outdated" not in page.read_text()
    record = json.loads((out / "table.json").read_text())
    assert len(record["trials of"]["cca"][0]["trials"]) == 2


def test_features_without_emotion_are_compared_without_the_methods_about_it(
    tmp_path: Path, dualpath, mgsv_folder
) -> None:
    command = ["benchmark", "mgsv", "--data", mgsv_folder(20), "--out", tmp_path / "results", "--seeds", "1"]
    status, printed, told = dualpath(
        *command, "--folds", "2", "--methods", "random,emotion-only,dual-path", "--trials", "1"
    )
    assert status == 0
    assert told.splitlines()[0] == (
        "the features come without emotion, or with one alone; left out: emotion-only; "
        "without its emotion path: dual-path"
    )
    assert "dual-path *" in printed
    assert "emotion-only" not in printed


def test_a_page_without_a_place_for_the_table_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("nothing here\n")
    with pytest.raises(InvalidRequest, match="add them where the table goes"):
        _replace_between(page, "<!-- benchmark muvisync -->", "table")
    assert page.read_text() == "nothing here\n"
