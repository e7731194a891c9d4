"""A decoder of single pictures without processes, for what is not about decoding."""

from collections.abc import Sequence

from kinoscore.errors import KinoscoreError
from kinoscore.media.picture_pool import Picture, Pixels
from kinoscore.media.pictures import decode_picture
from kinoscore.media.types import FrameSpec, Limits

__all__ = ["InThisProcess", "decoded"]


class InThisProcess:
    """Does for pictures what `DecodePool` does."""

    async def decode_pictures(
        self, pictures: Sequence[Picture], spec: FrameSpec, limits: Limits
    ) -> list[Pixels | KinoscoreError]:
        return [decoded(picture, spec, limits) for picture in pictures]


def decoded(picture: Picture, spec: FrameSpec, limits: Limits) -> Pixels | KinoscoreError:
    """The pixels of a picture, or why it has none."""
    size = picture.width, picture.height
    try:
        return decode_picture(picture.picture_format, picture.data, *size, spec, limits)
    except KinoscoreError as error:
        return error
