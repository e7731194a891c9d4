import subprocess
import sys
from pathlib import Path

import pytest

from kinoscore.data_folder import LOCK_NAME, DataFolder
from kinoscore.errors import DataFolderInUse, FailedPrecondition

HOLD = """
import sys
from pathlib import Path
from kinoscore.data_folder import DataFolder
folder = DataFolder(Path(sys.argv[1]), purpose="up")
folder.announce("127.0.0.1:50050")
print("held", flush=True)
sys.stdin.read()
"""


def test_a_taken_folder_names_its_owner_and_the_remedy(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data", purpose="index")
    try:
        with pytest.raises(DataFolderInUse, match=r"in use by `kinoscore index` \(process \d+\).*--data"):
            DataFolder(tmp_path / "data", purpose="recommend")
    finally:
        folder.release()


def test_a_released_folder_can_be_taken_again(tmp_path: Path) -> None:
    for _ in range(3):
        DataFolder(tmp_path, purpose="index").release()


def test_the_owner_in_another_process_tells_where_it_serves_and_a_killed_owner_is_none(
    tmp_path: Path,
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    try:
        assert holder.stdout.readline() == b"held\n"
        with pytest.raises(DataFolderInUse) as refusal:
            DataFolder(tmp_path, purpose="index")
        assert refusal.value.metadata == {
            "pid": str(holder.pid),
            "purpose": "up",
            "address": "127.0.0.1:50050",
        }
    finally:
        holder.kill()
        holder.communicate()
    DataFolder(tmp_path, purpose="index").release()


def test_a_lock_that_is_being_written_is_still_a_lock(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path, purpose="index")
    try:
        (tmp_path / LOCK_NAME).write_bytes(b'{"pid": "1')
        with pytest.raises(DataFolderInUse, match="another process"):
            DataFolder(tmp_path, purpose="index")
    finally:
        folder.release()


def test_a_file_in_the_place_of_the_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"")
    with pytest.raises(FailedPrecondition, match="cannot be used"):
        DataFolder(tmp_path / "data", purpose="index")
