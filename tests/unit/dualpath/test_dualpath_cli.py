import sys
from pathlib import Path

import pytest

from dualpath import cli


def _run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["dualpath", *arguments])
    try:
        cli.main()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.mark.parametrize("command", ["generate", "fit", "evaluate", "export", "benchmark"])
def test_help_says_what_a_command_does(command: str, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert _run(monkeypatch, command, "--help") == 0
    assert f"Usage: dualpath {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "--data", "{folder}", "--run", "{folder}/run"), "dualpath generate"),
        (("evaluate", "{folder}/run", "--data", "{folder}"), "dualpath fit"),
        (("export", "{folder}/run", "--repository", "{folder}/repository"), "dualpath fit"),
    ],
)
def test_an_error_is_one_line_and_exit_1(
    arguments: tuple[str, ...], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    assert _run(monkeypatch, *(argument.format(folder=tmp_path) for argument in arguments)) == 1
    message = capsys.readouterr().err
    assert message.startswith("dualpath: ")
    assert message.count("\n") == 1
    assert words in message


def test_a_wrong_option_is_exit_2(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    assert _run(monkeypatch, "fit", "--no-such-option") == 2
    assert "no-such-option" in capsys.readouterr().err


def test_ctrl_c_is_exit_130(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "commands", interrupt)
    assert _run(monkeypatch, "fit") == 130
    assert "--resume" in capsys.readouterr().err
