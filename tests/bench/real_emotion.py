"""Whether the emotion that the model hears in music agrees with what people wrote: rendered piano pieces.

For a folder of MIDI files with a labels.csv (`file,song_id,quadrant,valence,arousal,split,...`, the signs as
-1 or 1), as EMOPIA's (Hung and others, ISMIR 2021). Nothing is trained on it. Each piece is rendered by
fluidsynth, indexed by a server as a user would, and the emotion of the whole track is read back.

The area under the ROC curve needs no threshold. A quadrant does: once 0 as the model gives it, and once the
median over all pieces, which a catalogue can know too, for what counts as much differs from one to another.
Intervals are bootstrap ones over songs: pieces of one song agree.
"""

import csv
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from harness import arguments, conditions, cores, progress, running_server, show
from numpy.typing import NDArray

from dualpath.evaluation.matching import area_under_curve
from kinoscore import Client, Track

SOUNDFONT = Path("/usr/share/sounds/sf2/FluidR3_GM.sf2")
SAMPLE_RATE = 22_050
RESAMPLES = 1000
TOLD_EVERY = 50

Floats = NDArray[np.float64]
Numbers = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Piece:
    """A MIDI file and the signs of valence and arousal that people gave it."""

    path: Path
    song: str
    valence: int
    arousal: int


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--pieces", type=Path, required=True, help="a folder with labels.csv and MIDI files")
    parser.add_argument("--soundfont", type=Path, default=SOUNDFONT, help=f"default: {SOUNDFONT}")
    parser.add_argument("--most", type=int, help="so many pieces, drawn at random; all when not given")
    options = parser.parse_args()
    found = conditions()
    pieces = read_pieces(options.pieces, options.most)
    with (
        running_server(options.repository) as server,
        closing(Client(server.address)) as client,
        ThreadPoolExecutor(cores()) as threads,
    ):
        heard = np.array(
            list(threads.map(partial(hear, client, options.soundfont), range(len(pieces)), pieces))
        )
    written = np.array([(piece.valence, piece.arousal) for piece in pieces])
    songs = np.unique([piece.song for piece in pieces], return_inverse=True)[1]
    figures = {
        name: (figure(np.arange(len(pieces))), *interval(figure, songs))
        for name, figure in statistics(heard, written).items()
    }
    rows = [
        ("pieces", f"{len(pieces)} of {songs.max() + 1} songs"),
        *((name, f"{value:.3f} ({low:.3f} to {high:.3f})") for name, (value, low, high) in figures.items()),
    ]
    facts = {
        "conditions": found,
        "pieces": [piece.path.name for piece in pieces],
        "heard": heard.tolist(),
        "figures": figures,
    }
    show(options, "real music: emotion heard against emotion written", rows, facts)


def read_pieces(folder: Path, most: int | None) -> list[Piece]:
    with (folder / "labels.csv").open(newline="", encoding="utf-8") as file:
        pieces = [
            Piece(folder / row["file"], row["song_id"], int(row["valence"]), int(row["arousal"]))
            for row in csv.DictReader(file)
        ]
    if most is None or most >= len(pieces):
        return pieces
    chosen = np.random.default_rng(0).choice(len(pieces), most, replace=False)
    return [pieces[number] for number in sorted(chosen.tolist())]


def hear(client: Client, soundfont: Path, number: int, piece: Piece) -> tuple[float, float]:
    """Valence and arousal of one piece, by the model."""
    with tempfile.TemporaryDirectory(prefix="kinoscore-bench-") as folder:
        path = Path(folder, "piece.wav")
        command = ["fluidsynth", "-ni", "-q", "-r", str(SAMPLE_RATE), "-F", str(path)]
        subprocess.run([*command, str(soundfont), str(piece.path)], check=True, capture_output=True)
        indexed = client.index(path, Track(title=piece.path.stem))
    if number % TOLD_EVERY == 0:
        progress(f"piece {number}")
    emotion = client.get_track(indexed.track.track_id).emotion
    return emotion.valence, emotion.arousal


def statistics(heard: Floats, written: Numbers) -> dict[str, Callable[[Numbers], float]]:
    """Each figure as a function of the numbers of the pieces that count.

    Args:
        heard: float64 [n, 2], valence and arousal.
        written: int64 [n, 2], their signs.
    """
    is_positive = written > 0
    quadrant = is_positive @ [2, 1]
    by_zero = (heard > 0) @ [2, 1]
    by_median = (heard > np.median(heard, axis=0)) @ [2, 1]
    return {
        "valence, AUC": lambda chosen: area_under_curve(heard[chosen, 0], is_positive[chosen, 0]),
        "arousal, AUC": lambda chosen: area_under_curve(heard[chosen, 1], is_positive[chosen, 1]),
        "quadrant, accuracy, threshold 0": lambda chosen: share(by_zero[chosen] == quadrant[chosen]),
        "quadrant, accuracy, threshold at the median": lambda chosen: share(
            by_median[chosen] == quadrant[chosen]
        ),
        "quadrant, always the most frequent": lambda chosen: share(
            quadrant[chosen] == np.bincount(quadrant).argmax()
        ),
    }


def share(hits: NDArray[np.bool_]) -> float:
    return float(hits.mean())


def interval(figure: Callable[[Numbers], float], songs: Numbers) -> Sequence[float]:
    """The 95 % interval of a figure, by drawing songs with replacement."""
    random = np.random.default_rng(0)
    of_song = [np.flatnonzero(songs == song) for song in range(songs.max() + 1)]
    values = [
        figure(np.concatenate([of_song[song] for song in random.integers(len(of_song), size=len(of_song))]))
        for _ in range(RESAMPLES)
    ]
    return np.percentile(values, [2.5, 97.5]).tolist()


if __name__ == "__main__":
    main()
