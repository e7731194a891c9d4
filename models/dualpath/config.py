"""The numbers of a model and the switches of the method: frozen values that travel with every checkpoint."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from kinoscore.errors import InvalidRequest

__all__ = [
    "ACCELERATORS",
    "EMOTION_LABELS",
    "PRECISIONS",
    "TRAINING_OPTIONS",
    "Dimensions",
    "MusicNumbers",
    "NetworkConfig",
    "TrainingConfig",
    "VideoNumbers",
    "check_number",
    "nearest",
]

EMOTION_LABELS = ("joyful", "tense", "sad", "calm", "neutral")
"""Quadrants Q1..Q4 of valence x arousal, and the neighbourhood of the origin."""
ACCELERATORS = ("auto", "cpu", "cuda")
PRECISIONS = ("32", "bf16", "16")
TRAINING_OPTIONS = (
    *("epochs", "minutes", "batch_size", "learning_rate", "augmentation", "polarity_factor", "patience"),
    *("threads", "seed", "accelerator", "devices", "precision", "freeze_backbones"),
    "backbone_learning_rate",
)
"""Fields of TrainingConfig that are options of `dualpath fit`; the others come from --config alone."""


@dataclass(frozen=True, slots=True)
class VideoNumbers:
    """How a clip is sampled. Frames are the whole picture squashed to width x height."""

    frame_width: int = 128
    frame_height: int = 80
    frames_per_second: float = 2.0
    window_frames: int = 24
    key_frames: int = 6
    key_frame_separation_seconds: float = 1.0

    @property
    def window_seconds(self) -> float:
        """Length of a video window in seconds."""
        return self.window_frames / self.frames_per_second


@dataclass(frozen=True, slots=True)
class MusicNumbers:
    """How music is cut. Windows are consecutive; a passage is `passage_windows` of them."""

    sample_rate: int = 22050
    window_samples: int = 66150
    passage_windows: int = 4
    passage_hop_windows: int = 2


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Widths of the three embeddings, each L2-normalised (our choice)."""

    content: int = 128
    emotion: int = 64
    fused: int = 256


@dataclass(frozen=True, slots=True)
class NetworkConfig:
    """What the network is. Every idea of the publication is one switch, so that an ablation is one flag.

    Attributes:
        frame_backbone: "small" (ours, made for one CPU core) or another of `dualpath.networks.backbones`.
        window_backbone: of log-mel windows.
        shared_encoder: one content encoder for both modalities (else one each).
        decoders: reconstruct each modality's summary from its content embedding.
        emotion_path: the fused space sees the emotion embedding (else zeros in its place).
        key_frames: the emotion of a clip pools its emotion key frames (else all frames).
        channel_attention: squeeze-and-excitation over the channels of the music features.
        fusion: "mlp", or "sum" of two linear projections.
        themes, attributes: how many theme classes and numeric content labels the training data has; 0
            without.
    """

    video: VideoNumbers = field(default_factory=VideoNumbers)
    music: MusicNumbers = field(default_factory=MusicNumbers)
    dimensions: Dimensions = field(default_factory=Dimensions)
    frame_backbone: str = "small"
    window_backbone: str = "small"
    shared_encoder: bool = True
    decoders: bool = True
    emotion_path: bool = True
    key_frames: bool = True
    channel_attention: bool = True
    fusion: str = "mlp"
    themes: int = 0
    attributes: int = 0

    def __post_init__(self) -> None:
        if self.fusion not in ("mlp", "sum"):
            raise InvalidRequest(f"fusion is 'mlp' or 'sum', not {self.fusion!r}", field="fusion")

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint or a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "NetworkConfig":
        """The inverse of `as_dict`.

        Raises:
            InvalidRequest: an unknown key.
        """
        _refuse_unknown_keys(cls, values)
        return cls(
            **{
                **values,
                "video": VideoNumbers(**values.get("video", {})),
                "music": MusicNumbers(**values.get("music", {})),
                "dimensions": Dimensions(**values.get("dimensions", {})),
            }
        )


@dataclass(frozen=True, slots=True)
class TrainingConfig:
    """How the network is trained. Loss weights are our choice; 0 switches a loss off.

    Attributes:
        epochs: passes over the training pairs; the learning rate follows a cosine over them.
        minutes: wall-clock budget; the cosine then ends with the budget where that comes first, so such a run
            depends on the speed of the machine. 0 means none.
        patience: epochs without a better validation score before the run ends.
        polarity_factor: lambda of the metric losses; 0 gives the plain losses.
        neutral_band: valence within this distance of the training mean has polarity 0.
        temperature: of InfoNCE and of the contrastive distinguish loss.
        average_decay: of the exponential moving average of the weights, which is what is evaluated and
            exported.
        freeze_backbones: those that begin with weights do not learn.
        backbone_learning_rate: of the backbones; 0 is that of the rest. Both follow one schedule.
        batch_size: over all devices.
        accelerator: "cpu", "cuda", or "auto", which is cuda where there is a GPU.
        devices: GPUs, or processes of the CPU.
        precision: "32"; "bf16" or "16" (GPU only) compute the network in half precision where that is safe.
    """

    epochs: int = 20
    minutes: float = 0.0
    batch_size: int = 64
    learning_rate: float = 2e-3
    weight_decay: float = 0.05
    warm_up_share: float = 0.05
    gradient_clip: float = 1.0
    average_decay: float = 0.995
    patience: int = 12
    threads: int = 2
    seed: int = 1
    augmentation: float = 1.0
    polarity_factor: float = 1.0
    neutral_band: float = 0.1
    margin: float = 0.2
    temperature: float = 0.07
    contrastive_weight: float = 1.0
    content_weight: float = 0.5
    margin_weight: float = 0.5
    reconstruction_weight: float = 0.1
    distinguish_weight: float = 0.2
    emotion_weight: float = 1.0
    frame_emotion_weight: float = 0.2
    theme_weight: float = 1.0
    attribute_weight: float = 3.0
    freeze_backbones: bool = False
    backbone_learning_rate: float = 0.0
    accelerator: str = "auto"
    devices: int = 1
    precision: str = "32"

    def __post_init__(self) -> None:
        for name in _RANGES:
            check_number(name, getattr(self, name))
        if self.accelerator not in ACCELERATORS:
            raise InvalidRequest(
                f"accelerator is one of {', '.join(ACCELERATORS)}, not {self.accelerator!r}",
                field="accelerator",
            )
        if self.precision not in PRECISIONS:
            raise InvalidRequest(
                f"precision is one of {', '.join(PRECISIONS)}, not {self.precision!r}", field="precision"
            )
        if self.batch_size % self.devices:
            raise InvalidRequest(
                f"a batch of {self.batch_size} cannot be shared among {self.devices} devices", field="devices"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint or a JSON file."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "TrainingConfig":
        """The inverse of `as_dict`.

        Raises:
            InvalidRequest: an unknown key.
        """
        _refuse_unknown_keys(cls, values)
        return cls(**values)


@dataclass(frozen=True, slots=True)
class _Range:
    """Finite numbers from `low` to `high`; `above` leaves `low` out and has no `high`."""

    low: float = 0.0
    high: float = math.inf
    above: bool = False

    def __contains__(self, value: float) -> bool:
        return (
            math.isfinite(value) and self.low <= value <= self.high and (value > self.low or not self.above)
        )

    def __str__(self) -> str:
        if self.above:
            return f"above {self.low:g}"
        return f"{self.low:g} or more" if self.high == math.inf else f"from {self.low:g} to {self.high:.12g}"


_FROM_ZERO, _ABOVE_ZERO, _FROM_ONE = _Range(), _Range(above=True), _Range(1)
_RANGES: Mapping[str, _Range] = {
    "epochs": _FROM_ONE,
    "minutes": _FROM_ZERO,
    "batch_size": _Range(2),  # a pair needs a negative
    "learning_rate": _ABOVE_ZERO,
    "weight_decay": _FROM_ZERO,
    "warm_up_share": _Range(high=1),
    "gradient_clip": _ABOVE_ZERO,
    "average_decay": _Range(high=1),
    "patience": _FROM_ONE,
    "threads": _Range(1, 256),
    "seed": _Range(high=2**32 - 1),
    "augmentation": _FROM_ZERO,
    "polarity_factor": _FROM_ZERO,
    "neutral_band": _FROM_ZERO,
    "margin": _FROM_ZERO,
    "temperature": _ABOVE_ZERO,
    "contrastive_weight": _FROM_ZERO,
    "content_weight": _FROM_ZERO,
    "margin_weight": _FROM_ZERO,
    "reconstruction_weight": _FROM_ZERO,
    "distinguish_weight": _FROM_ZERO,
    "emotion_weight": _FROM_ZERO,
    "frame_emotion_weight": _FROM_ZERO,
    "theme_weight": _FROM_ZERO,
    "attribute_weight": _FROM_ZERO,
    "backbone_learning_rate": _FROM_ZERO,
    "devices": _FROM_ONE,
}
"""What each number of TrainingConfig may be; one whose default is whole is a whole number."""
_DEFAULTS = {entry.name: entry.default for entry in fields(TrainingConfig)}


def check_number(name: str, value: Any) -> None:
    """Whether a number of TrainingConfig may have this value; fields that are no numbers pass.

    Raises:
        InvalidRequest: it may not; the message has the name as on the command line, where it is an option.
    """
    if name not in _RANGES:
        return
    whole = isinstance(_DEFAULTS[name], int)
    is_number = isinstance(value, int if whole else int | float) and not isinstance(value, bool)
    if not is_number or value not in _RANGES[name]:
        shown = f"--{name.replace('_', '-')}" if name in TRAINING_OPTIONS else name
        kind = "a whole number" if whole else "a number"
        raise InvalidRequest(f"{shown} is {kind}, {_RANGES[name]}, not {value!r}", field=name)


def _refuse_unknown_keys(cls: type, values: Mapping[str, Any]) -> None:
    known = {entry.name for entry in fields(cls)}
    unknown = sorted(set(values) - known)
    if unknown:
        raise InvalidRequest(
            f"{cls.__name__} has no key {unknown[0]!r}{nearest(unknown[0], known)}", field=unknown[0]
        )


def nearest(name: str, known: Iterable[str]) -> str:
    """ " (did you mean ...?)" with the known name most like this one, or "" where none is alike."""
    found = difflib.get_close_matches(name, list(known), n=1)
    return f" (did you mean {found[0]!r}?)" if found else ""
