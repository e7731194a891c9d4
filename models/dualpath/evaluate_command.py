"""`dualpath evaluate`: the command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dualpath.config import EMOTION_LABELS, TrainingConfig, check_number
from dualpath.feature_run_commands import evaluate_feature_run
from dualpath.opening import open_data
from dualpath.progress import Bar
from kinoscore.errors import InvalidRequest

if TYPE_CHECKING:
    from dualpath.evaluation.embeddings import Embeddings

__all__ = ["evaluate"]

_SPLITS = click.Choice(["train", "validation", "test"])
_FOLDER = click.Path(file_okay=False, path_type=Path)
_DATA = click.Path(path_type=Path)
_GALLERY = 500
_BARS_AT = 10


@click.command()
@click.argument("run", type=_FOLDER)
@click.option("--data", required=True, type=_DATA, help="What to measure on, as for fit.")
@click.option("--cache", type=_FOLDER, help="Decoded arrays.  [default: as for fit]")
@click.option("--split", type=_SPLITS, default="test")
@click.option(
    "--gallery",
    type=int,
    help="Pairs a gallery; the queries of several are pooled.  [default: 500, or all where there are fewer]",
)
@click.option("--plot", "plots", type=_FOLDER, help="Write the figures here, as PNG.")
@click.option("--threads", default=TrainingConfig().threads, help="CPU threads, and processes that decode.")
def evaluate(
    run: Path,
    data: Path,
    cache: Path | None,
    split: str,
    gallery: int | None,
    plots: Path | None,
    threads: int,
) -> None:
    """Prints retrieval figures of the model in RUN, beside a random order and, for a world, an oracle.

    Recalls in percent, with 95 % bootstrap intervals over queries. The oracle sees the theme and the cues
    that each side renders, and knows how the world was drawn: the most that any model could reach. "fused",
    "content" and "emotion" are the model's paths alone. The second table has the queries of each emotion, of
    the pairs that have one.

    A track or clip that occurs twice is no wrong answer: pairs that share a file, or whose content is nearly
    the same (pooled pictures correlate by .95, or mel spectra by .85; copies shifted in time are not found),
    are left out of each other's galleries.

    A run of `fit --features` is measured on features of the same layout, a whole split in one gallery.

    RUN/evaluation-SPLIT.json receives all figures with the name and the digest of the data, and
    RUN/model-card.md is written anew.
    """
    import numpy as np
    import torch

    from dualpath.data.cache import open_cache
    from dualpath.data.index import emotion_labels
    from dualpath.evaluation.embeddings import embed, similarity
    from dualpath.evaluation.oracle import oracle_similarity, read_rendered_cues, theme_similarity
    from dualpath.evaluation.report import (
        compare,
        emotion_figures,
        format_table,
        galleries,
        ranks_in_galleries,
        rows_by_emotion,
    )
    from dualpath.evaluation.twins import find_twins
    from dualpath.training.data_facts import data_of_run, is_other_data, name_data
    from dualpath.training.model_card import write_model_card
    from dualpath.training.run_folder import RunFolder

    check_number("threads", threads)
    torch.set_num_threads(threads)
    folder = RunFolder(run)
    if folder.heads.is_file():
        if gallery is not None or plots is not None:
            raise InvalidRequest("--gallery and --plot have no effect on a run on features: leave them out")
        evaluate_feature_run(run, data, split, threads)
        return
    network, weights = folder.load_best(), folder.read_json("summary")["weights"]
    source = open_data(data, (split,), cache, threads)
    index = source.splits[split]
    gallery = min(_GALLERY, len(index)) if gallery is None else gallery
    galleries(len(index), gallery)
    with Bar(f"decoding {split}") as bar:
        arrays = open_cache(source.cache / split, index, network.config, workers=threads, progress=bar.update)
    embeddings = embed(network, arrays, index)
    alone = {name: {**dict.fromkeys(("fused", "content", "emotion"), 0.0), name: 1.0} for name in weights}
    matrices = {
        "model": similarity(embeddings, weights),
        **{name: similarity(embeddings, one) for name, one in alone.items()},
    }
    if source.kind == "world":
        cues = read_rendered_cues(data / split / "index.csv")
        matrices |= {"theme": theme_similarity(cues, cues), "oracle": oracle_similarity(cues, cues)}
    twins = find_twins(index, arrays)
    rows = compare(matrices, gallery, twins.mask)
    known = index.known_emotion
    truth = index.valence_arousal[known]
    labels = np.full(len(index), -1)
    labels[known] = emotion_labels(truth)
    ranks = ranks_in_galleries(matrices["model"], gallery, twins.mask)
    by_emotion = rows_by_emotion(ranks, labels, EMOTION_LABELS, gallery)
    emotion = {
        side: emotion_figures(
            values.valence_arousal[known], truth, values.probabilities[known].argmax(axis=1), labels[known]
        )
        for side, values in (("video", embeddings.video), ("music", embeddings.music))
        if known.sum() > 1
    }
    measured = {"name": data.resolve().name, "digests": source.digests}
    other = is_other_data(data_of_run(folder), measured, split)
    click.echo(name_data(measured, split) + (", other data than the run was trained with" if other else ""))
    click.echo(format_table(rows))
    click.echo(f"{twins}\n")
    if by_emotion:
        click.echo(f"{format_table(by_emotion, 'emotion')}\n")
    for side, figures in emotion.items():
        click.echo(
            f"{side}: "
            + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in figures.items())
        )
    folder.write_json(
        f"evaluation-{split}",
        {
            "data": measured,
            "retrieval": [row.as_dict() for row in rows],
            "by_emotion": [row.as_dict("emotion") for row in by_emotion],
            "emotion": emotion,
            "pairs": len(index),
            "duplicates": str(twins),
        },
    )
    write_model_card(folder)
    if plots is not None:
        _plot(plots, ranks, by_emotion, embeddings, index.valence_arousal, gallery)
        click.echo(f"figures: {plots}")


def _plot(
    folder: Path, ranks: Any, by_emotion: Any, embeddings: "Embeddings", truth: Any, gallery: int
) -> None:
    """Writes recall.png, ranks.png and, where emotions are known, emotions.png and valence-arousal.png."""
    from dualpath.evaluation.report import DIRECTIONS
    from dualpath.plots import plot_emotions, plot_ranks, plot_recall, plot_valence_arousal
    from dualpath.training.files import make_folder, write_whole

    bars = {
        direction: {
            row.name: (row.figures.recall[_BARS_AT], *row.intervals[f"recall_at_{_BARS_AT}"])
            for row in by_emotion
            if row.direction == direction
        }
        for direction in DIRECTIONS
    }
    predicted = {"video": embeddings.video.valence_arousal, "music": embeddings.music.valence_arousal}
    figures = {
        "recall": lambda file: plot_recall(ranks, gallery, file),
        "ranks": lambda file: plot_ranks(ranks, gallery, file),
    }
    if by_emotion:
        chance = min(_BARS_AT / gallery, 1.0)
        figures["emotions"] = lambda file: plot_emotions(bars, _BARS_AT, chance, file)
        figures["valence-arousal"] = lambda file: plot_valence_arousal(predicted, truth, file)
    make_folder(folder)
    for name, draw in figures.items():
        write_whole(folder / f"{name}.png", draw)
