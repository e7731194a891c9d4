"""The clip with the best passage laid under it."""

import asyncio
from pathlib import Path

from kinoscore import Recommendation
from kinoscore.cli.catalogue_files import local_path
from kinoscore.cli.running import message
from kinoscore.errors import NotFound

__all__ = ["write_preview"]


async def write_preview(clip: Path, recommendation: Recommendation, destination: Path) -> None:
    """Writes the clip's pictures with the first hit's passage as its sound.

    Raises:
        NotFound: nothing was recommended, or the track's file is not on this machine.
        KinoscoreError: the files cannot be read or written.
    """
    from kinoscore.media.writing import lay_music_under

    if not recommendation.hits:
        raise NotFound("nothing was recommended, so there is no music for the preview")
    best = recommendation.hits[0]
    track = local_path(best.track.source_uri)
    if track is None or not track.is_file():
        where = best.track.source_uri or "nowhere"
        raise NotFound(f"no preview: the track's file is not on this machine (its source is {where})")
    await asyncio.to_thread(lay_music_under, clip, track, best.passage_start_seconds, destination)
    message(f"wrote {destination}: {clip.name} with {best.track.title or track.name}")
