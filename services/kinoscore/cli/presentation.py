"""What people read: tables and lines on stdout."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinoscore import Emotion, Hit, Recommendation, StoredTrack, Timings, Track

__all__ = [
    "clock",
    "print_recommendation",
    "print_stored_track",
    "print_timings",
    "print_tracks",
    "printable",
    "recommendation_table",
]

# Wide enough that nothing is cut when the output goes to a file.
_WIDTH_OF_A_FILE = 160


def printable(text: str) -> str:
    """Text from a stranger's file, without the control characters that could take over a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def clock(seconds: float) -> str:
    """A time in a track as minutes and seconds: `1:05`; tenths only where they matter (`0:07.5`)."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    whole, tenth = divmod(rest, 10)
    return f"{minutes}:{whole:02d}" + (f".{tenth}" if tenth else "")


def recommendation_table(hits: Iterable[Hit]) -> Table:
    """The ranked tracks: the passage of each, its scores, and the emotion of both sides as clip / track."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("title", overflow="fold", ratio=3)
    table.add_column("artist", overflow="fold", ratio=2)
    table.add_column("passage", no_wrap=True)
    for name in ("score", "fused", "content", "emotion"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("valence\nclip / track", no_wrap=True)
    table.add_column("arousal\nclip / track", no_wrap=True)
    table.add_column("licence", overflow="fold", ratio=1)
    for hit in hits:
        end = hit.passage_start_seconds + hit.passage_duration_seconds
        clip, track = hit.clip_emotion, hit.track_emotion
        table.add_row(
            str(hit.rank),
            Text(printable(hit.track.title or hit.track.track_id)),
            Text(printable(hit.track.artist)),
            f"{clock(hit.passage_start_seconds)}-{clock(end)}",
            f"{hit.score:.4f}",
            f"{hit.fused_score:.4f}",
            f"{hit.content_score:.4f}",
            f"{hit.emotion_score:.4f}",
            f"{clip.valence:+.2f} / {track.valence:+.2f}",
            f"{clip.arousal:+.2f} / {track.arousal:+.2f}",
            Text(printable(hit.track.licence)),
        )
    return table


def print_recommendation(recommendation: Recommendation, *, clip: str, timings: bool = False) -> None:
    """The clip in one line, the table, why each track is there, and the attributions that licences ask for."""
    out = _stdout()
    out.print(Text(_clip_line(recommendation, clip)))
    out.print()
    out.print(recommendation_table(recommendation.hits))
    _print_lines(out, "why", {hit.rank: "; ".join(hit.reasons) for hit in recommendation.hits})
    _print_lines(out, "attribution", {hit.rank: hit.track.attribution for hit in recommendation.hits})
    if timings:
        out.print()
        print_timings(recommendation.timings)


def print_timings(timings: Timings) -> None:
    """Where the time went, in one line; the stages overlap, so they may sum to more than the total."""
    _stdout().print(
        f"queue {timings.queue_seconds:.3f} s, decode {timings.decode_seconds:.3f} s, "
        f"inference {timings.inference_seconds:.3f} s, search {timings.search_seconds:.3f} s, "
        f"total {timings.total_seconds:.3f} s"
    )


def print_tracks(tracks: Iterable[Track]) -> None:
    """A catalogue as a table, one track a line."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("track id", no_wrap=True)
    table.add_column("title", overflow="fold", ratio=3)
    table.add_column("artist", overflow="fold", ratio=2)
    table.add_column("length", justify="right", no_wrap=True)
    table.add_column("tempo", justify="right", no_wrap=True)
    table.add_column("licence", overflow="fold", ratio=1)
    table.add_column("tags", overflow="fold", ratio=2)
    for track in tracks:
        table.add_row(
            Text(track.track_id),
            Text(printable(track.title)),
            Text(printable(track.artist)),
            clock(round(track.duration_seconds)),
            f"{track.tempo:.0f}" if track.tempo else "",
            Text(printable(track.licence)),
            Text(printable(", ".join(track.tags))),
        )
    _stdout().print(table)


def print_stored_track(stored: StoredTrack) -> None:
    """One track in full, with the emotion of each passage."""
    out = _stdout()
    track = stored.track
    lines = {
        "track id": track.track_id,
        "title": track.title,
        "artist": track.artist,
        "licence": track.licence,
        "attribution": track.attribution,
        "tags": ", ".join(track.tags),
        "length": clock(track.duration_seconds),
        "tempo": f"{track.tempo:.0f}" if track.tempo else "",
        "source": track.source_uri,
        "digest": track.digest,
        "emotion": _emotion_words(stored.emotion),
    }
    for name, value in lines.items():
        if value:
            out.print(Text(f"{name:<12}{printable(value)}"), soft_wrap=True)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("passage", "valence", "arousal"):
        table.add_column(name, justify="left" if name == "passage" else "right")
    for point in stored.passages:
        end = point.start_seconds + point.duration_seconds
        table.add_row(
            f"{clock(point.start_seconds)}-{clock(end)}", f"{point.valence:+.2f}", f"{point.arousal:+.2f}"
        )
    out.print()
    out.print(table)


def _print_lines(out: Console, heading: str, lines: dict[int, str]) -> None:
    """A line for each rank that has one, under a heading."""
    told = {rank: line for rank, line in lines.items() if line}
    if told:
        out.print(f"\n{heading}")
    for rank, line in told.items():
        out.print(Text(f"  {rank}. {printable(line)}"), soft_wrap=True)


def _clip_line(recommendation: Recommendation, clip: str) -> str:
    times = ", ".join(clock(frame.timestamp_seconds) for frame in recommendation.key_frames)
    return (
        f"{printable(clip)}: {recommendation.clip_duration_seconds:.1f} s, "
        f"{_emotion_words(recommendation.clip_emotion)}, key frames at {times}"
    )


def _emotion_words(emotion: Emotion) -> str:
    words = f"valence {emotion.valence:+.2f}, arousal {emotion.arousal:+.2f}"
    if emotion.shares:
        label = max(emotion.shares, key=lambda name: emotion.shares[name])
        words += f", mostly {label} ({emotion.shares[label]:.2f})"
    return words


def _stdout() -> Console:
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_FILE
    return Console(highlight=False, markup=False, width=width)
