import io
from pathlib import Path

import numpy as np
import pytest
from support.media_files import noise_frames, write_clip

from kinoscore.errors import FailedPrecondition, InvalidMedia, NotFound
from kinoscore.media.live_source import CameraInput, camera_input, iter_pictures
from kinoscore.media.pictures import decode_picture
from kinoscore.media.types import FrameSpec, Limits, PictureFormat


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    return write_clip(folder / "clip.ts", noise_frames(50), rate=25, container_format="mpegts")


def test_a_source_gives_pictures_at_most_so_often_that_the_models_can_read(clip: Path) -> None:
    pictures = list(iter_pictures(str(clip), 4.0))
    times = [picture.timestamp_seconds for picture in pictures]
    assert len(times) == 8
    assert times[0] == 0.0
    assert np.diff(times).min() > 0.2
    spec = FrameSpec(32, 20, 2.0)
    pixels = decode_picture(PictureFormat.JPEG, pictures[0].jpeg, 0, 0, spec, Limits())
    assert np.abs(pixels.astype(int) - 80).max() < 40


def test_a_pipe_gives_what_its_file_gives(clip: Path) -> None:
    assert list(iter_pictures(io.BytesIO(clip.read_bytes()), 4.0)) == list(iter_pictures(str(clip), 4.0))


def test_a_source_that_breaks_off_has_ended(clip: Path) -> None:
    whole = clip.read_bytes()
    pictures = list(iter_pictures(io.BytesIO(whole[: len(whole) // 2]), 4.0))
    assert 1 <= len(pictures) < 8


def test_what_is_no_video_is_told(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="no such file"):
        next(iter_pictures(str(tmp_path / "none.mp4"), 4.0))
    with pytest.raises(InvalidMedia, match="cannot be opened"):
        next(iter_pictures(io.BytesIO(b"no video at all" * 100), 4.0))


@pytest.mark.parametrize(
    ("device", "platform", "expected"),
    [
        ("/dev/video0", "linux", CameraInput("/dev/video0", "v4l2")),
        ("0", "darwin", CameraInput("0:none", "avfoundation", (("framerate", "30"),))),
        ("Desk Cam", "win32", CameraInput("video=Desk Cam", "dshow")),
    ],
)
def test_a_camera_is_read_as_its_system_names_it(device: str, platform: str, expected: CameraInput) -> None:
    assert camera_input(device, platform) == expected


def test_a_system_whose_cameras_cannot_be_read_is_told() -> None:
    with pytest.raises(FailedPrecondition, match="pipe the stream"):
        camera_input("0", "plan9")


def test_a_camera_that_is_not_there_or_is_none_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no camera")
    for device in (tmp_path / "absent", tmp_path / "file", tmp_path):
        with pytest.raises(NotFound, match=r"the camera .* cannot be opened"):
            next(iter_pictures(f"camera:{device}", 4.0))
