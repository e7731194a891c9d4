"""SIGTERM: what runs is finished, nothing is lost, and the exit status is 0."""

import signal
from pathlib import Path

import grpc
import pytest
from support.media_files import noise_frames, sine, write_clip, write_sound
from support.repository import write_tiny_repository
from support.stack import (
    LIMIT_SECONDS,
    HeldUpload,
    Kinoscore,
    Up,
    recommend_requests,
    refused,
    track_requests,
    wait_until,
)

from kinoscore.errors import Unavailable
from kinoscore.v1 import ranking_pb2


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def kinoscore(tmp_path: Path, repository: Path) -> Kinoscore:
    """A data folder that nobody has used, with a clip and a track beside it."""
    write_clip(tmp_path / "clip.mp4", noise_frames(50))
    write_sound(tmp_path / "track.wav", sine(4.0))
    return Kinoscore(tmp_path, repository)


def stored(up: Up) -> list[str]:
    request = ranking_pb2.ListTracksRequest(page_size=1000)
    tracks = up.services.ranking.ListTracks(request, timeout=LIMIT_SECONDS).tracks
    return [track.source_uri for track in tracks]


def terminate(up: Up) -> None:
    """SIGTERM; returns once the server refuses new requests."""
    up.process.send_signal(signal.SIGTERM)

    def refuses() -> bool:
        try:
            up.services.ranking.DescribeSpace(ranking_pb2.DescribeSpaceRequest(), timeout=LIMIT_SECONDS)
        except grpc.RpcError as error:
            return error.code() is grpc.StatusCode.UNAVAILABLE
        return False

    wait_until(refuses)


def test_requests_that_run_at_sigterm_get_their_answers_and_new_ones_are_refused(
    kinoscore: Kinoscore,
) -> None:
    with kinoscore.up("--decoder-workers", 1) as up:
        up.index(kinoscore.folder / "track.wav")
        clip = HeldUpload(kinoscore.folder / "clip.mp4")
        write_sound(kinoscore.folder / "other.wav", sine(4.0, frequency=300.0))
        track = HeldUpload(kinoscore.folder / "other.wav")
        front_door = up.services.recommender
        recommending = front_door.Recommend.future(recommend_requests(clip.parts()), timeout=LIMIT_SECONDS)
        indexing = front_door.IndexTrack.future(track_requests(track.parts()), timeout=LIMIT_SECONDS)
        wait_until(lambda: len(list(kinoscore.spool.glob("*"))) == 2)

        terminate(up)
        with refused(Unavailable, "shutting down", "try again"):
            up.recommend(kinoscore.folder / "clip.mp4")
        clip.release()
        track.release()
        # The track of the first request, and maybe that of the second already.
        assert len(recommending.result().hits) in (1, 2)
        assert indexing.result().created
        assert up.process.wait(LIMIT_SECONDS) == 0
    assert kinoscore.spooled_bytes() == 0
    with kinoscore.up("--decoder-workers", 1) as up:
        assert len(stored(up)) == 2


def test_a_request_that_outlasts_the_grace_is_ended_and_leaves_nothing(kinoscore: Kinoscore) -> None:
    with kinoscore.up("--decoder-workers", 1, "--grace-seconds", 0.2) as up:
        upload = HeldUpload(kinoscore.folder / "clip.mp4")
        requests = recommend_requests(upload.parts())
        call = up.services.recommender.Recommend.future(requests, timeout=LIMIT_SECONDS)
        wait_until(lambda: any(kinoscore.spool.glob("*")))
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(LIMIT_SECONDS) == 0
        with pytest.raises(grpc.RpcError) as caught:
            call.result()
        assert caught.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
        upload.release()
    assert not any(kinoscore.spool.iterdir())


def write_tones(folder: Path, count: int) -> Path:
    folder.mkdir()
    for number in range(count):
        write_sound(folder / f"tone{number}.wav", sine(20.0, frequency=200.0 + 10 * number))
    return folder


def test_sigterm_while_a_command_indexes_alone_loses_nothing_and_the_next_run_goes_on(
    kinoscore: Kinoscore,
) -> None:
    count = 10
    music = write_tones(kinoscore.folder / "music", count)
    run = kinoscore.start("index", music)
    # No server to ask: the first upload is on its way.
    wait_until(lambda: any(kinoscore.spool.glob("*")) or run.poll() is not None, seconds=LIMIT_SECONDS)
    run.send_signal(signal.SIGTERM)
    _, said = run.communicate(timeout=LIMIT_SECONDS)
    assert run.returncode == 0, said
    (line,) = said.splitlines()
    assert "run the same command again to go on" in line
    added = int(line.split(" added")[0])
    assert 0 < added < count
    assert not any(kinoscore.spool.iterdir())
    with kinoscore.up() as up:
        assert len(stored(up)) == added
        again = kinoscore("index", music)
        assert again.stderr.splitlines() == [f"{count - added} added, {added} unchanged"]
        assert len(set(stored(up))) == count


def test_a_server_that_goes_while_a_command_indexes_is_one_line_and_loses_no_track(
    kinoscore: Kinoscore,
) -> None:
    count = 10
    music = write_tones(kinoscore.folder / "music", count)
    with kinoscore.up() as up:
        run = kinoscore.start("index", music)
        wait_until(lambda: bool(stored(up)) or run.poll() is not None, seconds=LIMIT_SECONDS)
        before = stored(up)
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(LIMIT_SECONDS) == 0
        _, said = run.communicate(timeout=LIMIT_SECONDS)
    assert run.returncode == 1
    (line,) = said.splitlines()
    assert line.startswith("error: ")
    with kinoscore.up() as up:
        assert set(before) <= set(stored(up))
        again = kinoscore("index", music)
        assert again.returncode == 0, again.stderr
        assert len(stored(up)) == count


def test_a_second_signal_ends_a_server_at_once(kinoscore: Kinoscore) -> None:
    with kinoscore.up("--decoder-workers", 1, "--grace-seconds", LIMIT_SECONDS) as up:
        upload = HeldUpload(kinoscore.folder / "clip.mp4")
        requests = recommend_requests(upload.parts())
        call = up.services.recommender.Recommend.future(requests, timeout=LIMIT_SECONDS)
        wait_until(lambda: any(kinoscore.spool.glob("*")))
        terminate(up)
        assert up.process.poll() is None
        up.process.send_signal(signal.SIGTERM)
        assert up.process.wait(20) != 0
        upload.release()
        with pytest.raises(grpc.RpcError):
            call.result()
