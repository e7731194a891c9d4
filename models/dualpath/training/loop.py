"""fit: one plain loop over epochs."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.data.augmentation import augment_pictures, augment_spectra
from dualpath.data.batches import gather, shared_items, to_device
from dualpath.data.cache import PairArrays
from dualpath.data.index import PairIndex
from dualpath.evaluation.embeddings import embed, similarity
from dualpath.memory import keep_freed_memory
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.plots import plot_curves
from dualpath.training.average import update_average
from dualpath.training.calibration import calibrate, tune_weights, validation_score
from dualpath.training.data_facts import require_same_data
from dualpath.training.devices import Devices
from dualpath.training.files import write_whole
from dualpath.training.model_card import write_model_card
from dualpath.training.objective import objective
from dualpath.training.reading import read_music, reread
from dualpath.training.run_folder import RunFolder
from dualpath.training.state import TrainingState
from dualpath.training.tensorboard import TensorBoard, require_tensorboard
from kinoscore.errors import FailedPrecondition, InvalidRequest

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
    window_weights: str = "",
    resume: bool = False,
    tensorboard: bool = False,
    origin: Mapping[str, str] | None = None,
    data: Mapping[str, Any] | None = None,
    progress: Progress = lambda line: None,
) -> dict[str, Any]:
    """Trains, keeps the best epoch by validation score, and writes what `dualpath export` needs.

    Every draw (order, augmentation, dropout) is seeded by (seed, epoch), so a run that is resumed at an epoch
    gives the weights that it would have given without the interruption, exactly so on one CPU thread. With a
    budget of minutes the schedule depends on the clock, and such a run is not repeated exactly.

    Args:
        weights, window_weights: of the backbones, see `open_backbone`.
        resume: go on from last.pt where there is one; configuration and data must be those of the run.
        tensorboard: event files beside log.csv.
        origin: see `describe_origin`; a resumed run has one for each time.
        data: what data.json is to hold, see `data_facts`.
        progress: called with one line an epoch, and one at the end.

    Returns:
        summary.json: epochs, seconds, validation score, calibration, ranking weights. Empty in the further
        processes of several devices.

    Raises:
        InvalidRequest: fewer training pairs than a batch, or a run of another configuration or other data.
        FailedPrecondition: the run folder is in use or holds a run that is not to be resumed, a device or a
            package is missing, or the loss is not finite any more.
        StorageFull: a checkpoint does not fit on the disk.
    """
    if len(training.index) < config.batch_size:
        raise InvalidRequest(
            f"{len(training.index)} training pairs are fewer than a batch of {config.batch_size}: "
            "use --batch-size",
            field="batch_size",
        )
    if tensorboard:
        require_tensorboard()
    devices = Devices(config)
    with ExitStack() as stack:
        with devices:
            devices.launch()
            if devices.is_first:
                run.require_free(resume=resume)
                stack.enter_context(run.locked())
            keep_freed_memory()
            torch.set_num_threads(config.threads)
            torch.manual_seed(config.seed)
            network = DualPathNetwork(network_config, weights, window_weights)
            if config.freeze_backbones:
                network.freeze_backbones()
            state = TrainingState(network, config, len(training.index) // config.batch_size, devices)
            resumed = resume and run.last.is_file()
            if resumed:
                state.restore(run.load(run.last), network_config)
                require_same_data(run, data or {})
            if devices.is_first:
                _write_config(run, network_config, config, origin, resumed)
                if data is not None:
                    run.write_json("data", data)
            log = None
            if tensorboard and devices.is_first:
                log = TensorBoard(run.path / "tensorboard", state.epoch + 1)
                stack.callback(log.close)
            _train(run, state, training, validation, network_config, log, progress)
        return _finish(run, state, training, validation, progress) if devices.is_first else {}


def _write_config(
    run: RunFolder,
    network_config: NetworkConfig,
    config: TrainingConfig,
    origin: Mapping[str, str] | None,
    resumed: bool,
) -> None:
    known = resumed and (run.path / "config.json").is_file()
    earlier = run.read_json("config").get("origins", []) if known else []
    run.write_json(
        "config",
        {
            "network": network_config.as_dict(),
            "training": config.as_dict(),
            "origins": [*earlier, *([dict(origin)] if origin else [])],
        },
    )


def _train(
    run: RunFolder,
    state: TrainingState,
    training: Split,
    validation: Split,
    network_config: NetworkConfig,
    log: TensorBoard | None,
    progress: Progress,
) -> None:
    """Epochs until the run is finished; each ends with a checkpoint of the first process."""
    devices, config = state.devices, state.config
    valence_centre = training.index.valence_centre
    while not state.finished(config):
        begun = time.monotonic()
        losses = _train_epoch(state, training, config, valence_centre)
        score = _validate(state, validation) if devices.is_first else 0.0
        score, state.seconds = devices.agree((score, state.seconds + time.monotonic() - begun))
        state.epoch += 1
        is_best = score > state.best_score
        if is_best:
            state.best_score, state.best_epoch = score, state.epoch
        row = {
            "epoch": state.epoch,
            "seconds": state.seconds,
            "validation_score": score,
            "rate": state.rate,
            **losses,
        }
        state.history.append(row)
        if not devices.is_first:
            continue
        if is_best:
            run.save(run.best, {"network": network_config.as_dict(), "weights": state.average.state_dict()})
        run.save(run.last, state.as_dict(network_config))
        run.write_log(state.history)
        if log is not None:
            log.add(row)
        progress(
            f"epoch {state.epoch:3d}  {state.seconds / 60:5.1f} min  loss {losses['total']:.3f}  "
            f"validation {100 * score:5.2f}  best {100 * state.best_score:5.2f} (epoch {state.best_epoch})"
        )


def _validate(state: TrainingState, validation: Split) -> float:
    embeddings = embed(state.average, validation.arrays, validation.index)
    return validation_score(similarity(embeddings, _FUSED_ALONE))


_TRUTH = ("valence_arousal", "labels", "themes", "video_attributes", "music_attributes")
"""What of a batch the objective reads."""


def _train_epoch(
    state: TrainingState, training: Split, config: TrainingConfig, valence_centre: float
) -> dict[str, float]:
    """One pass over the training pairs; the mean of every loss."""
    devices = state.devices
    state.network.train()
    seed = int(np.random.SeedSequence([config.seed, state.epoch]).generate_state(1)[0])
    torch.manual_seed(seed + devices.rank)
    generator = torch.Generator().manual_seed(seed + devices.rank)
    order = np.random.default_rng(seed).permutation(len(training.index))
    begun = time.monotonic()
    sums: dict[str, float] = {}
    for number in range(state.steps_per_epoch):
        rows = np.sort(order[number * config.batch_size : (number + 1) * config.batch_size])
        batch = gather(training.arrays, training.index, devices.share(rows))
        elapsed = state.seconds + time.monotonic() - begun
        state.set_rate(devices.agree(elapsed) if config.minutes > 0 else elapsed)
        batch = batch._replace(
            pictures=augment_pictures(batch.pictures, config.augmentation, generator),
            spectra=augment_spectra(batch.spectra, config.augmentation, generator),
        )
        batch = to_device(batch, devices.device)
        video, music = devices.gather(devices.forward(batch))
        truth = batch._replace(
            same_item=shared_items(training.index, rows).to(devices.device),
            **devices.gather({name: getattr(batch, name) for name in _TRUTH}),
        )
        total, losses = objective(video, music, truth, config, valence_centre)
        devices.update(total, state.network, config.gradient_clip)
        state.step += 1
        update_average(state.average, state.network, config.average_decay, state.step)
        for name, value in (*losses.items(), ("total", float(total.detach()))):
            sums[name] = sums.get(name, 0.0) + value
    if not math.isfinite(sums["total"]):
        raise FailedPrecondition(
            f"the loss of epoch {state.epoch + 1} is not finite: the epochs before it are kept; train again "
            "with a smaller --learning-rate"
        )
    return {name: value / state.steps_per_epoch for name, value in sums.items()}


def _finish(
    run: RunFolder, state: TrainingState, training: Split, validation: Split, progress: Progress
) -> dict[str, Any]:
    """Fits the reading of the best epoch, calibrates it; writes summary.json, the curves, the model card."""
    network = run.load_best()
    on_training = embed(network, training.arrays, training.index)
    heard = on_training.music
    if read_music(network, heard, training.index):
        run.save(run.best, {"network": network.config.as_dict(), "weights": network.state_dict()})
        heard = reread(network, heard)
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
            "music": calibrate(heard, on_validation.music, truth),
        },
        "weights": tune_weights(on_validation),
        "parameters": sum(values.numel() for values in network.parameters()),
    }
    run.write_json("summary", summary)
    write_whole(run.path / "curves.png", lambda file: plot_curves(state.history, file))
    write_model_card(run)
    progress(
        f"best epoch {state.best_epoch} of {state.epoch}, validation {100 * state.best_score:.2f}; "
        f"ranking weights {summary['weights']}"
    )
    return summary
