"""The dual path on features as a method of the benchmark: its loss, and its similarity at query time."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from dualpath.data.features.pairs import POLARITY, FeaturePairs
from dualpath.losses.distinguish import cross_modal_contrastive_loss
from dualpath.losses.distribution import distribution_loss
from dualpath.losses.metric import info_nce_loss, polarity, polarity_factor
from dualpath.losses.reconstruction import reconstruction_loss
from dualpath.methods.agreement import require_emotion
from dualpath.methods.method import Kind, Settings, stranger_deviations
from dualpath.networks.canonical import Canonical, canonical_directions
from dualpath.networks.feature_paths import FeatureDualPath, FeaturePathsConfig, FeatureSide
from dualpath.training.features import FeatureTraining, train_on_rows

__all__ = ["DualPath", "Scores", "joined_similarity", "path_similarities"]

_TEMPERATURE = 0.2
_NEUTRAL_BAND = 0.1
_RECONSTRUCTION = 0.1
_COURSE_SHRINK = 0.3
_ABSENT = 10.0
"""Logits this low for a class that training does not hold."""

Scores = dict[str, Tensor]


def path_similarities(network: FeatureDualPath, video: FeatureSide, music: FeatureSide) -> Scores:
    """Name of a path -> [n, m]; a path that is switched off is missing.

    fused and course are cosines; agreement is the probability that both sides name the same emotion.
    """
    scores = {"fused": video.fused @ music.fused.T}
    if network.config.course:
        scores["course"] = video.course @ music.course.T
    if network.use_emotion:
        scores["agreement"] = torch.softmax(video.logits, dim=1) @ torch.softmax(music.logits, dim=1).T
    return scores


def _similarities_by_path(
    network: FeatureDualPath, video: NDArray[np.float32], music: NDArray[np.float32]
) -> dict[str, NDArray[np.float32]]:
    """Those of `path_similarities`, and of content and emotion alone, from prepared tokens [n, t, d]."""
    with torch.no_grad():
        left = network.encode_video(torch.from_numpy(video))
        right = network.encode_music(torch.from_numpy(music))
        scores = path_similarities(network, left, right)
        scores["content"] = left.content @ right.content.T
        scores["emotion"] = left.emotion @ right.emotion.T
    return {name: values.numpy() for name, values in scores.items()}


def joined_similarity(
    network: FeatureDualPath,
    shares: Mapping[str, float],
    video: NDArray[np.float32],
    music: NDArray[np.float32],
) -> NDArray[np.float32]:
    """The paths joined at query time, [n, m], from prepared tokens.

    Args:
        shares: name of a path -> what its similarity is multiplied by; those not named do not count.
    """
    scores = _similarities_by_path(network, video, music)
    parts = [shares[name] * values for name, values in scores.items() if name in shares]
    result: NDArray[np.float32] = np.sum(parts, axis=0)
    return result


class DualPath:
    """The whole method, or the method less one idea.

    Args:
        name: as in `--methods`.
        kind: how the table treats it.
        config: the switches.
        distinguish: the distinguish loss; off is an ablation.
        factor: the polarity factor, 0 or more, that trials compare with 0; 0 alone is an ablation.
        paths: which similarities count at query time, of fused, content, emotion, course, agreement.
    """

    def __init__(
        self,
        name: str = "dual-path",
        kind: Kind = Kind.OURS,
        config: FeaturePathsConfig | None = None,
        *,
        distinguish: bool = True,
        factor: float = 1.0,
        paths: tuple[str, ...] = ("fused", "course", "agreement"),
    ) -> None:
        self.name, self.kind = name, kind
        self._config = config or FeaturePathsConfig()
        self._distinguish, self._factor, self._paths = distinguish, factor, paths
        start = self._config.canonical
        self.space: Mapping[str, tuple[Any, ...]] = {
            "steps": (20, 40, 80, 10) if start else (160, 80, 320),
            "learning_rate": (3e-4, 1e-4, 1e-3) if start else (3e-3, 1e-3, 1e-2),
            "dropout": (0.3, 0.1, 0.5),
            "shrink": (3.0, 1.0, 10.0),
            "course_weight": (2.0, 1.0, 3.0),
            "agreement_weight": (1.0, 0.3, 3.0),
            "emotion_strength": (0.01, 0.003, 0.03, 0.1),
            "emotion_share": (0.3, 0.1, 1.0),
            "polarity_factor": (factor, 0.0) if factor else (0.0,),
        }

    @property
    def switches(self) -> dict[str, Any]:
        """Every switch and its state, for the record of a run."""
        return {**asdict(self._config), "distinguish": self._distinguish, "polarity_factor": self._factor}

    @property
    def uses_emotion(self) -> bool:
        """Whether it learns from emotion."""
        return self._config.emotion_path

    def without_emotion_path(self) -> "DualPath":
        """The same method, as it runs on features without emotion."""
        return DualPath(
            self.name,
            self.kind,
            replace(self._config, emotion_path=False),
            distinguish=self._distinguish,
            factor=self._factor,
            paths=self._paths,
        )

    def fit(self, training: FeaturePairs, settings: Settings, seed: int) -> "FittedDualPath":
        """See `Method`.

        Raises:
            InvalidRequest: an emotion path, and no emotion or a single class of it.
        """
        torch.manual_seed(seed)
        config = replace(self._config, dropout=settings["dropout"])
        emotion = require_emotion(training) if config.emotion_path else None
        pairs = training.matching()
        classes = emotion[0].shape[1] if emotion is not None else 0
        width = min(pairs.video.shape[2], pairs.music.shape[2])
        steps = {pairs.video.shape[1], pairs.music.shape[1]}
        config = replace(
            config,
            directions=min(config.directions, 2 * width),
            course=config.course and len(steps) == 1 and steps != {1},
            course_directions=min(config.course_directions, width),
        )
        network = FeatureDualPath(
            config,
            pairs.video.shape[2],
            pairs.music.shape[2],
            pairs.video.shape[1],
            classes,
            settings["emotion_share"],
        )
        network.learn_moments(torch.from_numpy(pairs.video), torch.from_numpy(pairs.music))
        if config.canonical:
            network.begin_at(*_beginnings(network, pairs, settings["shrink"]))
            if emotion is not None:
                _begin_emotion(network, training, settings["emotion_strength"], seed)
        batches = _Batches(training, pairs, network, settings, self._distinguish and emotion is not None)
        loop = FeatureTraining(steps=settings["steps"], learning_rate=settings["learning_rate"])
        train_on_rows(network, batches.loss, len(pairs), loop, seed)
        # Where only a machine named the emotion of the video, the music's is hearsay, and agreement a hint.
        labelled = 0.1 if training.emotion_is_score else 1.0
        weights = {
            "fused": 1.0,
            "content": 1.0,
            "emotion": 1.0,
            "course": settings["course_weight"],
            "agreement": labelled * settings["agreement_weight"],
        }
        return FittedDualPath(network, {name: weights[name] for name in self._paths}, pairs)


class FittedDualPath:
    """Paths joined at query time: each similarity divided by its deviation over the training strangers."""

    def __init__(self, network: FeatureDualPath, weights: Mapping[str, float], pairs: FeaturePairs) -> None:
        self.network, self._weights = network.eval(), dict(weights)
        self._scale = stranger_deviations(self.paths, pairs)

    @property
    def shares(self) -> dict[str, float]:
        """What each path's similarity is multiplied by."""
        return {
            name: weight / self._scale[name] for name, weight in self._weights.items() if name in self._scale
        }

    def paths(self, video: NDArray[np.float32], music: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Every path's own similarities, [n, m] each."""
        scores = _similarities_by_path(self.network, video, music)
        return {name: values for name, values in scores.items() if name in self._weights}

    def similarity(self, video: NDArray[np.float32], music: NDArray[np.float32]) -> NDArray[np.float32]:
        """See `Fitted`."""
        return joined_similarity(self.network, self.shares, video, music)


class _Batches:
    """The objective on row numbers of the matching pairs."""

    def __init__(
        self,
        training: FeaturePairs,
        pairs: FeaturePairs,
        network: FeatureDualPath,
        settings: Settings,
        distinguish: bool,
    ) -> None:
        self.network, self.settings, self.distinguish = network, settings, distinguish
        self.video, self.music = torch.from_numpy(pairs.video), torch.from_numpy(pairs.music)
        self.whole = (network.whole_video(self.video), network.whole_music(self.music))
        self.course = (network.course(0, self.video), network.course(1, self.music))
        self.felt = False
        if not network.use_emotion or pairs.video_emotion is None or pairs.music_emotion is None:
            return
        self.video_emotion = torch.from_numpy(pairs.video_emotion)
        self.music_emotion = torch.from_numpy(pairs.music_emotion)
        self.labels = self.video_emotion.argmax(dim=1)
        signs = torch.tensor([POLARITY.get(name, 0.0) for name in pairs.emotion_names])
        valence = self.video_emotion @ signs
        self.felt = True
        self.polarities = polarity(valence, float(valence.mean()), _NEUTRAL_BAND)
        self.near_positives = network.config.near_positives and not pairs.emotion_is_score
        self.alone: list[tuple[int, Tensor, Tensor]] = []
        if len(training) > len(pairs):
            self.alone = [
                (0, torch.from_numpy(training.video), torch.from_numpy(training.video_emotion)),
                (1, torch.from_numpy(training.music), torch.from_numpy(training.music_emotion)),
            ]
        if training.more_music is not None:
            more = training.more_music
            self.alone.append((1, torch.from_numpy(more.tokens), torch.from_numpy(more.emotion)))

    def loss(self, rows: Tensor) -> Tensor:
        network = self.network
        video = network.read_video(self.video[rows], self.whole[0][rows], self.course[0][rows])
        music = network.read_music(self.whole[1][rows], self.course[1][rows])
        weights = self._weights(rows)
        total = info_nce_loss(video.fused @ music.fused.T, weights, _TEMPERATURE)
        if network.config.course:
            total = total + info_nce_loss(video.course @ music.course.T, weights, _TEMPERATURE)
        if video.reconstruction is not None and music.reconstruction is not None:
            total = total + _RECONSTRUCTION * 0.5 * (
                reconstruction_loss(video.reconstruction, video.pooled)
                + reconstruction_loss(music.reconstruction, music.pooled)
            )
        if network.use_emotion and self.distinguish:
            total = total + self._distinguish_loss(video, music, rows)
        return total

    def _weights(self, rows: Tensor) -> Tensor:
        """How much each stranger of a batch counts as a negative: [b, b]."""
        size = len(rows)
        if not self.felt:
            return torch.ones(size, size)
        weights = polarity_factor(self.polarities[rows], self.settings["polarity_factor"])
        if not self.near_positives:
            return weights
        labels = self.labels[rows]
        same = (labels[:, None] == labels[None, :]) & ~torch.eye(size, dtype=torch.bool)
        return weights.masked_fill(same, 0.0)

    def _distinguish_loss(self, video: FeatureSide, music: FeatureSide, rows: Tensor) -> Tensor:
        """Emotion within each side, over rows that need not match, and across the sides of the pairs."""
        told, heard = self.video_emotion[rows], self.music_emotion[rows]
        total = cross_modal_contrastive_loss(video.emotion, music.emotion, self.labels[rows], _TEMPERATURE)
        total = total + 0.5 * distribution_loss(video.logits, told)
        total = total + 0.5 * distribution_loss(music.logits, heard)
        steps = self.video.shape[1]
        if self.network.config.key_frames and steps > 1:
            each = self.network.key_logits(self.video[rows]).flatten(0, 1)
            total = total + 0.2 * distribution_loss(each, told.repeat_interleave(steps, dim=0))
        for side, tokens, emotion in self.alone:
            drawn = torch.randint(len(tokens), (len(rows),))
            total = total + 0.5 * distribution_loss(
                self.network.name_emotion(side, self._felt(side, tokens[drawn])), emotion[drawn]
            )
        return total

    def _felt(self, side: int, tokens: Tensor) -> Tensor:
        if side:
            return self.network.felt_music(self.network.whole_music(tokens))
        return self.network.felt_video(tokens, self.network.whole_video(tokens))


def _begin_emotion(network: FeatureDualPath, training: FeaturePairs, strength: float, seed: int) -> None:
    """Logistic regression of each side's emotion, all rows and all labelled music together."""
    video, music = torch.from_numpy(training.video), torch.from_numpy(training.music)
    wholes, told = [network.whole_video(video), network.whole_music(music)], list(require_emotion(training))
    if training.more_music is not None:
        more = network.whole_music(torch.from_numpy(training.more_music.tokens))
        wholes[1] = torch.cat([wholes[1], more])
        told[1] = np.concatenate([told[1], training.more_music.emotion])
    for side, (whole, emotion) in enumerate(zip(wholes, told, strict=True)):
        model = LogisticRegression(C=strength, max_iter=100, random_state=seed)
        model.fit(whole.numpy(), emotion.argmax(axis=1))
        classes = emotion.shape[1]
        weight, bias = torch.zeros(classes, whole.shape[1]), torch.full((classes,), -_ABSENT)
        if len(model.classes_) == 2:
            weight[model.classes_[1]] = torch.from_numpy(model.coef_[0]).float()
            bias[model.classes_] = torch.tensor([0.0, float(model.intercept_[0])])
        else:
            weight[model.classes_] = torch.from_numpy(model.coef_).float()
            bias[model.classes_] = torch.from_numpy(model.intercept_).float()
        network.begin_emotion_at(side, weight, bias)


def _beginnings(
    network: FeatureDualPath, pairs: FeaturePairs, shrink: float
) -> tuple[Canonical, Canonical | None]:
    """Canonical directions of pooled tokens, and of tokens less their mean over time."""
    config = network.config
    whole = (
        network.whole_video(torch.from_numpy(pairs.video)).numpy(),
        network.whole_music(torch.from_numpy(pairs.music)).numpy(),
    )
    content = canonical_directions(*whole, config.directions, shrink, shrink)
    if not config.course:
        return content, None
    moving = [
        network.course(number, torch.from_numpy(side)).flatten(0, 1).numpy()
        for number, side in enumerate((pairs.video, pairs.music))
    ]
    return content, canonical_directions(*moving, config.course_directions, _COURSE_SHRINK, _COURSE_SHRINK)
