"""Everything that an epoch of training changes, and what a checkpoint holds of it."""

import math
from typing import Any

import torch
from torch import nn

from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.data.batches import Batch
from dualpath.networks.dual_path import DualPathNetwork, Side
from dualpath.training.average import averaged_copy
from dualpath.training.devices import Devices
from kinoscore.errors import FailedPrecondition, InvalidRequest

__all__ = ["TrainingState"]

# Of the training's configuration, from one part of a run to the next.
_MAY_CHANGE = {"epochs", "minutes", "patience", "threads", "accelerator", "devices"}


class TrainingState:
    """Network, running average, optimiser and counters.

    Args:
        steps_per_epoch: batches.
        devices: what it trains on.
    """

    def __init__(
        self, network: DualPathNetwork, config: TrainingConfig, steps_per_epoch: int, devices: Devices
    ) -> None:
        self.config = config
        self.devices = devices
        self.network = network
        self.average: DualPathNetwork = averaged_copy(network).to(devices.device)
        self.optimiser = torch.optim.AdamW(
            _parameter_groups(network, config), lr=config.learning_rate, betas=(0.9, 0.98)
        )
        devices.setup(_Step(network), self.optimiser)
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
            group["lr"] = self.rate * group["scale"]

    def as_dict(self, network_config: NetworkConfig) -> dict[str, Any]:
        """What a checkpoint holds."""
        return {
            "network": network_config.as_dict(),
            "training": self.config.as_dict(),
            "weights": self.network.state_dict(),
            "average": self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "devices": self.devices.state_dict(),
            "step": self.step,
            "epoch": self.epoch,
            "seconds": self.seconds,
            "best_score": self.best_score,
            "best_epoch": self.best_epoch,
            "history": self.history,
        }

    def restore(self, saved: dict[str, Any], network_config: NetworkConfig) -> None:
        """Goes on from what `as_dict` gave.

        Raises:
            InvalidRequest: the run is of another configuration.
            FailedPrecondition: it is of another version of dualpath.
        """
        if saved.get("network") != network_config.as_dict():
            raise InvalidRequest(
                "the run folder holds another network: use its configuration or another --run"
            )
        # A setting that the run does not know yet had its default.
        ours, theirs = self.config.as_dict(), TrainingConfig.from_dict(saved["training"]).as_dict()
        changed = sorted(name for name in ours if ours[name] != theirs[name] and name not in _MAY_CHANGE)
        if changed:
            raise InvalidRequest(
                f"the run was started with {changed[0]} = {theirs[changed[0]]}, not {ours[changed[0]]}: "
                "resume with the same, or use another --run"
            )
        try:
            self.network.load_state_dict(saved["weights"])
            self.average.load_state_dict(saved["average"])
            self.optimiser.load_state_dict(saved["optimiser"])
        except (RuntimeError, ValueError) as error:
            raise FailedPrecondition(
                "the run folder holds a network of another version of dualpath: resume with that version, "
                "or use another --run"
            ) from error
        for group in self.optimiser.param_groups:
            group.setdefault("scale", 1.0)  # a run of before backbones had rates of their own
        self.devices.load_state_dict(saved.get("devices", {}))
        self.step, self.epoch, self.seconds = saved["step"], saved["epoch"], saved["seconds"]
        self.best_score, self.best_epoch = saved["best_score"], saved["best_epoch"]
        self.history = saved["history"]


class _Step(nn.Module):
    """What runs on every device: both modalities of its share of a batch."""

    def __init__(self, network: DualPathNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, batch: Any) -> tuple[Side, Side]:
        """The `values` of `batch` are a Batch with pictures in 0..1."""
        values: Batch = batch.values
        video = self.network.encode_clips(values.pictures, values.texture, values.frame_mask)
        music = self.network.encode_passages(values.spectra, values.statistics, values.valid)
        return _without_part_embeddings(video), _without_part_embeddings(music)


def _without_part_embeddings(side: Side) -> Side:
    """Nothing is compared with them, so their weights get no gradient, and no process waits for one."""
    return side._replace(parts=side.parts._replace(embedding=side.parts.embedding.detach()))


def _parameter_groups(network: DualPathNetwork, config: TrainingConfig) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels, none for biases and normalisation.

    Backbones with a learning rate of their own are apart; it is a `scale` of the common one.
    """
    own = config.backbone_learning_rate / config.learning_rate
    apart = {id(one) for backbone in network.backbones for one in backbone.parameters()} if own else set()
    groups = []
    for scale, chosen in ((1.0, False), (own, True)):
        learning = [one for one in network.parameters() if one.requires_grad and (id(one) in apart) == chosen]
        if learning:
            matrices = [one for one in learning if one.ndim > 1]
            vectors = [one for one in learning if one.ndim <= 1]
            groups += [
                {"params": matrices, "weight_decay": config.weight_decay, "scale": scale},
                {"params": vectors, "weight_decay": 0.0, "scale": scale},
            ]
    return groups
