from typing import Any

import pytest

from kinoscore.media.salvage import StreamReader


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Fills with what is decoded in this process."""
    frames: list[object] = []
    decode = StreamReader.decode

    def keep(reader: StreamReader, packet: Any) -> list[Any]:
        given = decode(reader, packet)
        frames.extend(given)
        return given

    monkeypatch.setattr(StreamReader, "decode", keep)
    return frames
