"""A dual path on features, from `fit` to a repository of heads whose manifest names what it needs."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from dualpath.benchmark import feature_run
from dualpath.benchmark.feature_run import fit_features, load_feature_model, measure_features
from dualpath.benchmark.tasks import Retrieval
from dualpath.data.features.layouts import LAYOUTS, layout_named
from dualpath.data.features.pairs import FeaturePairs
from dualpath.data.features.prepare import fit_preparation
from dualpath.export.features import export_features, feature_graphs
from dualpath.export.onnx import PARITY_LIMIT
from dualpath.methods.dual_path import DualPath
from dualpath.methods.method import Kind
from dualpath.networks.feature_paths import FeaturePathsConfig
from dualpath.training.run_folder import RunFolder
from kinoscore.errors import FailedPrecondition, InvalidRepository, InvalidRequest, NotFound
from kinoscore.inference.repository import ModelRepository


class _Quick(DualPath):
    """The dual path with few steps and one setting."""

    def __init__(self, config: FeaturePathsConfig | None = None) -> None:
        super().__init__("dual-path", Kind.OURS, config)
        self.space = {name: values[:1] for name, values in self.space.items()} | {"steps": (2,)}


@pytest.fixture
def pairs(made_up_features) -> FeaturePairs:
    made = made_up_features(170, video_width=150)
    made.music[:, :, -1] = 0.3  # a channel that never moves
    return made


@pytest.fixture
def run(pairs: FeaturePairs, tmp_path: Path) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    fit_features(folder, "mgsv", pairs, _Quick(), trials=1, seed=1)
    return folder


def _vectors(repository: Path, manifest: dict, head: str, tokens: np.ndarray) -> dict[str, np.ndarray]:
    entry = manifest["models"][head]
    session = onnxruntime.InferenceSession(
        str(repository / entry["name"] / "1" / "model.onnx"), providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"tokens": tokens}), strict=True))


def test_the_exported_heads_rank_raw_tokens_as_the_trained_method(
    run: RunFolder, pairs: FeaturePairs, tmp_path: Path, monkeypatch
) -> None:
    kept = []
    real = feature_run.fit_within_budget
    monkeypatch.setattr(
        feature_run, "fit_within_budget", lambda *given: kept.append(real(*given)) or kept[-1]
    )
    fit_features(RunFolder(tmp_path / "again"), "mgsv", pairs, _Quick(), trials=1, seed=1)
    repository = tmp_path / "repository"
    space = export_features(load_feature_model(run), repository, training={}, metrics={})
    manifest = json.loads((repository / "kinoscore.json").read_text())
    assert manifest["space"] == space
    assert max(manifest["metrics"]["parity"].values()) <= PARITY_LIMIT
    video = _vectors(repository, manifest, "video_head", pairs.video)
    music = _vectors(repository, manifest, "music_head", pairs.music)
    assert set(video) == set(manifest["similarity"]) == {"fused", "course", "agreement"}
    ours = sum(share * video[path] @ music[path].T for path, share in manifest["similarity"].items())
    prepared = fit_preparation(pairs).apply(pairs)
    expected = kept[0].fitted.similarity(prepared.video, prepared.music)
    np.testing.assert_allclose(ours, expected, atol=2e-3)


def test_a_run_is_measured_as_the_benchmark_measures_its_method(run: RunFolder, pairs: FeaturePairs) -> None:
    model = load_feature_model(run)
    both, *_, chance = measure_features(model, pairs)
    rows = Retrieval().rows(model.preparation.apply(pairs))
    ranks = np.concatenate(list(Retrieval().measure(model, rows).values()))
    assert both["R@10"] == 100.0 * (ranks <= 10).mean() > 2 * chance["R@10"]
    assert both["R@10 low"] <= both["R@10"] <= both["R@10 high"]
    assert both["gallery"] == str(len(pairs))


def test_features_of_another_kind_are_not_measured(run: RunFolder, made_up_features) -> None:
    with pytest.raises(InvalidRequest, match="extracted in another way"):
        measure_features(load_feature_model(run), made_up_features(40, video_width=60))


def test_rows_that_match_or_not_are_measured_by_the_area(made_up_features, tmp_path: Path) -> None:
    pairs = made_up_features(120, labelled=True)
    folder = RunFolder(tmp_path / "run")
    fit_features(folder, "emomv", pairs, _Quick(), trials=1, seed=1)
    figures, chance = measure_features(load_feature_model(folder), pairs)
    assert figures["AUC"] > chance["AUC"] == 50.0


def test_the_manifest_names_every_feature_with_its_width_and_rate(run: RunFolder, tmp_path: Path) -> None:
    export_features(load_feature_model(run), tmp_path / "repository", training={}, metrics={})
    features = json.loads((tmp_path / "repository" / "kinoscore.json").read_text())["features"]
    assert features["layout"] == "mgsv"
    assert features["video"] == {
        "tokens": 10,
        "token_width": 150,
        "arrays": [{"name": "vit_feature1", "width": 150, "rate": 1.0}],
    }
    assert features["music"]["arrays"] == [{"name": "ast_feature2p5", "width": 7, "rate": 0.4}]


@pytest.mark.parametrize(
    "config",
    [
        FeaturePathsConfig(course=False, key_frames=False),
        FeaturePathsConfig(emotion_path=False, fusion="sum", decoders=False, channel_attention=False),
        FeaturePathsConfig(shared_encoder=False, canonical=False),
    ],
)
def test_a_path_that_is_off_is_not_exported(config: FeaturePathsConfig, pairs, tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run")
    fit_features(run, "mgsv", pairs, _Quick(config), trials=1, seed=1)
    model = load_feature_model(run)
    paths = {"fused"} | ({"course"} if config.course else set())
    paths |= {"agreement"} if config.emotion_path else set()
    assert set(model.shares) == paths
    for graph in feature_graphs(model):
        assert {port.name for port in graph.outputs} == paths
    export_features(model, tmp_path / "repository", training={}, metrics={})


def test_the_services_refuse_heads_on_features_and_say_which(run: RunFolder, tmp_path: Path) -> None:
    export_features(load_feature_model(run), tmp_path / "repository", training={}, metrics={})
    with pytest.raises(InvalidRepository) as refused:
        ModelRepository.load(tmp_path / "repository")
    assert "needs precomputed features (vit_feature1, ast_feature2p5)" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_space_follows_the_weights(pairs: FeaturePairs, tmp_path: Path) -> None:
    spaces = []
    for seed in (1, 1, 2):
        run = RunFolder(tmp_path / f"run{len(spaces)}")
        fit_features(run, "mgsv", pairs, _Quick(), trials=1, seed=seed)
        spaces.append(
            export_features(load_feature_model(run), tmp_path / f"{len(spaces)}", training={}, metrics={})
        )
    assert spaces[0] == spaces[1] != spaces[2]


def test_test_pairs_teach_nothing(pairs: FeaturePairs, tmp_path: Path) -> None:
    held = replace(pairs, splits=("train",) * 165 + ("test",) * 5)
    summary = fit_features(RunFolder(tmp_path), "mgsv", held, _Quick(), trials=1, seed=1)
    assert summary["training_pairs"] == 165
    everything = replace(pairs, splits=("test",) * 170)
    with pytest.raises(InvalidRequest, match="no rows to train with"):
        fit_features(RunFolder(tmp_path), "mgsv", everything, _Quick(), trials=1, seed=1)


def test_missing_and_foreign_runs_are_told_apart(run: RunFolder, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_feature_model(RunFolder(tmp_path))
    state = run.load(run.path / "features.pt")
    run.save(run.path / "features.pt", {**state, "sizes": [9, 9, 10, 3, 0.3]})
    with pytest.raises(FailedPrecondition, match="holds another network"):
        load_feature_model(run)


def test_every_layout_says_what_it_needs() -> None:
    for layout in LAYOUTS.values():
        assert layout.video
        assert layout.music
    with pytest.raises(InvalidRequest, match="no layout 'other'; there are muvisync, emomv, mgsv"):
        layout_named("other")


def test_from_features_to_a_repository_on_the_command_line(tmp_path: Path, dualpath, mgsv_folder) -> None:
    data = mgsv_folder(170)
    fit = ("fit", "--features", "mgsv", "--data", data, "--run", str(tmp_path / "run"))
    status, _, message = dualpath(*fit, "--epochs", "3")
    assert status == 1
    assert message == "dualpath: --epochs has no effect with --features: leave it out, of --config too\n"
    status, printed, _ = dualpath(*fit, "--threads", "1")
    assert status == 0
    assert printed.count("without emotion, or with one alone: trained without the emotion path\n") == 1
    assert "trained on 170 pairs" in printed
    repository = tmp_path / "repository"
    status, printed, _ = dualpath("export", tmp_path / "run", "--repository", repository)
    assert status == 0
    assert "heads on features" in printed
    manifest = json.loads((repository / "kinoscore.json").read_text())
    assert manifest["kind"] == "features"
    assert manifest["training"]["command"].startswith("dualpath fit --features mgsv --data ")


def test_a_run_on_features_records_where_it_comes_from(run: RunFolder, pairs, tmp_path: Path) -> None:
    origin = {"command": "dualpath fit --features mgsv", "git_revision": "abc"}
    other = RunFolder(tmp_path / "other")
    method = _Quick(FeaturePathsConfig(decoders=False))
    fit_features(other, "mgsv", pairs, method, trials=1, seed=1, data="clips", origin=origin)
    config = other.read_json("config")
    assert config["data"] == {"name": "clips", "digest": pairs.digest()}
    assert (config["switches"]["decoders"], config["switches"]["polarity_factor"]) == (False, 1.0)
    assert config["origins"] == [origin]
    assert run.read_json("config")["origins"] == []


def test_two_processes_never_train_on_features_in_one_folder(pairs, tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with run.locked(), pytest.raises(FailedPrecondition, match="is in use by process"):
        fit_features(run, "mgsv", pairs, _Quick(), trials=1, seed=1)
    assert not run.heads.is_file()


@pytest.mark.parametrize("more", ["", "--resume", "--features mgsv", "--features mgsv --resume"])
def test_a_finished_run_on_features_asks_for_another_folder(more: str, tmp_path: Path, dualpath) -> None:
    (tmp_path / "features.pt").write_bytes(b"heads")
    status, _, message = dualpath("fit", "--data", tmp_path / "none", "--run", tmp_path, *more.split())
    assert status == 1
    assert message.endswith("holds a finished run on features already (features.pt): choose another --run\n")


def test_a_run_on_media_is_no_place_for_one_on_features(tmp_path: Path, dualpath) -> None:
    (tmp_path / "last.pt").write_bytes(b"a checkpoint")
    status, _, message = dualpath("fit", "--features", "mgsv", "--data", tmp_path, "--run", tmp_path)
    assert status == 1
    assert message.endswith("holds a run on media already (last.pt): choose another --run\n")


@pytest.mark.parametrize(
    ("text", "name"),
    [("epochs = 3", "epochs"), ("tensorboard = true", "tensorboard"), ("temperature = 0.1", "temperature")],
)
def test_what_has_no_effect_on_features_is_refused_in_a_file_too(
    text: str, name: str, tmp_path: Path, dualpath
) -> None:
    (tmp_path / "fit.toml").write_text(f'features = "mgsv"\n{text}\n')
    status, _, message = dualpath(
        "fit", "--config", tmp_path / "fit.toml", "--data", tmp_path, "--run", tmp_path / "run"
    )
    assert status == 1
    assert message == f"dualpath: --{name} has no effect with --features: leave it out, of --config too\n"


def test_the_polarity_factor_is_what_is_tried(tmp_path: Path, dualpath) -> None:
    assert DualPath(factor=2.5).space["polarity_factor"] == (2.5, 0.0)
    assert DualPath().space["polarity_factor"] == (1.0, 0.0)
    fit = ("fit", "--features", "mgsv", "--data", tmp_path, "--run", tmp_path / "run")
    for value in ("-1", "nan", "inf"):
        status, _, message = dualpath(*fit, "--polarity-factor", value)
        assert status == 1
        assert "--polarity-factor is a number, 0 or more" in message
    status, _, message = dualpath(*fit, "--polarity-factor", "0.5", "--no-emotion-path")
    assert status == 1
    assert "--polarity-factor has no effect with --no-emotion-path" in message
