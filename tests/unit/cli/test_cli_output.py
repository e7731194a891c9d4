import io
import json

import pytest
from rich.console import Console

from kinoscore import Emotion, Hit, KeyFrame, Recommendation, StoredTrack, Timings, Track
from kinoscore.cli.documents import recommendation_document, stored_track_document, to_json
from kinoscore.cli.presentation import (
    clock,
    print_recommendation,
    print_stored_track,
    print_tracks,
    printable,
    recommendation_table,
)
from kinoscore.v1 import recommend_pb2

CLIP = Emotion(0.31234, -0.2, 0.2, 0.2, {"calm": 0.7, "joyful": 0.3})
MUSIC = Emotion(0.25, -0.00001, 0.1, 0.1, {"calm": 1.0})
TRACK = Track(
    "id1", "Meadow", "Ann", "CC-BY-4.0", "Meadow by Ann", ("calm",), "file:///m.ogg", "d1", 65.0, 92.3
)


def make_recommendation(total_seconds: float = 0.5) -> Recommendation:
    hit = Hit(1, TRACK, 6.0, 12.0, 0.123456, 0.2, -0.00001, 0.4, MUSIC, CLIP, ("both calm",))
    timings = Timings(0.0, 0.1, 0.2, 0.05, total_seconds)
    return Recommendation("s1", (hit,), 10.0, CLIP, (KeyFrame(1.5, 0.8),), (), ("cut off",), timings)


def test_json_is_sorted_rounded_and_free_of_what_differs_each_time() -> None:
    text = to_json(recommendation_document(make_recommendation(), catalogue="default"))
    document = json.loads(text)
    assert text == json.dumps(document, indent=2, sort_keys=True)
    assert "timings" not in document
    assert document["hits"][0]["scores"] == {"total": 0.1235, "fused": 0.2, "content": 0.0, "emotion": 0.4}
    assert document["hits"][0]["track_emotion"] == {"valence": 0.25, "arousal": 0.0, "shares": {"calm": 1.0}}
    assert "-0.0" not in text.replace("-0.2", "")


def test_requests_that_took_different_times_print_equal_bytes() -> None:
    first, second = (
        to_json(recommendation_document(make_recommendation(seconds), catalogue="default"))
        for seconds in (0.5, 0.7)
    )
    assert first == second


def test_timings_come_when_they_are_asked_for() -> None:
    document = recommendation_document(make_recommendation(), catalogue="default", timings=True)
    assert document["timings"]["total_seconds"] == 0.5


def test_an_old_answer_is_told_as_such() -> None:
    for stale in (True, False):
        recommendation = Recommendation.of(recommend_pb2.RecommendResponse(stale=stale))
        assert recommendation_document(recommendation, catalogue="default")["stale"] is stale


def test_the_document_of_a_stored_track_tells_its_passages() -> None:
    document = stored_track_document(StoredTrack(TRACK, MUSIC, ()))
    assert document["track"]["track_id"] == "id1"
    assert document["passages"] == []


def test_the_table_tells_passage_scores_emotions_and_attribution(capsys: pytest.CaptureFixture[str]) -> None:
    print_recommendation(make_recommendation(), clip="clip.mp4", timings=True)
    out = capsys.readouterr().out
    for piece in (
        "clip.mp4: 10.0 s, valence +0.31, arousal -0.20, mostly calm (0.70), key frames at 0:01.5",
        "Meadow",
        "0:06-0:18",
        "0.123",
        "+0.31",
        "+0.25",
        "1. both calm",
        "1. Ann, CC-BY-4.0, Meadow by Ann",
        "total 0.500 s",
    ):
        assert piece in out


@pytest.mark.parametrize(("columns", "told"), [(160, True), (80, False)])
def test_a_narrow_table_leaves_out_artist_and_licence(columns: int, told: bool) -> None:
    out = Console(width=columns, record=True, file=io.StringIO())
    out.print(recommendation_table(make_recommendation(), clip="clip.mp4", wide=told))
    text = out.export_text()
    assert ("artist" in text and "CC-BY-4.0" in text) is told
    assert all(len(line.rstrip()) <= columns for line in text.splitlines())
    assert "Meadow" in text


def test_names_from_strangers_cannot_take_over_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = Track("id1", "\x1b[2J[red]Title", "A\nB", tags=("\x07",), digest="d")
    print_tracks([hostile])
    print_stored_track(StoredTrack(hostile, MUSIC, ()))
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\x07" not in out
    assert "[red]Title" in out


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.0, "0:00"), (5.0, "0:05"), (7.5, "0:07.5"), (59.96, "1:00"), (3661.0, "61:01")]
)
def test_times_are_minutes_and_seconds(seconds: float, text: str) -> None:
    assert clock(seconds) == text


def test_printable_text_stays_as_it_is() -> None:
    assert printable("Für Élise 月光") == "Für Élise 月光"
