"""The layouts of features by name: how a folder is read, and what a model that learned from it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from dualpath.data.features import muvisync
from dualpath.data.features.emomv import read_emomv
from dualpath.data.features.mgsv import MUSIC_STRIDE_SECONDS, read_mgsv
from dualpath.data.features.pairs import FeaturePairs
from kinoscore.errors import InvalidRequest

__all__ = ["LAYOUTS", "Feature", "Layout", "layout_named"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One array that an item must come with.

    Attributes:
        width: numbers a row; None where the data says.
        rate: rows a second; None for one row an item.
    """

    name: str
    width: int | None
    rate: float | None


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout.

    Attributes:
        read: a folder -> pairs; see the module of the layout for errors.
        video, music: what tokens are made of.
        tokens: how, in words.
    """

    name: str
    read: Callable[[Path], FeaturePairs]
    video: tuple[Feature, ...]
    music: tuple[Feature, ...]
    tokens: str


_MUVISYNC = Layout(
    "muvisync",
    muvisync.read_muvisync,
    (
        Feature("clip_l14", 768, 0.5),
        Feature("emotion6", 6, 0.5),
        Feature("motion", 1, 0.5),
        Feature("scene_offset", 1, 1.0),
    ),
    (
        Feature("loudness", 1, 1.0),
        Feature("note_density", 1, 1.0),
        Feature("chord_root", 1, 1.0),
        Feature("chord_attr", 1, 1.0),
        Feature("key", 1, None),
    ),
    f"{muvisync.TOKENS} windows of {muvisync.WINDOW_SECONDS} s: dualpath.data.features.muvisync",
)
_EMOMV = Layout(
    "emomv",
    read_emomv,
    (Feature("slowfast", 2304, None),),
    (Feature("vggish", 128, None),),
    "one row an item: dualpath.data.features.emomv",
)
_MGSV = Layout(
    "mgsv",
    read_mgsv,
    (Feature("vit_feature1", None, 1.0),),
    (Feature("ast_feature2p5", None, 1.0 / MUSIC_STRIDE_SECONDS),),
    "rows at even distances: dualpath.data.features.mgsv",
)
LAYOUTS: Mapping[str, Layout] = {layout.name: layout for layout in (_MUVISYNC, _EMOMV, _MGSV)}


def layout_named(name: str) -> Layout:
    """The layout.

    Raises:
        InvalidRequest: there is no such layout.
    """
    if name not in LAYOUTS:
        raise InvalidRequest(f"no layout {name!r}; there are {', '.join(LAYOUTS)}", field="features")
    return LAYOUTS[name]
