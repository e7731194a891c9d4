"""`kinoscore ranking migrate` and `kinoscore spaces` on a folder, as an operator calls them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.repository import write_tiny_repository

from kinoscore.cli import main
from kinoscore.data_folder import DataFolder

Command = Callable[..., Result]


@pytest.fixture
def kinoscore(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    monkeypatch.delenv("KINOSCORE_VECTORS", raising=False)
    repository = write_tiny_repository(tmp_path / "repository")

    def call(*arguments: str) -> Result:
        environment = {"KINOSCORE_REPOSITORY": str(repository), "KINOSCORE_DATA": str(tmp_path / "data")}
        return CliRunner().invoke(main, arguments, env=environment)

    return call


def test_the_space_of_the_models_is_made_once_and_listed_as_active(kinoscore: Command) -> None:
    made = kinoscore("ranking", "migrate")
    assert made.exit_code == 0
    assert "made the collection kinoscore_s" in made.stderr
    assert "nothing to do" in kinoscore("ranking", "migrate").stderr
    [space] = json.loads(kinoscore("spaces", "list", "--json").stdout)
    assert (space["tracks"], space["active"]) == (0, True)
    told = kinoscore("spaces", "drop", space["space"])
    assert (told.exit_code, told.stdout) == (1, "")
    assert told.stderr == (
        f"error: {space['space']} is the active space; make another one active first with "
        "`kinoscore spaces switch`\n"
    )


def test_an_unknown_space_is_one_line_and_a_status(kinoscore: Command) -> None:
    told = kinoscore("spaces", "switch", "sx")
    assert told.exit_code == 1
    assert len(told.stderr.splitlines()) == 1
    assert "no space 'sx'" in told.stderr


def test_a_data_folder_that_a_process_owns_is_left_alone(kinoscore: Command, tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data", purpose="up")
    told = kinoscore("spaces", "list")
    folder.release()
    assert told.exit_code == 1
    assert "in use by `kinoscore up`" in told.stderr
