from pathlib import Path

import pytest

from kinoscore import LiveUpdate
from kinoscore.cli.recordings import Recording
from kinoscore.media.recording import MusicTurn
from kinoscore.v1 import common_pb2, ranking_pb2, recommend_pb2


class Recorder:
    """Notes what it is to lay under the pictures."""

    seconds = 10.0

    def __init__(self) -> None:
        self.turns: list[MusicTurn] = []

    def finish(self, turns: list[MusicTurn]) -> list[str]:
        self.turns = turns
        return []


def update(second: float, *tracks: tuple[str, Path, float], pinned: str = "") -> LiveUpdate:
    message = recommend_pb2.RecommendLiveResponse(stream_seconds=second)
    for track, path, start in tracks:
        metadata = common_pb2.TrackMetadata(track_id=track, title=track, source_uri=path.as_uri())
        message.hits.append(ranking_pb2.Hit(track=metadata, passage_start_seconds=start))
    if pinned:
        message.pin.track_id = pinned
    return LiveUpdate.of(message)


async def test_the_music_of_a_moment_is_that_which_was_first_or_pinned_and_goes_on_while_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in "abc":
        (tmp_path / name).touch()
    a, b, c = (tmp_path / name for name in "abc")
    gone = tmp_path / "gone"
    recorder = Recorder()
    recording = Recording(recorder)  # type: ignore[arg-type]
    for seen in (
        update(1.0, ("a", a, 6.0), ("b", b, 0.0)),
        # Another passage of the track that plays does not begin it anew.
        update(2.0, ("a", a, 30.0), ("b", b, 0.0)),
        update(3.0, ("b", b, 12.0), ("a", a, 0.0)),
        update(4.0, ("b", b, 12.0), ("c", c, 18.0), pinned="c"),
        update(5.0),
        update(6.0, ("gone", gone, 0.0)),
        update(7.0, ("a", a, 24.0)),
    ):
        recording.follow(seen)
    await recording.finish(tmp_path / "out.mp4")
    assert recorder.turns == [
        MusicTurn(0.0, a, 6.0),
        MusicTurn(3.0, b, 12.0),
        MusicTurn(4.0, c, 18.0),
        MusicTurn(5.0, None),
        MusicTurn(6.0, None),
        MusicTurn(7.0, a, 24.0),
    ]
    told = capsys.readouterr().err.splitlines()
    assert len(told) == 2
    assert "silent in the recording: gone" in told[0]
    assert "with 3 tracks under it" in told[1]
