"""Which methods a world compares: on features of its fixed front ends, and end to end."""

from collections.abc import Mapping, Sequence
from typing import Any

from dualpath.benchmark.end_to_end import ABLATIONS, BASELINES, CONTROLS, DUAL_PATH, EndToEnd
from dualpath.data.features.pairs import FeaturePairs
from dualpath.methods.agreement import Agreement
from dualpath.methods.aligned_cca import AlignedCca
from dualpath.methods.cca import Cca
from dualpath.methods.dual_path import DualPath
from dualpath.methods.info_nce import InfoNce
from dualpath.methods.method import Fitted, Kind, Method, Settings
from dualpath.methods.pls import Pls
from dualpath.methods.random_order import RandomOrder
from dualpath.methods.single_path import content_only, emotion_only
from dualpath.methods.triplet import Triplet
from dualpath.networks.feature_paths import FeaturePathsConfig
from kinoscore.errors import InvalidRequest

__all__ = ["ON_FEATURES", "OnFeatures", "choose_world_methods"]

_BATCH = 128
_NETWORK = {"dropout": (0.3, 0.1, 0.5), "dimension": (128, 64, 256)}
_TEMPERATURE = {"temperature": (0.07, 0.05, 0.1, 0.2)}
_CANONICAL = {
    "directions": (80, 40, 160, 30),
    "shrink_video": (0.1, 0.03, 0.3, 1.0),
    "shrink_music": (0.1, 0.03, 0.3, 1.0),
}


class OnFeatures:
    """A method on features, with settings for thousands of pairs instead of hundreds.

    Args:
        ranges: settings whose values differ from the method's own.
    """

    def __init__(self, method: Method, ranges: Mapping[str, tuple[Any, ...]] | None = None) -> None:
        self.name, self.kind = method.name, method.kind
        self._method = method
        self._space = {**method.space, **(ranges or {})}

    @property
    def passes(self) -> bool:
        """Whether it goes over the pairs again and again, or solves for them once."""
        return "steps" in self._space

    @property
    def space(self) -> Mapping[str, tuple[Any, ...]]:
        """See `Method`; the budget sets how many steps a network makes."""
        return {name: values for name, values in self._space.items() if name != "steps"}

    def fit(self, training: FeaturePairs, settings: Settings, seed: int, epochs: int) -> Fitted:
        """See `Method`; a network passes over the pairs `epochs` times."""
        steps = max(1, epochs * (len(training) // _BATCH))
        return self._method.fit(training, {**settings, "steps": steps} if self.passes else settings, seed)


ON_FEATURES: tuple[OnFeatures, ...] = (
    OnFeatures(RandomOrder()),
    OnFeatures(Cca(), _CANONICAL),
    OnFeatures(Pls(), {"directions": (40, 20, 80, 160)}),
    OnFeatures(Triplet(structure=False), _NETWORK),
    OnFeatures(Triplet(structure=True), _NETWORK),
    OnFeatures(InfoNce(temporal=False), {**_NETWORK, **_TEMPERATURE}),
    OnFeatures(InfoNce(temporal=True), {**_NETWORK, **_TEMPERATURE}),
    OnFeatures(content_only()),
    OnFeatures(emotion_only()),
    OnFeatures(Agreement()),
    OnFeatures(AlignedCca(), _CANONICAL),
    # What the heads bring without the learned encoders. Of a few classes, one emotion is no near match.
    OnFeatures(
        DualPath(
            "dual-path-on-features", Kind.CONTROL, FeaturePathsConfig(near_positives=False, directions=128)
        ),
        {
            "shrink": (0.1, 0.03, 0.3, 1.0),
            "learning_rate": (1e-3, 3e-4, 3e-3),
            "agreement_weight": (0.3, 0.1, 1.0),
        },
    ),
)
_GROUPS: Mapping[str, tuple[OnFeatures | EndToEnd, ...]] = {
    "standard": (*ON_FEATURES, *BASELINES, DUAL_PATH),
    "features": ON_FEATURES,
    "end-to-end": (*BASELINES, *CONTROLS, DUAL_PATH),
    "ablations": ABLATIONS,
}


def choose_world_methods(names: Sequence[str]) -> list[OnFeatures | EndToEnd]:
    """Methods by name, or by the name of a group of them.

    Raises:
        InvalidRequest: an unknown name.
    """
    known = {method.name: method for method in (*ON_FEATURES, *BASELINES, *CONTROLS, DUAL_PATH, *ABLATIONS)}
    chosen: dict[str, OnFeatures | EndToEnd] = {}
    for name in names:
        if name not in _GROUPS and name not in known:
            raise InvalidRequest(
                f"no method {name!r}; there are {', '.join((*_GROUPS, *known))}", field="methods"
            )
        chosen |= {one.name: one for one in _GROUPS.get(name, (known[name],) if name in known else ())}
    return list(chosen.values())
