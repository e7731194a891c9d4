import os
import resource
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.training import origin
from dualpath.training.data_facts import is_other_data, read_evaluations
from dualpath.training.files import write_whole
from dualpath.training.loop import fit
from dualpath.training.model_card import write_model_card
from dualpath.training.run_folder import RunFolder
from kinoscore.errors import FailedPrecondition, InvalidRequest, StorageFull

NETWORK = NetworkConfig(themes=3, attributes=2)
SHORT = TrainingConfig(epochs=2, batch_size=4, threads=1, seed=3)


@contextmanager
def _small_disk(size: int) -> Iterator[None]:
    """Files of this process cannot grow beyond `size` bytes: writing fails in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_in_the_middle_of_a_file_leaves_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_whole(path, lambda file: file.write(b"before"))
    with _small_disk(1000), pytest.raises(StorageFull, match="make room"):
        write_whole(path, lambda file: file.write(bytes(5000)))
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_an_interruption_in_the_middle_of_a_file_leaves_the_previous_one(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    write_whole(path, lambda file: file.write(b"before"))

    def interrupted(file) -> None:
        file.write(b"af")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_whole(path, interrupted)
    assert path.read_bytes() == b"before"
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_that_cannot_be_written_is_no_full_disk(tmp_path: Path) -> None:
    with pytest.raises(FailedPrecondition, match="cannot write"):
        write_whole(tmp_path / "missing" / "last.pt", lambda file: file.write(b""))


def test_a_run_goes_on_after_a_full_disk_as_if_nothing_had_been(tmp_path: Path, made_up_split) -> None:
    training, validation = made_up_split(8), made_up_split(6, seed=1)
    whole, halves = RunFolder(tmp_path / "whole"), RunFolder(tmp_path / "halves")
    fit(whole, training, validation, NETWORK, SHORT)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(line: str) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))

    try:
        with pytest.raises(StorageFull, match="--resume"):
            fit(halves, training, validation, NETWORK, SHORT, progress=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert halves.load(halves.last)["epoch"] == 1
    fit(halves, training, validation, NETWORK, SHORT, resume=True)
    expected = whole.load(whole.last)["weights"]
    torch.testing.assert_close(halves.load(halves.last)["weights"], expected, rtol=0, atol=0)


def test_a_run_folder_in_use_is_refused_by_the_name_of_its_owner(tmp_path: Path, made_up_split) -> None:
    run, split = RunFolder(tmp_path), made_up_split(4)
    with run.locked(), pytest.raises(FailedPrecondition, match=f"in use by process {os.getpid()}") as caught:
        fit(run, split, split, NETWORK, SHORT)
    assert "\n" not in str(caught.value)
    with run.locked():
        pass


def test_a_finished_run_is_not_overwritten(tmp_path: Path, made_up_split) -> None:
    run, split = RunFolder(tmp_path), made_up_split(4)
    fit(run, split, split, NETWORK, SHORT)
    before = run.last.read_bytes()
    with pytest.raises(FailedPrecondition, match=r"holds a run already.*--resume"):
        fit(run, split, split, NETWORK, SHORT)
    assert run.last.read_bytes() == before


def test_the_owner_of_a_run_folder_clears_what_a_crash_left(tmp_path: Path) -> None:
    left_over = tmp_path / ".last.pt.123.partial"
    left_over.write_bytes(b"half")
    with RunFolder(tmp_path).locked():
        assert not left_over.exists()


@pytest.mark.parametrize(
    "state",
    [
        {"network": NetworkConfig(fusion="sum").as_dict(), "weights": {"other": torch.zeros(2)}},
        {"network": {"depth": 12}, "weights": {}},
        {"weights": {}},
    ],
)
def test_a_checkpoint_of_another_architecture_is_refused_in_one_line(tmp_path: Path, state: dict) -> None:
    run = RunFolder(tmp_path)
    run.save(run.best, state)
    with pytest.raises(FailedPrecondition, match="another network") as caught:
        run.load_best()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"garbage", b"PK\x03\x04 half of it"])
@pytest.mark.parametrize("name", ["best.pt", "last.pt"])
def test_a_damaged_checkpoint_is_one_line_with_the_remedy(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FailedPrecondition) as caught:
        RunFolder(tmp_path).load(tmp_path / name)
    assert str(caught.value) == (
        f"{tmp_path / name} is damaged, or no checkpoint of dualpath: put a copy back, or train again with "
        "another --run"
    )


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe"])
@pytest.mark.parametrize(("name", "command"), [("summary", "--resume"), ("evaluation-test", "evaluate")])
def test_a_damaged_json_file_is_one_line_with_the_remedy(
    tmp_path: Path, name: str, command: str, content: bytes
) -> None:
    (tmp_path / f"{name}.json").write_bytes(content)
    with pytest.raises(FailedPrecondition, match=rf"{name}\.json is damaged.*remove it.*{command}") as caught:
        RunFolder(tmp_path).read_json(name)
    assert "\n" not in str(caught.value)


def test_a_damaged_run_on_features_is_not_said_to_be_resumable(tmp_path: Path) -> None:
    for name in ("features.pt", "summary.json"):
        (tmp_path / name).write_bytes(b"{")
    with pytest.raises(FailedPrecondition, match="back, or train again with another --run"):
        RunFolder(tmp_path).read_json("summary")


def test_a_run_without_its_json_files_writes_them_anew(tmp_path: Path, made_up_split) -> None:
    run, split = RunFolder(tmp_path), made_up_split(4)
    one = TrainingConfig(epochs=1, batch_size=4, threads=1)
    before = fit(run, split, split, NETWORK, one)
    for name in ("config", "summary"):
        (tmp_path / f"{name}.json").unlink()
    fit(run, split, split, NETWORK, one, resume=True)
    assert run.read_json("summary") == before
    assert run.read_json("config")["training"] == one.as_dict()


def test_weights_of_another_architecture_are_not_resumed(tmp_path: Path, made_up_split) -> None:
    run, split = RunFolder(tmp_path), made_up_split(4)
    fit(run, split, split, NETWORK, TrainingConfig(epochs=1, batch_size=4, threads=1))
    state = run.load(run.last)
    state["weights"]["window_encoder.project.0.weight"] = torch.zeros(3, 3)
    run.save(run.last, state)
    with pytest.raises(FailedPrecondition, match="another version"):
        fit(run, split, split, NETWORK, TrainingConfig(epochs=2, batch_size=4, threads=1), resume=True)


def test_a_run_is_not_resumed_on_other_data(tmp_path: Path, made_up_split) -> None:
    run, split = RunFolder(tmp_path), made_up_split(4)
    data = {"name": "pairs.csv", "digests": {"train": "0123", "validation": "4567"}}
    more = TrainingConfig(epochs=2, batch_size=4, threads=1)
    fit(run, split, split, NETWORK, TrainingConfig(epochs=1, batch_size=4, threads=1), data=data)
    other = {"name": "more.csv", "digests": {"train": "89ab", "validation": "4567"}}
    with pytest.raises(
        InvalidRequest, match=r"started on pairs.csv \(train 0123\), not more.csv \(train 89ab\)"
    ):
        fit(run, split, split, NETWORK, more, data=other, resume=True)
    assert run.read_json("data") == data
    renamed = {"name": "moved.csv", "digests": {**data["digests"], "test": "cdef"}}
    assert fit(run, split, split, NETWORK, more, data=renamed, resume=True)["epochs"] == 2


def test_a_run_folder_has_curves_a_model_card_and_where_it_comes_from(tmp_path: Path, made_up_split) -> None:
    run, split = RunFolder(tmp_path / "first"), made_up_split(4)
    one = TrainingConfig(epochs=1, batch_size=4, threads=1, seed=7)
    fit(run, split, split, NETWORK, one, origin=origin.describe_origin(["fit", "--data", "/home/me/world"]))
    fit(
        run,
        split,
        split,
        NETWORK,
        TrainingConfig(epochs=2, batch_size=4, threads=1, seed=7),
        resume=True,
        origin=origin.describe_origin(["fit", "--data", "/home/me/world", "--epochs", "2", "--resume"]),
    )
    assert (run.path / "curves.png").read_bytes().startswith(b"\x89PNG")
    card = (run.path / "model-card.md").read_text()
    for words in (
        "# Model card: first",
        "4 pairs for training",
        "| decoders (reconstruction) | on |",
        "dualpath fit --data world\ndualpath fit --data world --epochs 2 --resume",
        "Seed 7",
        "Not evaluated yet",
        "valence deviation",
    ):
        assert words in card
    assert origin.manifest_origin(run.read_json("config"))["command"] == (
        "dualpath fit --data world; dualpath fit --data world --epochs 2 --resume"
    )


A, B = {"train": "a1", "validation": "a2", "test": "a3"}, {"train": "b1", "validation": "b2", "test": "b3"}


@pytest.mark.parametrize(
    ("trained", "measured", "other"),
    [
        (A, A, False),
        (A, B, True),
        (A, {**A, "train": "more pairs"}, False),
        (A, {**A, "test": "other pairs"}, True),
        ({"train": "a1", "validation": "a2"}, A, False),
        ({"train": "a1", "validation": "a2"}, B, True),
        ({"train": "a1", "validation": "a2"}, {"test": "a3"}, True),
        (None, A, False),
        (A, None, False),
    ],
)
def test_a_split_of_other_data_is_known_by_its_digest(trained, measured, other: bool) -> None:
    facts = [{"name": "x", **({"digests": digests} if digests else {})} for digests in (trained, measured)]
    assert is_other_data(*facts, "test") is other


def test_the_model_card_names_the_data_and_says_which_figures_are_of_other_data(
    tmp_path: Path, made_up_split
) -> None:
    run, split = RunFolder(tmp_path), made_up_split(4)
    data = {"kind": "files", "name": "pairs.csv", "digests": A, "notes": []}
    fit(run, split, split, NETWORK, TrainingConfig(epochs=1, batch_size=4, threads=1), data=data)
    figures = {"retrieval": [], "emotion": {}, "pairs": 4}
    run.write_json("evaluation-validation", {**figures, "data": {"name": "pairs.csv", "digests": A}})
    run.write_json("evaluation-test", {**figures, "data": {"name": "w", "digests": B}})
    run.write_json("evaluation-train", figures)  # older than digests
    write_model_card(run)
    card = (tmp_path / "model-card.md").read_text()
    assert "pairs.csv (train a1): 4 pairs for training" in card
    assert "**validation**, 4 pairs of pairs.csv (validation a2). " in card
    assert "**test**, 4 pairs of w (test b3), **other data than the run was trained with**. " in card
    assert "**train**, 4 pairs. " in card
    assert [split for split, one in read_evaluations(run).items() if one.get("other_data")] == ["test"]


def test_absolute_paths_are_not_told() -> None:
    arguments = ["fit", "--data=/secret/world", "--weights", "~/w.pt", "--music", "file:/secret/m.pt", "a/b"]
    assert origin.command_line(arguments) == (
        "dualpath fit --data=world --weights w.pt --music file:m.pt a/b"
    )


def test_a_run_without_an_origin_still_names_the_command() -> None:
    assert origin.manifest_origin({"network": {}}) == {"command": "dualpath fit"}


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_the_revision_is_that_of_the_checkout_that_tracks_the_code(tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=test", "-c", "user.email=test@example.com")
        return subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout.strip()

    code = tmp_path / "code.py"
    code.write_text("one")
    assert origin.git_revision(code) is None
    git("init", "--quiet")
    assert origin.git_revision(code) is None
    git("add", "code.py")
    git("commit", "--quiet", "--message", "one")
    assert origin.git_revision(code) == git("rev-parse", "HEAD")
    code.write_text("two")
    assert origin.git_revision(code) == git("rev-parse", "HEAD") + "-dirty"
