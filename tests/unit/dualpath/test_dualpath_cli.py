from pathlib import Path

import pytest

from dualpath import cli


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
