"""The store over a real Milvus Lite in a temporary folder."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from kinoscore.errors import (
    DataFolderInUse,
    DeadlineExceeded,
    FailedPrecondition,
    NotFound,
    SpaceMismatch,
    StorageFull,
    Unavailable,
)
from kinoscore.ranking import engines
from kinoscore.ranking.filters import And, Comparison, Filter, Membership, Not, Or, Range
from kinoscore.ranking.matching import passes
from kinoscore.ranking.rows import PASSAGES, TRACKS, Passage, Track
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.v1 import common_pb2

DIMENSION = 6
SPACE = "s0123456789ab"
NASTY = [
    '"',
    "\\",
    "%",
    "_",
    "\n",
    "\t",
    "'",
    '" or 1 == 1 or "',
    "é",
    "\u2028",
    "|",
    "~",
    "a",
    "A",
    "",
    " ",
    "💡",
    "\0",
]


def soon() -> Deadline:
    return Deadline.after(20)


def vector(seed: int) -> NDArray[np.float32]:
    drawn = np.random.default_rng(seed).standard_normal(DIMENSION).astype(np.float32)
    unit: NDArray[np.float32] = drawn / np.linalg.norm(drawn)
    return unit


def track(track_id: str, passages: int = 3, seed: int = 0, **metadata: object) -> Track:
    emotion = common_pb2.Emotion(valence=0.25, arousal=-0.5)
    return Track(
        metadata=common_pb2.TrackMetadata(track_id=track_id, **metadata),  # type: ignore[arg-type]
        emotion=emotion,
        vector=vector(seed),
        passages=tuple(
            Passage(6.0 * number, 12.0, emotion, vector(seed * 100 + number)) for number in range(passages)
        ),
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[MilvusStore]:
    opened = await MilvusStore.open(str(tmp_path / "vectors"), SPACE, DIMENSION)
    yield opened
    await opened.close()


async def stored_passages(store: MilvusStore, track_id: str) -> set[int]:
    condition = Comparison("track_id", "=", track_id)
    [found] = await store.search(
        "default", vector(0)[None], condition, partition=PASSAGES, limit=1000, deadline=soon()
    )
    return {hit.passage for hit in found}


async def test_a_stored_track_is_read_back_as_it_was(store: MilvusStore) -> None:
    stored = track("t", title='a "b" \\', tags=["Sad", "a|b"], tempo=120.1, duration_seconds=30.0)
    assert await store.upsert("default", stored, soon()) is True
    record = (await store.records("default", ["t", "other"], soon()))["t"]
    assert record.metadata == stored.metadata
    assert record.emotion == stored.emotion
    assert record.passage_count == 3
    passages = await store.passages("default", {"t": [0, 2, 7]}, soon())
    assert sorted(passages["t"]) == [0, 2]
    np.testing.assert_allclose(passages["t"][2].vector, stored.passages[2].vector, rtol=1e-6)
    assert passages["t"][2].start_seconds == 12.0


async def test_a_shorter_second_encoding_leaves_no_stale_passage(store: MilvusStore) -> None:
    await store.upsert("default", track("t", passages=5), soon())
    assert await store.upsert("default", track("t", passages=2), soon()) is False
    assert await stored_passages(store, "t") == {0, 1}


async def test_a_deleted_track_is_gone_with_all_its_passages(store: MilvusStore) -> None:
    await store.upsert("default", track("t"), soon())
    await store.upsert("default", track("u"), soon())
    assert await store.delete("default", ["t", "missing", "t"], soon()) == ["t"]
    assert await stored_passages(store, "t") == set()
    assert await stored_passages(store, "u") == {0, 1, 2}
    assert await store.records("default", ["t"], soon()) == {}


async def test_catalogues_do_not_see_each_other(store: MilvusStore) -> None:
    await store.upsert("one", track("t"), soon())
    assert await store.records("other", ["t"], soon()) == {}
    assert await store.delete("other", ["t"], soon()) == []
    assert await store.valences("other", None, soon()) == {}
    [found] = await store.search("other", vector(0)[None], None, partition=TRACKS, limit=10, deadline=soon())
    assert found == []


async def test_other_metadata_reaches_every_row_and_leaves_the_vectors(store: MilvusStore) -> None:
    stored = track("t", artist="before", title="before")
    await store.upsert("default", stored, soon())
    changed = common_pb2.TrackMetadata(track_id="t", artist="after", tags=["new"])
    await store.update_metadata("default", changed, soon())
    condition = And((Comparison("artist", "=", "after"), Comparison("tags", "=", "NEW")))
    [found] = await store.search(
        "default", vector(0)[None], condition, partition=PASSAGES, limit=10, deadline=soon()
    )
    assert {hit.passage for hit in found} == {0, 1, 2}
    assert (await store.records("default", ["t"], soon()))["t"].metadata == changed
    kept = (await store.passages("default", {"t": [1]}, soon()))["t"][1].vector
    np.testing.assert_array_equal(kept, stored.passages[1].vector)


async def test_other_metadata_for_a_track_that_is_not_there_is_refused(store: MilvusStore) -> None:
    with pytest.raises(NotFound, match="no track 'x'"):
        await store.update_metadata("default", common_pb2.TrackMetadata(track_id="x"), soon())


async def test_search_returns_the_exact_nearest_by_inner_product(store: MilvusStore) -> None:
    tracks = [track(f"t{number:02}", passages=4, seed=number) for number in range(20)]
    for one in tracks:
        await store.upsert("default", one, soon())
    query = vector(999)
    expected = sorted(
        (
            (float(passage.vector @ query), one.metadata.track_id)
            for one in tracks
            for passage in one.passages
        ),
        reverse=True,
    )[:10]
    [found] = await store.search("default", query[None], None, partition=PASSAGES, limit=10, deadline=soon())
    assert [hit.track_id for hit in found] == [track_id for _, track_id in expected]
    np.testing.assert_allclose([hit.similarity for hit in found], [score for score, _ in expected], rtol=1e-5)


async def test_tracks_outlive_the_process_that_stored_them(tmp_path: Path) -> None:
    folder = str(tmp_path / "vectors")
    first = await MilvusStore.open(folder, SPACE, DIMENSION)
    await first.upsert("default", track("t"), soon())
    await first.close()
    second = await MilvusStore.open(folder, SPACE, DIMENSION)
    assert list(await second.valences("default", None, soon())) == ["t"]
    assert await stored_passages(second, "t") == {0, 1, 2}
    await second.close()


async def test_a_folder_that_is_in_use_is_refused(store: MilvusStore, tmp_path: Path) -> None:
    with pytest.raises(DataFolderInUse, match="another process uses the vector store"):
        await MilvusStore.open(str(tmp_path / "vectors"), SPACE, DIMENSION)


async def test_a_collection_of_another_dimension_is_refused(tmp_path: Path) -> None:
    folder = str(tmp_path / "vectors")
    await (await MilvusStore.open(folder, SPACE, DIMENSION)).close()
    with pytest.raises(SpaceMismatch, match="dimension 6, not 7"):
        await MilvusStore.open(folder, SPACE, DIMENSION + 1)
    await (await MilvusStore.open(folder, SPACE, DIMENSION)).close()


async def test_spaces_lie_side_by_side_in_one_folder(tmp_path: Path) -> None:
    folder = str(tmp_path / "vectors")
    one = await MilvusStore.open(folder, SPACE, DIMENSION)
    await one.upsert("default", track("t"), soon())
    await one.close()
    other = await MilvusStore.open(folder, "sba9876543210", DIMENSION + 1)
    assert await other.valences("default", None, soon()) == {}
    await other.close()


async def test_a_full_disk_is_told_before_anything_is_written(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.upsert("default", track("t"), soon())
    monkeypatch.setattr(engines, "FREE_BYTES", 1 << 62)
    with pytest.raises(StorageFull, match="make room"):
        await store.upsert("default", track("u"), soon())
    monkeypatch.undo()
    assert list(await store.valences("default", None, soon())) == ["t"]
    assert await store.upsert("default", track("u"), soon()) is True


# Milvus Lite forgets to close the log of a flush that failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_a_write_that_fails_half_way_loses_nothing_and_the_store_heals(
    store: MilvusStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    await store.upsert("default", track("t", title="old"), soon())
    from milvus_lite.engine import collection

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(collection, "execute_flush", full)
    # So many rows that they are flushed.
    with pytest.raises(StorageFull):
        await store.upsert("default", track("large", passages=5000), soon())
    monkeypatch.undo()
    titles = await store.records("default", ["t"], soon())
    assert titles["t"].metadata.title == "old"
    assert await stored_passages(store, "t") == {0, 1, 2}


async def test_a_server_that_is_not_there_is_unavailable_within_the_deadline(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("kinoscore.ranking.store.OPEN_SECONDS", 1.0)
    started = asyncio.get_running_loop().time()
    with pytest.raises(Unavailable, match="try again"):
        await MilvusStore.open("http://127.0.0.1:1", SPACE, DIMENSION)
    assert asyncio.get_running_loop().time() - started < 4


async def test_a_collection_that_is_gone_is_told_by_every_read(store: MilvusStore) -> None:
    store._engine.client.drop_collection(store._collection)
    with pytest.raises(FailedPrecondition, match="kinoscore ranking migrate"):
        await store.search("default", vector(0)[None], None, partition=PASSAGES, limit=1, deadline=soon())
    with pytest.raises(FailedPrecondition, match="kinoscore ranking migrate"):
        await store.records("default", ["t"], soon())
    with pytest.raises(FailedPrecondition, match="kinoscore ranking migrate"):
        await store.valences("default", None, soon())


async def test_a_deadline_that_has_passed_is_not_worked_for(store: MilvusStore) -> None:
    with pytest.raises((DeadlineExceeded, Unavailable)):
        await store.upsert("default", track("late"), Deadline.after(-1))
    assert await store.valences("default", None, soon()) == {}


async def test_searches_during_a_bulk_load_always_see_what_was_stored_before(store: MilvusStore) -> None:
    await store.upsert("default", track("first", passages=1, seed=1), soon())

    async def load() -> None:
        for number in range(12):
            await store.upsert("default", track(f"t{number}", passages=400, seed=number + 2), soon())

    loading = asyncio.create_task(load())
    while not loading.done():
        condition = Comparison("track_id", "=", "first")
        [found] = await store.search(
            "default", vector(5)[None], condition, partition=PASSAGES, limit=5, deadline=soon()
        )
        assert [hit.track_id for hit in found] == ["first"]
    await loading


def matches(tree: Filter, metadata: common_pb2.TrackMetadata) -> bool:
    """What a filter means, in Python."""
    match tree:
        case Comparison("tags", operator, value):
            has = str(value).casefold() in {tag.casefold() for tag in metadata.tags}
            return has if operator == "=" else not has
        case Comparison(field, operator, value):
            held = field_of(metadata, field)
            return {
                "=": held == value,
                "!=": held != value,
                "<": operator == "<" and held < value,
                "<=": operator == "<=" and held <= value,
                ">": operator == ">" and held > value,
                ">=": operator == ">=" and held >= value,
            }[operator]
        case Membership(field, values):
            return any(matches(Comparison(field, "=", value), metadata) for value in values)
        case Range(field, low, high):
            return low <= field_of(metadata, field) <= high
        case Not(operand):
            return not matches(operand, metadata)
        case And(operands):
            return all(matches(operand, metadata) for operand in operands)
        case Or(operands):
            return any(matches(operand, metadata) for operand in operands)


def field_of(metadata: common_pb2.TrackMetadata, field: str):  # type: ignore[no-untyped-def]
    return getattr(metadata, "duration_seconds" if field == "duration" else field)


nasty_text = st.lists(st.sampled_from(NASTY), max_size=3).map("".join)
numbers = st.sampled_from([-1.5, 0.0, 1.0, 60.0, 120.5, 1e-7, 1e20])
text_fields = st.sampled_from(["title", "artist", "licence"])
conditions = st.one_of(
    st.builds(Comparison, st.one_of(text_fields, st.just("tags")), st.sampled_from(["=", "!="]), nasty_text),
    st.builds(
        Membership,
        st.one_of(text_fields, st.just("tags")),
        st.lists(nasty_text, min_size=1, max_size=3).map(tuple),
    ),
    st.builds(Comparison, st.just("duration"), st.sampled_from(["=", "!=", "<", "<=", ">", ">="]), numbers),
    st.builds(Membership, st.just("duration"), st.lists(numbers, min_size=1, max_size=3).map(tuple)),
    st.builds(Range, st.just("duration"), numbers, numbers),
)
trees = st.recursive(
    conditions,
    lambda tree: st.one_of(
        st.builds(Not, tree),
        st.builds(And, st.lists(tree, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(tree, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def nasty_library(tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """A store with tracks whose texts are as hostile as their filters, and a loop to ask it on."""
    generator = np.random.default_rng(7)

    def text() -> str:
        return "".join(generator.choice(NASTY, generator.integers(0, 3)))

    tracks = [
        track(
            f"t{number}",
            passages=1,
            seed=number,
            title=text(),
            artist=text(),
            licence=text(),
            tags=[text() for _ in range(generator.integers(0, 3))],
            duration_seconds=float(generator.choice([-1.5, 0.0, 1.0, 60.0, 120.5, 1e-7, 1e20])),
        )
        for number in range(60)
    ]
    loop = asyncio.new_event_loop()
    folder = str(tmp_path_factory.mktemp("nasty") / "vectors")
    store = loop.run_until_complete(MilvusStore.open(folder, SPACE, DIMENSION))
    for one in tracks:
        loop.run_until_complete(store.upsert("default", one, soon()))
    yield store, [one.metadata for one in tracks], loop
    loop.run_until_complete(store.close())
    loop.close()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tree=trees)
def test_milvus_finds_exactly_the_tracks_that_pass_the_filter(nasty_library, tree: Filter) -> None:  # type: ignore[no-untyped-def]
    store, library, loop = nasty_library
    found = loop.run_until_complete(store.valences("default", tree, soon()))
    expected = {metadata.track_id for metadata in library if matches(tree, metadata)}
    assert set(found) == expected
    records = loop.run_until_complete(store.records("default", [one.track_id for one in library], soon()))
    assert {track_id for track_id, record in records.items() if passes(tree, record)} == expected


async def test_a_track_id_may_hold_any_text(store: MilvusStore) -> None:
    ids = ['a"b', "a\\b", "a/b/0", "a%", "ü", "a\nb", "a' or pk != '"]
    for track_id in ids:
        await store.upsert("default", track(track_id, passages=1), soon())
    assert list(await store.valences("default", None, soon())) == sorted(ids)
    assert set(await store.records("default", ids, soon())) == set(ids)
    for track_id in ids:
        assert await store.delete("default", [track_id], soon()) == [track_id]
