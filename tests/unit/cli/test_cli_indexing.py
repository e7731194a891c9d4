import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from kinoscore import Emotion, IndexedTrack, StoredTrack, Timings, Track, TrackUpdate
from kinoscore.cli.catalogue_files import Description, Manifest
from kinoscore.cli.indexing import Indexer, Outcome, Result, index_files, prune
from kinoscore.errors import InvalidMedia, NotFound, StorageFull
from kinoscore.media.types import MediaProbe, Tags

EMOTION = Emotion(0.0, 0.0, 0.1, 0.1, {})


class FakePool:
    """A file's bytes are its sound; its name is its title tag."""

    async def probe(self, path: Path, timeout: float | None = None) -> MediaProbe:
        sound = path.read_bytes()
        if sound == b"bad":
            raise InvalidMedia("not media")
        digest = sha256(sound).hexdigest() if sound else None
        return MediaProbe(1.0, False, bool(sound), 0, 0, Tags(title=path.stem, tags=("Calm",)), digest)


class FakeClient:
    """A catalogue in memory; counts uploads."""

    def __init__(self) -> None:
        self.tracks: dict[str, Track] = {}
        self.uploads = 0
        self.disk_is_full = False

    async def get_track(self, track_id: str, **_: Any) -> StoredTrack:
        await asyncio.sleep(0)
        if track_id not in self.tracks:
            raise NotFound("no such track")
        return StoredTrack(self.tracks[track_id], EMOTION, ())

    async def index(self, file: Path, track: Track, **_: Any) -> IndexedTrack:
        await asyncio.sleep(0)
        if self.disk_is_full:
            raise StorageFull("the disk is full")
        self.uploads += 1
        self.tracks[track.track_id] = track
        return IndexedTrack("s", track, True, EMOTION, 1, ("cut off",), Timings(0, 0, 0, 0, 0))

    async def update_track(self, track: Track, **_: Any) -> TrackUpdate:
        changed = self.tracks[track.track_id] != track
        self.tracks[track.track_id] = track
        return TrackUpdate(track, changed)

    async def list_tracks(self, **_: Any) -> AsyncIterator[Track]:
        for track in list(self.tracks.values()):
            yield track

    async def remove_tracks(self, track_ids: list[str], **_: Any) -> tuple[str, ...]:
        for track_id in track_ids:
            del self.tracks[track_id]
        return tuple(track_ids)


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


def indexer(client: FakeClient, manifest: Manifest | None = None) -> Indexer:
    return Indexer(client, FakePool(), manifest or Manifest({}, ()), "default")  # type: ignore[arg-type]


def sound(folder: Path, name: str, content: bytes = b"sound") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


async def test_a_new_file_is_uploaded_once_and_then_known(client: FakeClient, tmp_path: Path) -> None:
    path = sound(tmp_path, "a.ogg")
    assert await indexer(client).index(path) == Result(path, Outcome.ADDED, ("cut off",))
    assert await indexer(client).index(path) == Result(path, Outcome.UNCHANGED)
    assert client.uploads == 1
    (track,) = client.tracks.values()
    assert track.track_id == sha256(b"sound").hexdigest()[:32]
    assert (track.title, track.source_uri) == ("a", path.as_uri())


async def test_a_renamed_file_is_updated_without_uploading(client: FakeClient, tmp_path: Path) -> None:
    path = sound(tmp_path, "a.ogg")
    await indexer(client).index(path)
    moved = path.rename(tmp_path / "b.ogg")
    assert (await indexer(client).index(moved)).outcome is Outcome.UPDATED
    assert client.uploads == 1
    (track,) = client.tracks.values()
    assert (track.title, track.source_uri) == ("b", moved.as_uri())


async def test_the_manifest_wins_over_the_tags_of_the_file(client: FakeClient, tmp_path: Path) -> None:
    path = sound(tmp_path, "a.ogg")
    manifest = Manifest({path: Description(licence="CC0-1.0", tags=("loud",))}, ())
    await indexer(client, manifest).index(path)
    (track,) = client.tracks.values()
    assert (track.title, track.licence, track.tags) == ("a", "CC0-1.0", ("loud",))


async def test_order_and_case_of_tags_change_nothing(client: FakeClient, tmp_path: Path) -> None:
    path = sound(tmp_path, "a.ogg")
    await indexer(client).index(path)
    (track,) = client.tracks.values()
    client.tracks[track.track_id] = replace(track, tags=("calm",))
    assert (await indexer(client).index(path)).outcome is Outcome.UNCHANGED


async def test_a_copy_is_told_and_the_first_file_stays_the_source(client: FakeClient, tmp_path: Path) -> None:
    first, copy = sound(tmp_path, "a.ogg"), sound(tmp_path, "b.ogg")
    for _ in range(2):
        worker = indexer(client)
        results = await asyncio.gather(worker.index(first), worker.index(copy))
        assert results[1] == Result(copy, Outcome.DUPLICATE, (f"the same sound as {first}",))
    assert client.uploads == 1


async def test_a_file_at_fault_is_a_result_and_a_full_disk_ends_the_run(
    client: FakeClient, tmp_path: Path
) -> None:
    assert await indexer(client).index(sound(tmp_path, "bad.ogg", b"bad")) == Result(
        tmp_path / "bad.ogg", Outcome.FAILED, ("not media",)
    )
    silent = await indexer(client).index(sound(tmp_path, "none.ogg", b""))
    assert silent.notes == ("the file has no audio stream",)
    client.disk_is_full = True
    with pytest.raises(StorageFull):
        await indexer(client).index(sound(tmp_path, "a.ogg"))


async def test_every_file_is_indexed_a_few_at_once() -> None:
    running, most = 0, 0
    done: list[Path] = []

    async def index(file: Path) -> Result:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0)
        running -= 1
        return Result(file, Outcome.ADDED)

    files = [Path(f"{number}.ogg") for number in range(20)]
    await index_files(files, index, lambda result: done.append(result.file), asyncio.Event())
    assert sorted(done) == sorted(files)
    assert most == 3


async def test_stopping_finishes_what_is_in_flight_and_begins_nothing_else() -> None:
    stopping = asyncio.Event()
    done: list[Path] = []

    async def index(file: Path) -> Result:
        stopping.set()
        await asyncio.sleep(0)
        return Result(file, Outcome.ADDED)

    files = [Path(f"{number}.ogg") for number in range(20)]
    await index_files(files, index, lambda result: done.append(result.file), stopping)
    assert done == files[:1]


async def test_the_first_error_ends_the_run_and_abandons_the_rest() -> None:
    abandoned = 0

    async def index(file: Path) -> Result:
        nonlocal abandoned
        if file.name == "1.ogg":
            raise StorageFull("the disk is full")
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            abandoned += 1
            raise
        raise AssertionError("unreachable")

    files = [Path(f"{number}.ogg") for number in range(20)]
    with pytest.raises(StorageFull):
        await index_files(files, index, lambda result: None, asyncio.Event())
    assert abandoned == 2


async def test_pruning_removes_what_is_gone_from_the_named_places_only(
    client: FakeClient, tmp_path: Path
) -> None:
    kept = sound(tmp_path, "kept.ogg")
    sources = {
        "kept": kept.as_uri(),
        "gone": (tmp_path / "gone.ogg").as_uri(),
        "elsewhere": "file:///elsewhere/gone.ogg",
        "remote": "https://host/gone.ogg",
        "unknown": "",
    }
    client.tracks = {name: Track(track_id=name, source_uri=uri) for name, uri in sources.items()}
    assert await prune(client, [tmp_path], "default") == 1  # type: ignore[arg-type]
    assert sorted(client.tracks) == ["elsewhere", "kept", "remote", "unknown"]
