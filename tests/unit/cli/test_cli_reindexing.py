"""Taking tracks over from one space into another, against a server in memory."""

import asyncio
import functools
import http.server
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore import Emotion, IndexedTrack, Spaces, StoredTrack, Timings, Track
from kinoscore.cli import reindexing, sources
from kinoscore.cli.reindex_run import follow_models, reindex_run
from kinoscore.cli.reindexing import Outcome, Reindexer, Work, missing_tracks
from kinoscore.cli.sources import source_file
from kinoscore.errors import (
    FailedPrecondition,
    InvalidRequest,
    KinoscoreError,
    NotFound,
    QueueFull,
    StorageFull,
)

OLD, NEW = "sold000000000", "snew000000000"
EMOTION = Emotion(0.0, 0.0, 0.1, 0.1, {})


class FakeClient:
    """A server whose digests are those of the whole file; `tracks` by space, catalogue and id."""

    def __init__(self) -> None:
        self.tracks: dict[str, dict[tuple[str, str], Track]] = {OLD: {}, NEW: {}}
        self.active = OLD
        self.served: tuple[str, ...] = (OLD, NEW)
        self.sole_owner = False
        self.uploads = 0
        self.full = 0
        self.disk_is_full = False

    async def spaces(self) -> Spaces:
        return Spaces(self.active, self.served, self.sole_owner)

    async def switch_space(self, space: str, *, force: bool = False) -> str:
        assert force or self.tracks[space]
        before, self.active = self.active, space
        return before

    async def catalogues(self, *, space: str) -> dict[str, int]:
        names = [catalogue for catalogue, _ in self.tracks[space]]
        return {name: names.count(name) for name in sorted(set(names))}

    async def list_tracks(self, *, catalogue: str, space: str) -> AsyncIterator[Track]:
        for (own, _), track in sorted(self.tracks[space].items()):
            if own == catalogue:
                yield track

    async def get_track(self, track_id: str, *, catalogue: str, space: str) -> StoredTrack:
        if (catalogue, track_id) not in self.tracks[space]:
            raise NotFound("no such track")
        return StoredTrack(self.tracks[space][catalogue, track_id], EMOTION, ())

    async def index(
        self, file: Path, track: Track, *, catalogue: str, space: str, expected_digest: str
    ) -> IndexedTrack:
        await asyncio.sleep(0)
        if self.full:
            self.full -= 1
            raise QueueFull("too much is waiting")
        if self.disk_is_full:
            raise StorageFull("the disk is full")
        digest = sha256(file.read_bytes()).hexdigest()
        if digest != expected_digest:
            raise FailedPrecondition("this is another sound")
        self.uploads += 1
        self.tracks[space][catalogue, track.track_id] = track
        return IndexedTrack(space, track, True, EMOTION, 1, (), Timings(0, 0, 0, 0, 0))

    async def update_track(self, track: Track, *, catalogue: str, space: str) -> None:
        self.tracks[space][catalogue, track.track_id] = track

    async def remove_tracks(self, track_ids: list[str], *, catalogue: str, space: str) -> None:
        for track_id in track_ids:
            del self.tracks[space][catalogue, track_id]

    def add(self, track: Track, *, space: str = OLD, catalogue: str = "default") -> Track:
        self.tracks[space][catalogue, track.track_id] = track
        return track


@pytest.fixture
def client() -> FakeClient:
    return FakeClient()


def track(folder: Path, name: str, content: bytes = b"sound", **more: Any) -> Track:
    path = folder / name
    path.write_bytes(content)
    known: dict[str, Any] = {
        "track_id": name,
        "title": name.title(),
        "artist": "Ann",
        "licence": "CC0-1.0",
        "attribution": "by Ann",
        "tags": ("calm", "sad"),
        "source_uri": path.as_uri(),
        "digest": sha256(content).hexdigest(),
        "duration_seconds": 12.5,
        "tempo": 91.0,
    }
    return Track(**(known | more))


async def run(client: FakeClient, *, old: str = "", new: str = "", switch: bool = False) -> int:
    return await reindex_run(client, old=old, new=new, switch=switch)  # type: ignore[arg-type]


async def test_every_track_of_every_catalogue_is_taken_over_with_all_that_is_known_of_it(
    client: FakeClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("a", "b", "c"):
        client.add(track(tmp_path, name, name.encode()))
    client.add(track(tmp_path, "d", source_uri=str(tmp_path / "d")), catalogue="other")
    assert await run(client) == 0
    assert client.tracks[NEW] == client.tracks[OLD]
    assert client.active == OLD
    assert f"4 encoded; to search in it: kinoscore spaces switch {NEW}" in capsys.readouterr().err


async def test_a_run_that_is_repeated_encodes_what_is_missing_only(
    client: FakeClient, tmp_path: Path
) -> None:
    client.add(track(tmp_path, "a"))
    client.add(client.add(track(tmp_path, "b")), space=NEW)
    changed = client.add(track(tmp_path, "c", b"new sound"))
    client.add(replace(changed, digest="another"), space=NEW)
    assert await run(client) == 0
    assert client.uploads == 2
    assert client.tracks[NEW] == client.tracks[OLD]
    assert await run(client) == 0
    assert client.uploads == 2


async def test_what_cannot_be_taken_over_is_listed_and_nothing_is_switched(
    client: FakeClient, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    client.add(track(tmp_path, "fine"))
    client.add(track(tmp_path, "gone", source_uri=(tmp_path / "nowhere.ogg").as_uri()))
    client.add(track(tmp_path, "other sound", digest="0" * 64))
    client.add(track(tmp_path, "never told", source_uri=""))
    assert await run(client, switch=True) == 1
    told = capsys.readouterr().err.splitlines()
    assert told[0] == f"1 encoded, 3 not taken over; to search in it: kinoscore spaces switch {NEW}"
    assert sorted(told[1:4]) == [
        f"not taken over: default/gone (Gone): {tmp_path}/nowhere.ogg: no such file",
        "not taken over: default/never told (Never Told): where the sound is was never told",
        "not taken over: default/other sound (Other Sound): this is another sound",
    ]
    assert told[4] == f"to upload them again: kinoscore index --space {NEW} FILE..."
    assert list(client.tracks[NEW]) == [("default", "fine")]
    assert client.active == OLD


async def test_a_full_run_switches_where_it_was_told_to(client: FakeClient, tmp_path: Path) -> None:
    client.add(track(tmp_path, "a"))
    assert await run(client, switch=True) == 0
    assert client.active == NEW


async def test_what_was_indexed_during_the_run_is_taken_over_too(
    client: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.add(track(tmp_path, "b"))
    late = [track(tmp_path, "a"), track(tmp_path, "later")]
    add, switch = client.index, client.switch_space

    async def index(*arguments: Any, **more: Any) -> IndexedTrack:
        if client.uploads == 0:
            client.add(late[0])
        return await add(*arguments, **more)

    async def switch_space(space: str, *, force: bool = False) -> str:
        client.add(late[1])
        return await switch(space, force=force)

    monkeypatch.setattr(client, "index", index)
    monkeypatch.setattr(client, "switch_space", switch_space)
    assert await run(client, switch=True) == 0
    assert {track_id for _, track_id in client.tracks[NEW]} == {"a", "b", "later"}


async def test_changed_metadata_follows_but_a_source_that_can_be_reached_stays(
    client: FakeClient, tmp_path: Path
) -> None:
    known = client.add(track(tmp_path, "a", title="After", source_uri="file:///gone"))
    client.add(replace(known, title="Before", source_uri="file:///found"), space=NEW)
    assert await run(client) == 0
    assert client.tracks[NEW]["default", "a"] == replace(known, source_uri="file:///found")
    assert client.uploads == 0


async def test_once_the_new_space_is_active_its_own_tracks_are_left_alone(
    client: FakeClient, tmp_path: Path
) -> None:
    kept = client.add(replace(client.add(track(tmp_path, "a")), title="Mine", digest="mine"), space=NEW)
    lacking = client.add(track(tmp_path, "b"))
    client.active = NEW
    assert await run(client, old=OLD) == 0
    assert client.tracks[NEW] == {("default", "a"): kept, ("default", "b"): lacking}


async def test_a_track_that_is_removed_while_it_is_encoded_does_not_come_back(
    client: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.add(track(tmp_path, "a"))
    add = client.index

    async def index(*arguments: Any, **more: Any) -> IndexedTrack:
        client.tracks[OLD].clear()
        return await add(*arguments, **more)

    monkeypatch.setattr(client, "index", index)
    [work] = [one async for one in Reindexer(client, OLD, NEW, old_leads=True).work()]  # type: ignore[arg-type]
    result = await Reindexer(client, OLD, NEW, old_leads=True).take_over(work)  # type: ignore[arg-type]
    assert result.outcome is Outcome.REMOVED
    assert not client.tracks[NEW]


async def test_a_server_that_is_busy_is_waited_for(
    client: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reindexing, "_PATIENCE_SECONDS", (0.0, 0.0))
    client.add(track(tmp_path, "a"))
    client.full = 2
    assert await run(client) == 0
    client.add(track(tmp_path, "b"))
    client.full = 3
    assert await run(client) == 1


async def test_what_every_track_would_meet_ends_the_run(client: FakeClient, tmp_path: Path) -> None:
    client.add(track(tmp_path, "a"))
    client.disk_is_full = True
    with pytest.raises(StorageFull):
        await run(client)


async def test_it_must_be_clear_which_space_is_to_be_filled(
    client: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    client.served = (OLD,)
    assert await run(client) == 0
    assert "nothing to do" in capsys.readouterr().err
    client.served = (OLD, NEW, "sthird0000000")
    with pytest.raises(InvalidRequest, match="name one with --space"):
        await run(client)


async def test_a_folder_whose_models_are_gone_is_switched_though_a_track_is_missing(
    client: FakeClient, tmp_path: Path
) -> None:
    client.add(track(tmp_path, "a", source_uri=""))
    client.served, client.sole_owner = (NEW,), True
    assert await run(client) == 1
    assert client.active == NEW


@pytest.mark.parametrize(
    ("served", "sole_owner", "complete", "active"),
    [
        ((NEW,), True, True, NEW),
        ((NEW,), True, False, OLD),
        # Others may search the old space of a server.
        ((NEW,), False, True, OLD),
        ((OLD, NEW), True, True, OLD),
    ],
)
async def test_only_a_folder_of_one_owner_follows_its_models_and_only_when_nothing_is_lost(
    client: FakeClient,
    tmp_path: Path,
    served: tuple[str, ...],
    sole_owner: bool,
    complete: bool,
    active: str,
) -> None:
    client.served, client.sole_owner = served, sole_owner
    client.add(client.add(track(tmp_path, "a")), space=NEW)
    if not complete:
        client.add(track(tmp_path, "b"), catalogue="other")
        assert await missing_tracks(client, OLD, NEW) == 1  # type: ignore[arg-type]
    await follow_models(client)  # type: ignore[arg-type]
    assert client.active == active
    if served == (NEW,) and sole_owner:
        await follow_models(client, complete=False)  # type: ignore[arg-type]
        assert client.active == NEW


@given(old=st.sets(st.text(max_size=3)), new=st.sets(st.text(max_size=3)))
def test_each_old_track_meets_the_new_one_of_its_id(old: set[str], new: set[str]) -> None:
    client = FakeClient()
    for ids, space in ((old, OLD), (new, NEW)):
        for track_id in ids:
            client.add(Track(track_id=track_id, title=space), space=space)

    async def listed() -> list[Work]:
        return [one async for one in Reindexer(client, OLD, NEW, old_leads=True).work()]  # type: ignore[arg-type]

    work = asyncio.run(listed())
    assert [one.track.track_id for one in work] == sorted(old)
    assert {one.track.track_id for one in work if one.there} == old & new
    assert all(one.there is None or one.there.track_id == one.track.track_id for one in work)


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    """A web server over a folder with one file."""
    (tmp_path / "song.ogg").write_bytes(b"sound" * 1000)

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            """Says nothing."""

    handler = functools.partial(Handler, directory=str(tmp_path))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_source_on_the_web_is_fetched_into_a_file_that_does_not_stay(web: str) -> None:
    async with source_file(f"{web}/song.ogg") as file:
        assert file.read_bytes() == b"sound" * 1000
    assert not file.exists()
    with pytest.raises(NotFound, match=r"cannot be fetched .*404"):
        async with source_file(f"{web}/other.ogg"):
            pass


async def test_an_endless_source_does_not_fill_the_disk(web: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_MOST_BYTES", 4000)
    with pytest.raises(KinoscoreError, match="larger than"):
        async with source_file(f"{web}/song.ogg"):
            pass


@pytest.mark.parametrize(
    ("uri", "kind", "told"),
    [
        ("", NotFound, "never told"),
        ("/nowhere/song.ogg", NotFound, "no such file"),
        ("file:///nowhere/a%20song.ogg", NotFound, "/nowhere/a song.ogg: no such file"),
        ("ftp://host/song.ogg", FailedPrecondition, "only paths"),
        ("file://host/song.ogg", FailedPrecondition, "only paths"),
        ("http://127.0.0.1:1/song.ogg", NotFound, r"cannot be fetched .*127.0.0.1:1"),
    ],
)
async def test_a_source_that_cannot_be_reached_says_why(
    uri: str, kind: type[KinoscoreError], told: str
) -> None:
    with pytest.raises(kind, match=told) as refusal:
        async with source_file(uri):
            pass
    assert len(str(refusal.value).splitlines()) == 1


async def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacking(uri: str, mode: str) -> None:
        raise ImportError("install s3fs")

    monkeypatch.setattr("fsspec.open", lacking)
    with pytest.raises(FailedPrecondition, match=r"needs the package s3fs.*kinoscore\[remote\]"):
        async with source_file("s3://bucket/song.ogg"):
            pass
