"""What the Python client makes of the parts of a live stream."""

import pytest

from kinoscore import Frame, LiveControl
from kinoscore._client_live import live_messages_of
from kinoscore.errors import InvalidRequest


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_bytes_of_any_kind_are_cut_into_messages_that_a_server_takes(kind: type) -> None:
    data = bytes(range(256)) * 4096
    messages = list(live_messages_of(kind(data)))
    assert b"".join(message.chunk.data for message in messages) == data
    assert len(messages) == 4


@pytest.mark.parametrize(
    ("part", "words"),
    [
        ("text", "not of str"),
        (LiveControl(skip="abc"), "several track ids"),  # type: ignore[arg-type]
        (Frame(bytes(4096 * 2160 * 3), 0.0, "rgb24", 4096, 2160), "as JPEG"),
        (Frame(b"", 0.0, "gif"), "must be one of"),  # type: ignore[arg-type]
    ],
    ids=["text", "one text to skip", "a frame beyond a message", "an unknown format"],
)
def test_a_part_that_cannot_be_sent_is_refused_before_it_is(part: object, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        list(live_messages_of(part))  # type: ignore[arg-type]
