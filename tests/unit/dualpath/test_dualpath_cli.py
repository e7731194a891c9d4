import errno
from dataclasses import fields
from pathlib import Path

import pytest
from support.media_files import grey_frames, sine, write_clip

from dualpath import cli
from dualpath.config import TrainingConfig, check_number
from dualpath.training import files
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


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("fit", "--data", "world"), "what was finished is kept: run it again with --resume to go on"),
        (("fit", "--features", "mgsv"), "run it again"),
        (("generate", "world"), "what was finished is kept: run it again to go on"),
        (("benchmark", "world"), "what was finished is kept: run it again to go on"),
        (("features",), "what was finished is kept: run it again to go on"),
        (("evaluate",), "run it again"),
        (("export",), "run it again"),
    ],
)
def test_ctrl_c_is_exit_130_and_says_how_to_go_on(
    arguments: tuple[str, ...], words: str, monkeypatch: pytest.MonkeyPatch, dualpath
) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "commands", interrupt)
    assert dualpath(*arguments) == (130, "", f"dualpath: interrupted; {words}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        ("generate", "{file}/world"),
        ("export", "{folder}", "--repository", "{file}/repository"),
        ("fit", "--data", "{data}", "--run", "{file}/run"),
        ("fit", "--data", "{data}", "--run", "{folder}/run", "--cache", "{file}/cache"),
        ("features", "--data", "{data}", "--out", "{folder}/out", "--cache", "{file}/cache"),
        ("features", "--data", "{data}", "--out", "{file}/out"),
        ("benchmark", "mgsv", "--data", "{features}", "--out", "{file}/out"),
    ],
)
def test_a_path_that_cannot_be_written_is_one_line(
    arguments: tuple[str, ...], tmp_path: Path, mgsv_folder, dualpath
) -> None:
    file = tmp_path / "plain"
    file.write_text("no folder")
    data = tmp_path / "pairs.csv"
    data.write_text("video,music\nclip.mp4,\n")
    write_clip(tmp_path / "clip.mp4", grey_frames(4), rate=4, sound=sine(1.0))
    names = {"file": file, "data": data, "folder": tmp_path, "features": tmp_path}
    if arguments[0] == "benchmark":
        mgsv_folder(20)
    status, _, message = dualpath(*(argument.format(**names) for argument in arguments))
    last = message.splitlines()[-1]
    assert status == 1
    assert last.startswith("dualpath: ")
    assert f"{file}/" in last
    assert "Not a directory" in last
    assert "Traceback" not in message


def test_a_full_disk_is_one_line_wherever_it_is_met(monkeypatch: pytest.MonkeyPatch, dualpath) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cli, "commands", full)
    assert dualpath("export")[::2] == (1, "dualpath: No space left on device: make room and run it again\n")


def test_a_run_folder_that_cannot_be_written_is_refused_before_anything_is_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dualpath
) -> None:
    monkeypatch.setattr(files.os, "access", lambda path, mode: False)
    status, _, message = dualpath("fit", "--data", tmp_path / "none.csv", "--run", tmp_path / "new" / "run")
    assert (status, message) == (1, f"dualpath: cannot write {tmp_path}/new/run: Permission denied\n")


def test_a_run_that_is_there_is_refused_before_anything_is_decoded(tmp_path: Path, dualpath) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").write_bytes(b"a checkpoint")
    status, _, message = dualpath("fit", "--data", tmp_path / "none.csv", "--run", tmp_path / "run")
    assert status == 1
    assert "holds a run already (last.pt): --resume goes on with it" in message


def test_a_run_on_features_has_one_gallery_and_no_figures_to_draw(tmp_path: Path, dualpath) -> None:
    (tmp_path / "features.pt").write_bytes(b"heads")
    for option in (("--gallery", "100"), ("--plot", tmp_path / "plots")):
        status, _, message = dualpath("evaluate", tmp_path, "--data", tmp_path, *option)
        assert status == 1
        assert "have no effect on a run on features" in message


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
