"""`dualpath fit --config FILE`: what may stand in it, and what wins."""

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from dualpath.cli import commands
from dualpath.config_file import config_option, training_numbers
from kinoscore.errors import KinoscoreError


@click.command()
@config_option
@click.option("--data", "path", required=True)
@click.option("--batch-size", default=64)
@click.option("--decoders/--no-decoders", default=True)
def command(path: str, batch_size: int, decoders: bool) -> None:
    click.echo(f"{path} {batch_size} {decoders} {training_numbers()}")


def _run(folder: Path, text: str, *arguments: str) -> str:
    file = folder / "config.toml"
    file.write_text(text)
    outcome = CliRunner().invoke(command, ["--config", str(file), *arguments])
    if isinstance(outcome.exception, KinoscoreError):
        raise outcome.exception
    return outcome.output


def test_a_file_gives_options_and_the_other_numbers_of_training(tmp_path: Path) -> None:
    text = 'data = "pairs.csv"\nbatch-size = 32\ndecoders = false\ntemperature = 0.05\nemotion_weight = 2'
    assert _run(tmp_path, text) == "pairs.csv 32 False {'temperature': 0.05, 'emotion_weight': 2}\n"


def test_a_flag_overrides_the_file(tmp_path: Path) -> None:
    text = 'data = "pairs.csv"\nbatch_size = 32\ndecoders = false'
    assert _run(tmp_path, text, "--batch-size", "8", "--decoders").startswith("pairs.csv 8 True")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("batch_sise = 3", "did you mean 'batch_size'"),
        ("temprature = 0.1", "did you mean 'temperature'"),
        ("nothing_like_it = 1", "unknown key 'nothing_like_it'"),
        ("temperature = 'warm'", "temperature is a number"),
        ("temperature = true", "temperature is a number"),
        ("batch_size", "is no TOML"),
        ('batch_size = "many"', "--batch-size is a whole number, 2 or more, not 'many'"),
        ("batch_size = 2.5", "--batch-size is a whole number, 2 or more, not 2.5"),
        ("temperature = 0", "temperature is a number, above 0, not 0"),
        ("margin = nan", "margin is a number, 0 or more, not nan"),
        ("average_decay = 1.5", "average_decay is a number, from 0 to 1, not 1.5"),
        ("warm_up_share = -1", "warm_up_share is a number, from 0 to 1, not -1"),
    ],
)
def test_a_wrong_file_is_one_line(text: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(KinoscoreError) as caught:
        _run(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_value_of_another_kind_names_the_option(tmp_path: Path) -> None:
    assert "--decoders" in _run(tmp_path, 'data = "x"\ndecoders = "many"')


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(commands, ["fit", "--config", str(tmp_path / "none.toml")])
    assert "none.toml" in str(outcome.exception)
