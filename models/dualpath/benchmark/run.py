"""The loop: folds x methods, each prepared, tuned, trained and measured once."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict

import torch
from threadpoolctl import threadpool_limits

from dualpath.benchmark.folds import Fold, require_enough
from dualpath.benchmark.results import Results, Unit
from dualpath.benchmark.tasks import Task
from dualpath.benchmark.tuning import fit_within_budget, is_outdated
from dualpath.data.features.pairs import FeaturePairs
from dualpath.data.features.prepare import fit_preparation
from dualpath.methods.method import Method

__all__ = ["run_benchmark"]


def run_benchmark(
    pairs: FeaturePairs,
    folds: Sequence[Fold],
    methods: Sequence[Method],
    task: Task,
    results: Results,
    *,
    trials: int,
    threads: int = 1,
    progress: Callable[[str], None] = lambda line: None,
) -> list[Unit]:
    """All units, in the order of folds and methods; those in `results` are taken from there, unless their
    method may try other settings now.

    Args:
        trials: tuning trials of every method on every fold.
        progress: called with one line a unit, and one that names the methods that are run again.

    Raises:
        InvalidRequest: before anything is trained, see `require_enough`.
    """
    for fold in folds:
        require_enough(pairs, fold, task)
    torch.set_num_threads(threads)
    with threadpool_limits(threads):
        return list(_units(pairs, folds, methods, task, results, trials, progress))


def _units(
    pairs: FeaturePairs,
    folds: Sequence[Fold],
    methods: Sequence[Method],
    task: Task,
    results: Results,
    trials: int,
    progress: Callable[[str], None],
) -> Iterator[Unit]:
    kept = _kept(folds, methods, results, trials, progress)
    done = 0
    total = len(folds) * len(methods)
    for fold in folds:
        prepared: FeaturePairs | None = None
        for method in methods:
            unit = kept.get((method.name, fold.seed, fold.number))
            note = "kept"
            if unit is None:
                if prepared is None:
                    both = sorted((*fold.training, *fold.validation))
                    prepared = fit_preparation(pairs.rows(both)).apply(pairs)
                unit = _measure(prepared, fold, method, task, trials)
                results.add(unit)
                note = f"{unit.seconds:.1f} s"
            done += 1
            progress(f"[{done}/{total}] repetition {fold.seed} fold {fold.number}: {method.name} ({note})")
            yield unit


def _kept(
    folds: Sequence[Fold],
    methods: Sequence[Method],
    results: Results,
    trials: int,
    progress: Callable[[str], None],
) -> dict[tuple[str, int, int], Unit]:
    """What need not be run, by method, seed and fold."""
    kept: dict[tuple[str, int, int], Unit] = {}
    outdated: dict[str, None] = {}
    for fold in folds:
        for method in methods:
            unit = results.find(method.name, fold.seed, fold.number)
            if unit is None:
                continue
            if is_outdated(unit.trials, method.space, trials, fold.seed):
                outdated[method.name] = None
            else:
                kept[method.name, fold.seed, fold.number] = unit
    if outdated:
        progress(f"run again, because the settings to try have changed: {', '.join(outdated)}")
    return kept


def _measure(prepared: FeaturePairs, fold: Fold, method: Method, task: Task, trials: int) -> Unit:
    begun = time.process_time()
    both = sorted((*fold.training, *fold.validation))
    tuned = fit_within_budget(
        method,
        prepared.rows(fold.training),
        prepared.rows(fold.validation),
        prepared.rows(both),
        task,
        trials,
        fold.seed,
    )
    seconds = time.process_time() - begun
    test = task.rows(prepared.rows(fold.test))
    return Unit(
        method=method.name,
        seed=fold.seed,
        fold=fold.number,
        rows=list(test.identifiers),
        measured=task.measure(tuned.fitted, test),
        settings=dict(tuned.best.settings),
        trials=[asdict(trial) for trial in tuned.trials],
        seconds=round(seconds, 2),
    )
