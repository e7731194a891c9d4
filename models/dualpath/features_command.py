"""`dualpath features`: the command."""

import csv
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dualpath.config import ACCELERATORS
from dualpath.progress import Bar
from kinoscore.errors import FailedPrecondition, InvalidRequest

if TYPE_CHECKING:
    from dualpath.data.features.extract import Extractor
    from dualpath.data.index import PairIndex

__all__ = ["features"]

_FOLDER = click.Path(file_okay=False, path_type=Path)
_ITEM_DIGITS = 20


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), help="A CSV or a folder, as for fit.")
@click.option("--out", required=True, type=_FOLDER, help="The folder of features.")
@click.option("--cache", type=_FOLDER, help="What is known of the files.  [default: as for fit]")
@click.option(
    "--frame-backbone",
    default="none",
    help="none (our fixed cues), small, torchvision:NAME, open_clip:NAME or transformers:NAME.",
)
@click.option(
    "--window-backbone",
    default="none",
    help="Of music: none, small or torchvision:NAME for log-mel windows, torchaudio:NAME for their sound.",
)
@click.option(
    "--weights", default="", help="Of the frame backbone: file:PATH, or the name of published ones."
)
@click.option("--window-weights", default="", help="Of the window backbone, likewise.")
@click.option(
    "--accelerator",
    default="auto",
    show_default=True,
    type=click.Choice(ACCELERATORS),
    help="Of the backbones: auto is cuda where there is a GPU.",
)
@click.option("--threads", default=2, type=click.IntRange(1, 256), help="CPU threads.")
def features(
    data: Path, out: Path, cache: Path | None, accelerator: str, threads: int, **options: Any
) -> None:
    """Extracts features of your own files with frozen backbones, once, for dualpath benchmark.

    \b
      dualpath features --data pairs.csv --out features --frame-backbone torchvision:resnet18 \\
        --weights file:resnet18.pth
      dualpath benchmark extracted --data features

    Whole videos give one step a second, whole tracks one every 3 s. What is done is kept in --out: run the
    same command again to go on. Other backbones need another --out.
    """
    import torch

    from dualpath.data.features.extract import MusicFeatures, VideoFeatures
    from dualpath.data.features.extracted import FORMAT
    from dualpath.training.devices import chosen_device

    torch.set_num_threads(threads)
    device = chosen_device(accelerator)
    video = VideoFeatures(options["frame_backbone"], options["weights"], device)
    music = MusicFeatures(options["window_backbone"], options["window_weights"], device)
    rows = _Rows(data, cache, threads)
    facts = {
        "format": FORMAT,
        "video": _facts(video, options["frame_backbone"], options["weights"]),
        "music": _facts(music, options["window_backbone"], options["window_weights"]),
    }
    _claim(out, facts)
    _extract(video, rows.files["video"], out / "video", "videos")
    _extract(music, rows.files["music"], out / "music", "music")
    temporary = out / ".pairs.csv"
    with temporary.open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, list(rows.table[0]))
        writer.writeheader()
        writer.writerows(rows.table)
    temporary.replace(out / "pairs.csv")
    click.echo(
        f"{out}: {len(rows.table)} pairs; {len(rows.files['video'])} videos in steps of {video.width}, "
        f"{len(rows.files['music'])} tracks in steps of {music.width}"
    )


class _Rows:
    """The table of pairs, and item -> file of each side."""

    def __init__(self, data: Path, cache: Path | None, threads: int) -> None:
        from dualpath.data.features.emomv import source_groups
        from dualpath.data.files import read_files
        from dualpath.data.listing import is_listing, read_listing
        from dualpath.data.sources import cache_beside

        if not is_listing(data):
            raise InvalidRequest(f"{data} is no CSV and no folder of files; a world is trained on as it is")
        with Bar("reading files") as bar:
            pairs = read_files(data, cache or cache_beside(data), workers=threads, progress=bar.update)
        for note in pairs.notes:
            click.echo(note, err=True)
        index, (listed, _) = pairs.index, read_listing(data)
        items = {
            "video": [digest[:_ITEM_DIGITS] for digest in index.video_digests],
            "music": [digest[:_ITEM_DIGITS] for digest in index.music_digests],
        }
        groups = source_groups(
            [(f"video {one}", f"music {other}") for one, other in zip(*items.values(), strict=True)]
        )
        self.files = {
            "video": dict(zip(items["video"], index.videos, strict=True)),
            "music": dict(zip(items["music"], index.tracks, strict=True)),
        }
        self.table = [
            {
                "id": pair.name,
                "split": pairs.splits[row],
                "group": int(groups[row]),
                "video": items["video"][row],
                "music": items["music"][row],
                **_told("video_start", pair.video_start),
                **_told("music_start", pair.music_start),
                **_emotion(index, row),
            }
            for row, pair in enumerate(listed)
        ]


def _told(name: str, value: float | None) -> dict[str, Any]:
    return {name: "" if value is None else f"{value:g}"}


def _emotion(index: "PairIndex", row: int) -> dict[str, str]:
    known = index.known_emotion[row]
    return {
        name: f"{index.valence_arousal[row, axis]:g}" if known else ""
        for axis, name in enumerate(("valence", "arousal"))
    }


def _facts(extractor: "Extractor", backbone: str, weights: str) -> dict[str, Any]:
    from dualpath.networks.backbones import require_file

    file = require_file(weights)
    named = weights if file is None else f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}"
    return {"backbone": backbone, "weights": named, "seconds": extractor.seconds, "width": extractor.width}


def _claim(out: Path, facts: dict[str, Any]) -> None:
    """Writes features.json, or makes sure that it says the same.

    Raises:
        FailedPrecondition: the folder holds features of other backbones.
    """
    path = out / "features.json"
    if path.is_file():
        if json.loads(path.read_text(encoding="utf-8")) != facts:
            raise FailedPrecondition(f"{out} holds features of other backbones: take another --out")
        return
    out.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")


def _extract(extractor: "Extractor", files: dict[str, Path], folder: Path, label: str) -> None:
    from dualpath.data.features.extract import extract_all

    with Bar(f"features of {label}") as bar:
        extract_all(extractor, files, folder, bar.update)
