"""fit: one plain loop over epochs."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.data.augmentation import augment_pictures, augment_spectra
from dualpath.data.batches import gather
from dualpath.data.cache import PairArrays
from dualpath.data.index import PairIndex
from dualpath.evaluation.embeddings import embed, similarity
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.training.average import averaged_copy, update_average
from dualpath.training.calibration import calibrate, tune_weights, validation_score
from dualpath.training.objective import objective
from dualpath.training.run_folder import RunFolder
from kinoscore.errors import InvalidRequest

__all__ = ["Split", "fit"]

Progress = Callable[[str], None]
_FUSED_ALONE = {"fused": 1.0, "content": 0.0, "emotion": 0.0}


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """The pairs of one split and their arrays."""

    index: PairIndex
    arrays: PairArrays


def fit(
    run: RunFolder,
    training: Split,
    validation: Split,
    network_config: NetworkConfig,
    config: TrainingConfig,
    *,
    weights: str = "",
    resume: bool = False,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Trains, keeps the best epoch by validation score, and writes what `dualpath export` needs.

    Every draw (order, augmentation, dropout) is seeded by (seed, epoch), so a run that is resumed at an epoch
    gives the weights that it would have given without the interruption. With a budget of minutes the schedule
    depends on the clock, and such a run is not repeated exactly.

    Args:
        weights: of the frame backbone, see `open_backbone`.
        resume: go on from last.pt where there is one; the run's own configuration must be the same.
        progress: called with one line an epoch.

    Returns:
        summary.json: epochs, seconds, validation score, calibration, ranking weights.

    Raises:
        InvalidRequest: fewer training pairs than a batch, or a run of another configuration.
        StorageFull: a checkpoint does not fit on the disk.
    """
    if len(training.index) < config.batch_size:
        raise InvalidRequest(
            f"{len(training.index)} training pairs are fewer than a batch of {config.batch_size}: "
            "use --batch-size",
            field="batch_size",
        )
    torch.set_num_threads(config.threads)
    torch.manual_seed(config.seed)
    network = DualPathNetwork(network_config, weights)
    state = _State(network, config, len(training.index) // config.batch_size)
    run.path.mkdir(parents=True, exist_ok=True)
    if resume and run.last.is_file():
        state.restore(run.load(run.last), network_config)
    run.write_json("config", {"network": network_config.as_dict(), "training": config.as_dict()})
    valence_centre = float(training.index.valence_arousal[:, 0].mean())

    while not state.finished(config):
        begun = time.monotonic()
        losses = _train_epoch(state, training, config, valence_centre)
        score = validation_score(
            similarity(embed(state.average, validation.arrays, validation.index), _FUSED_ALONE)
        )
        state.seconds += time.monotonic() - begun
        state.epoch += 1
        if score > state.best_score:
            state.best_score, state.best_epoch = score, state.epoch
            run.save(run.best, {"network": network_config.as_dict(), "weights": state.average.state_dict()})
        state.history.append(
            {
                "epoch": state.epoch,
                "seconds": state.seconds,
                "validation_score": score,
                "rate": state.rate,
                **losses,
            }
        )
        run.save(run.last, state.as_dict(network_config))
        run.write_log(state.history)
        progress(
            f"epoch {state.epoch:3d}  {state.seconds / 60:5.1f} min  loss {losses['total']:.3f}  "
            f"validation {100 * score:5.2f}  best {100 * state.best_score:5.2f} (epoch {state.best_epoch})"
        )
    return _finish(run, state, training, validation)


class _State:
    """Everything that an epoch changes."""

    def __init__(self, network: DualPathNetwork, config: TrainingConfig, steps_per_epoch: int) -> None:
        self.config = config
        self.network = network
        self.average: DualPathNetwork = averaged_copy(network)
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(network, config.weight_decay), lr=config.learning_rate, betas=(0.9, 0.98)
        )
        self.steps_per_epoch = steps_per_epoch
        self.step = 0
        self.epoch = 0
        self.seconds = 0.0
        self.rate = 0.0
        self.best_score = -1.0
        self.best_epoch = 0
        self.history: list[dict[str, float]] = []

    def finished(self, config: TrainingConfig) -> bool:
        """Whether the epochs, the minutes or the patience are spent."""
        typical = self.seconds / self.epoch if self.epoch else 0.0
        over_budget = (
            config.minutes > 0 and self.epoch > 0 and self.seconds + 0.5 * typical > 60.0 * config.minutes
        )
        return self.epoch >= config.epochs or over_budget or self.epoch - self.best_epoch >= config.patience

    def set_rate(self, seconds: float) -> None:
        """Linear warm-up, then a cosine to 0 over the epochs, or over the minutes where those end first."""
        share = self.step / (self.steps_per_epoch * self.config.epochs)
        if self.config.minutes > 0:
            share = max(share, seconds / (60.0 * self.config.minutes))
        warm_up = min(1.0, share / self.config.warm_up_share) if self.config.warm_up_share > 0 else 1.0
        self.rate = (
            self.config.learning_rate * max(warm_up, 0.01) * 0.5 * (1.0 + math.cos(math.pi * min(share, 1.0)))
        )
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate

    def as_dict(self, network_config: NetworkConfig) -> dict[str, Any]:
        return {
            "network": network_config.as_dict(),
            "training": self.config.as_dict(),
            "weights": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "history": self.history,
        }

    def restore(self, saved: dict[str, Any], network_config: NetworkConfig) -> None:
        if saved["network"] != network_config.as_dict():
            raise InvalidRequest(
                "the run folder holds another network: use its configuration or another --run"
            )
        ours, theirs = self.config.as_dict(), saved["training"]
        changed = sorted(name for name in ours if ours[name] != theirs.get(name) and name not in _MAY_CHANGE)
        if changed:
            raise InvalidRequest(
                f"the run was started with {changed[0]} = {theirs.get(changed[0])}, not {ours[changed[0]]}: "
                "resume with the same, or use another --run"
            )
        self.network.load_state_dict(saved["weights"])
        self.average.load_state_dict(saved["average"])
        self.optimiser.load_state_dict(saved["optimiser"])
        self.step, self.epoch, self.seconds = saved["step"], saved["epoch"], saved["seconds"]
        self.best_score, self.best_epoch = saved["best_score"], saved["best_epoch"]
        self.history = saved["history"]


_MAY_CHANGE = {"epochs", "minutes", "patience", "threads"}


def _train_epoch(
    state: _State, training: Split, config: TrainingConfig, valence_centre: float
) -> dict[str, float]:
    """One pass over the training pairs; the mean of every loss."""
    state.network.train()
    seed = int(np.random.SeedSequence([config.seed, state.epoch]).generate_state(1)[0])
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    order = np.random.default_rng(seed).permutation(len(training.index))
    begun = time.monotonic()
    sums: dict[str, float] = {}
    for number in range(state.steps_per_epoch):
        rows = np.sort(order[number * config.batch_size : (number + 1) * config.batch_size])
        batch = gather(training.arrays, training.index, rows)
        state.set_rate(state.seconds + time.monotonic() - begun)
        pictures = augment_pictures(batch.pictures, config.augmentation, generator)
        spectra = augment_spectra(batch.spectra, config.augmentation, generator)
        video = state.network.encode_clips(pictures, batch.texture, batch.frame_mask)
        music = state.network.encode_passages(spectra, batch.statistics, batch.valid)
        total, losses = objective(video, music, batch, config, valence_centre)
        state.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(state.network.parameters(), config.gradient_clip)
        state.optimiser.step()
        state.step += 1
        update_average(state.average, state.network, config.average_decay, state.step)
        for name, value in (*losses.items(), ("total", float(total.detach()))):
            sums[name] = sums.get(name, 0.0) + value
    return {name: value / state.steps_per_epoch for name, value in sums.items()}


def _finish(run: RunFolder, state: _State, training: Split, validation: Split) -> dict[str, Any]:
    """Calibrates the best epoch and writes summary.json."""
    network = run.load_best()
    on_training = embed(network, training.arrays, training.index)
    on_validation = embed(network, validation.arrays, validation.index)
    truth = validation.index.valence_arousal
    summary = {
        "epochs": state.epoch,
        "best_epoch": state.best_epoch,
        "training_pairs": len(training.index),
        "validation_pairs": len(validation.index),
        "seconds": round(state.seconds, 1),
        "validation_score": state.best_score,
        "calibration": {
            "video": calibrate(on_training.video, on_validation.video, truth),
            "music": calibrate(on_training.music, on_validation.music, truth),
        },
        "weights": tune_weights(on_validation),
    }
    run.write_json("summary", summary)
    return summary


def _parameter_groups(network: torch.nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels; none for biases and normalisation."""
    matrices = [parameter for parameter in network.parameters() if parameter.ndim > 1]
    vectors = [parameter for parameter in network.parameters() if parameter.ndim <= 1]
    return [{"params": matrices, "weight_decay": weight_decay}, {"params": vectors, "weight_decay": 0.0}]
