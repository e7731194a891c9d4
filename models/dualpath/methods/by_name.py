"""The methods by name: baselines, the dual path, a control, and the dual path less one idea each."""

from collections.abc import Sequence
from dataclasses import replace

from dualpath.methods.agreement import Agreement
from dualpath.methods.aligned_cca import AlignedCca
from dualpath.methods.cca import Cca
from dualpath.methods.dual_path import DualPath
from dualpath.methods.info_nce import InfoNce
from dualpath.methods.method import Kind, Method
from dualpath.methods.pls import Pls
from dualpath.methods.random_order import RandomOrder
from dualpath.methods.single_path import content_only, emotion_only
from dualpath.methods.triplet import Triplet
from dualpath.networks.feature_paths import FeaturePathsConfig
from kinoscore.errors import InvalidRequest

__all__ = ["ABLATIONS", "ALL", "STANDARD", "choose_methods", "without_emotion"]

_WHOLE = FeaturePathsConfig()


def _without(idea: str, **switches: bool | str) -> DualPath:
    return DualPath(f"dual-path-no-{idea}", Kind.ABLATION, replace(_WHOLE, **switches))


STANDARD: tuple[Method, ...] = (
    RandomOrder(),
    Cca(),
    Pls(),
    Triplet(structure=False),
    Triplet(structure=True),
    InfoNce(temporal=False),
    InfoNce(temporal=True),
    content_only(),
    emotion_only(),
    Agreement(),
    AlignedCca(),
    DualPath(),
)
ABLATIONS: tuple[Method, ...] = (
    _without("shared-encoder", shared_encoder=False),
    _without("decoders", decoders=False),
    _without("emotion-path", emotion_path=False),
    _without("key-frames", key_frames=False),
    _without("channel-attention", channel_attention=False),
    DualPath("dual-path-no-distinguish", Kind.ABLATION, distinguish=False),
    DualPath("dual-path-no-polarity-factor", Kind.ABLATION, factor=0.0),
    _without("fusion-mlp", fusion="sum"),
    _without("course", course=False),
    _without("canonical-start", canonical=False),
)
ALL = (*STANDARD, *ABLATIONS)


_ABOUT_EMOTION = (
    *("emotion-only", "emotion-agreement", "dual-path-no-key-frames", "dual-path-no-channel-attention"),
    *("dual-path-no-distinguish", "dual-path-no-polarity-factor"),
)
"""Nothing of these is left without emotion."""


def without_emotion(methods: Sequence[Method]) -> tuple[list[Method], str]:
    """The methods as they run on features without emotion, and a line that says what that means.

    Raises:
        InvalidRequest: none is left.
    """
    left_out = [method.name for method in methods if method.name in _ABOUT_EMOTION]
    kept: list[Method] = []
    changed = []
    for method in methods:
        if method.name in _ABOUT_EMOTION:
            continue
        if isinstance(method, DualPath) and method.uses_emotion:
            changed.append(method.name)
            method = method.without_emotion_path()
        kept.append(method)
    if not kept:
        raise InvalidRequest(
            f"{', '.join(left_out)}: these need emotion, and the features come without: name other --methods",
            field="methods",
        )
    notes = [
        *([f"left out: {', '.join(left_out)}"] if left_out else []),
        *([f"without its emotion path: {', '.join(changed)}"] if changed else []),
    ]
    return kept, f"the features come without emotion, or with one alone; {'; '.join(notes)}" if notes else ""


def choose_methods(names: Sequence[str]) -> list[Method]:
    """Methods by name; "standard" and "ablations" stand for all of theirs.

    Raises:
        InvalidRequest: an unknown name.
    """
    groups = {"standard": STANDARD, "ablations": ABLATIONS}
    known = {method.name: method for method in ALL}
    chosen: dict[str, Method] = {}
    for name in names:
        if name not in groups and name not in known:
            raise InvalidRequest(
                f"no method {name!r}; there are {', '.join((*groups, *known))}", field="methods"
            )
        chosen |= {one.name: one for one in groups.get(name, (known[name],) if name in known else ())}
    return list(chosen.values())
