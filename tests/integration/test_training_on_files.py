"""A user's own files from a CSV to a model repository, by the commands of the README."""

import csv
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch", reason="the trainer needs torch: install kinoscore[train]")

from dualpath.cli import commands
from kinoscore.inference.repository import ModelRepository
from kinoscore.world import write_world

pytestmark = pytest.mark.filterwarnings("ignore")  # the tracing exporter announces its successor


@pytest.fixture(scope="module")
def listing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The media of a small generated world as a CSV of files; one pair has no emotion."""
    folder = tmp_path_factory.mktemp("own")
    rows = []
    for split, count in (("train", 5), ("validation", 2), ("test", 3)):
        write_world(folder / "media", split, count, seed=3)
        with (folder / "media" / split / "index.csv").open(newline="") as lines:
            rows += [
                {
                    "video": f"media/{split}/{row['clip']}",
                    "music": f"media/{split}/{row['track']}",
                    "split": split,
                    "valence": row["valence"] if number else "",
                    "arousal": row["arousal"] if number else "",
                }
                for number, row in enumerate(csv.DictReader(lines))
            ]
    path = folder / "pairs.csv"
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def _run(*arguments: str | Path) -> str:
    outcome = CliRunner().invoke(commands, [str(argument) for argument in arguments])
    assert outcome.exception is None, outcome.output
    return outcome.output


def test_a_csv_of_files_becomes_a_model_repository(listing: Path, tmp_path: Path) -> None:
    run, repository = tmp_path / "run", tmp_path / "repository"
    fit = ("fit", "--data", listing, "--run", run, "--epochs", "1", "--batch-size", "2", "--threads", "1")
    assert "4 of 5 training pairs have an emotion" in _run(*fit)
    table = _run("evaluate", run, "--data", listing, "--threads", "1")
    assert "model    video to music        3" in table
    assert "oracle" not in table
    _run("export", run, "--repository", repository)
    manifest = ModelRepository.load(repository).manifest
    assert manifest.space == json.loads((repository / "kinoscore.json").read_text())["space"]
    assert "pairs.csv" in (repository / "kinoscore.json").read_text()
