"""Live sessions: a stream goes in, and ranked tracks that follow it come out.

    listening    the client's messages -> chunks, and changes of what it wants
    encoding     chunks -> the video service -> the newest answer; a lost service is called again
    updating     the newest answer -> fusion -> ranking -> the stable list -> an update

All that a session knows of its stream is the features of the last seconds, so it can go on with another video
service, and in another front door.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from kinoscore.cache import Cache
from kinoscore.errors import DeadlineExceeded, InvalidRequest, KinoscoreError, SpaceMismatch
from kinoscore.recommend.admission import Admission, Wake
from kinoscore.recommend.backends import LOST, Backends
from kinoscore.recommend.fusing import fused
from kinoscore.recommend.live_ranking import LiveRanking
from kinoscore.recommend.resuming import SavedSessions, new_session_id
from kinoscore.recommend.spaces import space_to_search_in
from kinoscore.recommend.stream_encoder import StreamEncoder
from kinoscore.recommend.wishes import LiveWishes, check_filter
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.requests import catalogue_name, first_settings
from kinoscore.runtime.telemetry import StageTimer
from kinoscore.v1 import common_pb2, recommend_pb2, video_pb2

__all__ = ["LiveSessionSettings", "LiveSessions"]

# For all that one update asks of fusion and ranking: an older list is better than a late one.
_UPDATE_SECONDS = 5.0

EndCall = Callable[[KinoscoreError], Awaitable[None]]
"""Ends the client's call with the status of an error."""


class LiveSessionSettings(Protocol):
    """What live sessions take of the settings."""

    @property
    def live_sessions(self) -> int: ...
    @property
    def live_sessions_per_caller(self) -> int: ...
    @property
    def live_idle_seconds(self) -> float: ...
    @property
    def live_session_seconds(self) -> float: ...
    @property
    def live_resume_seconds(self) -> float: ...
    @property
    def live_key(self) -> str: ...


class LiveSessions:
    """All live sessions of a front door."""

    def __init__(self, backends: Backends, cache: Cache, settings: LiveSessionSettings) -> None:
        self._backends = backends
        self._settings = settings
        self._saved = SavedSessions(cache, settings.live_key, settings.live_resume_seconds)
        self._admission = Admission(settings.live_sessions, settings.live_sessions_per_caller)
        self._endings: set[asyncio.Task[None]] = set()

    def drain(self) -> None:
        """Ends every session, with an update that tells how to go on elsewhere."""
        self._admission.drain()

    async def serve(
        self, requests: AsyncIterator[recommend_pb2.RecommendLiveRequest], caller: str, end_call: EndCall
    ) -> AsyncGenerator[recommend_pb2.RecommendLiveResponse, None]:
        """The updates of one session.

        Args:
            requests: what the client sends.
            caller: whose session it is.
            end_call: for a client that reads no updates.

        Raises:
            Unavailable: the server shuts down.
            QueueFull: there are as many sessions as there may be.
            DeadlineExceeded: nothing came for too long.
            KinoscoreError: the request is wrong, or what a service raised.
        """
        with self._admission.admitted(caller) as wake:
            session = await self._begin(requests, wake)
            updating = session.updates(requests)
            try:
                async for update in updating:
                    with self._read_in_time(end_call):
                        yield update
            finally:
                await updating.aclose()

    async def _begin(
        self, requests: AsyncIterator[recommend_pb2.RecommendLiveRequest], wake: Wake
    ) -> "_Session":
        idle_seconds = self._settings.live_idle_seconds
        try:
            async with asyncio.timeout(idle_seconds):
                settings = await first_settings(requests)
        except TimeoutError:
            raise _idle(idle_seconds) from None
        wishes = LiveWishes.of(settings)
        if settings.resume_token:
            session_id, state = await self._saved.load(settings.resume_token)
            _require_same(state, settings)
        else:
            session_id = new_session_id()
            state = recommend_pb2.LiveSession(filter=settings.filter, weights=settings.weights)
        deadline = Deadline.after(_UPDATE_SECONDS)
        space = state.space or await space_to_search_in(self._backends, settings.space, deadline)
        await check_filter(self._backends, settings.catalogue, space, settings.filter, deadline)
        state.space = space
        return _Session(
            self._backends, self._saved, self._settings, session_id, settings, wishes, state, wake
        )

    @contextmanager
    def _read_in_time(self, end_call: EndCall) -> "Iterator[None]":
        """Ends the call of a client that does not read the update given inside the block."""
        task = asyncio.current_task()
        assert task is not None
        seconds = self._settings.live_idle_seconds

        async def end() -> None:
            with suppress(Exception):
                await end_call(_unread(seconds))

        def give_up() -> None:
            # The status waits behind the updates that were not read; the session does not wait.
            ending = asyncio.create_task(end())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)
            asyncio.get_running_loop().call_soon(task.cancel)

        giving_up = asyncio.get_running_loop().call_later(seconds, give_up)
        try:
            yield
        finally:
            giving_up.cancel()


def _require_same(state: recommend_pb2.LiveSession, settings: recommend_pb2.RecommendLiveSettings) -> None:
    """Refuses to go on with a session of another space or catalogue."""
    if settings.space and settings.space != state.space:
        raise SpaceMismatch(
            f"the session is of the embedding space {state.space}; leave the space out, or begin a new one",
            field="settings.space",
        )
    if catalogue_name(settings.catalogue) != catalogue_name(state.catalogue):
        raise InvalidRequest(
            f"the session is of the catalogue {catalogue_name(state.catalogue)}; begin a new one",
            field="settings.catalogue",
        )


class _Session:
    """One stream and its list."""

    def __init__(
        self,
        backends: Backends,
        saved: SavedSessions,
        limits: LiveSessionSettings,
        session_id: str,
        settings: recommend_pb2.RecommendLiveSettings,
        wishes: LiveWishes,
        state: recommend_pb2.LiveSession,
        wake: Wake,
    ) -> None:
        self._backends = backends
        self._saved = saved
        self._limits = limits
        self._id = session_id
        self._wake = wake
        self._encoder = StreamEncoder(backends, settings, state, wake.event)
        self._space = state.space
        self._catalogue = settings.catalogue
        self._warnings: list[str] = []
        self._ranking = LiveRanking(backends, settings, wishes, state, self._warnings.append)
        self._query: list[common_pb2.Embedding] = []
        self._update = recommend_pb2.RecommendLiveResponse(
            space=self._space, stream_seconds=state.stream_seconds, key_frames=state.window.key_frames
        )
        self._has_changed = False

    async def updates(
        self, requests: AsyncIterator[recommend_pb2.RecommendLiveRequest]
    ) -> AsyncGenerator[recommend_pb2.RecommendLiveResponse, None]:
        """An update for each answer of the video service and each change, and a last one that says why."""
        ends = time.monotonic() + self._limits.live_session_seconds
        listening = asyncio.create_task(self._listen(requests))
        encoding = asyncio.create_task(self._encoder.run())
        tasks = (listening, encoding)
        for task in tasks:
            task.add_done_callback(lambda _: self._wake.event.set())
        try:
            while True:
                with suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, ends - time.monotonic())):
                        await self._wake.event.wait()
                self._wake.event.clear()
                for task in tasks:
                    if task.done():
                        task.result()
                # First, for there may always be another answer.
                if self._wake.is_draining:
                    yield await self._last_update(recommend_pb2.LIVE_ENDING_DRAINING)
                    return
                if time.monotonic() >= ends:
                    yield await self._last_update(recommend_pb2.LIVE_ENDING_SESSION_TIME)
                    return
                answer = self._encoder.take()
                if answer is not None or (self._has_changed and self._query):
                    yield await self._next_update(answer)
                elif encoding.done():
                    yield await self._last_update(recommend_pb2.LIVE_ENDING_COMPLETE)
                    return
                if encoding.done():
                    self._wake.event.set()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _listen(self, requests: AsyncIterator[recommend_pb2.RecommendLiveRequest]) -> None:
        idle_seconds = self._limits.live_idle_seconds
        while True:
            try:
                async with asyncio.timeout(idle_seconds):
                    request = await anext(requests, None)
            except TimeoutError:
                raise _idle(idle_seconds) from None
            if request is None:
                break
            part = request.WhichOneof("part")
            if part == "chunk":
                await self._encoder.put(request.chunk)
            elif part == "control":
                self._ranking.change(request.control)
                self._has_changed = True
                self._wake.event.set()
            elif part == "settings":
                raise InvalidRequest("the settings came twice; they open the stream once", field="settings")
            else:
                raise InvalidRequest("a message is empty; after the settings come chunks and controls")
        self._encoder.end()

    async def _next_update(
        self, answer: video_pb2.EncodeLiveResponse | None
    ) -> recommend_pb2.RecommendLiveResponse:
        timer = StageTimer()
        deadline = Deadline.after(_UPDATE_SECONDS)
        update = recommend_pb2.RecommendLiveResponse()
        update.CopyFrom(self._update)
        if answer is not None:
            timer.include(answer.timings)
            self._warnings.extend(answer.warnings)
            _describe(update, answer)
        self._has_changed = False
        try:
            if answer is not None and answer.HasField("clip"):
                self._query = await self._fused(answer, deadline, timer)
            if self._query:
                update.stale = await self._ranking.search(self._query, update.stream_seconds, deadline, timer)
        except LOST as error:
            self._warnings.append(error.message)
            update.stale = True
        except InvalidRequest as error:
            if not self._ranking.take_back():
                raise
            self._warnings.append(f"the change was refused: {error.message}")
        update.losses.CopyFrom(self._encoder.losses())
        update.lag_seconds = self._encoder.lag_seconds()
        update.timings.CopyFrom(timer.timings())
        return await self._told_update(update)

    async def _last_update(self, ending: recommend_pb2.LiveEnding) -> recommend_pb2.RecommendLiveResponse:
        update = recommend_pb2.RecommendLiveResponse()
        update.CopyFrom(self._update)
        update.losses.CopyFrom(self._encoder.losses())
        update.ending = ending
        return await self._told_update(update)

    async def _told_update(
        self, update: recommend_pb2.RecommendLiveResponse
    ) -> recommend_pb2.RecommendLiveResponse:
        """The update with the list, what changed in it, the warnings and the token."""
        self._ranking.tell(update)
        del update.warnings[:]
        update.warnings.extend(self._warnings)
        self._warnings.clear()
        token = await self._saved.save(self._id, self._state(update))
        if not token:
            update.warnings.append(
                "the session could not be kept: until the cache is back it cannot be resumed"
            )
        update.resume_token = token
        update.resume_until_seconds = self._saved.seconds
        self._update = update
        return update

    def _state(self, update: recommend_pb2.RecommendLiveResponse) -> recommend_pb2.LiveSession:
        state = self._ranking.state()
        state.window.CopyFrom(self._encoder.taken_window)
        state.hits.extend(update.hits)
        state.losses.CopyFrom(update.losses)
        state.stream_seconds = update.stream_seconds
        return state

    async def _fused(
        self, answer: video_pb2.EncodeLiveResponse, deadline: Deadline, timer: StageTimer
    ) -> list[common_pb2.Embedding]:
        # The only window is the clip itself.
        windows = answer.windows if len(answer.windows) > 1 else ()
        embeddings = [answer.clip, *windows]
        return await fused(self._backends, self._catalogue, self._space, embeddings, deadline, timer)


def _describe(update: recommend_pb2.RecommendLiveResponse, answer: video_pb2.EncodeLiveResponse) -> None:
    """Writes what was seen of the stream into an update; nothing where nothing was."""
    if not answer.HasField("clip"):
        return
    update.stream_seconds = answer.window_start_seconds + answer.window_duration_seconds
    update.emotion.CopyFrom(answer.clip.emotion)
    del update.key_frames[:]
    update.key_frames.extend(answer.key_frames)
    if count := len(answer.new_frames):
        start = answer.new_frames[0].timestamp_seconds
        update.emotion_now.CopyFrom(
            common_pb2.EmotionPoint(
                start_seconds=start,
                duration_seconds=update.stream_seconds - start,
                valence=sum(frame.valence for frame in answer.new_frames) / count,
                arousal=sum(frame.arousal for frame in answer.new_frames) / count,
            )
        )


def _idle(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"nothing came for {seconds:g} s; the session has ended, resume it with the token of an update"
    )


def _unread(seconds: float) -> DeadlineExceeded:
    return DeadlineExceeded(
        f"no update was read for {seconds:g} s; the session has ended, resume it with the token of an update"
    )
