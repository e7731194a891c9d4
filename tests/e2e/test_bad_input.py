"""What bad input gets from the running whole: a precise status, one line, and the next request unharmed."""

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import grpc
import pytest
from support import bad_media
from support.media_files import grey_frames, noise_frames, sine, write_clip, write_sound
from support.repository import write_tiny_repository
from support.stack import (
    LIMIT_SECONDS,
    HeldUpload,
    Kinoscore,
    Services,
    Up,
    chunks,
    recommend_requests,
    refused,
    track_requests,
    wait_until,
)

from kinoscore.data_folder import DataFolder
from kinoscore.errors import (
    DataFolderInUse,
    InvalidFilter,
    InvalidMedia,
    InvalidRepository,
    InvalidRequest,
    KinoscoreError,
    MediaTooLarge,
    SpaceMismatch,
    StorageFull,
)
from kinoscore.runtime.settings import StackSettings
from kinoscore.runtime.status import to_status
from kinoscore.stack import Stack
from kinoscore.v1 import (
    common_pb2,
    fusion_pb2,
    music_pb2,
    ranking_pb2,
    video_pb2,
)

GIBIBYTE = 1 << 30
UPLOAD_LIMIT = 8 << 20
OTHER_SPACE = "s000000000000"


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture(scope="module")
def up(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Up]:
    """A server with one decoder, one track in its default catalogue, and a good clip beside it."""
    kinoscore = Kinoscore(tmp_path_factory.mktemp("up"), repository)
    write_clip(kinoscore.folder / "clip.mp4", noise_frames(50))
    with kinoscore.up("--decoder-workers", 1, "--max-upload-bytes", UPLOAD_LIMIT) as server:
        server.index(write_sound(kinoscore.folder / "track.wav", sine(4.0)))
        yield replace(server, command=replace(kinoscore, address=server.address))


@pytest.fixture(autouse=True)
def the_next_request_is_unharmed(request: pytest.FixtureRequest) -> Iterator[None]:
    """After every test that used the server: it gives its answer, and no upload is left on the disk."""
    yield
    if "up" in request.fixturenames:
        assert_unharmed(request.getfixturevalue("up"))


def assert_unharmed(up: Up) -> None:
    answer = up.recommend(up.command.folder / "clip.mp4", k=1)
    assert len(answer.hits) == 1
    assert not answer.warnings
    wait_until(lambda: not any(up.command.spool.iterdir()))


# --- streams


def test_an_empty_stream_is_refused_by_every_service_that_takes_one(up: Up) -> None:
    services = up.services
    for method in (
        services.recommender.Recommend,
        services.recommender.IndexTrack,
        services.video.EncodeClip,
        services.music.EncodeTrack,
    ):
        with refused(InvalidRequest, "the stream is empty", "settings", field="settings"):
            method(iter(()), timeout=LIMIT_SECONDS)


def test_settings_without_media_are_refused(up: Up) -> None:
    with refused(InvalidMedia, "no media", field="chunk"):
        up.services.recommender.Recommend(recommend_requests([]), timeout=LIMIT_SECONDS)
    with refused(InvalidMedia, "no media", field="chunk"):
        up.services.recommender.IndexTrack(track_requests([]), timeout=LIMIT_SECONDS)


# --- clips


@dataclass(frozen=True)
class Bad:
    """A way to write a bad file, and what it gets."""

    write: Callable[[Path], Path]
    error: type[KinoscoreError]
    pieces: tuple[str, ...]


BAD_CLIPS = {
    "not media": Bad(bad_media.noise, InvalidMedia, ("not a media file", "MP4")),
    "cut before the index": Bad(
        bad_media.clip_cut_before_its_index, InvalidMedia, ("moov", "upload it whole")
    ),
    "sound only": Bad(bad_media.sound_only, InvalidMedia, ("no video stream", "send a video")),
    "no decodable frame": Bad(bad_media.clip_without_decodable_frames, InvalidMedia, ("no frame", "damaged")),
    "16k pictures": Bad(
        bad_media.clip_of_huge_pictures, MediaTooLarge, ("16000 x 16000", "35389440", "smaller pictures")
    ),
    "12 hours": Bad(bad_media.clip_of_twelve_hours, MediaTooLarge, ("limit of 3600 s", "shorter")),
}


@pytest.mark.parametrize("name", BAD_CLIPS)
def test_a_clip_that_cannot_be_used_is_refused(up: Up, tmp_path: Path, name: str) -> None:
    bad = BAD_CLIPS[name]
    clip = bad.write(tmp_path / "clip.mp4")
    with refused(bad.error, *bad.pieces):
        up.recommend(clip)


def test_a_clip_that_cannot_be_used_is_one_line_of_the_command(up: Up, tmp_path: Path) -> None:
    for name in ("no decodable frame", "16k pictures", "12 hours"):
        bad = BAD_CLIPS[name]
        result = up.command("recommend", bad.write(tmp_path / "clip.mp4"))
        assert_one_line(result, *bad.pieces)


def assert_one_line(result: subprocess.CompletedProcess[str], *pieces: str) -> None:
    assert result.returncode == 1, result.stderr
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1, result.stderr
    assert result.stderr.startswith("error: ")
    for piece in pieces:
        assert piece in result.stderr


USABLE_CLIPS = {
    "cut in its data": (bad_media.clip_cut_in_its_data, 2.0, "of 4.0 s could be decoded"),
    "corrupt in the middle": (bad_media.clip_corrupt_in_the_middle, 4.0, "damaged packets"),
    "frames out of order": (bad_media.clip_with_frames_out_of_order, 4.0, "put in order"),
    "NaN as duration": (bad_media.clip_whose_duration_is_not_a_number, 2.0, ""),
    "a tenth of a second": (bad_media.clip_of_a_tenth_of_a_second, 0.1, ""),
}


@pytest.mark.parametrize("name", USABLE_CLIPS)
def test_of_a_damaged_clip_is_used_what_can_be_and_the_rest_is_said(
    up: Up, tmp_path: Path, name: str
) -> None:
    write, seconds, warning = USABLE_CLIPS[name]
    answer = up.recommend(write(tmp_path / "clip.mp4"))
    assert len(answer.hits) == 1
    assert answer.clip_duration_seconds == pytest.approx(seconds, rel=0.1)
    if warning:
        assert any(warning in line for line in answer.warnings), answer.warnings
    else:
        assert not answer.warnings


def test_the_command_warns_of_damage_and_answers(up: Up, tmp_path: Path) -> None:
    result = up.command("recommend", bad_media.clip_corrupt_in_the_middle(tmp_path / "clip.mp4"), "--json")
    assert result.returncode == 0, result.stderr
    assert len(json.loads(result.stdout)["hits"]) == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("warning: damaged packets")


# --- single frames


def frame(seconds: float, **fields: object) -> common_pb2.MediaChunk:
    raw: dict[str, object] = {"format": common_pb2.FRAME_FORMAT_RGB24, "width": 32, "height": 20}
    given = {**raw, "data": bytes(32 * 20 * 3), **fields}
    return common_pb2.MediaChunk(frame=common_pb2.Frame(timestamp_seconds=seconds, **given))


TIME = "chunk.frame.timestamp_seconds"


@pytest.mark.parametrize(
    ("frames", "error", "pieces", "where"),
    [
        ([frame(0.0), frame(float("nan"))], InvalidRequest, ("0 or more seconds", "nan"), TIME),
        ([frame(float("inf"))], InvalidRequest, ("0 or more seconds", "inf"), TIME),
        ([frame(-1.0)], InvalidRequest, ("0 or more seconds", "-1"), TIME),
        ([frame(2.0), frame(1.0)], InvalidRequest, ("in order of time", "1.0 s came after 2.0 s"), TIME),
        ([frame(0.0), frame(12 * 3600.0)], MediaTooLarge, ("3600 s", "shorter clip"), TIME),
        ([frame(0.0, data=b"short")], InvalidMedia, ("the frame at 0 s",), "chunk.frame.data"),
        ([frame(0.0, format=0)], InvalidRequest, ("JPEG, PNG, WebP, RGB24 or I420",), "chunk.frame.format"),
        ([frame(0.0, width=16384, height=16384)], MediaTooLarge, ("16384 x 16384", "35389440"), ""),
    ],
    ids=["NaN", "infinite", "negative", "out of order", "12 hours", "cut", "no format", "16k"],
)
def test_frames_that_cannot_be_used_are_refused(
    up: Up,
    frames: list[common_pb2.MediaChunk],
    error: type[KinoscoreError],
    pieces: tuple[str, ...],
    where: str,
) -> None:
    with refused(error, *pieces, field=where):
        up.services.recommender.Recommend(recommend_requests(frames), timeout=LIMIT_SECONDS)


# --- size


def test_an_announced_4_gb_upload_is_refused_before_a_byte_flows(up: Up) -> None:
    taken: list[int] = []

    def parts() -> Iterator[common_pb2.MediaChunk]:
        for number in range(1000):
            # The answer is on its way already: what gRPC draws meanwhile is bounded by its flow control.
            taken.append(number)
            yield common_pb2.MediaChunk(data=bytes(64 * 1024))

    services = up.services
    for requests, method in (
        (recommend_requests(parts(), total_bytes=4 * GIBIBYTE), services.recommender.Recommend),
        (track_requests(parts(), total_bytes=4 * GIBIBYTE), services.recommender.IndexTrack),
    ):
        with refused(MediaTooLarge, str(4 * GIBIBYTE), str(UPLOAD_LIMIT), field="settings.total_bytes"):
            method(requests, timeout=LIMIT_SECONDS)
    assert len(taken) < 1000


def test_an_upload_that_does_not_say_its_size_is_cut_at_the_limit(up: Up) -> None:
    sent = 0

    def parts() -> Iterator[common_pb2.MediaChunk]:
        nonlocal sent
        for _ in range(4 * GIBIBYTE // (1 << 20)):
            sent += 1 << 20
            yield common_pb2.MediaChunk(data=bytes(1 << 20))

    services = up.services
    for requests, method in (
        (recommend_requests(parts()), services.recommender.Recommend),
        (track_requests(parts()), services.recommender.IndexTrack),
    ):
        sent = 0
        with refused(MediaTooLarge, str(UPLOAD_LIMIT), "smaller file", field="settings.total_bytes"):
            method(requests, timeout=LIMIT_SECONDS)
        assert sent < 8 * UPLOAD_LIMIT


def test_a_4_gb_file_is_one_line_of_the_command(up: Up, tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    with open(clip, "wb") as file:
        # Nothing of it lies on the disk.
        file.truncate(4 * GIBIBYTE)
    assert_one_line(up.command("recommend", clip), str(4 * GIBIBYTE), str(UPLOAD_LIMIT), "smaller file")


# --- tracks


@pytest.mark.parametrize(
    ("write", "pieces"),
    [
        (bad_media.noise, ("not a media file",)),
        (lambda path: write_clip(path.with_suffix(".mp4"), noise_frames(10)), ("no audio stream", "sound")),
    ],
    ids=["not media", "video without sound"],
)
def test_a_track_that_cannot_be_used_is_refused_and_not_stored(
    up: Up, tmp_path: Path, write: Callable[[Path], Path], pieces: tuple[str, ...]
) -> None:
    with refused(InvalidMedia, *pieces):
        up.index(write(tmp_path / "track.wav"), catalogue="bad-tracks")
    described = ranking_pb2.DescribeSpaceRequest(catalogue="bad-tracks")
    assert up.services.ranking.DescribeSpace(described, timeout=LIMIT_SECONDS).track_count == 0


ODD_TRACKS = {
    "silent": (bad_media.silent_track, 5.0, "the sound is silent"),
    "half a second": (bad_media.track_of_half_a_second, 0.5, ""),
    "NaN": (bad_media.track_with_samples_that_are_not_numbers, 4.0, "101 samples that are not finite"),
}


@pytest.mark.parametrize("name", ODD_TRACKS)
def test_an_odd_track_is_stored_found_and_what_is_odd_is_said(up: Up, tmp_path: Path, name: str) -> None:
    write, seconds, warning = ODD_TRACKS[name]
    catalogue = name.replace(" ", "-")
    stored = up.index(write(tmp_path / "track.wav"), catalogue=catalogue)
    assert stored.created
    assert stored.passage_count == 1
    assert stored.track.duration_seconds == pytest.approx(seconds, abs=0.01)
    assert [warning in line for line in stored.warnings] == ([True] if warning else [])
    (hit,) = up.recommend(up.command.folder / "clip.mp4", catalogue=catalogue).hits
    assert hit.track.track_id == stored.track.track_id
    assert -1 <= hit.track_emotion.valence <= 1
    assert hit.passage_duration_seconds == pytest.approx(min(seconds, 2.0), abs=0.01)


def test_the_command_indexes_odd_tracks_beside_bad_ones_and_says_what_is_wrong(
    up: Up, tmp_path: Path
) -> None:
    music = tmp_path / "music"
    music.mkdir()
    for name, (write, _, _) in ODD_TRACKS.items():
        write(music / f"{name}.wav")
    bad_media.noise(music / "noise.ogg")
    write_clip(tmp_path / "clip.mp4", noise_frames(10)).rename(music / "mute.m4a")
    result = replace(up.command, catalogue="odd")("index", music)
    assert result.returncode == 1
    said = [line for line in result.stderr.splitlines() if line.startswith(("error: ", "warning: "))]
    assert len(said) == 4
    for name, piece in (
        ("noise.ogg", "not a media file"),
        ("mute.m4a", "no audio stream"),
        ("silent.wav", "the sound is silent"),
        ("NaN.wav", "not finite"),
    ):
        assert any(name in line and piece in line for line in said), (name, said)
    assert result.stderr.splitlines()[-1] == "3 added, 2 failed"


# --- wishes


@pytest.mark.parametrize(
    ("text", "position", "pieces"),
    [
        ('mood = "calm"', 0, ("mood",)),
        ('licence = "CC0-1.0" AND mood = "calm"', 24, ("mood",)),
        ("duration >=", 11, ()),
        ('artist = "Ann', 9, ()),
        ("duration > 10 10", 14, ()),
    ],
)
def test_a_mistake_in_a_filter_is_told_with_its_position(
    up: Up, text: str, position: int, pieces: tuple[str, ...]
) -> None:
    listing = ranking_pb2.ListTracksRequest(filter=text)
    for call in (
        lambda: up.recommend(up.command.folder / "clip.mp4", filter=text),
        lambda: up.services.ranking.ListTracks(listing, timeout=LIMIT_SECONDS),
    ):
        with refused(InvalidFilter, *pieces, f"character {position + 1}", field="filter") as refusal:
            call()
        assert isinstance(refusal.error, InvalidFilter)
        assert refusal.error.position == position


@pytest.mark.parametrize("k", [0, 1001, 2**32 - 1])
def test_a_k_outside_1_to_1000_is_refused(up: Up, k: int) -> None:
    with refused(InvalidRequest, "1 to 1000", str(k), field="settings.k"):
        up.recommend(up.command.folder / "clip.mp4", k=k)
    with refused(InvalidRequest, "1 to 1000", str(k), field="k"):
        clip = encoded(up)
        request = ranking_pb2.SearchTracksRequest(space=clip.space, clip=clip.clip, k=k)
        up.services.ranking.SearchTracks(request, timeout=LIMIT_SECONDS)


# --- vectors


def encoded(up: Up) -> video_pb2.EncodeClipResponse:
    """The good clip, encoded and fused."""

    def requests() -> Iterator[video_pb2.EncodeClipRequest]:
        yield video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings())
        for chunk in chunks(up.command.folder / "clip.mp4"):
            yield video_pb2.EncodeClipRequest(chunk=chunk)

    clip = up.services.video.EncodeClip(requests(), timeout=LIMIT_SECONDS)
    request = fusion_pb2.FuseRequest(space=clip.space, embeddings=[clip.clip])
    (fused,) = up.services.fusion.Fuse(request, timeout=LIMIT_SECONDS).embeddings
    clip.clip.CopyFrom(fused)
    return clip


def test_a_vector_of_another_space_is_refused_by_every_service(up: Up) -> None:
    services, clip = up.services, encoded(up)
    settings = {"space": OTHER_SPACE}
    calls: list[tuple[Callable[..., object], object, str]] = [
        (services.fusion.Fuse, fusion_pb2.FuseRequest(embeddings=[clip.clip], **settings), "space"),
        (
            services.ranking.SearchTracks,
            ranking_pb2.SearchTracksRequest(clip=clip.clip, **settings),
            "space",
        ),
        (
            services.ranking.UpsertTrack,
            ranking_pb2.UpsertTrackRequest(
                metadata=common_pb2.TrackMetadata(track_id="t"), track=clip.clip, **settings
            ),
            "space",
        ),
        (
            services.video.EncodeClip,
            iter([video_pb2.EncodeClipRequest(settings=video_pb2.EncodeClipSettings(**settings))]),
            "settings.space",
        ),
        (
            services.music.EncodeTrack,
            iter([music_pb2.EncodeTrackRequest(settings=music_pb2.EncodeTrackSettings(**settings))]),
            "settings.space",
        ),
    ]
    for method, request, where in calls:
        with refused(SpaceMismatch, OTHER_SPACE, clip.space, "model repository", field=where):
            method(request, timeout=LIMIT_SECONDS)


def test_a_vector_of_another_dimension_is_refused_with_its_place(up: Up) -> None:
    clip = encoded(up)
    short = common_pb2.Embedding()
    short.CopyFrom(clip.clip)
    del short.content[-1]
    services = up.services
    with refused(SpaceMismatch, "127", "128", field="embeddings[1].content"):
        request = fusion_pb2.FuseRequest(space=clip.space, embeddings=[clip.clip, short])
        services.fusion.Fuse(request, timeout=LIMIT_SECONDS)
    with refused(SpaceMismatch, "127", "128", field="clip.content"):
        search = ranking_pb2.SearchTracksRequest(space=clip.space, clip=short)
        services.ranking.SearchTracks(search, timeout=LIMIT_SECONDS)
    with refused(SpaceMismatch, "127", "128", field="track.content"):
        upsert = ranking_pb2.UpsertTrackRequest(
            space=clip.space,
            metadata=common_pb2.TrackMetadata(track_id="t", duration_seconds=4.0),
            track=short,
            passages=[clip.clip],
        )
        services.ranking.UpsertTrack(upsert, timeout=LIMIT_SECONDS)
    described = services.ranking.DescribeSpace(ranking_pb2.DescribeSpaceRequest(), timeout=LIMIT_SECONDS)
    assert described.track_count == 1


# --- the client leaves


def test_a_client_that_leaves_in_the_middle_of_its_upload_frees_what_it_held(up: Up) -> None:
    clip = up.command.folder / "clip.mp4"
    for leave in (lambda call: call.cancel(), lambda call: None):
        upload = HeldUpload(clip)
        with grpc.insecure_channel(up.address) as channel:
            call = Services(channel).recommender.Recommend.future(recommend_requests(upload.parts()))
            # The file is there though its bytes are still gathered in memory.
            wait_until(lambda: any(up.command.spool.iterdir()))
            leave(call)
        # The channel is closed: to the server that is a client whose process has died.
        wait_until(lambda: not any(up.command.spool.iterdir()))
        upload.release()


def test_a_client_that_leaves_while_its_clip_is_decoded_frees_the_decoder(up: Up, tmp_path: Path) -> None:
    # Every frame is sampled: this takes far longer than it takes to see that the upload is complete.
    long = write_clip(tmp_path / "long.mp4", grey_frames(2) * 1500, rate=2, options={"preset": "ultrafast"})
    call = up.services.recommender.Recommend.future(recommend_requests(chunks(long)))
    wait_until(lambda: up.command.spooled_bytes() == long.stat().st_size)
    assert call.cancel()
    # The only decoder is free again for this one.
    assert_unharmed(up)


# --- data folder, model repository


def test_vectors_that_a_server_owns_are_refused_to_another_process(up: Up, tmp_path: Path) -> None:
    other = replace(up.command, folder=tmp_path)
    result = other("serve", "ranking", "--port", 0, "--vectors", up.command.data / "vectors")
    assert_one_line(result, "another process uses the vector store", "choose another folder")


def test_a_data_folder_that_a_server_owns_is_refused_with_the_owner(up: Up) -> None:
    with pytest.raises(DataFolderInUse) as caught:
        DataFolder(up.command.data, purpose="test")
    status = to_status(caught.value)
    assert grpc.StatusCode.FAILED_PRECONDITION.value[0] == status.code
    assert f"process {up.process.pid}" in status.message
    assert caught.value.metadata["address"] == up.address


def tear_model(repository: Path) -> None:
    model = next(repository.glob("clip_encoder_*/1/model.onnx"))
    model.write_bytes(model.read_bytes()[:1000])


def tear_manifest(repository: Path) -> None:
    manifest = repository / "kinoscore.json"
    manifest.write_text(manifest.read_text()[:200])


def change_format(repository: Path) -> None:
    manifest = repository / "kinoscore.json"
    manifest.write_text(manifest.read_text().replace('"format": 1', '"format": 2'))


def rename_space(repository: Path) -> None:
    manifest = json.loads((repository / "kinoscore.json").read_text())
    (repository / "kinoscore.json").write_text(json.dumps({**manifest, "space": OTHER_SPACE}))


BAD_REPOSITORIES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "missing": (shutil.rmtree, ("no complete model repository", "dualpath export")),
    "torn model": (tear_model, ("clip_encoder", "half-written", "dualpath export")),
    "torn manifest": (tear_manifest, ("kinoscore.json is not JSON", "dualpath export")),
    "another format": (change_format, ("has the format 2", "reads 1")),
    "another space": (rename_space, (OTHER_SPACE, "models.")),
}


@pytest.mark.parametrize("name", BAD_REPOSITORIES)
async def test_a_model_repository_that_cannot_be_used_starts_nothing_and_keeps_nothing(
    tmp_path: Path, name: str
) -> None:
    spoil, pieces = BAD_REPOSITORIES[name]
    repository = write_tiny_repository(tmp_path / "repository")
    spoil(repository)
    settings = StackSettings(port=0, decoder_workers=1, repository=repository)
    for _ in range(2):
        # A folder that the first attempt had kept would be in use.
        folder = DataFolder(tmp_path / "data", purpose="up")
        with pytest.raises(InvalidRepository) as caught:
            await Stack(folder, settings).start()
        assert len(caught.value.message.splitlines()) == 1
        for piece in pieces:
            assert piece in caught.value.message


# --- the disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, of 256 MB in memory."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small disk to fill")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(disk)], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"this machine does not let a test mount a disk: {mounted.stderr.strip()}")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def fill(disk: Path, free_bytes: int) -> Path:
    """Takes all room but so much; returns what takes it."""
    filler = disk / "filler"
    with open(filler, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, shutil.disk_usage(disk).free - free_bytes)
    return filler


def write_tones(folder: Path, numbers: range) -> Path:
    folder.mkdir()
    for number in numbers:
        write_sound(folder / f"tone{number}.wav", sine(4.0, frequency=200.0 + 20 * number))
    return folder


def test_a_disk_that_fills_while_indexing_loses_nothing_and_room_heals_it(
    small_disk: Path, tmp_path: Path, repository: Path
) -> None:
    kinoscore = Kinoscore(small_disk, repository)
    first, second = write_tones(tmp_path / "first", range(2)), write_tones(tmp_path / "second", range(2, 4))
    listing = ranking_pb2.ListTracksRequest()
    with kinoscore.up("--decoder-workers", 1) as up:
        assert kinoscore("index", first).returncode == 0
        before = up.services.ranking.ListTracks(listing, timeout=LIMIT_SECONDS).tracks
        assert len(before) == 2

        # Room for uploads, too little for the index.
        filler = fill(small_disk, 16 << 20)
        with refused(StorageFull, "MiB are free", "make room"):
            up.index(second / "tone2.wav")
        assert_one_line(kinoscore("index", second), "make room")
        # Not even room for an upload.
        filler.unlink()
        filler = fill(small_disk, 64 << 10)
        with refused(StorageFull, "spool folder", "make room"):
            up.index(second / "tone3.wav")
        assert up.services.ranking.ListTracks(listing, timeout=LIMIT_SECONDS).tracks == before
        assert kinoscore.spooled_bytes() == 0

        filler.unlink()
        assert kinoscore("index", second).returncode == 0
        after = up.services.ranking.ListTracks(listing, timeout=LIMIT_SECONDS).tracks
        assert len(after) == 4
        assert all(track in after for track in before)
