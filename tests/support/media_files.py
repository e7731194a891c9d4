"""Small media files for the tests, written with PyAV."""

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "Frames",
    "copy_from",
    "encode_picture",
    "grey_frames",
    "grey_numbers",
    "noise_frames",
    "sine",
    "write_clip",
    "write_sound",
]

Frames = Sequence[NDArray[np.uint8]]


def grey_frames(count: int, height: int = 96, width: int = 128) -> list[NDArray[np.uint8]]:
    """Plain frames whose grey level tells their number: 4 levels apart, from 16."""
    return [np.full((height, width, 3), 16 + 4 * number, np.uint8) for number in range(count)]


def grey_numbers(frames: NDArray[np.uint8]) -> list[int]:
    """The numbers of decoded `grey_frames`; the way through YUV darkens them by one or two levels."""
    return [round((float(frame.mean()) - 14.5) / 4) for frame in frames]


def noise_frames(count: int, height: int = 96, width: int = 128) -> list[NDArray[np.uint8]]:
    """A texture that drifts and brightens, so that encoders use references in both directions."""
    texture = np.random.default_rng(7).integers(0, 160, (height, width, 3), np.uint8)
    return [np.roll(texture, (number, 2 * number), (0, 1)) + np.uint8(number) for number in range(count)]


def encode_picture(pixels: NDArray[np.uint8], codec: str, pixel_format: str) -> bytes:
    """One picture, as FFmpeg's `codec` writes it."""
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="image2pipe") as container:
        stream = container.add_stream(codec, rate=1)
        stream.height, stream.width = pixels.shape[:2]
        stream.pix_fmt = pixel_format
        container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def write_clip(
    path: Path,
    frames: Frames,
    *,
    rate: int = 25,
    codec: str = "libx264",
    container_format: str | None = None,
    options: Mapping[str, str] | None = None,
    times: Callable[[int], int] = lambda number: number,
    rotation: int = 0,
    sound: NDArray[np.float32] | None = None,
) -> Path:
    """Encodes frames.

    Args:
        times: the timestamp of each frame, by its number, in units of 1 / rate.
        rotation: degrees counterclockwise by which a player is to turn the picture.
        sound: float32 [m] at 22050 Hz.
    """
    height, width = frames[0].shape[:2]
    with av.open(path, "w", format=container_format) as container:
        stream = container.add_stream(codec, rate=rate, options=dict(options or {}))
        stream.width, stream.height = width, height
        stream.pix_fmt = {"mjpeg": "yuvj420p", "rawvideo": "rgb24"}.get(codec, "yuv420p")
        stream.codec_context.time_base = Fraction(1, rate)
        if rotation:
            stream.set_display_rotation(rotation)
        audio = container.add_stream("aac", rate=22050, layout="mono") if sound is not None else None
        for number, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, "rgb24")
            frame.pts, frame.time_base = times(number), Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if audio is not None:
            for frame in _audio_frames(sound[None], "mono", 22050):
                container.mux(audio.encode(frame))
            container.mux(audio.encode(None))
    return path


def copy_from(source: Path, path: Path, first: int, *, hidden: bool) -> Path:
    """Cuts a clip before its frame number `first`, as it is encoded.

    Args:
        hidden: the packets from the key frame before it on are kept, and the container says not to show them;
            otherwise the clip begins in the midst of a group of pictures, with frames that cannot be decoded.
    """
    with av.open(source) as container, av.open(path, "w") as cut:
        stream = cut.add_stream_from_template(container.streams.video[0])
        packets = [packet for packet in container.demux(video=0) if packet.size]
        start = sorted(packet.pts for packet in packets)[first]
        if hidden:
            begin = max(n for n, packet in enumerate(packets) if packet.is_keyframe and packet.pts <= start)
        else:
            begin = next(n for n, packet in enumerate(packets) if packet.pts >= start)
        for packet in packets[begin:]:
            packet.stream = stream
            if hidden:
                packet.pts, packet.dts = packet.pts - start, packet.dts - start
            cut.mux(packet)
    return path


def sine(
    seconds: float, *, rate: int = 22050, frequency: float = 440.0, level: float = 0.5
) -> NDArray[np.float32]:
    """A tone, float32 [seconds * rate]."""
    time = np.arange(round(seconds * rate)) / rate
    return (level * np.sin(2 * np.pi * frequency * time)).astype(np.float32)


def write_sound(
    path: Path,
    samples: NDArray[np.float32],
    *,
    rate: int = 22050,
    codec: str = "pcm_f32le",
    tags: Mapping[str, str] | None = None,
) -> Path:
    """Encodes float32 [m] or [channels, m]."""
    samples = np.atleast_2d(samples)
    layout = {1: "mono", 2: "stereo"}[len(samples)]
    with av.open(path, "w") as container:
        stream = container.add_stream(codec, rate=rate, layout=layout)
        (stream.metadata if path.suffix == ".ogg" else container.metadata).update(tags or {})
        for frame in _audio_frames(samples, layout, rate):
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def _audio_frames(samples: NDArray[np.float32], layout: str, rate: int) -> Iterator[av.AudioFrame]:
    for start in range(0, samples.shape[1], 1024):
        piece = np.ascontiguousarray(samples[:, start : start + 1024])
        frame = av.AudioFrame.from_ndarray(piece, "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield frame
