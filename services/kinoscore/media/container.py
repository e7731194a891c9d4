"""Opening a file that may be hostile: limits first, then streams, tags and digest."""

import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import av
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Disposition
from av.video.stream import VideoStream

from kinoscore.errors import InvalidMedia, InvalidRequest, MediaTooLarge, NotFound
from kinoscore.media.types import Limits, Tags

__all__ = ["SoundDigest", "audio_stream", "declared_seconds", "open_media", "read_tags", "video_stream"]

# Only formats that hold pictures and sound themselves. Playlists and scripts (HLS, DASH, concat, ...) stay
# out: they make FFmpeg open other files and addresses, which an upload must never do.
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,flv,asf,ogg,m4v,h264,hevc,ivf,"
    "mp3,flac,wav,w64,aiff,aac,caf,au,ac3,eac3,wv,tta,ape,amr,mxf,dv,nut"
)
OPEN_OPTIONS = {"format_whitelist": FORMATS, "protocol_whitelist": "file"}

TEXT_LIMIT = 1000
TAG_LIMIT = 50


@contextmanager
def open_media(path: str | os.PathLike[str], limits: Limits) -> Iterator[InputContainer]:
    """Opens a media file for reading.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: the file cannot be read.
        MediaTooLarge: it has more bytes than the limit, or needs more memory than there is.
        InvalidMedia: it is empty, cut off before its index, or not media.
    """
    _check_file(path, limits)
    try:
        # `file:` keeps names such as `http:x.mp4` or `pipe:` from meaning anything else.
        container = av.open(f"file:{os.path.abspath(path)}", options=OPEN_OPTIONS, metadata_errors="replace")
    except MemoryError as error:
        raise MediaTooLarge("the file needs more memory to open than a decoder may use") from error
    except (av.FFmpegError, ValueError) as error:
        raise InvalidMedia(_why_unreadable(path)) from error
    with container:
        yield container


def _check_file(path: str | os.PathLike[str], limits: Limits) -> None:
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError as error:
        raise NotFound("there is no such file") from error
    except (OSError, ValueError) as error:
        cause = error.strerror if isinstance(error, OSError) else str(error)
        raise InvalidRequest(f"the file cannot be read: {cause}") from error
    if size == 0:
        raise InvalidMedia("the file is empty")
    if size > limits.max_bytes:
        raise MediaTooLarge(
            f"the file has {size} bytes, the limit is {limits.max_bytes}",
            metadata={"limit": str(limits.max_bytes)},
        )


def _why_unreadable(path: str | os.PathLike[str]) -> str:
    boxes = _top_boxes(path)
    if boxes and boxes[0] == b"ftyp" and b"moov" not in boxes:
        return "the file is cut off before its index (moov); upload it whole"
    return (
        "the bytes are not a media file of a known format; "
        "send MP4, MOV, WebM, MKV or TS, or WAV, FLAC, OGG, MP3 or M4A"
    )


def _top_boxes(path: str | os.PathLike[str]) -> list[bytes]:
    """The types of the outermost boxes of an MP4 or MOV file; meaningless for any other file."""
    boxes: list[bytes] = []
    position = 0
    with open(path, "rb") as file:
        while len(boxes) < 1000:
            file.seek(position)
            header = file.read(16)
            size = int.from_bytes(header[:4])
            if size == 1:
                size = int.from_bytes(header[8:16])
            if len(header) < 8:
                break
            boxes.append(header[4:8])
            if size < 8:
                break
            position += size
    return boxes


def video_stream(container: InputContainer, limits: Limits) -> VideoStream:
    """The stream of moving pictures; a cover picture is none.

    Raises:
        InvalidMedia: there is none, or its codec is unknown.
        MediaTooLarge: its pictures or its declared duration are above the limits.
    """
    streams = [
        stream for stream in container.streams.video if not stream.disposition & Disposition.attached_pic
    ]
    if not streams:
        raise InvalidMedia("the file has no video stream; send a video")
    stream = next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])
    if stream.codec_context is None:
        raise InvalidMedia("the codec of the video stream is not supported")
    check_pixels(stream.codec_context.width, stream.codec_context.height, limits)
    _check_declared(declared_seconds(container, stream), limits)
    return stream


def audio_stream(container: InputContainer, limits: Limits) -> AudioStream:
    """The stream of sound.

    Raises:
        InvalidMedia: there is none, or its codec is unknown.
        MediaTooLarge: its declared duration is above the limit.
    """
    streams = container.streams.audio
    if not streams:
        raise InvalidMedia("the file has no audio stream; send one with sound")
    stream = next((stream for stream in streams if stream.disposition & Disposition.default), streams[0])
    if stream.codec_context is None:
        raise InvalidMedia("the codec of the audio stream is not supported")
    _check_declared(declared_seconds(container, stream), limits)
    return stream


def declared_seconds(container: InputContainer, stream: VideoStream | AudioStream) -> float:
    """The duration that the file claims for a stream, in seconds; 0 when it claims none."""
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / av.time_base


def check_pixels(width: int, height: int, limits: Limits) -> None:
    """Raises MediaTooLarge for a picture above the limit."""
    if width * height > limits.max_pixels:
        raise MediaTooLarge(
            f"the picture of {width} x {height} pixels is above the limit of {limits.max_pixels} pixels; "
            "send smaller pictures",
            metadata={"limit": str(limits.max_pixels)},
        )


def too_long(limits: Limits) -> MediaTooLarge:
    """The error of a file whose sound or pictures last longer than the limit."""
    return MediaTooLarge(
        f"the file lasts longer than the limit of {limits.max_duration_seconds:g} s; send a shorter one",
        metadata={"limit": f"{limits.max_duration_seconds:g}"},
    )


def _check_declared(seconds: float, limits: Limits) -> None:
    if seconds > limits.max_duration_seconds:
        raise too_long(limits)


class SoundDigest:
    """SHA-256 over the codec, rate and channels and the encoded bytes of a stream of sound, in order."""

    def __init__(self, stream: AudioStream) -> None:
        context = stream.codec_context
        self._hash = hashlib.sha256(f"{context.name} {context.sample_rate} {context.channels}\n".encode())

    def add(self, packet: "Packet[AudioStream]") -> None:
        self._hash.update(packet)

    def hexadecimal(self) -> str:
        return self._hash.hexdigest()


def read_tags(container: InputContainer) -> Tags:
    """What the file says of itself, from the container and from its sound (Ogg keeps tags there)."""
    found: dict[str, str] = {}
    sources: list[Mapping[str, str]] = [
        container.metadata,
        *(stream.metadata for stream in container.streams.audio),
    ]
    for source in sources:
        for key, value in source.items():
            found.setdefault(key.lower(), " ".join(value.split())[:TEXT_LIMIT])
    return Tags(
        title=_first(found, "title"),
        artist=_first(found, "artist", "album_artist", "author", "composer"),
        licence=_first(found, "licence", "license", "wcop", "copyright_url"),
        attribution=_first(found, "attribution", "copyright", "tcop"),
        tags=_split_tags(
            _first(found, "genre"), _first(found, "mood", "tmoo"), _first(found, "keywords", "tags")
        ),
        tempo=_tempo(_first(found, "bpm", "tbpm", "tbp", "tempo", "tmpo")),
    )


def _first(found: Mapping[str, str], *keys: str) -> str:
    return next((found[key] for key in keys if found.get(key)), "")


def _split_tags(*texts: str) -> tuple[str, ...]:
    parts = (part.strip() for text in texts for part in re.split(r"[;,/|\0]", text))
    return tuple(dict.fromkeys(part for part in parts if part))[:TAG_LIMIT]


def _tempo(text: str) -> float:
    match = re.fullmatch(r"\s*(\d{1,4}(?:[.,]\d{1,4})?)\s*(?:bpm)?\s*", text, re.IGNORECASE)
    return float(match[1].replace(",", ".")) if match else 0.0
