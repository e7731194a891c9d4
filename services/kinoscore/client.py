"""The Python client: `Client` for plain code, `AsyncClient` for asyncio.

Both take and give the values of `kinoscore._client_values`, and raise the errors of `kinoscore.errors` as the
server raised them. `timeout` is in seconds and spans the whole call; without it the server's own limit holds.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Iterable, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import Any, Self

import grpc

from kinoscore._client_live import LiveInput, LiveUpdate, live_messages, live_messages_of, live_settings
from kinoscore._client_uploads import Media, Upload, opened, source_uri
from kinoscore._client_values import (
    CatalogueDescription,
    IndexedTrack,
    Recommendation,
    Spaces,
    StoredTrack,
    Track,
    TrackUpdate,
    checked_count,
)
from kinoscore.errors import KinoscoreError
from kinoscore.runtime.channels import channel_options
from kinoscore.runtime.relay import answer_to_stream, answers_to_stream
from kinoscore.runtime.status import from_rpc_error
from kinoscore.v1 import (
    common_pb2,
    ranking_pb2,
    ranking_pb2_grpc,
    recommend_pb2,
    recommend_pb2_grpc,
)

__all__ = ["AsyncClient", "Client"]

_PAGE_SIZE = 500


class Client:
    """Talks to a kinoscore server, one call at a time or from several threads.

    Args:
        address: `host:port` of `kinoscore up` or of `kinoscore serve recommend`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.insecure_channel(address, options=channel_options(address))
        self._recommender = recommend_pb2_grpc.RecommenderServiceStub(self._channel)
        self._library = ranking_pb2_grpc.RankingServiceStub(self._channel)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection; calls that still run end with an error."""
        self._channel.close()

    def recommend(
        self,
        clip: Media,
        *,
        k: int | None = None,
        filter: str = "",
        fused_weight: float | None = None,
        content_weight: float | None = None,
        emotion_weight: float | None = None,
        max_per_artist: int = 0,
        catalogue: str = "",
        space: str = "",
        timeout: float | None = None,
    ) -> Recommendation:
        """Ranks the tracks of a catalogue for a clip.

        Args:
            clip: a path, the bytes of a media file, or a file opened in binary mode.
            k: how many tracks, 1 to 1000; 10 when not set.
            filter: which tracks may be named, for example `licence = "CC0-1.0" AND NOT tags = "sad"`.
            fused_weight, content_weight, emotion_weight: how much each similarity counts; the space's
            defaults
                where not set.
            max_per_artist: most tracks of one artist; 0 for no limit.
            catalogue: `default` when empty.
            space: the embedding space to be answered in; the active one when empty.

        Raises:
            InvalidMedia: the clip holds no video that can be decoded.
            InvalidFilter: the filter does not parse; carries the position.
            KinoscoreError: any other of `kinoscore.errors`.
        """
        settings = _recommend_settings(
            k, filter, fused_weight, content_weight, emotion_weight, max_per_artist, catalogue, space
        )
        with opened(clip) as upload:
            requests = _recommend_requests(settings, upload)
            return Recommendation.of(self._upload(self._recommender.Recommend, requests, upload, timeout))

    def live(
        self,
        stream: Iterable[LiveInput],
        *,
        k: int | None = None,
        filter: str = "",
        fused_weight: float | None = None,
        content_weight: float | None = None,
        emotion_weight: float | None = None,
        interval_seconds: float | None = None,
        window_seconds: float | None = None,
        margin: float | None = None,
        hold_seconds: float | None = None,
        latest: bool = False,
        resume_token: str = "",
        catalogue: str = "",
        space: str = "",
        timeout: float | None = None,
    ) -> Iterator[LiveUpdate]:
        """Ranks tracks for a stream while it plays; yields an update for every interval of it.

        The stream is read in a thread of gRPC's, ahead of the updates.

        Args:
            stream: frames in order of time, or bytes of fragmented MP4, MPEG-TS, WebM or H.264 (Annex B), cut
                anywhere; and changes of what is wanted.
            k: how many tracks, 1 to 100; 10 when not set.
            filter, fused_weight, content_weight, emotion_weight, catalogue, space: as for `recommend`.
            interval_seconds: of the stream, from one update to the next; 1 when not set.
            window_seconds: how much of the past counts; 4 when not set.
            margin: how much better, on average, the best tracks must be than those in the list, for it to be
                renewed: as a part of what sets the best apart from a list drawn at random; 0.7 when not set.
            hold_seconds: for how long it must be so; 2 when not set.
            latest: a stream that comes too fast loses frames; otherwise its source is slowed down.
            resume_token: of an earlier session's last update, to go on where that one was.

        Raises:
            QueueFull: the server has no room for another session.
            DeadlineExceeded: nothing came from the stream for too long.
            KinoscoreError: any other of `kinoscore.errors`.
            Exception: whatever `stream` raised.
        """
        settings = live_settings(
            k=k,
            filter=filter,
            fused_weight=fused_weight,
            content_weight=content_weight,
            emotion_weight=emotion_weight,
            interval_seconds=interval_seconds,
            window_seconds=window_seconds,
            margin=margin,
            hold_seconds=hold_seconds,
            latest=latest,
            resume_token=resume_token,
            catalogue=catalogue,
            space=space,
        )
        failures: list[Exception] = []

        def requests() -> Iterator[recommend_pb2.RecommendLiveRequest]:
            yield settings
            try:
                for part in stream:
                    yield from live_messages_of(part)
            except Exception as error:
                # gRPC ends the call and does not say why.
                failures.append(error)
                raise

        call = self._recommender.RecommendLive(requests(), timeout=timeout)
        try:
            yield from map(LiveUpdate.of, call)
        except grpc.RpcError as error:
            if failures:
                raise failures[0] from error
            raise _explained(error, self.address) from error
        finally:
            call.cancel()

    def index(
        self,
        sound: Media,
        track: Track | None = None,
        *,
        catalogue: str = "",
        space: str = "",
        expected_digest: str = "",
        timeout: float | None = None,
    ) -> IndexedTrack:
        """Adds a track, or replaces the one with the same id.

        Args:
            sound: a path, the bytes of a media file, or a file opened in binary mode.
            track: what is known of it; a path fills in an empty `source_uri`.
            space: the embedding space to index in; the active one when empty.
            expected_digest: of the sound, as `Track.digest`; another sound is refused.

        Raises:
            InvalidMedia: the file holds no sound that can be decoded.
            FailedPrecondition: it holds another sound than the expected one.
            KinoscoreError: any other of `kinoscore.errors`.
        """
        settings = _index_settings(sound, track, catalogue, space, expected_digest)
        with opened(sound) as upload:
            requests = _index_requests(settings, upload)
            return IndexedTrack.of(self._upload(self._recommender.IndexTrack, requests, upload, timeout))

    def get_track(
        self, track_id: str, *, catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> StoredTrack:
        """Tells what the index holds of a track.

        Raises:
            NotFound: there is none with this id.
        """
        request = ranking_pb2.GetTrackRequest(catalogue=catalogue, track_id=track_id, space=space)
        return StoredTrack.of(self._call(self._library.GetTrack, request, timeout).track)

    def list_tracks(
        self, *, filter: str = "", catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> Iterator[Track]:
        """Yields the tracks in order of their ids, page by page; the timeout is a page's.

        Raises:
            InvalidFilter: the filter does not parse; carries the position.
        """
        token = ""
        while True:
            page = self._call(
                self._library.ListTracks, _list_request(catalogue, space, filter, token), timeout
            )
            yield from map(Track.of, page.tracks)
            token = page.next_page_token
            if not token:
                return

    def update_track(
        self, track: Track, *, catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> TrackUpdate:
        """Replaces title, artist, licence, attribution, tags and source of a track without encoding it again.

        Where no space is named, it happens in each one that is served.

        Raises:
            NotFound: there is none with this id.
        """
        request = ranking_pb2.UpdateTrackMetadataRequest(
            catalogue=catalogue, metadata=track.message(), space=space
        )
        return TrackUpdate.of(self._call(self._library.UpdateTrackMetadata, request, timeout))

    def remove_tracks(
        self, track_ids: Iterable[str], *, catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> tuple[str, ...]:
        """Removes tracks from the index and returns the ids of those that existed.

        Where no space is named, it happens in each one that is served.
        """
        request = ranking_pb2.DeleteTracksRequest(catalogue=catalogue, track_ids=track_ids, space=space)
        return tuple(self._call(self._library.DeleteTracks, request, timeout).deleted_track_ids)

    def describe(
        self, *, catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> CatalogueDescription:
        """Tells how many tracks the catalogue holds in an embedding space, the active one when empty."""
        request = ranking_pb2.DescribeSpaceRequest(catalogue=catalogue, space=space)
        return CatalogueDescription.of(self._call(self._library.DescribeSpace, request, timeout))

    def spaces(self, *, timeout: float | None = None) -> Spaces:
        """Tells which embedding space is active and which are served."""
        return Spaces.of(self._call(self._library.ListSpaces, ranking_pb2.ListSpacesRequest(), timeout))

    def switch_space(self, space: str, *, force: bool = False, timeout: float | None = None) -> str:
        """Makes an embedding space the active one; returns the one that was, empty when none was.

        Raises:
            NotFound: the index has no such space.
            FailedPrecondition: it holds no track, and `force` is not set.
        """
        request = ranking_pb2.SwitchSpaceRequest(space=space, force=force)
        return str(self._call(self._library.SwitchSpace, request, timeout).previous_space)

    def catalogues(self, *, space: str = "", timeout: float | None = None) -> dict[str, int]:
        """Tells the catalogues that have tracks in an embedding space, with how many."""
        answer = self._call(
            self._library.ListCatalogues, ranking_pb2.ListCataloguesRequest(space=space), timeout
        )
        return {one.catalogue: one.track_count for one in answer.catalogues}

    def _call(self, method: Callable[..., Any], request: object, timeout: float | None) -> Any:
        try:
            return method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _explained(error, self.address) from error

    def _upload(
        self, method: Callable[..., Any], requests: Iterator[object], upload: Upload, timeout: float | None
    ) -> Any:
        try:
            return self._call(method, requests, timeout)
        except KinoscoreError as error:
            if upload.failure is not None:
                raise upload.failure from error
            raise


class AsyncClient:
    """Talks to a kinoscore server from asyncio; the methods are those of `Client`.

    Args:
        address: `host:port` of `kinoscore up` or of `kinoscore serve recommend`.
    """

    def __init__(self, address: str) -> None:
        self.address = address
        self._channel = grpc.aio.insecure_channel(address, options=channel_options(address))
        self._recommender = recommend_pb2_grpc.RecommenderServiceStub(self._channel)
        self._library = ranking_pb2_grpc.RankingServiceStub(self._channel)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the connection; calls that still run are cancelled."""
        await self._channel.close()

    async def recommend(
        self,
        clip: Media,
        *,
        k: int | None = None,
        filter: str = "",
        fused_weight: float | None = None,
        content_weight: float | None = None,
        emotion_weight: float | None = None,
        max_per_artist: int = 0,
        catalogue: str = "",
        space: str = "",
        timeout: float | None = None,
    ) -> Recommendation:
        """As `Client.recommend`."""
        settings = _recommend_settings(
            k, filter, fused_weight, content_weight, emotion_weight, max_per_artist, catalogue, space
        )
        with opened(clip) as upload:
            requests = _in_thread(_recommend_requests(settings, upload))
            return Recommendation.of(await self._upload(self._recommender.Recommend, requests, timeout))

    async def live(
        self,
        stream: AsyncIterable[LiveInput] | Iterable[LiveInput],
        *,
        k: int | None = None,
        filter: str = "",
        fused_weight: float | None = None,
        content_weight: float | None = None,
        emotion_weight: float | None = None,
        interval_seconds: float | None = None,
        window_seconds: float | None = None,
        margin: float | None = None,
        hold_seconds: float | None = None,
        latest: bool = False,
        resume_token: str = "",
        catalogue: str = "",
        space: str = "",
        timeout: float | None = None,
    ) -> AsyncGenerator[LiveUpdate, None]:
        """As `Client.live`, for a source of either kind. Leaving the loop early: close it (`aclosing`)."""
        settings = live_settings(
            k=k,
            filter=filter,
            fused_weight=fused_weight,
            content_weight=content_weight,
            emotion_weight=emotion_weight,
            interval_seconds=interval_seconds,
            window_seconds=window_seconds,
            margin=margin,
            hold_seconds=hold_seconds,
            latest=latest,
            resume_token=resume_token,
            catalogue=catalogue,
            space=space,
        )
        call = self._recommender.RecommendLive(timeout=timeout)
        try:
            async with aclosing(answers_to_stream(call, live_messages(settings, stream))) as messages:
                async for message in messages:
                    yield LiveUpdate.of(message)
        except grpc.RpcError as error:
            raise _explained(error, self.address) from error

    async def index(
        self,
        sound: Media,
        track: Track | None = None,
        *,
        catalogue: str = "",
        space: str = "",
        expected_digest: str = "",
        timeout: float | None = None,
    ) -> IndexedTrack:
        """As `Client.index`."""
        settings = _index_settings(sound, track, catalogue, space, expected_digest)
        with opened(sound) as upload:
            requests = _in_thread(_index_requests(settings, upload))
            return IndexedTrack.of(await self._upload(self._recommender.IndexTrack, requests, timeout))

    async def get_track(
        self, track_id: str, *, catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> StoredTrack:
        """As `Client.get_track`."""
        request = ranking_pb2.GetTrackRequest(catalogue=catalogue, track_id=track_id, space=space)
        return StoredTrack.of((await self._call(self._library.GetTrack, request, timeout)).track)

    async def list_tracks(
        self, *, filter: str = "", catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> AsyncIterator[Track]:
        """As `Client.list_tracks`."""
        token = ""
        while True:
            request = _list_request(catalogue, space, filter, token)
            page = await self._call(self._library.ListTracks, request, timeout)
            for track in page.tracks:
                yield Track.of(track)
            token = page.next_page_token
            if not token:
                return

    async def update_track(
        self, track: Track, *, catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> TrackUpdate:
        """As `Client.update_track`."""
        request = ranking_pb2.UpdateTrackMetadataRequest(
            catalogue=catalogue, metadata=track.message(), space=space
        )
        return TrackUpdate.of(await self._call(self._library.UpdateTrackMetadata, request, timeout))

    async def remove_tracks(
        self, track_ids: Iterable[str], *, catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> tuple[str, ...]:
        """As `Client.remove_tracks`."""
        request = ranking_pb2.DeleteTracksRequest(catalogue=catalogue, track_ids=track_ids, space=space)
        return tuple((await self._call(self._library.DeleteTracks, request, timeout)).deleted_track_ids)

    async def describe(
        self, *, catalogue: str = "", space: str = "", timeout: float | None = None
    ) -> CatalogueDescription:
        """As `Client.describe`."""
        request = ranking_pb2.DescribeSpaceRequest(catalogue=catalogue, space=space)
        return CatalogueDescription.of(await self._call(self._library.DescribeSpace, request, timeout))

    async def spaces(self, *, timeout: float | None = None) -> Spaces:
        """As `Client.spaces`."""
        request = ranking_pb2.ListSpacesRequest()
        return Spaces.of(await self._call(self._library.ListSpaces, request, timeout))

    async def switch_space(self, space: str, *, force: bool = False, timeout: float | None = None) -> str:
        """As `Client.switch_space`."""
        request = ranking_pb2.SwitchSpaceRequest(space=space, force=force)
        return str((await self._call(self._library.SwitchSpace, request, timeout)).previous_space)

    async def catalogues(self, *, space: str = "", timeout: float | None = None) -> dict[str, int]:
        """As `Client.catalogues`."""
        request = ranking_pb2.ListCataloguesRequest(space=space)
        answer = await self._call(self._library.ListCatalogues, request, timeout)
        return {one.catalogue: one.track_count for one in answer.catalogues}

    async def _call(self, method: Callable[..., Any], request: object, timeout: float | None) -> Any:
        try:
            return await method(request, timeout=timeout)
        except grpc.RpcError as error:
            raise _explained(error, self.address) from error

    async def _upload(
        self, method: Callable[..., Any], requests: AsyncIterator[object], timeout: float | None
    ) -> Any:
        try:
            return await answer_to_stream(method(timeout=timeout), requests)
        except grpc.RpcError as error:
            raise _explained(error, self.address) from error


def _recommend_settings(
    k: int | None,
    filter: str,
    fused_weight: float | None,
    content_weight: float | None,
    emotion_weight: float | None,
    max_per_artist: int,
    catalogue: str,
    space: str,
) -> recommend_pb2.RecommendSettings:
    weights = common_pb2.Weights(fused=fused_weight, content=content_weight, emotion=emotion_weight)
    return recommend_pb2.RecommendSettings(
        catalogue=catalogue,
        k=checked_count(k, field="settings.k"),
        weights=weights,
        filter=filter,
        max_per_artist=checked_count(max_per_artist, field="settings.max_per_artist"),
        space=space,
    )


def _recommend_requests(
    settings: recommend_pb2.RecommendSettings, upload: Upload
) -> Iterator[recommend_pb2.RecommendRequest]:
    settings.total_bytes = upload.total_bytes
    yield recommend_pb2.RecommendRequest(settings=settings)
    for data in upload.chunks():
        yield recommend_pb2.RecommendRequest(chunk=common_pb2.MediaChunk(data=data))


def _index_settings(
    sound: Media, track: Track | None, catalogue: str, space: str, expected_digest: str
) -> recommend_pb2.IndexTrackSettings:
    metadata = (track or Track()).message()
    metadata.source_uri = metadata.source_uri or source_uri(sound)
    return recommend_pb2.IndexTrackSettings(
        catalogue=catalogue, metadata=metadata, space=space, expected_digest=expected_digest
    )


def _index_requests(
    settings: recommend_pb2.IndexTrackSettings, upload: Upload
) -> Iterator[recommend_pb2.IndexTrackRequest]:
    settings.total_bytes = upload.total_bytes
    yield recommend_pb2.IndexTrackRequest(settings=settings)
    for data in upload.chunks():
        yield recommend_pb2.IndexTrackRequest(chunk=common_pb2.MediaChunk(data=data))


def _list_request(catalogue: str, space: str, filter: str, token: str) -> ranking_pb2.ListTracksRequest:
    return ranking_pb2.ListTracksRequest(
        catalogue=catalogue, space=space, filter=filter, page_size=_PAGE_SIZE, page_token=token
    )


async def _in_thread(requests: Iterator[object]) -> AsyncIterator[object]:
    """Draws from an iterator that reads from a disk, without blocking the loop."""
    while (request := await asyncio.to_thread(next, requests, None)) is not None:
        yield request


def _explained(error: grpc.RpcError, address: str) -> KinoscoreError:
    """The error that the server raised; where no server answered, one that says what to do."""
    return from_rpc_error(
        error, silent=f"no kinoscore server answers at {address}; start one with `kinoscore up`"
    )
