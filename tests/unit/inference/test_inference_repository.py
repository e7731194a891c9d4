"""A repository is taken whole and right, or refused with the file or field at fault and what to do."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.repository import write_tiny_repository

from kinoscore.errors import InvalidRepository
from kinoscore.inference.conversion import convert_repositories
from kinoscore.inference.repository import (
    MODEL_NAMES,
    ModelRepository,
    default_repository,
    load_repositories,
)
from kinoscore.inference.targets import Target, TargetOptions


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_tiny_repository(tmp_path / "repository")


def change_manifest(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = folder / "kinoscore.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_whole_repository_loads_with_every_number(folder: Path) -> None:
    repository = ModelRepository.load(folder)
    manifest = repository.manifest
    assert (manifest.video.window_frames, manifest.video.window_seconds) == (24, 12.0)
    assert (manifest.music.window_seconds, manifest.music.passage_seconds) == (3.0, 12.0)
    assert manifest.music.passage_hop_seconds == 6.0
    assert manifest.calibration.video.valence_error == 0.25
    assert manifest.emotion_labels == ("joyful", "tense", "sad", "calm", "neutral")
    assert all(repository.model_path(name).is_file() for name in MODEL_NAMES)


def test_the_space_differs_between_models_and_not_between_copies(tmp_path: Path) -> None:
    folders = [write_tiny_repository(tmp_path / str(i), seed=seed) for i, seed in enumerate((0, 0, 1))]
    first, copy, other = (ModelRepository.load(folder).manifest.space for folder in folders)
    assert first == copy != other


def test_a_missing_repository_names_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(InvalidRepository, match=r"does not exist.*kinoscore doctor.*dualpath export"):
        ModelRepository.load(tmp_path / "nowhere")


def test_a_missing_model_file_is_named(folder: Path) -> None:
    path = ModelRepository.load(folder).model_path("clip_encoder")
    path.unlink()
    with pytest.raises(InvalidRepository, match=r"clip_encoder_s.*half-written"):
        ModelRepository.load(folder)


def test_a_cut_model_file_is_named(folder: Path) -> None:
    path = ModelRepository.load(folder).model_path("fusion")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InvalidRepository, match=r"fusion_s.*SHA-256 differs"):
        ModelRepository.load(folder)


def test_a_cut_manifest_is_named(folder: Path) -> None:
    path = folder / "kinoscore.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(InvalidRepository, match=r"kinoscore\.json is not JSON"):
        ModelRepository.load(folder)


@pytest.mark.parametrize("version", [2, "1", None])
def test_another_format_is_refused_before_anything_else(folder: Path, version: object) -> None:
    change_manifest(folder, lambda content: content.update(format=version, video="quite another"))
    with pytest.raises(InvalidRepository, match="reads 1") as caught:
        ModelRepository.load(folder)
    assert caught.value.field == "format"


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("space", lambda content: content.update(space="another")),
        ("video.frame_width", lambda content: content["video"].pop("frame_width")),
        ("video.frame_width", lambda content: content["video"].update(frame_width="128")),
        ("video.window_frames", lambda content: content["video"].update(window_frames=0)),
        ("music.tempo", lambda content: content["music"].update(tempo=1)),
        (
            "calibration.music.valence_error",
            lambda content: content["calibration"]["music"].update(valence_error=-1),
        ),
        ("emotion_labels", lambda content: content.update(emotion_labels=[])),
        ("models", lambda content: content["models"].pop("fusion")),
        (
            "models.fusion.name",
            lambda content: content["models"]["fusion"].update(name="fusion_s000000000000"),
        ),
        ("models.fusion.sha256", lambda content: content["models"]["fusion"].update(sha256="0")),
    ],
)
def test_a_wrong_field_is_named(folder: Path, field: str, change: Callable[[dict[str, Any]], object]) -> None:
    change_manifest(folder, change)
    with pytest.raises(InvalidRepository, match=f"field {field}:") as caught:
        ModelRepository.load(folder)
    assert caught.value.field == field
    assert "dualpath export" in caught.value.message
    assert "\n" not in caught.value.message


def test_the_shipped_repository_loads_where_it_is_there() -> None:
    try:
        path = default_repository()
    except InvalidRepository:
        pytest.skip("this source tree has no models/repository yet")
    assert ModelRepository.load(path).manifest.format == 1


def test_several_repositories_are_of_a_space_each(tmp_path: Path) -> None:
    old, new = (write_tiny_repository(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    assert [repository.path for repository in load_repositories([old, new])] == [old, new]
    again = write_tiny_repository(tmp_path / "again", seed=1)
    with pytest.raises(InvalidRepository, match=f"{new} and {again} are of the same embedding space"):
        load_repositories([old, new, again])


def test_the_models_of_several_spaces_are_written_into_one_folder(tmp_path: Path) -> None:
    both = load_repositories(write_tiny_repository(tmp_path / str(seed), seed=seed) for seed in (0, 1))
    convert_repositories(both, tmp_path / "both", TargetOptions(Target.PYTHON))
    assert ModelRepository.load(tmp_path / "both").manifest == both[0].manifest
    names = {entry.name for repository in both for entry in repository.manifest.models.values()}
    assert {path.parent.name for path in (tmp_path / "both").glob("*/config.pbtxt")} == names
    assert len(names) == 10
