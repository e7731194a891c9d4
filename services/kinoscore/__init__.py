"""kinoscore recommends background music for video.

    import kinoscore

    with kinoscore.Client("localhost:50050") as client:
        for hit in client.recommend("clip.mp4", k=5).hits:
            print(hit.rank, hit.track.title, hit.passage_start_seconds, hit.score)

Importing the package is cheap: the client, and gRPC with it, loads when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kinoscore._client_live import Frame, LiveChanges, LiveControl, LiveLosses, LivePin, LiveUpdate
    from kinoscore._client_values import (
        CatalogueDescription,
        Emotion,
        EmotionPoint,
        Hit,
        IndexedTrack,
        KeyFrame,
        Recommendation,
        Spaces,
        StoredTrack,
        Timings,
        Track,
        TrackUpdate,
    )
    from kinoscore.client import AsyncClient, Client

__version__ = "0.1.0"

__all__ = [
    "AsyncClient",
    "CatalogueDescription",
    "Client",
    "Emotion",
    "EmotionPoint",
    "Frame",
    "Hit",
    "IndexedTrack",
    "KeyFrame",
    "LiveChanges",
    "LiveControl",
    "LiveLosses",
    "LivePin",
    "LiveUpdate",
    "Recommendation",
    "Spaces",
    "StoredTrack",
    "Timings",
    "Track",
    "TrackUpdate",
    "__version__",
]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module 'kinoscore' has no attribute {name!r}")
    if name in ("AsyncClient", "Client"):
        module = "kinoscore.client"
    elif name == "Frame" or name.startswith("Live"):
        module = "kinoscore._client_live"
    else:
        module = "kinoscore._client_values"
    return getattr(import_module(module), name)
