import json

import pytest

from kinoscore import LiveUpdate
from kinoscore.cli.documents import live_document, to_json_line
from kinoscore.cli.live_view import LiveView, sparkline
from kinoscore.v1 import common_pb2, ranking_pb2, recommend_pb2, video_pb2


def update() -> LiveUpdate:
    track = common_pb2.TrackMetadata(track_id="a", title="Dawn\x1b[2J", artist="Ann")
    hit = ranking_pb2.Hit(
        rank=1, track=track, score=0.5, passage_start_seconds=60.0, passage_duration_seconds=12.0
    )
    return LiveUpdate.of(
        recommend_pb2.RecommendLiveResponse(
            hits=[hit],
            changes=recommend_pb2.LiveChanges(entered_track_ids=["a"]),
            stream_seconds=75.0,
            emotion_now=common_pb2.EmotionPoint(valence=0.5, arousal=-0.5),
            key_frames=[video_pb2.KeyFrame(timestamp_seconds=7.5)],
            lag_seconds=0.25,
            losses=video_pb2.LiveLosses(frames_dropped=3),
            warnings=["ranking is away"],
        )
    )


def test_the_view_shows_the_stream_and_the_list(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView("clip.mp4", is_shown=True) as view:
        view.show(update())
    shown = capsys.readouterr().out
    for piece in (
        "1:15",
        "lag 0.2 s, 3 frames dropped",
        "+0.50",
        "0:07.5",
        "Dawn",
        "1:00-1:12",
        "ranking is",
    ):
        assert piece in shown
    assert "\x1b[2J" not in shown
    assert shown.endswith("\n")
    assert view.last is not None
    assert view.last.hits


def test_an_update_is_one_line_of_json() -> None:
    line = to_json_line(live_document(update()))
    assert "\n" not in line
    document = json.loads(line)
    assert document["changes"]["entered"] == ["a"]
    assert (document["stream_seconds"], document["losses"]["frames_dropped"]) == (75.0, 3)


def test_a_sparkline_spans_from_low_to_high() -> None:
    assert sparkline([-1.0, 0.0, 1.0, 5.0]) == "▁▅██"
