import struct

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from support.media_files import encode_picture

from kinoscore.errors import InvalidMedia, MediaTooLarge
from kinoscore.media.pictures import decode_picture
from kinoscore.media.types import FrameSpec, Limits, PictureFormat

SPEC = FrameSpec(width=32, height=20, frames_per_second=2.0)
LIMITS = Limits(max_bytes=1 << 20, max_pixels=512 * 512)


def halves() -> NDArray[np.uint8]:
    """Red above, blue below."""
    picture = np.zeros((96, 64, 3), np.uint8)
    picture[:48, :, 0] = 255
    picture[48:, :, 2] = 255
    return picture


JPEG = encode_picture(halves(), "mjpeg", "yuvj444p")
PNG = encode_picture(halves(), "png", "rgb24")
WEBP = encode_picture(halves(), "libwebp", "yuv420p")
I420 = av.VideoFrame.from_ndarray(halves(), "rgb24").reformat(format="yuv420p").to_ndarray().tobytes()


@pytest.mark.parametrize(
    ("picture_format", "data", "tolerance"),
    [
        (PictureFormat.JPEG, JPEG, 25),
        (PictureFormat.PNG, PNG, 3),
        (PictureFormat.WEBP, WEBP, 25),
        (PictureFormat.RGB24, halves().tobytes(), 3),
        (PictureFormat.I420, I420, 8),
    ],
)
def test_pictures_are_squashed_and_keep_their_colours(
    picture_format: PictureFormat, data: bytes, tolerance: int
) -> None:
    picture = decode_picture(picture_format, data, 64, 96, SPEC, LIMITS)
    assert picture.shape == (20, 32, 3)
    assert picture.dtype == np.uint8
    assert np.abs(picture[:9].astype(int) - [255, 0, 0]).max() <= tolerance
    assert np.abs(picture[11:].astype(int) - [0, 0, 255]).max() <= tolerance


def test_raw_pixels_need_their_size_and_all_their_bytes() -> None:
    for width, height, data in [(0, 96, b""), (64, 0, b""), (64, 96, halves().tobytes()[:-1]), (64, 96, b"")]:
        with pytest.raises(InvalidMedia, match="RGB24"):
            decode_picture(PictureFormat.RGB24, data, width, height, SPEC, LIMITS)


@pytest.mark.parametrize("picture_format", [PictureFormat.JPEG, PictureFormat.PNG])
@pytest.mark.parametrize("data", [b"", b"no picture", b"\xff\xd8", b"\x89PNG\r\n\x1a\n"])
def test_bytes_of_another_kind_are_refused(picture_format: PictureFormat, data: bytes) -> None:
    with pytest.raises(InvalidMedia, match=picture_format.upper()):
        decode_picture(picture_format, data, 0, 0, SPEC, LIMITS)


def test_too_many_pixels_are_refused_by_the_header() -> None:
    png = bytearray(PNG)
    struct.pack_into(">II", png, 16, 16384, 16384)
    jpeg = bytearray(JPEG)
    start_of_frame = jpeg.index(b"\xff\xc0")
    struct.pack_into(">HH", jpeg, start_of_frame + 5, 16384, 16384)
    for picture_format, data in [(PictureFormat.PNG, png), (PictureFormat.JPEG, jpeg)]:
        with pytest.raises(MediaTooLarge, match="16384 x 16384"):
            decode_picture(picture_format, bytes(data), 0, 0, SPEC, LIMITS)
    with pytest.raises(MediaTooLarge, match="16384 x 16384"):
        decode_picture(PictureFormat.RGB24, b"", 16384, 16384, SPEC, LIMITS)


def test_too_many_bytes_are_refused() -> None:
    with pytest.raises(MediaTooLarge, match="bytes"):
        decode_picture(PictureFormat.PNG, PNG + bytes(1 << 20), 0, 0, SPEC, LIMITS)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([(PictureFormat.JPEG, JPEG), (PictureFormat.PNG, PNG)]), st.data())
def test_damage_gives_a_picture_or_an_error_of_the_tree(
    picture: tuple[PictureFormat, bytes], data: st.DataObject
) -> None:
    picture_format, content = picture
    damaged = bytearray(content[: data.draw(st.integers(1, len(content)))])
    for _ in range(data.draw(st.integers(0, 8))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    try:
        result = decode_picture(picture_format, bytes(damaged), 0, 0, SPEC, LIMITS)
    except (InvalidMedia, MediaTooLarge):
        return
    assert result.shape == (20, 32, 3)


def test_i420_needs_an_even_size_and_all_its_bytes() -> None:
    for data, width, height in ((I420, 63, 96), (I420[:-1], 64, 96)):
        with pytest.raises(InvalidMedia, match="I420"):
            decode_picture(PictureFormat.I420, data, width, height, SPEC, LIMITS)


@pytest.mark.parametrize("picture_format", [PictureFormat.WEBP, PictureFormat.JPEG, PictureFormat.PNG])
def test_a_picture_under_another_name_is_no_picture(picture_format: PictureFormat) -> None:
    others = {PictureFormat.WEBP: PNG, PictureFormat.JPEG: WEBP, PictureFormat.PNG: JPEG}
    with pytest.raises(InvalidMedia, match="are not a"):
        decode_picture(picture_format, others[picture_format], 0, 0, SPEC, LIMITS)
