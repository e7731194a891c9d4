"""The same number of tuning trials for every method: random search around its defaults."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from dualpath.benchmark.tasks import Task
from dualpath.data.features.pairs import FeaturePairs
from dualpath.methods.method import Fitted, Method

__all__ = ["Trial", "Tuned", "draw_settings", "fit_within_budget", "is_outdated"]


@dataclass(frozen=True, slots=True)
class Trial:
    """Settings, and their score on the validation rows."""

    settings: Mapping[str, Any]
    score: float


@dataclass(frozen=True, slots=True)
class Tuned:
    """The method, trained with its best settings on training and validation rows, and all its trials."""

    fitted: Fitted
    best: Trial
    trials: tuple[Trial, ...]


def draw_settings(
    space: Mapping[str, tuple[Any, ...]], trials: int, random: np.random.Generator
) -> list[dict[str, Any]]:
    """The defaults, then draws without repetition; fewer where the space holds fewer."""
    drawn = [{name: values[0] for name, values in space.items()}]
    size = int(np.prod([len(values) for values in space.values()], dtype=np.float64))
    while len(drawn) < min(trials, size):
        one = {name: values[int(random.integers(len(values)))] for name, values in space.items()}
        if one not in drawn:
            drawn.append(one)
    return drawn


def is_outdated(
    tried: Sequence[Mapping[str, Any]], space: Mapping[str, tuple[Any, ...]], trials: int, seed: int
) -> bool:
    """Whether a kept result tried (`Unit.trials`) other settings than its method would try now."""
    settings = draw_settings(space, trials, np.random.default_rng(seed))
    return [trial["settings"] for trial in tried] != settings


def fit_within_budget(
    method: Method,
    training: FeaturePairs,
    validation: FeaturePairs,
    both: FeaturePairs,
    task: Task,
    trials: int,
    seed: int,
) -> Tuned:
    """Tries settings on training against validation rows; trains the best on both.

    Args:
        both: training and validation rows together.
        trials: at least 1.
    """
    tried = []
    for settings in draw_settings(method.space, trials, np.random.default_rng(seed)):
        fitted = method.fit(training, settings, seed)
        tried.append(Trial(settings, task.score(fitted, task.rows(validation))))
    best = max(tried, key=lambda trial: trial.score)
    return Tuned(method.fit(both, best.settings, seed), best, tuple(tried))
