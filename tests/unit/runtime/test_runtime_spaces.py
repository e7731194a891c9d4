from collections.abc import AsyncIterator
from typing import Any

import pytest

from kinoscore.errors import SpaceMismatch, Unavailable
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.spaces import FusionInSpaces, MusicInSpaces, VideoInSpaces
from kinoscore.v1 import common_pb2, fusion_pb2, music_pb2, video_pb2

OLD, NEW = "sold000000000", "snew000000000"
CONTEXT: Any = None


class Encoder:
    """Keeps the messages that came; `well` says whether its models answer."""

    def __init__(self, *, well: bool = True) -> None:
        self.received: list[Any] = []
        self.well = well

    async def EncodeClip(self, requests: AsyncIterator[Any], context: Any) -> str:
        self.received = [request async for request in requests]
        return "encoded"

    EncodeTrack = EncodeClip

    async def Fuse(self, request: Any, context: Any) -> str:
        self.received = [request]
        return "fused"

    async def check(self, deadline: Deadline) -> None:
        if not self.well:
            raise Unavailable("its models do not answer")


async def stream(*messages: Any) -> AsyncIterator[Any]:
    for message in messages:
        yield message


def clip(space: str) -> list[video_pb2.EncodeClipRequest]:
    return [
        video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings(space=space)),
        video_pb2.EncodeClipRequest(chunk=common_pb2.MediaChunk(data=b"a")),
        video_pb2.EncodeClipRequest(chunk=common_pb2.MediaChunk(data=b"b")),
    ]


@pytest.mark.parametrize(("asked", "number"), [(OLD, 0), (NEW, 1), ("", 0)])
async def test_a_request_is_answered_whole_by_the_servicer_of_its_space(asked: str, number: int) -> None:
    encoders = [Encoder(), Encoder()]
    served = dict(zip((OLD, NEW), encoders, strict=True))
    messages = clip(asked)
    assert await VideoInSpaces(served).EncodeClip(stream(*messages), CONTEXT) == "encoded"
    assert encoders[number].received == messages
    track = music_pb2.EncodeTrackRequest(settings=music_pb2.EncodeTrackSettings(space=asked))
    assert await MusicInSpaces(served).EncodeTrack(stream(track), CONTEXT) == "encoded"
    assert encoders[number].received == [track]
    fuse = fusion_pb2.FuseRequest(space=asked)
    assert await FusionInSpaces(served).Fuse(fuse, CONTEXT) == "fused"
    assert encoders[number].received == [fuse]
    assert not encoders[1 - number].received


async def test_a_space_without_models_is_refused_with_its_name() -> None:
    services = VideoInSpaces({OLD: Encoder()})
    with pytest.raises(
        SpaceMismatch, match=f"no models of the embedding space {NEW}, only of {OLD}"
    ) as refusal:
        await services.EncodeClip(stream(*clip(NEW)), CONTEXT)
    assert (refusal.value.field, refusal.value.metadata) == (
        "settings.space",
        {"served": OLD, "requested": NEW},
    )


@pytest.mark.parametrize("messages", [[], clip(NEW)[1:]])
async def test_a_stream_without_settings_is_for_the_servicer_to_refuse(messages: list[Any]) -> None:
    encoder = Encoder()
    await VideoInSpaces({OLD: encoder, NEW: Encoder()}).EncodeClip(stream(*messages), CONTEXT)
    assert encoder.received == messages


async def test_a_new_space_that_fails_does_not_take_the_old_one_down() -> None:
    deadline = Deadline.after(5)
    await FusionInSpaces({OLD: Encoder(well=False), NEW: Encoder()}).check(deadline)
    with pytest.raises(Unavailable):
        await FusionInSpaces({OLD: Encoder(well=False), NEW: Encoder(well=False)}).check(deadline)
