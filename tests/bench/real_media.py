"""Whether the model, trained on a generated world only, says anything sensible of real clips and music.

The mood of each clip and track was written down before any model had seen it (real_media_moods.csv: the signs
of valence and arousal, 0 for neither). The tracks are indexed, and for each clip all of them are ranked. The
agreement of a clip and a track is the mean, over valence and arousal, of the product of their signs. Two
figures tell how well rankings agree with moods, each a mean over the clips: the agreement of the first three
tracks, and Spearman's correlation of score and agreement over all tracks. How likely chance is to reach as
much is found by dealing the moods to the tracks anew, many times.
"""

import csv
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from harness import arguments, conditions, progress, running_server, show
from numpy.typing import NDArray

from kinoscore import Client, Recommendation, Track

MOODS = Path(__file__).with_name("real_media_moods.csv")
TOP = 3
DRAWS = 10_000
# How much valence and arousal count in an agreement.
AXES = {"valence and arousal": (0.5, 0.5), "valence alone": (1.0, 0.0), "arousal alone": (0.0, 1.0)}

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Item:
    """A clip or a track, and the signs that were written for its mood."""

    path: Path
    valence: int
    arousal: int
    mood: str


@dataclass(frozen=True, slots=True, eq=False)
class Answers:
    """What kinoscore says.

    Attributes:
        scores: float64 [clips, tracks].
        clips, tracks: float64 [n, 2], the predicted valence and arousal.
    """

    scores: Floats
    clips: Floats
    tracks: Floats


@dataclass(frozen=True, slots=True)
class Figure:
    """A statistic, its mean under permutation, and how often a permutation reaches it (one-sided)."""

    value: float
    by_chance: float
    p: float


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--media", type=Path, required=True, help="a folder with clips/ and tracks/")
    options = parser.parse_args()
    found = conditions()
    clips, tracks = find_items(options.media)
    if not clips or len(tracks) < TOP:
        progress(f"skipped: {options.media} does not hold the clips and tracks of {MOODS.name}")
        return
    with running_server(options.repository) as server, closing(Client(server.address)) as client:
        answers = ask(client, clips, tracks)
    tests = {
        axes: permutation_test(answers.scores, signs(clips), signs(tracks), np.array(shares))
        for axes, shares in AXES.items()
    }
    predicted = {
        f"{axis} of {kind}": spearman(values[:, column], signs(items)[:, column])
        for kind, items, values in (("clips", clips, answers.clips), ("tracks", tracks, answers.tracks))
        for column, axis in enumerate(("valence", "arousal"))
    }
    rows = [
        *describe_answers(clips, tracks, answers),
        *(
            (f"{statistic}, {axes}", f"{one.value:+.3f}  (by chance {one.by_chance:+.3f}, p = {one.p:.4f})")
            for axes, figures in tests.items()
            for statistic, one in figures.items()
        ),
        *((f"Spearman, predicted and written {name}", f"{value:+.3f}") for name, value in predicted.items()),
    ]
    facts = {
        "conditions": found,
        "clips": [clip.path.name for clip in clips],
        "tracks": [track.path.name for track in tracks],
        "scores": answers.scores.tolist(),
        "permutations": DRAWS,
        "agreement": tests,
        "predicted_against_written": predicted,
    }
    show(options, "real clips and music: rankings against moods written beforehand", rows, facts)


def find_items(media: Path) -> tuple[list[Item], list[Item]]:
    """The clips and tracks of the list that the folder holds, in the order of the list."""
    files = {path.name: path for kind in ("clips", "tracks") for path in (media / kind).rglob("*.*")}
    found: dict[str, list[Item]] = {"clip": [], "track": []}
    with MOODS.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            path = files.get(row["file"])
            if path is None:
                progress(f"not there: {row['file']}")
            else:
                item = Item(path, int(row["valence"]), int(row["arousal"]), row["mood"])
                found[row["kind"]].append(item)
    return found["clip"], found["track"]


def ask(client: Client, clips: Sequence[Item], tracks: Sequence[Item]) -> Answers:
    """Indexes the tracks, and ranks all of them for each clip."""
    numbers: dict[str, int] = {}
    for number, track in enumerate(tracks):
        progress(f"indexing {track.path.name}")
        numbers[client.index(track.path, Track(title=track.path.stem)).track.track_id] = number
    moods = [client.get_track(track_id).emotion for track_id in numbers]
    scores = np.full((len(clips), len(tracks)), np.nan)
    answers: list[Recommendation] = []
    for row, clip in zip(scores, clips, strict=True):
        progress(f"ranking for {clip.path.name}")
        answers.append(client.recommend(clip.path, k=len(tracks)))
        for hit in answers[-1].hits:
            row[numbers[hit.track.track_id]] = hit.score
    if np.isnan(scores).any():
        raise SystemExit("a track was not ranked: two files hold the same sound, or an answer was short")
    return Answers(
        scores,
        np.array([(one.clip_emotion.valence, one.clip_emotion.arousal) for one in answers]),
        np.array([(mood.valence, mood.arousal) for mood in moods]),
    )


def describe_answers(
    clips: Sequence[Item], tracks: Sequence[Item], answers: Answers
) -> list[tuple[str, str]]:
    """For each clip its first tracks, with score, predicted valence and arousal, and the written mood."""
    rows = []
    for clip, scores, (valence, arousal) in zip(clips, answers.scores, answers.clips, strict=True):
        rows.append((clip.path.name, f"       {valence:+.2f} {arousal:+.2f}  {clip.mood}"))
        for number in first(scores):
            track, (valence, arousal) = tracks[number], answers.tracks[number]
            text = f"{scores[number]:.4f} {valence:+.2f} {arousal:+.2f}  {track.mood}"
            rows.append((f"  {track.path.name}", text))
    return rows


def permutation_test(
    scores: Floats, clip_signs: Floats, track_signs: Floats, shares: Floats
) -> dict[str, Figure]:
    """Agreement of the first tracks, and Spearman's correlation of score and agreement: means over clips.

    A clip that agrees with all tracks alike has no correlation, and is left out of that mean.

    Args:
        scores: float64 [clips, tracks].
        clip_signs, track_signs: float64 [n, 2], -1, 0 or 1 of valence and arousal.
        shares: float64 [2], what valence and arousal count.
    """
    agreement = (clip_signs * shares) @ track_signs.T
    is_first = np.zeros_like(scores)
    for row, one in zip(is_first, scores, strict=True):
        row[first(one)] = 1 / TOP
    told_apart = np.ptp(agreement, axis=1) > 0
    score_ranks, agreement_ranks = standard_ranks(scores[told_apart]), standard_ranks(agreement[told_apart])
    return {
        f"agreement of the first {TOP}": figure(is_first.T @ agreement / len(scores)),
        "Spearman of score and agreement": figure(score_ranks.T @ agreement_ranks / told_apart.sum()),
    }


def figure(matrix: Floats) -> Figure:
    """Tests the trace of a matrix: cell i, j is what track i adds to the statistic if it has the mood of j.

    Every statistic here is such a sum, since dealing moods anew permutes the columns of the agreement.
    """
    count = len(matrix)
    random = np.random.default_rng(0)
    deals = np.array([random.permutation(count) for _ in range(DRAWS)])
    drawn = matrix[np.arange(count), deals].sum(axis=1)
    observed = np.trace(matrix)
    # The observed deal counts as one of the draws, so that p is never 0.
    reached = 1 + int(np.count_nonzero(drawn >= observed - 1e-9))
    return Figure(float(observed), float(drawn.mean()), reached / (1 + DRAWS))


def first(scores: Floats) -> NDArray[np.int64]:
    """The numbers of the best tracks; of equals, the earlier in the list."""
    return np.argsort(-scores, kind="stable")[:TOP]


def signs(items: Sequence[Item]) -> Floats:
    """The written moods, float64 [n, 2]."""
    return np.array([(item.valence, item.arousal) for item in items], np.float64)


def spearman(one: Floats, other: Floats) -> float:
    """Spearman's rank correlation of two lists, neither of them constant."""
    ranks = standard_ranks(np.stack([one, other]))
    return float(ranks[0] @ ranks[1])


def standard_ranks(rows: Floats) -> Floats:
    """The ranks within each row, ties at their mean rank, with mean 0 and length 1: their products are
    correlations."""
    ranks = np.array([mean_ranks(row) for row in rows])
    ranks -= ranks.mean(axis=1, keepdims=True)
    return ranks / np.linalg.norm(ranks, axis=1, keepdims=True)


def mean_ranks(values: Floats) -> Floats:
    _, group, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[group]


if __name__ == "__main__":
    main()
