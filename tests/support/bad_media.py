"""Media files that something is wrong with: each function writes one and returns its path."""

import struct
import zlib
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from support.media_files import grey_frames, noise_frames, sine, write_clip, write_sound

__all__ = [
    "clip_corrupt_in_the_middle",
    "clip_cut_before_its_index",
    "clip_cut_in_its_data",
    "clip_of_a_tenth_of_a_second",
    "clip_of_huge_pictures",
    "clip_of_twelve_hours",
    "clip_whose_duration_is_not_a_number",
    "clip_with_frames_out_of_order",
    "clip_without_decodable_frames",
    "noise",
    "silent_track",
    "sound_only",
    "track_of_half_a_second",
    "track_with_samples_that_are_not_numbers",
]

RATE = 22050


def noise(path: Path) -> Path:
    """Bytes that are no media."""
    path.write_bytes(np.random.default_rng(5).bytes(5000))
    return path


def sound_only(path: Path) -> Path:
    return write_sound(path.with_suffix(".wav"), sine(2.0), rate=RATE)


def clip_cut_before_its_index(path: Path) -> Path:
    """An MP4 file as a broken recorder leaves it: data, and no `moov`."""
    data = write_clip(path, noise_frames(50)).read_bytes()
    path.write_bytes(data[: data.index(b"moov") - 10])
    return path


def clip_cut_in_its_data(path: Path) -> Path:
    """Four seconds of an MP4 file whose index comes first, as a broken download leaves it: half of them."""
    whole = write_clip(path.with_stem(f"{path.stem}-whole"), noise_frames(100), options={"g": "10"})
    with av.open(whole) as source, av.open(path, "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                container.mux(packet)
    whole.unlink()
    data = path.read_bytes()
    start = data.index(b"mdat")
    path.write_bytes(data[: start + (len(data) - start) // 2])
    return path


def clip_corrupt_in_the_middle(path: Path) -> Path:
    """Four seconds of which three packets are zeros."""
    data = bytearray(write_clip(path, noise_frames(100), options={"g": "10"}).read_bytes())
    with av.open(path) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
        for packet in packets[50:53]:
            data[packet.pos : packet.pos + packet.size] = bytes(packet.size)
    path.write_bytes(data)
    return path


def clip_without_decodable_frames(path: Path) -> Path:
    """A sound index over data that are zeros."""
    data = bytearray(write_clip(path, noise_frames(20)).read_bytes())
    start, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    data[start:end] = bytes(end - start)
    path.write_bytes(data)
    return path


def clip_of_a_tenth_of_a_second(path: Path) -> Path:
    return write_clip(path, noise_frames(1), rate=10)


def clip_of_twelve_hours(path: Path) -> Path:
    """A few kilobytes: a second frame comes twelve hours after the first."""
    return write_clip(path, grey_frames(2), times=lambda number: number * 12 * 3600 * 25)


def clip_of_huge_pictures(path: Path) -> Path:
    """A few kilobytes that would decode to a picture of 16,000 x 16,000 pixels."""
    side = 16000
    path = path.with_suffix(".mov")
    with av.open(path, "w") as container:
        stream = container.add_stream("png", rate=1)
        stream.width, stream.height, stream.pix_fmt = side, side, "monob"
        packet = av.Packet(_black_png(side))
        packet.stream, packet.pts, packet.dts, packet.time_base = stream, 0, 0, Fraction(1, 1)
        packet.is_keyframe = True
        container.mux(packet)
    return path


def clip_with_frames_out_of_order(path: Path) -> Path:
    """Four seconds in which every third frame is stamped three quarters of a second late."""
    path = path.with_suffix(".mkv")
    encoded = write_clip(path.with_suffix(".avi"), noise_frames(32), rate=8, codec="mjpeg")
    with av.open(encoded) as source, av.open(path, "w") as container:
        stream = container.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(packet for packet in source.demux(video=0) if packet.size):
            packet.stream, packet.time_base = stream, Fraction(1, 8)
            packet.dts, packet.pts = number, number + 6 * (number % 3 == 0)
            container.mux(packet)
    encoded.unlink()
    return path


def clip_whose_duration_is_not_a_number(path: Path) -> Path:
    """Two seconds of Matroska, the only container here whose times can be NaN."""
    path = path.with_suffix(".mkv")
    data = bytearray(write_clip(path, noise_frames(50)).read_bytes())
    # The element Duration: its id, the length 8, and a double.
    start = data.index(b"\x44\x89\x88") + 3
    data[start : start + 8] = struct.pack(">d", float("nan"))
    path.write_bytes(data)
    return path


def silent_track(path: Path) -> Path:
    return write_sound(path, np.zeros(5 * RATE, np.float32), rate=RATE)


def track_of_half_a_second(path: Path) -> Path:
    return write_sound(path, sine(0.5, frequency=550.0), rate=RATE)


def track_with_samples_that_are_not_numbers(path: Path) -> Path:
    """Four seconds of floats, a hundred of them NaN and one infinite."""
    samples = sine(4.0, frequency=660.0)
    samples[RATE : RATE + 100] = np.nan
    samples[2 * RATE] = np.inf
    return write_sound(path, samples, rate=RATE)


def _black_png(side: int) -> bytes:
    """A square PNG of one bit a pixel."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    pixels = zlib.compress(bytes(side * (side // 8 + 1)), 1)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")
