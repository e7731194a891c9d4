"""One path of the dual path alone: content without emotion, or emotion without content.

Both on whole items, as the publication has them; the course, which is ours, is switched off.
"""

from dualpath.methods.dual_path import DualPath
from dualpath.methods.method import Kind
from dualpath.networks.feature_paths import FeaturePathsConfig

__all__ = ["content_only", "emotion_only"]


def content_only() -> DualPath:
    """Shared encoder and decoders; no emotion, no fusion."""
    return DualPath(
        "content-only",
        Kind.BASELINE,
        FeaturePathsConfig(emotion_path=False, course=False, canonical=False),
        paths=("content",),
    )


def emotion_only() -> DualPath:
    """The emotion embeddings of a trained dual path and their agreement."""
    return DualPath(
        "emotion-only",
        Kind.BASELINE,
        FeaturePathsConfig(course=False, canonical=False),
        paths=("emotion", "agreement"),
    )
