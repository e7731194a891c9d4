"""What people read: tables and lines on stdout."""

import sys
from collections.abc import Iterable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from kinoscore import Emotion, Recommendation, StoredTrack, Timings, Track

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
# From this many columns on there is room for artist, licence and tags.
_WIDE = 120


def printable(text: str) -> str:
    """Text from a stranger's file, without the control characters that could take over a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def clock(seconds: float) -> str:
    """A time in a track as minutes and seconds: `1:05`; tenths only where they matter (`0:07.5`)."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    whole, tenth = divmod(rest, 10)
    return f"{minutes}:{whole:02d}" + (f".{tenth}" if tenth else "")


def recommendation_table(recommendation: Recommendation, *, clip: str, wide: bool) -> Table:
    """The clip, and under it the ranked tracks: passages, scores, and the emotion of both sides.

    A narrow table leaves out artist and licence.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("#", justify="right")
    table.add_column("title", overflow="fold", ratio=3)
    if wide:
        table.add_column("artist", overflow="fold", ratio=2)
    table.add_column("passage", no_wrap=True)
    for name in ("score", "fused", "content", "emotion", "valence", "arousal"):
        table.add_column(name, justify="right", no_wrap=True)
    if wide:
        table.add_column("licence", overflow="fold", ratio=1)

    def add_row(rank: str, title: str, artist: str, cells: list[str], licence: str, style: str) -> None:
        names = [title, artist] if wide else [title]
        ends = [licence] if wide else []
        texts = (Text(printable(text)) for text in (rank, *names, *cells, *ends))
        table.add_row(*texts, style=style)

    length = recommendation.clip_duration_seconds
    add_row(
        "", clip, "", [_stretch(0.0, length), *[""] * 4, *_affect(recommendation.clip_emotion)], "", "dim"
    )
    for hit in recommendation.hits:
        scores = (hit.score, hit.fused_score, hit.content_score, hit.emotion_score)
        cells = [
            _stretch(hit.passage_start_seconds, hit.passage_duration_seconds),
            *(f"{score:.3f}" for score in scores),
            *_affect(hit.track_emotion),
        ]
        title = hit.track.title or hit.track.track_id
        add_row(str(hit.rank), title, hit.track.artist, cells, hit.track.licence, "")
    return table


def print_recommendation(recommendation: Recommendation, *, clip: str, timings: bool = False) -> None:
    """The clip in one line, the table, why each track is there, and the attributions that are asked for."""
    out = _stdout()
    out.print(Text(_clip_line(recommendation, clip)))
    out.print()
    out.print(recommendation_table(recommendation, clip=clip, wide=out.width >= _WIDE))
    _print_lines(out, "why", {hit.rank: "; ".join(hit.reasons) for hit in recommendation.hits})
    _print_lines(out, "artist and licence", {hit.rank: _credit(hit.track) for hit in recommendation.hits})
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
    """A catalogue as a table, one track a line; a narrow one leaves out licence and tags."""
    out = _stdout()
    wide = out.width >= _WIDE
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("track id", no_wrap=True)
    table.add_column("title", overflow="fold", ratio=3)
    table.add_column("artist", overflow="fold", ratio=2)
    table.add_column("length", justify="right", no_wrap=True)
    table.add_column("tempo", justify="right", no_wrap=True)
    if wide:
        table.add_column("licence", overflow="fold", ratio=1)
        table.add_column("tags", overflow="fold", ratio=2)
    for track in tracks:
        texts = [track.track_id, track.title, track.artist, clock(round(track.duration_seconds))]
        texts.append(f"{track.tempo:.0f}" if track.tempo else "")
        if wide:
            texts += [track.licence, ", ".join(track.tags)]
        table.add_row(*(Text(printable(text)) for text in texts))
    out.print(table)


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
        passage = _stretch(point.start_seconds, point.duration_seconds)
        table.add_row(passage, f"{point.valence:+.2f}", f"{point.arousal:+.2f}")
    out.print()
    out.print(table)


def _stretch(start_seconds: float, duration_seconds: float) -> str:
    return f"{clock(start_seconds)}-{clock(start_seconds + duration_seconds)}"


def _affect(emotion: Emotion) -> tuple[str, str]:
    return f"{emotion.valence:+.2f}", f"{emotion.arousal:+.2f}"


def _credit(track: Track) -> str:
    """Who made a track, how it may be used, and the text that the licence asks for."""
    return ", ".join(text for text in (track.artist, track.licence, track.attribution) if text)


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
