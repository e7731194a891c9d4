"""The methods on a generated world, whose splits differ in style: trained on the same pairs, with one budget.

The budget is a number of passages over the training pairs. A method on features may try as many settings as
the others of its kind; a network that is trained end to end tries those of `fit` alone, since each trial
costs as much as its training. Validation pairs choose settings and epochs, and teach nothing.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from dualpath.benchmark.end_to_end import EndToEnd, head, trained_similarity
from dualpath.benchmark.results import Results, Unit
from dualpath.benchmark.tables import Named, Row, retrieval_rows
from dualpath.benchmark.tasks import Retrieval
from dualpath.benchmark.tuning import Trial, draw_settings, is_outdated
from dualpath.benchmark.world_methods import OnFeatures
from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.data.features.pairs import FeaturePairs
from dualpath.data.features.prepare import fit_preparation
from dualpath.data.features.world import MUSIC_WIDTH, VIDEO_WIDTH, world_features
from dualpath.methods.method import Kind
from dualpath.training.loop import Split
from dualpath.training.run_folder import RunFolder

__all__ = ["Budget", "TrainedRun", "World", "run_world", "world_rows"]

Progress = Callable[[str], None]
_LIMIT = 4.0


@dataclass(frozen=True, slots=True)
class Budget:
    """What every method gets.

    Attributes:
        pairs: training pairs, from the first.
        epochs: passages over them; methods with a closed solution make one.
        trials: settings that a method on features may try.
    """

    pairs: int
    epochs: int
    trials: int


@dataclass(frozen=True, slots=True, eq=False)
class World:
    """The splits, and where their features are kept.

    Attributes:
        tested: the split that is measured, "validation" or "test".
    """

    splits: Mapping[str, Split]
    tested: str
    features: Path

    def digest(self) -> str:
        """A short hash of what was drawn for all pairs."""
        content = hashlib.sha256()
        for name, split in sorted(self.splits.items()):
            content.update(f"{name} {' '.join(split.index.identifiers)}".encode())
            content.update(np.ascontiguousarray(split.index.valence_arousal).tobytes())
        return content.hexdigest()[:12]


@dataclass(frozen=True, slots=True)
class TrainedRun:
    """A run that `dualpath fit` made before, with whatever budget it had; ranked by its own weights."""

    run: RunFolder
    kind: Kind = Kind.OURS

    @property
    def name(self) -> str:
        """The folder's."""
        return f"{self.run.path.absolute().name} (trained before)"


def run_world(
    world: World,
    methods: Sequence[OnFeatures | EndToEnd | TrainedRun],
    seeds: Sequence[int],
    task: Retrieval,
    results: Results,
    budget: Budget,
    *,
    threads: int = 1,
    progress: Progress = lambda line: None,
) -> list[Unit]:
    """All units; those in `results` are taken from there, and a training that was interrupted goes on.

    Args:
        progress: called with one line a unit, and one an epoch.
    """
    torch.set_num_threads(threads)
    units: list[Unit] = []
    features = _Features(world, budget, progress)
    with threadpool_limits(threads):
        for seed in seeds:
            for method in methods:
                unit = results.find(method.name, seed, 0)
                note = "kept"
                outdated = unit is not None and _is_outdated(unit, method, budget.trials)
                if outdated:
                    progress(f"{method.name} is run again: the settings to try have changed")
                if unit is None or outdated or unit.settings.get("weights") != _weights_of(method):
                    if isinstance(method, OnFeatures):
                        unit = _measure_on_features(method, features, task, budget, seed)
                    elif isinstance(method, EndToEnd):
                        run = RunFolder(results.folder / "runs" / f"{method.name}-seed{seed}")
                        config = TrainingConfig(
                            epochs=budget.epochs, patience=budget.epochs, threads=threads, seed=seed
                        )
                        unit = _measure_end_to_end(method, world, task, budget, run, config, progress)
                    else:
                        unit = _measure_trained(method, world, task, seed)
                    results.add(unit)
                    note = f"{unit.seconds:.1f} s"
                units.append(unit)
                progress(f"[{len(units)}/{len(seeds) * len(methods)}] seed {seed}: {method.name} ({note})")
    return units


def world_rows(units: Sequence[Unit], methods: Sequence[Named], gallery: int) -> list[Row]:
    """See `retrieval_rows`; by R@1, with what each method was trained with."""
    budgets = {unit.method: unit.settings for unit in units}
    rows = []
    for row in retrieval_rows(units, methods, at=1, gallery=gallery):
        own = budgets.get(row["method"], {})
        comparisons = {
            name: row.pop(name)
            for name in list(row)
            if name.startswith(("difference", "against", "idea brings"))
        }
        spent = {name: own.get(name) for name in ("pairs", "epochs", "trials")}
        minutes = row["seconds"] / 60.0 if "seconds" in row else None
        rows.append({**row, **spent, "minutes": minutes, **comparisons})
    return rows


class _Features:
    """Prepared features of the three splits, read when the first method asks."""

    def __init__(self, world: World, budget: Budget, progress: Progress) -> None:
        self.tested = world.tested
        self._world, self._budget, self._progress = world, budget, progress
        self._pairs: dict[str, FeaturePairs] = {}

    def __getitem__(self, name: str) -> FeaturePairs:
        if not self._pairs:
            raw = {split: self._read(split) for split in ("train", "validation", self._world.tested)}
            preparation = fit_preparation(raw["train"], max(VIDEO_WIDTH, MUSIC_WIDTH))
            while raw:
                split, pairs = raw.popitem()
                prepared = preparation.apply(pairs)
                # As the networks do with their fixed cues: one stray value must not outweigh all others.
                for side in (prepared.video, prepared.music):
                    np.clip(side, -_LIMIT, _LIMIT, out=side)
                self._pairs[split] = prepared
        return self._pairs[name]

    def _read(self, name: str) -> FeaturePairs:
        split = self._world.splits[name]
        self._progress(f"features of {name}")
        return world_features(
            self._world.features / name,
            split.index,
            split.arrays,
            NetworkConfig().music,
            pairs=self._budget.pairs if name == "train" else None,
        )


def _measure_on_features(
    method: OnFeatures, features: _Features, task: Retrieval, budget: Budget, seed: int
) -> Unit:
    validation = task.rows(features["validation"])
    begun = time.process_time()
    best, fitted, trials = None, None, []
    for settings in draw_settings(method.space, budget.trials, np.random.default_rng(seed)):
        candidate = method.fit(features["train"], settings, seed, budget.epochs)
        trial = Trial(settings, task.score(candidate, validation))
        trials.append(trial)
        if best is None or trial.score > best.score:
            best, fitted = trial, candidate
    assert best is not None
    assert fitted is not None
    seconds = time.process_time() - begun
    test = task.rows(features[features.tested])
    return Unit(
        method=method.name,
        seed=seed,
        fold=0,
        rows=list(test.identifiers),
        measured=task.measure(fitted, test),
        settings={
            **best.settings,
            "pairs": len(features["train"]),
            "epochs": budget.epochs if method.passes else None,
            "trials": len(trials),
        },
        trials=[{"settings": dict(trial.settings), "score": trial.score} for trial in trials],
        seconds=round(seconds, 2),
    )


def _measure_end_to_end(
    method: EndToEnd,
    world: World,
    task: Retrieval,
    budget: Budget,
    run: RunFolder,
    config: TrainingConfig,
    progress: Progress,
) -> Unit:
    training = head(world.splits["train"], budget.pairs)
    summary = method.train(run, training, world.splits["validation"], config, progress)
    matrix = trained_similarity(run, world.splits[world.tested])
    return _trained_unit(method.name, world, task, config.seed, matrix, summary)


def _measure_trained(method: TrainedRun, world: World, task: Retrieval, seed: int) -> Unit:
    summary = method.run.read_json("summary")
    matrix = trained_similarity(method.run, world.splits[world.tested], summary["weights"])
    unit = _trained_unit(method.name, world, task, seed, matrix, summary)
    unit.settings["weights"] = _weights_of(method)
    return unit


def _trained_unit(
    name: str, world: World, task: Retrieval, seed: int, matrix: NDArray[np.float32], summary: dict[str, Any]
) -> Unit:
    measured = task.ranks(matrix)
    identifiers = world.splits[world.tested].index.identifiers
    return Unit(
        method=name,
        seed=seed,
        fold=0,
        rows=list(identifiers[: len(measured["video to music"])]),
        measured=measured,
        settings={"pairs": summary["training_pairs"], "epochs": summary["epochs"], "trials": 1},
        trials=[{"settings": {}, "score": summary["validation_score"]}],
        seconds=summary["seconds"],
    )


def _is_outdated(unit: Unit, method: OnFeatures | EndToEnd | TrainedRun, trials: int) -> bool:
    """Whether the method may try other settings now; those that are trained end to end have one."""
    return isinstance(method, OnFeatures) and is_outdated(unit.trials, method.space, trials, unit.seed)


def _weights_of(method: OnFeatures | EndToEnd | TrainedRun) -> str | None:
    """Which weights a run holds, so that a run that was trained on is measured again; None for the others."""
    if not isinstance(method, TrainedRun):
        return None
    return hashlib.sha256(method.run.best.read_bytes()).hexdigest()[:12] if method.run.best.is_file() else ""
