"""A dual path on features as a run: trained once on all pairs that are no test pairs, kept, read again.

config.json    layout, data, trials, seed, switches, and the origins: command, git revision, versions
features.pt    weights, preparation, and how much each path counts
summary.json   validation score and settings of every trial
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dualpath.benchmark.folds import Fold, require_enough, validation_part
from dualpath.benchmark.results import Unit
from dualpath.benchmark.tables import Row, match_rows, retrieval_rows
from dualpath.benchmark.tasks import Matching, task_of
from dualpath.benchmark.tuning import fit_within_budget
from dualpath.data.features.pairs import FeaturePairs
from dualpath.data.features.prepare import Preparation, fit_preparation
from dualpath.methods.agreement import tells_emotion
from dualpath.methods.dual_path import DualPath, joined_similarity
from dualpath.networks.feature_paths import FeatureDualPath, FeaturePathsConfig
from dualpath.training.run_folder import RunFolder
from kinoscore.errors import FailedPrecondition, InvalidRequest

__all__ = ["FeatureModel", "fit_features", "load_feature_model", "measure_features"]

_EXAMPLES = 8
_METHOD = DualPath()


@dataclass(frozen=True, slots=True, eq=False)
class FeatureModel:
    """What a run holds.

    Attributes:
        layout: name of the layout that it was trained on.
        shares: of each path in the similarity, which is the sum of share times inner product.
        video_examples, music_examples: float32 [8, t, d], tokens of training items as they were read.
    """

    layout: str
    network: FeatureDualPath
    preparation: Preparation
    shares: Mapping[str, float]
    emotion_names: tuple[str, ...]
    video_examples: NDArray[np.float32]
    music_examples: NDArray[np.float32]

    def similarity(self, video: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Fitted`; of prepared tokens."""
        return joined_similarity(self.network, self.shares, video, music)


def measure_features(model: FeatureModel, pairs: FeaturePairs) -> list[Row]:
    """The figures of a run on the pairs given, and those of chance.

    Raises:
        InvalidRequest: the tokens are not those of the run's features, or too few to measure.
    """
    known = (model.video_examples.shape[1:], model.music_examples.shape[1:])
    if (pairs.video.shape[1:], pairs.music.shape[1:]) != known:
        raise InvalidRequest(
            f"tokens of these features are {pairs.video.shape[1:]} and {pairs.music.shape[1:]}, those of the "
            f"run {known[0]} and {known[1]}: they were extracted in another way",
            field="data",
        )
    task = task_of(pairs)
    if not task.enough(pairs.match):
        raise InvalidRequest(f"{len(pairs)} rows are too few to measure", field="data")
    rows = task.rows(model.preparation.apply(replace(pairs, more_music=None)))
    unit = Unit(_METHOD.name, 0, 0, list(rows.identifiers), task.measure(model, rows), {}, [], 0.0)
    if isinstance(task, Matching):
        return match_rows([unit], [_METHOD], pairs)
    groups = dict(zip(rows.identifiers, rows.groups.tolist(), strict=True))
    return retrieval_rows([unit], [_METHOD], groups=groups)


def fit_features(
    run: RunFolder,
    layout: str,
    pairs: FeaturePairs,
    method: DualPath,
    *,
    trials: int,
    seed: int,
    data: str = "",
    origin: Mapping[str, str] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:
    """Tunes on a fifth of the pairs, trains the best settings on all but test pairs, writes the run.

    Features without emotion are trained on without the emotion path, and `progress` says so.

    Args:
        data: name of the folder of the pairs, for config.json.
        origin: see `describe_origin`.

    Returns:
        summary.json.

    Raises:
        FailedPrecondition: another process trains in the run folder.
        InvalidRequest: no pairs to train with, or too few.
        StorageFull: the run does not fit on the disk.
    """
    with run.locked():
        rows = np.flatnonzero(np.array(pairs.splits) != "test")
        if not len(rows):
            raise InvalidRequest("the data has no rows to train with", field="data")
        kept = pairs.rows(rows)
        preparation = fit_preparation(kept)
        prepared = preparation.apply(kept)
        validation = validation_part(kept.groups, seed)
        training = np.setdiff1d(np.arange(len(kept)), validation)
        if method.uses_emotion and not tells_emotion(kept, training):
            progress("the features come without emotion, or with one alone: trained without the emotion path")
            method = method.without_emotion_path()
        task = task_of(kept)
        require_enough(kept, Fold(seed, 0, training, validation, validation), task)
        progress(f"{len(kept)} pairs, {trials} trials")
        tuned = fit_within_budget(
            method, prepared.rows(training), prepared.rows(validation), prepared, task, trials, seed
        )
        fitted = tuned.fitted
        run.write_json(
            "config",
            {
                "layout": layout,
                "data": {"name": data, "digest": pairs.digest()},
                "trials": trials,
                "seed": seed,
                "method": method.name,
                "switches": method.switches,
                "origins": [dict(origin)] if origin else [],
            },
        )
        summary = {
            "training_pairs": len(kept),
            "task": task.name,
            "validation_score": tuned.best.score,
            "settings": dict(tuned.best.settings),
            "trials": [asdict(trial) for trial in tuned.trials],
        }
        run.write_json("summary", summary)
        # Last: where the heads are, the run is finished.
        run.save(run.heads, _as_state(layout, fitted.network, preparation, fitted.shares, kept))
        return summary


def load_feature_model(run: RunFolder) -> FeatureModel:
    """The model of a run, in evaluation mode.

    Raises:
        NotFound: there is none.
        FailedPrecondition: it cannot be read, or another version made it.
    """
    state = run.load(run.heads)
    try:
        network = FeatureDualPath(FeaturePathsConfig(**state["config"]), *state["sizes"])
        network.load_state_dict(state["weights"])
        arrays = state["preparation"]
        preparation = Preparation(
            blocks=tuple(arrays["blocks"]),
            bases=tuple(None if basis is None else _numpy(basis) for basis in arrays["bases"]),
            video_moments=_numpy(arrays["video_moments"]),
            music_moments=_numpy(arrays["music_moments"]),
            emotion_moments=None,
        )
        examples = _numpy(state["examples"])
        return FeatureModel(
            layout=state["layout"],
            network=network.eval(),
            preparation=preparation,
            shares=state["shares"],
            emotion_names=tuple(state["emotion_names"]),
            video_examples=examples[0],
            music_examples=examples[1],
        )
    except (KeyError, TypeError, RuntimeError) as error:
        raise FailedPrecondition(
            f"{run.heads} holds another network; its version of dualpath made it"
        ) from error


def _as_state(
    layout: str,
    network: FeatureDualPath,
    preparation: Preparation,
    shares: Mapping[str, float],
    pairs: FeaturePairs,
) -> dict[str, Any]:
    return {
        "layout": layout,
        "config": asdict(network.config),
        "sizes": list(network.sizes),
        "weights": network.state_dict(),
        "shares": dict(shares),
        "emotion_names": list(pairs.emotion_names),
        "preparation": {
            "blocks": list(preparation.blocks),
            "bases": [None if basis is None else _tensors(basis) for basis in preparation.bases],
            "video_moments": _tensors(preparation.video_moments),
            "music_moments": _tensors(preparation.music_moments),
        },
        "examples": _tensors((pairs.video[:_EXAMPLES], pairs.music[:_EXAMPLES])),
    }


def _tensors(arrays: tuple[NDArray[np.float32], ...]) -> list[torch.Tensor]:
    return [torch.from_numpy(np.ascontiguousarray(values, np.float32)) for values in arrays]


def _numpy(tensors: list[torch.Tensor]) -> Any:
    return tuple(values.numpy() for values in tensors)
