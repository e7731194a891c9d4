"""The five services, wired: `Stack` runs all of them on one server, the functions run one alone.

What a service is made of (decoders, models, the store, connections) is opened into an AsyncExitStack, which
closes it in reverse order.
"""

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from kinoscore.cache import Cache, open_cache
from kinoscore.data_folder import DataFolder
from kinoscore.errors import FailedPrecondition, SpaceMismatch
from kinoscore.fusion.servicer import FusionServicer
from kinoscore.inference import InferenceEngine, Manifest, ModelRepository, open_engine
from kinoscore.inference.repository import SHIPPED, load_repositories
from kinoscore.media.pool import DecodePool
from kinoscore.media.types import Limits
from kinoscore.music.servicer import MusicEncoderServicer
from kinoscore.ranking.active import ActiveSpace
from kinoscore.ranking.connection import Connection
from kinoscore.ranking.engines import open_engine as open_vectors
from kinoscore.ranking.in_spaces import RankingInSpaces
from kinoscore.ranking.servicer import RankingServicer
from kinoscore.ranking.store import MilvusStore
from kinoscore.recommend.backends import Backends
from kinoscore.recommend.library import LibraryServicer
from kinoscore.recommend.servicer import RecommenderServicer
from kinoscore.runtime.metrics import observe_batch
from kinoscore.runtime.server import Server
from kinoscore.runtime.settings import (
    CacheSettings,
    FusionSettings,
    MediaSettings,
    ModelSettings,
    MusicSettings,
    RankingSettings,
    RecommendSettings,
    ServerSettings,
    StackSettings,
    VideoSettings,
)
from kinoscore.runtime.spaces import FusionInSpaces, MusicInSpaces, VideoInSpaces
from kinoscore.video.servicer import VideoEncoderServicer

__all__ = [
    "Stack",
    "local_address",
    "model_repositories",
    "open_vectors",
    "serve_one",
    "vector_dimension",
    "vector_store",
]

_logger = logging.getLogger(__name__)


class Stack:
    """All services on one server in this process; the front door calls the others without a network.

    Args:
        folder: the data folder, owned by this process; the stack releases it when it closes.
        settings: as for `kinoscore up`.
    """

    def __init__(self, folder: DataFolder, settings: StackSettings) -> None:
        self._folder = folder
        self._settings = settings
        self._opened = AsyncExitStack()
        self._opened.callback(folder.release)
        self._server = Server(settings)
        self.decoders: DecodePool

    async def start(self) -> str:
        """Opens everything and serves; returns the address.

        Raises:
            KinoscoreError: a part cannot be opened, or the port is taken; nothing stays open then.
        """
        try:
            return await self._start()
        except BaseException:
            await self._opened.aclose()
            raise

    async def _start(self) -> str:
        settings, opened = self._settings, self._opened
        address = self._server.bind()
        self.decoders = await _open_decoders(settings, opened)
        models = await _open_models(settings, opened)
        manifests = [each.manifest for each in models.values()]
        cache = _open_cache(settings, opened)
        vectors = vector_store(settings, self._folder.path)
        ranking = await _open_ranking(settings, vectors, manifests, cache, opened)
        backends = Backends(
            video=self._server.add(_video_servicer(self.decoders, models, settings)),
            music=self._server.add(_music_servicer(self.decoders, models, settings)),
            fusion=self._server.add(_fusion_servicer(models, settings)),
            ranking=self._server.add(ranking),
        )
        self._server.add(RecommenderServicer(backends, cache, settings))
        await self._server.start()
        return address

    async def serve_until_signal(self) -> None:
        """Serves until SIGTERM or SIGINT, lets running requests finish, and closes everything."""
        try:
            await self._server.run_until_signal()
        finally:
            await self._opened.aclose()

    async def close(self) -> None:
        """Lets running requests finish, closes everything and releases the data folder."""
        try:
            await self._server.stop()
        finally:
            await self._opened.aclose()


async def serve_one(name: str, settings: Any, announce: Callable[[str], None]) -> None:
    """Runs one service until SIGTERM or SIGINT.

    Args:
        name: `video`, `music`, `fusion`, `ranking` or `recommend`.
        settings: the settings of that service.
        announce: called with the address once the service answers.

    Raises:
        KinoscoreError: a part cannot be opened, or the port is taken.
    """
    async with AsyncExitStack() as opened:
        server = Server(settings)
        server.bind()
        for servicer in await _OPENERS[name](settings, opened):
            server.add(servicer)
        announce(await server.start())
        await server.run_until_signal()


def model_repositories(settings: ModelSettings) -> list[ModelRepository]:
    """The model repositories that the settings name, or the one shipped with kinoscore; one for each space.

    Raises:
        InvalidRepository: one is missing, half-written or of another version; or two are of one space.
    """
    return load_repositories(settings.repository or (SHIPPED,))


def vector_store(settings: RankingSettings, data_folder: Path) -> str:
    """Where the vectors are: what the settings name, or else a part of the data folder."""
    return settings.vectors if "vectors" in settings.model_fields_set else str(data_folder / "vectors")


def vector_dimension(manifest: Manifest) -> int:
    """The numbers of a stored vector: the three blocks side by side."""
    sizes = manifest.dimensions
    return sizes.fused + sizes.content + sizes.emotion


def local_address(address: str) -> str:
    """How a server on this machine is reached: one that listens everywhere (`0.0.0.0`) is found at the
    loopback."""
    host, _, port = address.rpartition(":")
    try:
        everywhere = ipaddress.ip_address(host.strip("[]")).is_unspecified
    except ValueError:
        return address
    return f"127.0.0.1:{port}" if everywhere else address


class _Models(NamedTuple):
    engine: InferenceEngine
    manifest: Manifest


async def _open_models(settings: ModelSettings, opened: AsyncExitStack) -> dict[str, _Models]:
    """The models of each space."""
    models = {}
    for repository in model_repositories(settings):
        engine = await open_engine(
            settings.inference,
            repository,
            threads=settings.inference_threads,
            queue_limit=settings.inference_queue,
            shared_memory=settings.inference_shared_memory,
            observe_batch=observe_batch,
        )
        opened.push_async_callback(engine.close)
        models[repository.manifest.space] = _Models(engine, repository.manifest)
    return models


async def _open_decoders(settings: MediaSettings, opened: AsyncExitStack) -> DecodePool:
    clips = Limits(
        max_bytes=settings.max_upload_bytes,
        max_duration_seconds=settings.max_clip_seconds,
        max_pixels=settings.max_pixels,
    )
    pool = DecodePool(
        settings.decoder_workers,
        memory_limit_bytes=settings.decode_memory_bytes,
        time_limit_seconds=settings.decode_seconds,
        limits=clips,
        audio_limits=replace(clips, max_duration_seconds=settings.max_track_seconds),
        queue_limit=settings.decoder_queue,
    )
    return await opened.enter_async_context(pool)


async def _open_ranking(
    settings: RankingSettings,
    vectors: str,
    manifests: Iterable[Manifest],
    cache: Cache,
    opened: AsyncExitStack,
) -> RankingInSpaces:
    connection = Connection(open_vectors(vectors))
    opened.push_async_callback(connection.close)
    served = {}
    missing: list[FailedPrecondition] = []
    for manifest in manifests:
        try:
            store = await MilvusStore.within(connection, manifest.space, vector_dimension(manifest))
        except SpaceMismatch:
            raise
        except FailedPrecondition as error:
            # A space that was dropped, or not yet made, must not keep the others from starting.
            missing.append(error)
            continue
        opened.push_async_callback(store.close)
        served[manifest.space] = RankingServicer(store, cache, manifest, settings)
    if missing and not served:
        raise missing[-1]
    for left_out in missing:
        _logger.warning("a space is not served", extra={"facts": {"reason": left_out.message}})
    servicer = RankingInSpaces(served, connection, ActiveSpace(connection), cache, settings)
    opened.push_async_callback(servicer.close)
    return servicer


def _open_cache(settings: CacheSettings, opened: AsyncExitStack) -> Cache:
    cache = open_cache(settings.cache)
    opened.push_async_callback(cache.close)
    return cache


def _video_servicer(
    decoders: DecodePool, models: Mapping[str, _Models], settings: VideoSettings
) -> VideoInSpaces:
    return VideoInSpaces(
        {
            space: VideoEncoderServicer(decoders, own.engine, own.manifest, settings)
            for space, own in models.items()
        }
    )


def _music_servicer(
    decoders: DecodePool, models: Mapping[str, _Models], settings: MusicSettings
) -> MusicInSpaces:
    return MusicInSpaces(
        {
            space: MusicEncoderServicer(decoders, own.engine, own.manifest, settings)
            for space, own in models.items()
        }
    )


def _fusion_servicer(models: Mapping[str, _Models], settings: ServerSettings) -> FusionInSpaces:
    return FusionInSpaces(
        {space: FusionServicer(own.engine, own.manifest, settings) for space, own in models.items()}
    )


async def _video(settings: VideoSettings, opened: AsyncExitStack) -> list[object]:
    models = await _open_models(settings, opened)
    return [_video_servicer(await _open_decoders(settings, opened), models, settings)]


async def _music(settings: MusicSettings, opened: AsyncExitStack) -> list[object]:
    models = await _open_models(settings, opened)
    return [_music_servicer(await _open_decoders(settings, opened), models, settings)]


async def _fusion(settings: FusionSettings, opened: AsyncExitStack) -> list[object]:
    return [_fusion_servicer(await _open_models(settings, opened), settings)]


async def _ranking(settings: RankingSettings, opened: AsyncExitStack) -> list[object]:
    manifests = [repository.manifest for repository in model_repositories(settings)]
    cache = _open_cache(settings, opened)
    return [await _open_ranking(settings, settings.vectors, manifests, cache, opened)]


async def _recommend(settings: RecommendSettings, opened: AsyncExitStack) -> list[object]:
    backends = Backends(
        video=settings.video_address,
        music=settings.music_address,
        fusion=settings.fusion_address,
        ranking=settings.ranking_address,
    )
    opened.push_async_callback(backends.close)
    cache = _open_cache(settings, opened)
    return [RecommenderServicer(backends, cache, settings), LibraryServicer(backends, settings)]


_OPENERS: dict[str, Callable[[Any, AsyncExitStack], Awaitable[list[object]]]] = {
    "video": _video,
    "music": _music,
    "fusion": _fusion,
    "ranking": _ranking,
    "recommend": _recommend,
}
