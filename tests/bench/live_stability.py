"""Whether a live list follows the scenes and nothing else.

Clips of two generated scenes of different emotion, joined, and clips that stay in one scene, are streamed to
`kinoscore up` as JPEG frames, each as fast as it is answered. A joined clip meets the rule when its list
changes in exactly one update, within six seconds of the cut; one that stays, when its list never changes. A
change is an update in which a track entered, left or moved; the first list is none, nor is what comes in the
first seconds, in which the window fills and a better list may have to wait for the hold time: those are told
apart.

Each clip is streamed a second time, with the track pinned that was first when the list had settled: it is
time to change within six seconds of the cut, and not before; in a clip that stays, never.

The scenes are of styles that the model has not seen, and not those on which margin, hold and window were
tuned (validation styles, seeds from 20000 on). The plot shows each clip: what the list scores now, the
emotion over the window, the cut, and the changes.
"""

import os
from argparse import Namespace
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import asdict, dataclass
from functools import partial
from itertools import chain
from math import hypot
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import numpy as np
from harness import arguments, conditions, cores, progress, running_server, show
from live_material import generated_library, scene, store_library, stream
from material import encoded_passages
from numpy.typing import NDArray

from kinoscore import Client, LiveControl, LiveUpdate
from kinoscore.inference import ModelRepository, default_repository
from kinoscore.world import draw_pair

SPLIT = "test"
FIRST_SEED = 30_000
APART = 0.8
"""How far two scenes of a joined clip lie apart in valence and arousal, each -1 to 1."""
SUFFIXES = {".flac", ".mp3", ".ogg", ".wav"}
SETTLED_SECONDS = 6.0
WITHIN_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class Moment:
    """One update.

    Attributes:
        score: of the tracks in the list, on average.
        changed: tracks that entered or left, and whether the order is another.
    """

    seconds: float
    valence: float
    arousal: float
    score: float
    entered: int
    moved: int

    @classmethod
    def of(cls, update: LiveUpdate) -> "Moment":
        return cls(
            seconds=update.stream_seconds,
            valence=update.emotion.valence,
            arousal=update.emotion.arousal,
            score=float(np.mean([hit.score for hit in update.hits])),
            entered=len(update.changes.entered),
            moved=len(update.changes.moved),
        )


@dataclass(frozen=True, slots=True)
class Course:
    """What a clip's list did.

    Attributes:
        cut: seconds; None in a clip that stays.
        time_to_change: when it was first told to change the track that was first once the list had settled;
            None where never.
    """

    name: str
    cut: float | None
    moments: list[Moment]
    time_to_change: float | None

    def changes(self) -> list[float]:
        """When the list changed after it had settled, in seconds of the stream."""
        return [one.seconds for one in self.moments[1:] if _is_change(one) and one.seconds > SETTLED_SECONDS]

    def early_changes(self) -> int:
        return sum(_is_change(one) for one in self.moments[1:] if one.seconds <= SETTLED_SECONDS)

    def delays(self) -> list[float]:
        """From the cut to the changes that belong to it."""
        if self.cut is None:
            return []
        return [when - self.cut for when in self.changes() if 0 < when - self.cut <= WITHIN_SECONDS]

    def elsewhere(self) -> int:
        return len(self.changes()) - len(self.delays())

    def meets_the_rule(self) -> bool:
        return len(self.delays()) == (0 if self.cut is None else 1) and self.elsewhere() == 0

    def pin_meets_the_rule(self) -> bool:
        """Whether the pinned track was left in time, or stayed where the scene did."""
        if self.cut is None or self.time_to_change is None:
            return self.cut is None and self.time_to_change is None
        return 0 < self.time_to_change - self.cut <= WITHIN_SECONDS


def _is_change(moment: Moment) -> bool:
    return bool(moment.entered or moment.moved)


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--clips", type=int, default=12, help="of either kind (default: 12)")
    parser.add_argument("--seconds", type=float, default=24.0, help="of a scene (default: 24)")
    parser.add_argument("--tracks", type=int, default=300, help="in the library (default: 300)")
    parser.add_argument("-k", type=int, default=10, help="tracks in the list (default: 10)")
    parser.add_argument("--music", type=Path, help="a folder of tracks to be the library instead")
    parser.add_argument("--margin", type=float, help="kinoscore's own when not given")
    parser.add_argument("--hold", type=float, help="seconds; kinoscore's own when not given")
    parser.add_argument("--window", type=float, help="seconds; kinoscore's own when not given")
    parser.add_argument(
        "--seed", type=int, default=FIRST_SEED, help=f"of the first scene (default: {FIRST_SEED})"
    )
    parser.add_argument(
        "--library", type=Path, help="an .npz file that keeps the encoded tracks between runs"
    )
    parser.add_argument(
        "--plot", type=Path, default=Path("live_stability.svg"), help="written (default: live_stability.svg)"
    )
    options = parser.parse_args()
    found = conditions()
    manifest = ModelRepository.load(options.repository or default_repository()).manifest
    joined, staying = draw_scenes(options.seed, options.clips)
    progress("rendering scenes")
    with ProcessPoolExecutor(cores()) as processes:
        seeds = [*(seed for pair in joined for seed in pair), *staying]
        rendered = processes.map(partial(scene, split=SPLIT, seconds=options.seconds), seeds)
        pictures = dict(zip(seeds, rendered, strict=True))
    clips = [
        *((_name(*pair), options.seconds, pictures[pair[0]] + pictures[pair[1]]) for pair in joined),
        *((_name(seed), None, pictures[seed]) for seed in staying),
    ]
    wishes = {"k": options.k, "margin": options.margin}
    wishes |= {"hold_seconds": options.hold, "window_seconds": options.window}
    with running_server(options.repository) as server:
        if options.music:
            library = recorded_library(server.address, options.music)
        else:
            library = generated_library(server.address, manifest, options.tracks, options.library)
        store_library(library, server.address, manifest)
        progress("streaming")
        courses = []
        with closing(Client(server.address)) as client:
            for name, cut, frames in clips:
                *updates, _last = client.live(stream(frames), **wishes)
                settled = next(update for update in updates if update.stream_seconds > SETTLED_SECONDS)
                pin = LiveControl(pin=settled.hits[0].track.track_id)
                *pinned, _last = client.live(chain([pin], stream(frames)), **wishes)
                moments = [Moment.of(update) for update in updates]
                courses.append(Course(name, cut, moments, time_to_change(pinned)))
    options.plot.write_text(plot(courses))
    report(options, found, courses, len(library))


def recorded_library(address: str, folder: Path) -> list[NDArray[np.float32]]:
    """The passages of all tracks of a folder and those in it, as `generated_library`."""
    paths = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES)
    progress(f"encoding {len(paths)} tracks")
    return list(encoded_passages(paths, address))


def time_to_change(updates: Sequence[LiveUpdate]) -> float | None:
    """When it was first told, in seconds of the stream; not what is told before anything has settled."""
    told = (update.stream_seconds for update in updates if update.pin and update.pin.time_to_change)
    return next((seconds for seconds in told if seconds > SETTLED_SECONDS), None)


def draw_scenes(seed: int, clips: int) -> tuple[list[tuple[int, int]], list[int]]:
    """Seeds of the scenes of joined clips and of those that stay; no scene comes twice."""
    pairs: list[tuple[int, int]] = []
    waiting: list[int] = []
    while len(pairs) < clips:
        mood = draw_pair(seed, SPLIT).factors
        for other in waiting:
            factors = draw_pair(other, SPLIT).factors
            if hypot(mood.valence - factors.valence, mood.arousal - factors.arousal) >= APART:
                waiting.remove(other)
                pairs.append((other, seed))
                break
        else:
            waiting.append(seed)
        seed += 1
    first = max(seed, *waiting) if waiting else seed
    return pairs, list(range(first + 1, first + 1 + clips))


def _name(*seeds: int) -> str:
    return " | ".join(f"{draw_pair(seed, SPLIT).factors.theme} {seed}" for seed in seeds)


def report(options: Namespace, found: dict[str, Any], courses: Sequence[Course], tracks: int) -> None:
    joined = [course for course in courses if course.cut is not None]
    staying = [course for course in courses if course.cut is None]
    delays = [delay for course in joined for delay in course.delays()]
    after = [one.score for course in courses for one in course.moments if one.seconds > SETTLED_SECONDS]
    rows = [
        ("library", f"{tracks} {'recorded' if options.music else 'generated'} tracks; lists of {options.k}"),
        ("joined clips", _tally(joined)),
        ("  cuts without a change", f"{sum(not course.delays() for course in joined)}"),
        ("  cuts with more than one", f"{sum(len(course.delays()) > 1 for course in joined)}"),
        ("  changes elsewhere", f"{sum(course.elsewhere() for course in joined)}"),
        ("  from cut to change", _range(delays)),
        ("clips that stay", _tally(staying)),
        ("  changes", f"{sum(course.elsewhere() for course in staying)}"),
        ("pinned track left in time, joined clips", _pin_tally(joined)),
        ("pinned track never left, clips that stay", _pin_tally(staying)),
        (
            f"changes in the first {SETTLED_SECONDS:g} s",
            f"{sum(course.early_changes() for course in courses)} in {len(courses)} clips",
        ),
        ("score of the listed tracks", f"{np.mean(after):.2f} on average"),
        ("plot", os.fspath(options.plot)),
        *((f"  {course.name}", _faults(course)) for course in courses if not course.meets_the_rule()),
    ]
    facts = {
        "conditions": found,
        "k": options.k,
        "tracks": tracks,
        "joined": len(joined),
        "joined_that_meet_the_rule": sum(course.meets_the_rule() for course in joined),
        "staying": len(staying),
        "staying_that_meet_the_rule": sum(course.meets_the_rule() for course in staying),
        "seconds_from_cut_to_change": delays,
        "joined_whose_pin_meets_the_rule": sum(course.pin_meets_the_rule() for course in joined),
        "staying_whose_pin_meets_the_rule": sum(course.pin_meets_the_rule() for course in staying),
        "courses": [asdict(course) for course in courses],
    }
    show(options, "live: does the list follow the scenes", rows, facts)


def _tally(courses: Sequence[Course]) -> str:
    return f"{sum(course.meets_the_rule() for course in courses)} of {len(courses)} meet the rule"


def _pin_tally(courses: Sequence[Course]) -> str:
    return f"{sum(course.pin_meets_the_rule() for course in courses)} of {len(courses)}"


def _range(delays: Sequence[float]) -> str:
    if not delays:
        return "no change"
    return f"{np.median(delays):.1f} s (median), {min(delays):.0f} to {max(delays):.0f} s"


def _faults(course: Course) -> str:
    at = ", ".join(f"{when:g}" for when in course.changes()) or "no second"
    return f"changed at {at} s" + (f", cut at {course.cut:g} s" if course.cut is not None else "")


PANEL_WIDTH, PANEL_HEIGHT, COLUMNS, MARGIN = 300, 120, 4, 24
CURVES = {"score": "#1a1a1a", "valence": "#c2571a", "arousal": "#2a6f97"}


def plot(courses: Sequence[Course]) -> str:
    """All clips as small panels of an SVG picture."""
    rows = -(-len(courses) // COLUMNS)
    width, height = COLUMNS * (PANEL_WIDTH + MARGIN) + MARGIN, rows * (PANEL_HEIGHT + 2 * MARGIN) + 2 * MARGIN
    legend = ", ".join(f'<tspan fill="{colour}">{name}</tspan>' for name, colour in CURVES.items())
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="{MARGIN}" y="{MARGIN}">{legend} of the window, -1 to 1; dashed: the cut; red: the list '
        "changed; grey: not settled yet</text>",
    ]
    for number, course in enumerate(courses):
        x = MARGIN + number % COLUMNS * (PANEL_WIDTH + MARGIN)
        y = 2 * MARGIN + MARGIN // 2 + number // COLUMNS * (PANEL_HEIGHT + 2 * MARGIN)
        parts += [f'<g transform="translate({x} {y})">', *_panel(course), "</g>"]
    return "\n".join([*parts, "</svg>", ""])


def _panel(course: Course) -> Iterator[str]:
    end = course.moments[-1].seconds

    def across(seconds: float) -> float:
        return PANEL_WIDTH * seconds / end

    def upright(seconds: float, style: str) -> str:
        place = f"{across(seconds):.1f}"
        return f'<line x1="{place}" x2="{place}" y1="0" y2="{PANEL_HEIGHT}" {style}/>'

    mark = "" if course.meets_the_rule() else " (breaks the rule)"
    yield f'<text y="-5">{escape(course.name + mark)}</text>'
    settling = across(SETTLED_SECONDS)
    yield f'<rect width="{settling:.1f}" height="{PANEL_HEIGHT}" fill="#eeeeee"/>'
    yield f'<rect width="{PANEL_WIDTH}" height="{PANEL_HEIGHT}" fill="none" stroke="#999999"/>'
    if course.cut is not None:
        yield upright(course.cut, 'stroke="#555555" stroke-dasharray="4 3"')
    for moment in course.moments[1:]:
        if _is_change(moment):
            yield upright(moment.seconds, 'stroke="#d00000" stroke-width="2"')
    for name, colour in CURVES.items():
        points = " ".join(
            f"{across(one.seconds):.1f},{PANEL_HEIGHT * (1 - getattr(one, name)) / 2:.1f}"
            for one in course.moments
        )
        yield f'<polyline points="{points}" fill="none" stroke="{colour}"/>'


if __name__ == "__main__":
    main()
