"""Figures as PNG: plain arrays in, a file out. No window, no state shared between them."""

from collections.abc import Mapping, Sequence
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

__all__ = ["plot_curves", "plot_emotions", "plot_ranks", "plot_recall", "plot_valence_arousal"]

_DOTS_PER_INCH = 120
_NOT_LOSSES = {"epoch", "seconds", "validation_score", "rate"}
_GREY = "0.6"


def plot_curves(history: Sequence[Mapping[str, float]], file: BinaryIO) -> None:
    """The rows of log.csv: every loss (logarithmic), and the validation score with its best epoch."""
    figure, (losses, scores) = _figure(11.0, 4.2, 2)
    epochs = [row["epoch"] for row in history]
    for name in (name for name in history[0] if name not in _NOT_LOSSES):
        thick = 2.2 if name == "total" else 1.0
        losses.plot(epochs, [row.get(name, np.nan) for row in history], label=name, linewidth=thick)
    losses.set(title="losses in training; the total is weighted", xlabel="epoch", yscale="log")
    losses.legend(fontsize=7)
    values = [100.0 * row["validation_score"] for row in history]
    scores.plot(epochs, values, marker=".")
    best = int(np.argmax(values))
    scores.axvline(epochs[best], color=_GREY, linestyle=":")
    scores.set(title=f"validation: mean of R@1 and R@10; best {values[best]:.1f}", xlabel="epoch", ylabel="%")
    for axes in (losses, scores):
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    _save(figure, file)


def plot_recall(ranks: Mapping[str, NDArray[np.float64]], gallery: int, file: BinaryIO) -> None:
    """Recall over k of every direction (name -> ranks [queries]), with the random row."""
    figure, (axes,) = _figure(6.0, 4.5, 1)
    k = np.arange(1, gallery + 1)
    for name, rank in ranks.items():
        share = np.searchsorted(np.sort(rank), k, side="right") / len(rank)
        axes.plot(k, 100.0 * share, label=name)
    axes.plot(k, 100.0 * k / gallery, color=_GREY, linestyle="--", label="random")
    axes.set(title=f"recall at k, gallery {gallery}", xlabel="k", ylabel="%", xscale="log", ylim=(0, 101))
    axes.legend()
    _save(figure, file)


def plot_ranks(ranks: Mapping[str, NDArray[np.float64]], gallery: int, file: BinaryIO) -> None:
    """How often the true answer has which rank; a random order is flat."""
    figure, (axes,) = _figure(6.0, 4.5, 1)
    edges = np.linspace(0.5, gallery + 0.5, min(gallery, 40) + 1)
    for name, rank in ranks.items():
        weights = np.full(len(rank), 100.0 / len(rank))
        axes.hist(rank, bins=list(edges), weights=weights, histtype="step", label=name)
    flat = 100.0 / (len(edges) - 1)
    axes.axhline(flat, color=_GREY, linestyle="--", label="random")
    axes.set(title=f"rank of the true answer, gallery {gallery}", xlabel="rank", ylabel="% of queries")
    axes.legend()
    _save(figure, file)


def plot_emotions(
    recalls: Mapping[str, Mapping[str, tuple[float, float, float]]], k: int, chance: float, file: BinaryIO
) -> None:
    """Bars of recall at k: direction -> emotion of the query -> (recall, low, high), in 0..1."""
    figure, (axes,) = _figure(7.0, 4.5, 1)
    names = list(next(iter(recalls.values())))
    width = 0.8 / len(recalls)
    for number, (direction, by_emotion) in enumerate(recalls.items()):
        values = 100.0 * np.array([by_emotion[name] for name in names])
        places = np.arange(len(names)) + (number - (len(recalls) - 1) / 2) * width
        reach = np.clip([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]], 0.0, None)
        axes.bar(places, values[:, 0], width, yerr=reach, capsize=3, label=direction)
    axes.axhline(100.0 * chance, color=_GREY, linestyle="--", label="random")
    axes.set_xticks(range(len(names)), names)
    axes.set(title=f"R@{k} by the emotion of the query, with 95 % intervals", ylabel="%")
    axes.legend()
    _save(figure, file)


def plot_valence_arousal(
    predicted: Mapping[str, NDArray[np.float32]], truth: NDArray[np.float32], file: BinaryIO
) -> None:
    """Predicted against true valence and arousal: side -> [n, 2], truth [n, 2]."""
    figure, panels = _figure(9.0, 4.6, 2)
    for column, (name, axes) in enumerate(zip(("valence", "arousal"), panels, strict=True)):
        for side, values in predicted.items():
            axes.scatter(truth[:, column], values[:, column], s=6, alpha=0.5, label=side)
        axes.plot([-1, 1], [-1, 1], color=_GREY, linestyle="--")
        axes.set(title=name, xlabel="true", ylabel="predicted", xlim=(-1.05, 1.05), ylim=(-1.05, 1.05))
        axes.legend()
    _save(figure, file)


def _figure(width: float, height: float, panels: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, list(figure.subplots(1, panels, squeeze=False)[0])


def _save(figure: Figure, file: BinaryIO) -> None:
    figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
