"""Live streams of bytes for the tests, in the four forms that live sessions take."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import av
from support.media_files import Frames, write_clip

__all__ = ["FORMS", "cut", "remuxed", "write_stream"]

FORMS = ("mp4", "mpegts", "webm", "h264")
FRAGMENTED = "frag_keyframe+empty_moov"


def write_stream(folder: Path, form: str, frames: Frames, *, rate: int = 25, group: int = 20) -> Path:
    """Encodes frames as a live stream of a form, with a key frame every `group` frames."""
    path = folder / f"stream.{form}"
    options = {"g": str(group), "preset": "veryfast", "bf": "2"}
    if form == "webm":
        options = {"g": str(group), "deadline": "realtime", "cpu-used": "8"}
        return write_clip(path, frames, rate=rate, codec="libvpx", options=options)
    if form == "mp4":
        whole = write_clip(folder / "whole.mp4", frames, rate=rate, options=options)
        return remuxed(whole, path, FRAGMENTED)
    return write_clip(path, frames, rate=rate, container_format=form, options=options)


def remuxed(source: Path, path: Path, movflags: str) -> Path:
    """The same packets in an MP4 of another kind."""
    with (
        av.open(source) as given,
        av.open(path, "w", format="mp4", options={"movflags": movflags}) as container,
    ):
        stream = container.add_stream_from_template(given.streams.video[0])
        for packet in given.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    return path


def cut(data: bytes, places: Sequence[float] | int) -> list[bytes]:
    """The bytes in pieces: of a number of bytes, or cut at shares of the whole."""
    if isinstance(places, int):
        return [data[start : start + places] for start in range(0, len(data), places)]
    ends = sorted({round(place * len(data)) for place in places} | {0, len(data)})
    return [data[start:end] for start, end in pairwise(ends)]
