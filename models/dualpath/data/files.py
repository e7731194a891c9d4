"""A user's own media files as pairs: splits, items, and which passage goes with which window.

Splits, where none are listed: of every ten contents eight are for training, one for validation and one for
test, drawn by the digest of the content. A pair so stays in its split when others are added. Pairs that share
a video or a track, directly or through others, are in one split.

One content under two names is one item. In one split its rows are never each other's negative in training,
nor a wrong answer in an evaluation; in two splits it is refused, since the test would be known.

A video longer than a window gives its middle. The passage of the music: where `music_start` tells which
second of the music sounds at the beginning of the video, that span; for the video's own sound, or music whose
length is that of the video within half a second, the same span of time; else the middle of the music. The
publication says nothing of passages; this is our choice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dualpath.config import MusicNumbers, VideoNumbers
from dualpath.data.features.emomv import source_groups
from dualpath.data.index import PairIndex
from dualpath.data.listing import SPLITS, ListedPair, name_some, read_listing
from dualpath.data.media_facts import MediaFacts, read_facts
from kinoscore.errors import InvalidMedia, InvalidRequest

__all__ = ["FilePairs", "choose_spans", "read_files", "split_of"]

_SAME_LENGTH_SECONDS = 0.5
_TENTHS = ("validation", "test")


@dataclass(frozen=True, slots=True, eq=False)
class FilePairs:
    """All pairs of a listing.

    Attributes:
        index: of every row.
        splits: of every row, one of SPLITS.
        notes: what a user should know, one line each.
    """

    index: PairIndex
    splits: tuple[str, ...]
    notes: tuple[str, ...]

    def of_split(self, split: str) -> PairIndex:
        """The index of one split; it may be empty."""
        return self.index.rows(np.flatnonzero(np.array(self.splits) == split))


def read_files(
    data: Path,
    cache: Path,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> FilePairs:
    """Reads a CSV or a folder of media files; every file is read once, and what was learnt kept in `cache`.

    Raises:
        NotFound: see `read_listing`.
        InvalidRequest: see `read_listing`; one content in two splits.
        InvalidMedia: files cannot be read, or have no picture or no sound; the message names them.
    """
    listed, unused = read_listing(data)
    facts = read_facts(
        [file for pair in listed for file in (pair.video, pair.music)],
        cache / "files.jsonl",
        workers=workers,
        progress=progress,
    )
    _refuse_unusable(listed, facts)
    video_digests = tuple(facts[pair.video].digest for pair in listed)
    music_digests = tuple(facts[pair.music].sound for pair in listed)
    notes = [f"columns that are not used: {', '.join(unused)}"] if unused else []
    if all(pair.music == pair.video for pair in listed):
        notes.append("no music is listed, so that of each video is its own sound")
    if listed[0].split:
        splits = tuple(pair.split for pair in listed)
        for side, digests in (("video", video_digests), ("music", music_digests)):
            _refuse_two_splits(listed, splits, digests, side)
    else:
        splits = _splits_by_content(video_digests, music_digests)
        counts = ", ".join(f"{splits.count(split)} {split}" for split in SPLITS)
        notes.append(f"no split is listed, so the content's digest chose it: {counts} pairs")
    video, music = VideoNumbers(), MusicNumbers()
    spans = [
        choose_spans(pair, facts[pair.video].seconds, facts[pair.music].seconds, video) for pair in listed
    ]
    short = sum(
        pair.music == pair.video and facts[pair.video].seconds < video.window_seconds for pair in listed
    )
    if short:
        notes.append(
            f"{short} pairs have their own sound and are shorter than {video.window_seconds:g} s: a common "
            "length gives a pair away, so figures are better than the model"
        )
    count = len(listed)
    unknown = (float("nan"), float("nan"))
    index = PairIndex(
        identifiers=tuple(pair.name for pair in listed),
        videos=tuple(pair.video for pair in listed),
        tracks=tuple(pair.music for pair in listed),
        offsets=np.array([span[1] for span in spans]),
        valence_arousal=np.array([pair.valence_arousal or unknown for pair in listed], np.float32),
        themes=np.zeros(count, np.int64),
        theme_names=(),
        attribute_names=(),
        video_attributes=np.zeros((count, 0), np.float32),
        music_attributes=np.zeros((count, 0), np.float32),
        video_offsets=np.array([span[0] for span in spans]),
        video_digests=video_digests,
        music_digests=music_digests,
    )
    _refuse_beyond_the_end(index, facts, music)
    return FilePairs(index, splits, tuple(notes))


def choose_spans(
    pair: ListedPair, video_seconds: float, music_seconds: float, video: VideoNumbers
) -> tuple[float, float]:
    """Where the window of the video and the passage of the music begin, s; see the head of this module."""
    window = video.window_seconds
    start = pair.video_start
    if start is None:
        start = max(0.0, (video_seconds - window) / 2)
    # On the grid of the sampled frames, so that picture and sound begin together.
    start = round(start * video.frames_per_second) / video.frames_per_second
    if pair.music_start is not None:
        return start, pair.music_start + start
    if pair.music == pair.video or abs(video_seconds - music_seconds) <= _SAME_LENGTH_SECONDS:
        return start, start
    return start, max(0.0, (music_seconds - window) / 2)


def split_of(digest: str) -> str:
    """The split of a content: [hexadecimal] -> one of SPLITS."""
    tenth = int(digest[:8], 16) % 10
    return _TENTHS[tenth] if tenth < len(_TENTHS) else "train"


def _splits_by_content(video: Sequence[str], music: Sequence[str]) -> tuple[str, ...]:
    sources = [(f"video {one}", f"music {other}") for one, other in zip(video, music, strict=True)]
    groups = source_groups(sources)
    least: dict[int, str] = {}
    for group, digest in zip(groups.tolist(), video, strict=True):
        least[group] = min(digest, least.get(group, digest))
    return tuple(split_of(least[group]) for group in groups.tolist())


def _refuse_unusable(listed: Sequence[ListedPair], facts: dict[Path, MediaFacts]) -> None:
    problems: dict[str, None] = {}
    for pair in listed:
        for file in (pair.video, pair.music):
            if facts[file].problem:
                problems[f"{file} ({facts[file].problem})"] = None
        if not facts[pair.video].problem and not facts[pair.video].has_video:
            problems[f"{pair.video} (no video stream)"] = None
        if not facts[pair.music].problem and not facts[pair.music].sound:
            problems[f"{pair.music} (no sound)"] = None
    if problems:
        raise InvalidMedia(
            f"{len(problems)} of {len(facts)} files cannot be used; replace them or leave their pairs out: "
            f"{name_some(problems)}"
        )


def _refuse_two_splits(
    listed: Sequence[ListedPair], splits: Sequence[str], digests: Sequence[str], side: str
) -> None:
    first: dict[str, int] = {}
    for row, digest in enumerate(digests):
        other = first.setdefault(digest, row)
        if splits[other] != splits[row]:
            names = [pair.video if side == "video" else pair.music for pair in (listed[other], listed[row])]
            raise InvalidRequest(
                f"{names[0]} in {splits[other]} and {names[1]} in {splits[row]} are the same {side}: "
                "put their pairs into one split, or list no splits"
            )


def _refuse_beyond_the_end(index: PairIndex, facts: dict[Path, MediaFacts], music: MusicNumbers) -> None:
    assert index.video_offsets is not None
    least = music.window_samples / music.sample_rate / 2
    for row in range(len(index)):
        for file, start, half in (
            (index.videos[row], index.video_offsets[row], 0.0),
            (index.tracks[row], index.offsets[row], least),
        ):
            seconds = facts[file].seconds
            if start > 0 and start + half >= seconds:
                raise InvalidRequest(
                    f"{index.identifiers[row]}: {file.name} is {seconds:.1f} s long, and its part would "
                    f"begin at {start:.1f} s: correct video_start or music_start"
                )
