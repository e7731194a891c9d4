"""Sources of tracks in S3: fetched from a real server, with the keys and the address that AWS's tools use."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import s3fs
from support.s3_server import s3_server

from kinoscore.cli.sources import source_file
from kinoscore.errors import KinoscoreError, NotFound

SOUND = b"sound" * 500_000


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with s3_server(tmp_path_factory.mktemp("s3")) as url:
        yield url


@pytest.fixture(autouse=True)
def keys(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


async def test_a_track_in_s3_is_fetched_whole_into_a_file_that_does_not_stay(tmp_path: Path) -> None:
    store = s3fs.S3FileSystem()
    store.mkdir("library")
    store.pipe("library/some folder/song.ogg", SOUND)
    async with source_file("s3://library/some folder/song.ogg") as file:
        assert file.read_bytes() == SOUND
    assert not file.exists()


@pytest.mark.parametrize("uri", ["s3://library/other.ogg", "s3://nowhere/song.ogg"])
async def test_a_track_that_is_not_there_is_named(uri: str) -> None:
    with pytest.raises(NotFound, match=f"{uri}: cannot be fetched") as refusal:
        async with source_file(uri):
            pass
    assert len(str(refusal.value).splitlines()) == 1


async def test_a_store_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    s3fs.S3FileSystem.clear_instance_cache()
    with pytest.raises(KinoscoreError, match=r"s3://library/song.ogg: cannot be fetched .*127.0.0.1:1"):
        async with source_file("s3://library/song.ogg"):
            pass
