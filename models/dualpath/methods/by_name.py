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

__all__ = ["ABLATIONS", "ALL", "STANDARD", "choose_methods"]

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
    DualPath("dual-path-no-polarity-factor", Kind.ABLATION, factor=False),
    _without("fusion-mlp", fusion="sum"),
    _without("course", course=False),
    _without("canonical-start", canonical=False),
)
ALL = (*STANDARD, *ABLATIONS)


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
