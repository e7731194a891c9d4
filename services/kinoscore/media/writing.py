"""Writing media files: clips, tracks, and a clip with music laid under it.

Every function writes to a temporary name beside the destination and renames at the end, so that a file
under its final name is always whole.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping
from contextlib import closing
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from av.video.frame import VideoFrame
from numpy.typing import NDArray

from kinoscore.errors import InvalidMedia, InvalidRequest
from kinoscore.media.files import (
    add_audio_stream,
    opened_for_reading,
    opened_for_writing,
    packets,
    replacing,
    sounds,
)

__all__ = [
    "PREVIEW_SAMPLE_RATE",
    "lay_music_under",
    "stereo_from",
    "write_audio",
    "write_video",
    "write_with_sound",
]

FADE_SECONDS = 0.5
PREVIEW_SAMPLE_RATE = 44_100
_OPUS_SAMPLE_RATE = 48_000  # Opus knows only 8, 12, 16, 24 and 48 kHz
_BLOCK_SAMPLES = 65_536
_AAC_SAMPLES = 1_024


def write_video(
    path: Path | str,
    frames: Iterable[NDArray[np.uint8]],
    frames_per_second: float,
    *,
    quality: int = 26,
    tags: Mapping[str, str] | None = None,
) -> None:
    """Writes frames as H.264 (yuv420p, no sound) in the container that the suffix names (.mp4, .mkv, .mov).

    Args:
        path: the destination; its folder must exist.
        frames: u8[height, width, 3] RGB, all of one even-sided shape; taken one by one, never collected.
        frames_per_second: above 0.
        quality: the x264 constant rate factor, 0 (lossless) to 51.
        tags: container metadata (`{"title": "..."}`).

    Raises:
        InvalidRequest: no frame, an odd or changing shape, or a rate that is not above 0.
        StorageFull: the disk is full.
    """
    if not frames_per_second > 0:
        raise InvalidRequest(f"frames_per_second is {frames_per_second}: give a rate above 0")
    rate = Fraction(frames_per_second).limit_denominator(1001)
    with replacing(Path(path)) as temporary, opened_for_writing(temporary) as container:
        container.metadata.update(tags or {})
        stream = None
        shape: tuple[int, ...] = ()
        for number, frame in enumerate(frames):
            if stream is None:
                shape = frame.shape
                if len(shape) != 3 or shape[2] != 3 or shape[0] % 2 or shape[1] % 2:
                    raise InvalidRequest(
                        f"a frame has the shape {shape}: give [height, width, 3], both sides even"
                    )
                stream = container.add_stream("libx264", rate=rate)
                stream.height, stream.width = shape[:2]
                stream.pix_fmt = "yuv420p"
                stream.options = {"preset": "ultrafast", "crf": str(quality), "threads": "1"}
            elif frame.shape != shape:
                raise InvalidRequest(f"frame {number} has the shape {frame.shape}, the first had {shape}")
            picture = VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
            picture.pts = number
            picture.time_base = 1 / rate
            container.mux(stream.encode(picture))
        if stream is None:
            raise InvalidRequest("there are no frames to write: give at least one")
        container.mux(stream.encode(None))


def write_audio(
    path: Path | str, samples: NDArray[np.float32], sample_rate: int, tags: Mapping[str, str] | None = None
) -> None:
    """Writes mono samples as .ogg (Opus, 48 kHz), .flac or .wav (both 16 bit, the rate kept).

    Args:
        path: the destination; its folder must exist.
        samples: f32[m] in [-1, 1]; what lies outside is clipped.
        sample_rate: samples a second.
        tags: metadata (`{"title": "...", "artist": "..."}`); .wav keeps only a few of them.

    Raises:
        InvalidRequest: no samples, NaN or infinity among them, or another suffix.
        StorageFull: the disk is full.
    """
    destination = Path(path)
    codecs = {".ogg": "libopus", ".flac": "flac", ".wav": "pcm_s16le"}
    codec = codecs.get(destination.suffix.lower())
    if codec is None:
        raise InvalidRequest(f"{destination.name}: cannot write this kind of audio; use .ogg, .flac or .wav")
    if samples.ndim != 1 or not samples.size or not np.isfinite(samples).all():
        raise InvalidRequest("the samples must be a non-empty one-dimensional array of finite numbers")
    rate = _OPUS_SAMPLE_RATE if codec == "libopus" else sample_rate
    with replacing(destination) as temporary, opened_for_writing(temporary) as container:
        stream = add_audio_stream(container, codec, rate, "mono")
        if codec == "libopus":
            stream.bit_rate = 64_000
            stream.options = {
                "compression_level": "0"
            }  # of 10: the ear gains little above, the clock loses much
        # Ogg keeps tags with the stream, other containers with the file.
        (stream.metadata if destination.suffix.lower() == ".ogg" else container.metadata).update(tags or {})
        resampler = AudioResampler(format="s16", layout="mono", rate=rate)
        for frame in _audio_frames(samples, sample_rate):
            for converted in resampler.resample(frame):
                container.mux(stream.encode(converted))
        for converted in resampler.resample(None):
            container.mux(stream.encode(converted))
        container.mux(stream.encode(None))


def lay_music_under(
    clip_path: Path | str, track_path: Path | str, start_seconds: float, destination: Path | str
) -> None:
    """Copies the clip's pictures untouched and lays the track under them, from `start_seconds` on, as AAC.

    The music fades in and out over half a second (less under a short clip), ends with the clip or with
    the track, whichever is first, and replaces the sound that the clip had.

    Raises:
        NotFound: one of the files does not exist.
        InvalidMedia: the clip has no video stream, the track no audio stream, one of them cannot be
            decoded, or the track ends before `start_seconds`.
        InvalidRequest: `start_seconds` is negative, or the suffix of `destination` is no container for this.
        StorageFull: the disk is full.
    """
    if start_seconds < 0:
        raise InvalidRequest(f"start_seconds is {start_seconds}: give 0 or more")
    clip, track, target = Path(clip_path), Path(track_path), Path(destination)
    with opened_for_reading(clip) as source:
        if not source.streams.video:
            raise InvalidMedia(f"{clip.name} has no video stream: give a clip with pictures")
        music = _faded(_read_passage(track, start_seconds, _video_seconds(source)))
        write_with_sound(source, [music], target)


def write_with_sound(source: InputContainer, sound: Iterable[NDArray[np.float32]], destination: Path) -> None:
    """Copies the pictures of an open clip untouched and gives them a sound, as AAC.

    Args:
        source: has a video stream, and was not read yet.
        sound: blocks f32[2, m] at PREVIEW_SAMPLE_RATE, taken as the pictures pass, never collected.

    Raises:
        InvalidMedia: the clip cannot be read.
        InvalidRequest: the suffix of `destination` is no container for this.
        StorageFull: the disk is full.
    """
    pictures = source.streams.video[0]
    with replacing(destination) as temporary, opened_for_writing(temporary) as container:
        video = container.add_stream_from_template(pictures)
        audio = add_audio_stream(container, "aac", PREVIEW_SAMPLE_RATE, "stereo")
        frames = _stereo_frames(sound)
        written_seconds = 0.0
        for packet in packets(source, pictures):
            at = float((packet.dts or 0) * packet.time_base)
            while written_seconds <= at + 0.5 and (frame := next(frames, None)) is not None:
                container.mux(audio.encode(frame))
                written_seconds += frame.samples / PREVIEW_SAMPLE_RATE
            packet.stream = video
            container.mux(packet)
        for frame in frames:
            container.mux(audio.encode(frame))
        container.mux(audio.encode(None))


def stereo_from(track: Path, start_seconds: float) -> Generator[NDArray[np.float32], None, None]:
    """The sound of a file from a moment on, in blocks f32[2, m] of finite numbers at PREVIEW_SAMPLE_RATE.

    Raises:
        NotFound: the file does not exist.
        InvalidMedia: it has no audio stream, or cannot be decoded.
    """
    skipped = round(start_seconds * PREVIEW_SAMPLE_RATE)
    resampler = AudioResampler(format="fltp", layout="stereo", rate=PREVIEW_SAMPLE_RATE)
    with opened_for_reading(track) as source:
        if not source.streams.audio:
            raise InvalidMedia(f"{track.name} has no audio stream: give a music file")
        for frame in sounds(source, source.streams.audio[0]):
            for converted in resampler.resample(frame):
                block = converted.to_ndarray().astype(np.float32, copy=False)[:, skipped:]
                skipped = max(0, skipped - converted.samples)
                if block.shape[1]:
                    yield np.nan_to_num(block, nan=0.0, posinf=0.0, neginf=0.0)


def _video_seconds(source: InputContainer) -> float:
    stream = source.streams.video[0]
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    if source.duration is not None:
        return float(source.duration) / av.time_base
    raise InvalidMedia(
        f"{Path(source.name).name} does not say how long it is: remux it first (ffmpeg -c copy)"
    )


def _read_passage(track: Path, start_seconds: float, seconds: float) -> NDArray[np.float32]:
    """f32[2, m]: the passage in stereo at PREVIEW_SAMPLE_RATE, no longer than `seconds`."""
    wanted = round(seconds * PREVIEW_SAMPLE_RATE)
    blocks: list[NDArray[np.float32]] = []
    with closing(stereo_from(track, start_seconds)) as sound:
        for block in sound:
            blocks.append(block[:, :wanted])
            wanted -= block.shape[1]
            if wanted <= 0:
                break
    if not blocks:
        raise InvalidMedia(f"{track.name} ends before {start_seconds:.1f} s: choose an earlier passage")
    return np.concatenate(blocks, axis=1)


def _faded(music: NDArray[np.float32]) -> NDArray[np.float32]:
    length = min(round(FADE_SECONDS * PREVIEW_SAMPLE_RATE), music.shape[1] // 2)
    ramp = np.linspace(0.0, 1.0, length, endpoint=False, dtype=np.float32)
    faded = music.copy()
    faded[:, :length] *= ramp
    faded[:, music.shape[1] - length :] *= ramp[::-1]
    return faded


def _stereo_frames(sound: Iterable[NDArray[np.float32]]) -> Iterator[AudioFrame]:
    """The same samples as AAC takes them: 1,024 at a time, but for the last."""
    begin = 0
    rest = np.zeros((2, 0), np.float32)
    for block in sound:
        rest = np.concatenate([rest, block], axis=1)
        whole = rest.shape[1] // _AAC_SAMPLES * _AAC_SAMPLES
        for offset in range(0, whole, _AAC_SAMPLES):
            yield _stereo_frame(rest[:, offset : offset + _AAC_SAMPLES], begin + offset)
        begin, rest = begin + whole, rest[:, whole:]
    if rest.shape[1]:
        yield _stereo_frame(rest, begin)


def _stereo_frame(samples: NDArray[np.float32], begin: int) -> AudioFrame:
    frame = AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout="stereo")
    frame.sample_rate, frame.pts = PREVIEW_SAMPLE_RATE, begin
    frame.time_base = Fraction(1, PREVIEW_SAMPLE_RATE)
    return frame


def _audio_frames(samples: NDArray[np.float32], sample_rate: int) -> Iterator[AudioFrame]:
    pcm = np.round(np.clip(samples, -1.0, 1.0) * 32_767.0).astype(np.int16)
    for begin in range(0, len(pcm), _BLOCK_SAMPLES):
        block = pcm[begin : begin + _BLOCK_SAMPLES]
        frame = AudioFrame.from_ndarray(block.reshape(1, -1), format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = sample_rate, begin, Fraction(1, sample_rate)
        yield frame
