"""`kinoscore models check` names each flaw of a repository, with its file and a remedy."""

from pathlib import Path

import pytest
from click.testing import CliRunner
from support.repository import write_tiny_repository

from kinoscore.cli import main
from kinoscore.inference import ModelRepository
from kinoscore.inference.checking import Flaw, check_repository
from kinoscore.inference.conversion import convert_repositories
from kinoscore.inference.targets import Target, TargetOptions


@pytest.fixture
def repository(tmp_path: Path) -> ModelRepository:
    tiny = ModelRepository.load(write_tiny_repository(tmp_path / "tiny"))
    convert_repositories([tiny], tmp_path / "repository", TargetOptions(Target.PYTHON))
    return ModelRepository.load(tmp_path / "repository")


def only_flaw(repository: ModelRepository) -> Flaw:
    (flaw,) = check_repository(repository.path)
    assert flaw.remedy
    assert "\n" not in flaw.text
    return flaw


def change_configuration(repository: ModelRepository, model: str, old: str, new: str) -> str:
    place = f"{repository.manifest.models[model].name}/config.pbtxt"
    path = repository.path / place
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return place


@pytest.mark.parametrize("target", list(Target))
def test_what_we_write_has_no_flaw(repository: ModelRepository, tmp_path: Path, target: Target) -> None:
    convert_repositories([repository], tmp_path / "other", TargetOptions(target))
    assert check_repository(tmp_path / "other") == []


def test_a_missing_repository_is_one_flaw(tmp_path: Path) -> None:
    (flaw,) = check_repository(tmp_path / "nothing")
    assert flaw.place == "kinoscore.json"
    assert "does not exist" in flaw.text


def test_a_changed_model_is_found_by_its_checksum(repository: ModelRepository) -> None:
    with repository.model_path("fusion").open("ab") as file:
        file.write(b"\0")
    flaw = only_flaw(repository)
    assert flaw.place.endswith("/1/model.onnx")
    assert "SHA-256 differs" in flaw.text


@pytest.mark.parametrize(
    ("model", "old", "new", "complaint"),
    [
        ("fusion", 'name: "fusion_', 'name: "confusion_', "names the model confusion_"),
        ("fusion", '"python"', '"pytorch"', "has the backend 'pytorch'"),
        ("fusion", "max_batch_size: 16", "max_batch_size: 8", "has max_batch_size 8"),
        ("fusion", 'name: "content"', 'name: "contents"', "lacks the input content"),
        ("fusion", "dims: [ 256 ]", "dims: [ 255 ]", "output fused as [255] a row, and the graph as [256]"),
        ("fusion", "TYPE_FP32", "TYPE_UINT8", "input content as uint8, and the graph as float32"),
        ("fusion", "TYPE_FP32", "TYPE_INT64", "input content as another type"),
        ("fusion", "max_batch_size:", "largest:", "is not a Triton configuration"),
        ("frame_encoder", "\n  reshape: { shape: [ ] }", "", "output salience as [1] a row"),
    ],
)
def test_a_configuration_that_contradicts_its_graph_is_named(
    repository: ModelRepository, model: str, old: str, new: str, complaint: str
) -> None:
    place = change_configuration(repository, model, old, new)
    flaws = check_repository(repository.path)
    assert flaws
    assert {flaw.place for flaw in flaws} == {place}
    assert any(complaint in flaw.text for flaw in flaws), flaws
    assert all("kinoscore models convert" in flaw.remedy for flaw in flaws)


def test_a_model_that_does_not_batch_is_named(repository: ModelRepository) -> None:
    path = repository.path / repository.manifest.models["fusion"].name / "config.pbtxt"
    head, _, rest = path.read_text().partition("dynamic_batching {")
    path.write_text(head + rest[rest.index("model_warmup") :])
    assert "no dynamic_batching" in only_flaw(repository).text


@pytest.mark.parametrize("file", ["config.pbtxt", "1/model.py"])
def test_a_missing_file_is_named(repository: ModelRepository, file: str) -> None:
    place = f"{repository.manifest.models['fusion'].name}/{file}"
    (repository.path / place).unlink()
    assert only_flaw(repository).place == place


def test_a_folder_that_no_manifest_names_would_be_served_too(repository: ModelRepository) -> None:
    (repository.path / "left_over").mkdir()
    assert only_flaw(repository).place == "left_over"


def test_the_command_prints_a_line_a_flaw_and_leaves_with_1(repository: ModelRepository) -> None:
    runner = CliRunner()
    fine = runner.invoke(main, ["models", "check", str(repository.path)])
    assert (fine.exit_code, fine.output) == (0, f"{repository.path}: nothing is wrong\n")
    place = change_configuration(repository, "fusion", "dims: [ 256 ]", "dims: [ 255 ]")
    broken = runner.invoke(main, ["models", "check", str(repository.path)])
    assert broken.exit_code == 1
    (line,) = broken.output.splitlines()
    assert line.startswith(f"{place}: ")


def test_the_command_converts(repository: ModelRepository, tmp_path: Path) -> None:
    destination = tmp_path / "for-gpu"
    arguments = ["models", "convert", str(repository.path), str(destination), "--target", "tensorrt"]
    done = CliRunner().invoke(main, [*arguments, "--fp16"])
    assert done.exit_code == 0, done.output
    assert check_repository(destination) == []
    assert "FP16" in next(destination.glob("*/config.pbtxt")).read_text()
    refused = CliRunner().invoke(main, [*arguments, "--device", "cpu"])
    assert refused.exit_code == 1
    assert "needs a GPU" in refused.output
