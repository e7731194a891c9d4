"""The model repository: Triton's layout, and the manifest that makes its vectors comparable.

    kinoscore.json
    <name>_<space>/config.pbtxt
    <name>_<space>/1/model.onnx

Every number that a service needs of the models comes from the manifest.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from kinoscore.errors import InvalidRepository

__all__ = [
    "FORMAT",
    "MODEL_NAMES",
    "SHIPPED",
    "Calibration",
    "DefaultWeights",
    "Dimensions",
    "Manifest",
    "ModalityCalibration",
    "ModelEntry",
    "ModelRepository",
    "MusicSpec",
    "VideoSpec",
    "default_repository",
    "load_repositories",
]

FORMAT = 1
MODEL_NAMES = ("frame_encoder", "clip_encoder", "window_encoder", "track_encoder", "fusion")
MANIFEST_FILE = "kinoscore.json"
SHIPPED = Path("shipped")
"""Names the model repository that came with kinoscore."""

_REMEDY = "run `kinoscore doctor`, or write the repository again with `dualpath export`"

Count = Annotated[int, Field(gt=0)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NotNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """One model: its Triton name (with the space), version, SHA-256 of model.onnx, and largest batch."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    name: str
    version: Count
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    max_batch_size: Count


@dataclass(frozen=True, slots=True)
class VideoSpec:
    """What the video models take: frame size in pixels, sampling rate, frames and key frames a window."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    frame_width: Count
    frame_height: Count
    frames_per_second: Positive
    window_frames: Count
    key_frames: Count
    key_frame_separation_seconds: NotNegative
    feature_dimension: Count

    @property
    def window_seconds(self) -> float:
        """The length of a full window."""
        return self.window_frames / self.frames_per_second


@dataclass(frozen=True, slots=True)
class MusicSpec:
    """What the music models take: rate in Hz, samples a window, windows a passage and from one to the next.

    `onset_rate` is that of the window encoder's onset strength, in values a second.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    sample_rate: Count
    window_samples: Count
    passage_windows: Count
    passage_hop_windows: Count
    feature_dimension: Count
    onset_rate: Positive

    @property
    def window_seconds(self) -> float:
        """The length of an analysis window."""
        return self.window_samples / self.sample_rate

    @property
    def passage_seconds(self) -> float:
        """The length of a full passage."""
        return self.passage_windows * self.window_seconds

    @property
    def passage_hop_seconds(self) -> float:
        """The time between the starts of two passages."""
        return self.passage_hop_windows * self.window_seconds


@dataclass(frozen=True, slots=True)
class Dimensions:
    """Lengths of the vectors."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    content: Count
    emotion: Count
    fused: Count


@dataclass(frozen=True, slots=True)
class ModalityCalibration:
    """Mean and standard deviation of a modality's predictions, and their RMSE on withheld data."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    valence_mean: Finite
    arousal_mean: Finite
    valence_deviation: NotNegative
    arousal_deviation: NotNegative
    valence_error: NotNegative
    arousal_error: NotNegative


@dataclass(frozen=True, slots=True)
class Calibration:
    """How to read valence and arousal; within `neutral_band` of the mean an emotion has no polarity."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    video: ModalityCalibration
    music: ModalityCalibration
    neutral_band: NotNegative


@dataclass(frozen=True, slots=True)
class DefaultWeights:
    """How much each similarity counts where the caller does not say."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    fused: NotNegative
    content: NotNegative
    emotion: NotNegative


@dataclass(frozen=True, slots=True)
class Manifest:
    """`kinoscore.json`: the embedding space, its models and every number that belongs to them."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    format: Literal[1]
    space: Annotated[str, Field(pattern=r"^s[0-9a-f]{12}$")]
    models: Mapping[str, ModelEntry]
    video: VideoSpec
    music: MusicSpec
    dimensions: Dimensions
    emotion_labels: Annotated[tuple[str, ...], Field(min_length=1)]
    calibration: Calibration
    weights: DefaultWeights
    training: Mapping[str, Any]
    metrics: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ModelRepository:
    """A model repository whose files are all there and are the ones that the manifest names."""

    path: Path
    manifest: Manifest

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads and checks a repository.

        Raises:
            InvalidRepository: it is missing, half-written, damaged or of another format; it names the file or
                the field, and the remedy.
        """
        repository = cls.with_unchecked_models(path)
        for name in MODEL_NAMES:
            repository.check_model(name)
        return repository

    @classmethod
    def with_unchecked_models(cls, path: Path) -> Self:
        """Reads and checks the manifest alone.

        Raises:
            InvalidRepository: it is missing, damaged or of another format.
        """
        return cls(path, _read_manifest(path / MANIFEST_FILE))

    def check_model(self, name: str) -> None:
        """Makes sure that a model's ONNX file is the one that the manifest names.

        Raises:
            InvalidRepository: it is missing or another one.
        """
        _check_model_file(self.model_path(name), self.manifest.models[name].sha256)

    def model_path(self, name: str) -> Path:
        """The ONNX file of a model, by short name (`frame_encoder`)."""
        entry = self.manifest.models[name]
        return self.path / entry.name / str(entry.version) / "model.onnx"


def load_repositories(paths: Iterable[Path]) -> list[ModelRepository]:
    """The repositories at the paths, one for each space; `shipped` stands for the one shipped with kinoscore.

    Raises:
        InvalidRepository: one is missing, half-written or of another version; or two are of one space.
    """
    by_space: dict[str, ModelRepository] = {}
    for path in paths:
        repository = ModelRepository.load(default_repository() if path == SHIPPED else path)
        other = by_space.setdefault(repository.manifest.space, repository)
        if other is not repository:
            raise InvalidRepository(
                f"{other.path} and {repository.path} are of the same embedding space; name one of them",
                field="repository",
            )
    return list(by_space.values())


def default_repository() -> Path:
    """The repository shipped with kinoscore: in the installed package, or in the source tree.

    Raises:
        InvalidRepository: neither is there.
    """
    package = Path(__file__).resolve().parents[1]
    for path in (package / "repository", package.parents[1] / "models" / "repository"):
        if (path / MANIFEST_FILE).is_file():
            return path
    raise InvalidRepository(
        "no model repository came with this installation; install kinoscore again, or make one with "
        "`dualpath export` and name it in the setting `repository`",
        field="repository",
    )


def _read_manifest(path: Path) -> Manifest:
    try:
        text = path.read_bytes()
        content = json.loads(text)
    except FileNotFoundError:
        raise InvalidRepository(f"{path} does not exist: no complete model repository; {_REMEDY}") from None
    except OSError as error:
        raise InvalidRepository(f"{path} cannot be read ({error.strerror}); check its permissions") from error
    except ValueError:
        raise InvalidRepository(f"{path} is not JSON; {_REMEDY}") from None
    found = content.get("format") if isinstance(content, dict) else None
    if found != FORMAT:
        raise InvalidRepository(
            f"{path} has the format {found!r}, and this kinoscore reads {FORMAT}; install the kinoscore that "
            "wrote it, or write it again with `dualpath export`",
            field="format",
        )
    if content.get("kind") == "features":
        raise InvalidRepository(
            f"{path}: this model needs precomputed features ({_needed_features(content)}), and kinoscore "
            "encodes media itself; export a run that learned from media",
            field="kind",
        )
    try:
        manifest = TypeAdapter(Manifest).validate_json(text, strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InvalidRepository(f"{path}: field {field}: {first['msg']}; {_REMEDY}", field=field) from None
    _check_models(path, manifest)
    return manifest


def _needed_features(content: Mapping[str, Any]) -> str:
    try:
        sides = [content["features"][side]["arrays"] for side in ("video", "music")]
        return ", ".join(str(array["name"]) for side in sides for array in side)
    except (KeyError, TypeError):
        return "which, the file does not say"


def _check_models(path: Path, manifest: Manifest) -> None:
    if set(manifest.models) != set(MODEL_NAMES):
        expected = ", ".join(MODEL_NAMES)
        raise InvalidRepository(f"{path}: field models: must name {expected}; {_REMEDY}", field="models")
    for name, entry in manifest.models.items():
        if entry.name != f"{name}_{manifest.space}":
            raise InvalidRepository(
                f"{path}: field models.{name}.name: {entry.name!r} is not of the space {manifest.space}; "
                f"{_REMEDY}",
                field=f"models.{name}.name",
            )


def _check_model_file(path: Path, sha256: str) -> None:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InvalidRepository(
            f"{path} cannot be read ({error.strerror}): the repository is half-written; {_REMEDY}"
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise InvalidRepository(
            f"{path} is not the file that {MANIFEST_FILE} names (SHA-256 differs): the repository is damaged "
            f"or half-written; {_REMEDY}"
        )
