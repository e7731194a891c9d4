import contextlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.errors import InvalidRequest, SpaceMismatch
from kinoscore.inference.repository import DefaultWeights
from kinoscore.ranking import requests
from kinoscore.ranking.rows import TEXT_COLUMNS, Track, track_row
from kinoscore.ranking.scoring import Blocks, Weights
from kinoscore.v1 import common_pb2, ranking_pb2

BLOCKS = Blocks(fused=4, content=3, emotion=2)
DEFAULTS = DefaultWeights(fused=1.0, content=0.5, emotion=0.5)


def embedding(**changes: object) -> common_pb2.Embedding:
    values = {
        "duration_seconds": 12.0,
        "fused": [1, 0, 0, 0],
        "content": [0, 2, 0],
        "emotion_vector": [3, 4],
    }
    return common_pb2.Embedding(**(values | changes))  # type: ignore[arg-type]


@pytest.mark.parametrize("k", [0, 1001, 2**32 - 1])
def test_k_outside_1_to_1000_is_refused(k: int) -> None:
    with pytest.raises(InvalidRequest, match="1 to 1000") as caught:
        requests.to_track_count(ranking_pb2.SearchTracksRequest(k=k))
    assert caught.value.field == "k"


def test_k_that_is_not_set_is_ten() -> None:
    assert requests.to_track_count(ranking_pb2.SearchTracksRequest()) == 10


@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf])
def test_a_weight_that_is_negative_or_not_finite_is_refused(value: float) -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests.to_weights(common_pb2.Weights(content=value), DEFAULTS)
    assert caught.value.field == "weights.content"


def test_weights_that_are_all_zero_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="at least one"):
        requests.to_weights(common_pb2.Weights(fused=0, content=0, emotion=0), DEFAULTS)


def test_a_weight_that_is_not_set_takes_the_default_of_the_space() -> None:
    assert requests.to_weights(common_pb2.Weights(emotion=0), DEFAULTS) == Weights(1.0, 0.5, 0.0)


def test_blocks_are_brought_to_unit_length() -> None:
    vector = requests.to_passage(embedding(), BLOCKS, "clip").vector
    np.testing.assert_allclose(vector, [1, 0, 0, 0, 0, 1, 0, 0.6, 0.8], atol=1e-7)


def test_a_vector_of_another_dimension_is_a_mismatch_that_names_the_field() -> None:
    with pytest.raises(SpaceMismatch, match="has 2 numbers, not 3") as caught:
        requests.to_passage(embedding(content=[1, 0]), BLOCKS, "windows[3]")
    assert caught.value.field == "windows[3].content"


@pytest.mark.parametrize(
    "changes",
    [
        {"fused": [0, 0, 0, 0]},
        {"fused": [math.nan, 0, 0, 0]},
        {"emotion_vector": [math.inf, 0]},
        {"start_seconds": math.nan},
        {"duration_seconds": -1.0},
        {"emotion": common_pb2.Emotion(valence=math.nan)},
    ],
)
def test_numbers_that_mean_nothing_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest):
        requests.to_passage(embedding(**changes), BLOCKS, "clip")


def test_windows_must_be_in_order_and_last_some_time() -> None:
    out_of_order = [embedding(start_seconds=12.0), embedding(start_seconds=0.0)]
    with pytest.raises(InvalidRequest, match="in order"):
        requests.to_windows(ranking_pb2.SearchTracksRequest(windows=out_of_order), BLOCKS)
    with pytest.raises(InvalidRequest, match="some time"):
        requests.to_windows(ranking_pb2.SearchTracksRequest(windows=[embedding(duration_seconds=0)]), BLOCKS)


@pytest.mark.parametrize(
    ("metadata", "field"),
    [
        ({"track_id": ""}, "metadata.track_id"),
        ({"track_id": "x" * 257}, "metadata.track_id"),
        ({"track_id": "a\0b"}, "metadata.track_id"),
        ({"track_id": "t", "title": "x" * 1025}, "metadata.title"),
        ({"track_id": "t", "tags": [""]}, "metadata.tags[0]"),
        ({"track_id": "t", "tags": ["x"] * 65}, "metadata.tags"),
        ({"track_id": "t", "tempo": math.nan}, "metadata.tempo"),
        ({"track_id": "t", "duration_seconds": -1.0}, "metadata.duration_seconds"),
    ],
)
def test_metadata_that_cannot_be_stored_is_refused(metadata: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests.check_metadata(common_pb2.TrackMetadata(**metadata))  # type: ignore[arg-type]
    assert caught.value.field == field


def test_the_longest_metadata_that_is_accepted_fits_its_columns() -> None:
    metadata = common_pb2.TrackMetadata(
        track_id="💡" * 64,
        title='"' * 1024,
        artist="\\" * 1024,
        licence="\n" * 256,
        attribution='"' * 8192,
        source_uri='"' * 4096,
        digest='"' * 128,
        tags=[f"{number:02}" + '"' * 62 for number in range(64)],
    )
    requests.check_metadata(metadata)
    whole = Track(metadata, common_pb2.Emotion(), np.zeros(9, np.float32), ())
    row = track_row("c" * 64, whole)
    for column, most in TEXT_COLUMNS.items():
        assert len(row[column].encode()) <= most, column
    assert len(row["pk"].encode()) <= 512


def test_a_track_without_passages_is_refused() -> None:
    request = ranking_pb2.UpsertTrackRequest(
        metadata=common_pb2.TrackMetadata(track_id="t"), track=embedding()
    )
    with pytest.raises(InvalidRequest) as caught:
        requests.to_track(request, BLOCKS)
    assert caught.value.field == "passages"


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=30))
def test_a_page_token_leads_back_to_its_track(track_id: str) -> None:
    assert requests.from_page_token(requests.to_page_token(track_id)) == track_id


@given(st.text(max_size=30))
def test_a_page_token_from_elsewhere_is_read_or_refused(token: str) -> None:
    with contextlib.suppress(InvalidRequest):
        assert isinstance(requests.from_page_token(token), str)
