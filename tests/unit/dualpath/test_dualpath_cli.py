from dataclasses import fields
from pathlib import Path

import pytest

from dualpath import cli
from dualpath.config import TrainingConfig, check_number
from kinoscore.errors import InvalidRequest


@pytest.mark.parametrize("command", ["generate", "fit", "evaluate", "export", "benchmark", "features"])
def test_help_says_what_a_command_does(command: str, dualpath) -> None:
    status, printed, _ = dualpath(command, "--help")
    assert status == 0
    assert f"Usage: dualpath {command}" in printed


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "--data", "{folder}", "--run", "{folder}/run"), "dualpath generate"),
        (("evaluate", "{folder}/run", "--data", "{folder}"), "dualpath fit"),
        (("export", "{folder}/run", "--repository", "{folder}/repository"), "dualpath fit"),
    ],
)
def test_an_error_is_one_line_and_exit_1(
    arguments: tuple[str, ...], words: str, tmp_path: Path, dualpath
) -> None:
    status, _, message = dualpath(*(argument.format(folder=tmp_path) for argument in arguments))
    assert status == 1
    assert message.startswith("dualpath: ")
    assert message.count("\n") == 1
    assert words in message


def test_a_wrong_option_is_exit_2(dualpath) -> None:
    status, _, message = dualpath("fit", "--no-such-option")
    assert status == 2
    assert "no-such-option" in message


def test_ctrl_c_is_exit_130(monkeypatch: pytest.MonkeyPatch, dualpath) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "commands", interrupt)
    status, _, message = dualpath("fit")
    assert status == 130
    assert "--resume" in message


def test_a_run_that_is_there_is_refused_before_anything_is_decoded(tmp_path: Path, dualpath) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"a checkpoint")
    status, _, message = dualpath("fit", "--data", tmp_path / "none.csv", "--run", tmp_path / "run")
    assert status == 1
    assert "holds a run already (last.pt): --resume goes on with it" in message


def test_a_run_on_features_is_not_evaluated_on_media(tmp_path: Path, dualpath) -> None:
    (tmp_path / "features.pt").write_bytes(b"heads")
    status, _, message = dualpath("evaluate", tmp_path, "--data", tmp_path)
    assert status == 1
    assert "holds heads on features" in message


@pytest.mark.parametrize(
    ("option", "value", "allowed"),
    [
        ("--threads", "0", "a whole number, from 1 to 256"),
        ("--threads", "-1", "a whole number, from 1 to 256"),
        ("--seed", "-1", "a whole number, from 0 to 4294967295"),
        ("--epochs", "0", "a whole number, 1 or more"),
        ("--patience", "0", "a whole number, 1 or more"),
        ("--batch-size", "1", "a whole number, 2 or more"),
        ("--devices", "0", "a whole number, 1 or more"),
        ("--learning-rate", "nan", "a number, above 0"),
        ("--augmentation", "-1.0", "a number, 0 or more"),
        ("--polarity-factor", "-3.0", "a number, 0 or more"),
        ("--minutes", "-1.0", "a number, 0 or more"),
        ("--minutes", "inf", "a number, 0 or more"),
    ],
)
@pytest.mark.parametrize("layout", [(), ("--features", "mgsv")])
def test_a_number_out_of_its_range_is_told_before_anything_is_read(
    layout: tuple[str, ...], option: str, value: str, allowed: str, tmp_path: Path, dualpath
) -> None:
    missing = tmp_path / "none"
    status, _, message = dualpath("fit", "--data", missing, "--run", missing, option, value, *layout)
    assert (status, message) == (1, f"dualpath: {option} is {allowed}, not {value}\n")


def test_evaluate_needs_a_thread(tmp_path: Path, dualpath) -> None:
    status, _, message = dualpath("evaluate", tmp_path, "--data", tmp_path, "--threads", "0")
    assert (status, message) == (1, "dualpath: --threads is a whole number, from 1 to 256, not 0\n")


def test_every_number_of_training_has_a_range() -> None:
    for entry in fields(TrainingConfig):
        if isinstance(entry.default, float):
            with pytest.raises(InvalidRequest, match="not nan"):
                check_number(entry.name, float("nan"))
