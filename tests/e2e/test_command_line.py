"""The installed command, in processes of its own, over real files and a tiny model repository."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support.repository import write_tiny_repository
from support.stack import LIMIT_SECONDS, Kinoscore, command_line

from kinoscore import Client
from kinoscore.media.writing import write_audio, write_video

RATE = 22050


def tone(seconds: float, pitch: float) -> np.ndarray:
    time = np.arange(round(seconds * RATE)) / RATE
    return (0.3 * np.sin(2 * np.pi * pitch * time)).astype(np.float32)


def write_tracks(
    folder: Path, pitches: Sequence[float] = (220.0, 330.0, 440.0), seconds: float = 14.0
) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, pitch in enumerate(pitches):
        tags = {"title": f"Tone {number}", "artist": "Ann"}
        write_audio(folder / f"tone{number}.ogg", tone(seconds, pitch), RATE, tags=tags)
    return folder


def write_clip(path: Path, seconds: float = 4.0) -> Path:
    random = np.random.default_rng(3)
    pictures = (random.integers(0, 255, (64, 96, 3), np.uint8) for _ in range(round(seconds * 8)))
    write_video(path, pictures, 8.0)
    return path


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_repository(tmp_path_factory.mktemp("repository"))


@pytest.fixture
def kinoscore(tmp_path: Path, repository: Path) -> Kinoscore:
    """A data folder that nobody has used."""
    return Kinoscore(tmp_path, repository)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory, repository: Path) -> Iterator[Kinoscore]:
    """A running `up` with three tracks, and a clip; tests leave its default catalogue as it is."""
    kinoscore = Kinoscore(tmp_path_factory.mktemp("library"), repository)
    write_clip(kinoscore.folder / "clip.mp4")
    with kinoscore.server("up", "--port", 0, "--log-level", "error") as (_, address):
        indexed = kinoscore("index", write_tracks(kinoscore.folder / "music"))
        assert indexed.returncode == 0, indexed.stderr
        yield replace(kinoscore, address=address)


@pytest.fixture
def catalogue(library: Kinoscore, request: pytest.FixtureRequest) -> Kinoscore:
    """An empty catalogue of the running server."""
    return replace(library, catalogue=request.node.name[:64])


def test_files_go_in_and_ranked_tracks_come_out(library: Kinoscore) -> None:
    result = library("recommend", library.folder / "clip.mp4", "-k", 2)
    assert result.returncode == 0, result.stderr
    assert "Tone" in result.stdout
    assert "Ann" in result.stdout
    for column in ("title", "passage", "fused", "content", "emotion", "valence", "arousal", "licence"):
        assert column in result.stdout


def test_a_repeated_request_prints_the_same_bytes_whether_the_cache_answers_or_not(
    library: Kinoscore, kinoscore: Kinoscore
) -> None:
    def answer(of: Kinoscore, *options: object) -> str:
        result = of("recommend", library.folder / "clip.mp4", "--json", *options)
        assert result.returncode == 0, result.stderr
        return result.stdout

    first = answer(library)
    assert answer(library) == first
    document = json.loads(first)
    assert [hit["rank"] for hit in document["hits"]] == [1, 2, 3]
    assert "timings" in json.loads(answer(library, "--timings"))
    # Without a server the command runs the whole stack itself, and nothing is cached yet.
    assert kinoscore("index", library.folder / "music").returncode == 0
    assert answer(kinoscore) == first


def test_the_preview_is_the_clip_with_the_best_passage_as_its_sound(
    library: Kinoscore, tmp_path: Path
) -> None:
    from kinoscore.media.decoding import probe

    preview = tmp_path / "preview.mp4"
    result = library("recommend", library.folder / "clip.mp4", "--preview", preview)
    assert result.returncode == 0, result.stderr
    written = probe(preview)
    assert written.has_video
    assert written.has_audio
    assert written.duration_seconds == pytest.approx(4.0, abs=0.5)


def test_indexing_again_changes_nothing_and_changed_metadata_is_updated_without_encoding(
    catalogue: Kinoscore, tmp_path: Path
) -> None:
    music = write_tracks(tmp_path / "music")
    assert "3 added" in catalogue("index", music).stderr
    assert "3 unchanged" in catalogue("index", music).stderr
    manifest = tmp_path / "tracks.csv"
    manifest.write_text("file,licence,attribution,tags\nmusic/tone1.ogg,CC-BY-4.0,By Ann,calm\n")
    result = catalogue("index", music, "--manifest", manifest)
    assert "1 updated, 2 unchanged" in result.stderr
    listed = json.loads(catalogue("tracks", "list", "--filter", 'licence = "CC-BY-4.0"', "--json").stdout)
    assert [(track["title"], track["tags"]) for track in listed] == [("Tone 1", ["calm"])]


def test_files_that_are_gone_are_pruned_and_renamed_ones_are_kept(
    catalogue: Kinoscore, tmp_path: Path
) -> None:
    music = write_tracks(tmp_path / "music")
    catalogue("index", music)
    (music / "tone0.ogg").unlink()
    (music / "tone1.ogg").rename(music / "renamed.ogg")
    result = catalogue("index", music, "--prune")
    assert result.returncode == 0, result.stderr
    assert "1 updated, 1 unchanged, 1 removed" in result.stderr
    listed = json.loads(catalogue("tracks", "list", "--json").stdout)
    assert sorted(Path(track["source_uri"]).name for track in listed) == ["renamed.ogg", "tone2.ogg"]


def test_the_same_sound_in_two_files_is_one_track_however_often_it_is_indexed(
    catalogue: Kinoscore, tmp_path: Path
) -> None:
    music = write_tracks(tmp_path / "music", pitches=(220.0,))
    (music / "copy.ogg").write_bytes((music / "tone0.ogg").read_bytes())
    assert "1 added, 1 duplicate" in catalogue("index", music).stderr
    assert "1 unchanged, 1 duplicate" in catalogue("index", music).stderr


def test_a_bad_file_is_told_and_passed_over(catalogue: Kinoscore, tmp_path: Path) -> None:
    music = write_tracks(tmp_path / "music", pitches=(220.0,))
    (music / "noise.mp3").write_bytes(bytes(range(256)) * 40)
    write_clip(tmp_path / "clip.mp4").rename(music / "silent.m4a")
    result = catalogue("index", music)
    assert result.returncode == 1
    assert "1 added, 2 failed" in result.stderr
    errors = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2
    assert "Traceback" not in result.stderr


def test_tracks_can_be_shown_and_removed(catalogue: Kinoscore, tmp_path: Path) -> None:
    catalogue("index", write_tracks(tmp_path / "music", pitches=(220.0,)))
    (track,) = json.loads(catalogue("tracks", "list", "--json").stdout)
    shown = catalogue("tracks", "show", track["track_id"])
    assert "Tone 0" in shown.stdout
    assert catalogue("tracks", "remove", track["track_id"]).returncode == 0
    gone = catalogue("tracks", "remove", track["track_id"])
    assert gone.returncode == 1
    assert "has no track" in gone.stderr


def test_catalogues_are_apart(catalogue: Kinoscore, library: Kinoscore) -> None:
    assert f"no tracks in the catalogue {catalogue.catalogue}" in catalogue("tracks", "list").stderr
    named = catalogue("tracks", "list", "--json", "--catalogue", library.catalogue)
    assert len(json.loads(named.stdout)) == 3


def bad_clips(folder: Path) -> dict[str, tuple[list[object], str]]:
    """For each bad input the arguments that show it, and a piece of the one line that it gets."""
    clip = write_clip(folder / "clip.mp4")
    whole = clip.read_bytes()
    (folder / "noise.mp4").write_bytes(np.random.default_rng(5).bytes(5000))
    (folder / "empty.mp4").write_bytes(b"")
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    write_audio(folder / "sound.ogg", tone(2.0, 220.0), RATE)
    return {
        "no file": ([folder / "nothing.mp4"], "no such file"),
        "empty": ([folder / "empty.mp4"], "no media"),
        "noise": ([folder / "noise.mp4"], "not a media file"),
        "cut before its index": ([folder / "cut.mp4"], "cut off"),
        "sound only": ([folder / "sound.ogg"], "no video stream"),
        "k of 0": ([clip, "-k", 0], "k must be 1 to 1000"),
        "k above 1000": ([clip, "-k", 1001], "k must be 1 to 1000"),
        "negative k": ([clip, "-k", -1], "k must be"),
        "filter with an unknown field": ([clip, "--filter", 'mood = "calm"'], "mood"),
        "filter that breaks off": ([clip, "--filter", "licence ="], "at character"),
        "catalogue that is none": ([clip, "--catalogue", "a/b"], "catalogue name"),
        "weights of 0": (
            [clip, "--fused-weight", 0, "--content-weight", 0, "--emotion-weight", 0],
            "at least one weight",
        ),
    }


def test_bad_input_gets_one_line_and_exit_status_1_and_the_next_request_is_unharmed(
    library: Kinoscore, tmp_path: Path
) -> None:
    for name, (arguments, complaint) in bad_clips(tmp_path).items():
        result = library("recommend", *arguments)
        lines = result.stderr.splitlines()
        assert result.returncode == 1, name
        assert len(lines) == 1, (name, lines)
        assert lines[0].startswith("error: "), name
        assert complaint in lines[0], (name, lines)
        assert result.stdout == "", name
    assert library("recommend", library.folder / "clip.mp4").returncode == 0


def test_a_missing_a_torn_and_a_foreign_model_repository_are_told(
    kinoscore: Kinoscore, tmp_path: Path
) -> None:
    torn = write_tiny_repository(tmp_path / "torn")
    next(torn.glob("fusion_*/1/model.onnx")).unlink()
    foreign = write_tiny_repository(tmp_path / "foreign")
    manifest = json.loads((foreign / "kinoscore.json").read_text())
    (foreign / "kinoscore.json").write_text(json.dumps({**manifest, "format": 99}))
    for repository, complaint in (
        (tmp_path / "none", "no complete model repository"),
        (torn, "fusion"),
        (foreign, "99"),
    ):
        result = replace(kinoscore, repository=repository)("tracks", "list")
        assert result.returncode == 1
        assert complaint in result.stderr
        assert len(result.stderr.splitlines()) == 1


def test_a_wrong_option_is_a_usage_error(library: Kinoscore) -> None:
    assert library("recommend", "--wrong").returncode == 2
    assert library("conduct").returncode == 2


def test_no_server_at_the_address_is_told(library: Kinoscore) -> None:
    result = library("recommend", library.folder / "clip.mp4", "--address", "127.0.0.1:1")
    assert result.returncode == 1
    assert "no kinoscore server answers at 127.0.0.1:1" in result.stderr


def test_commands_find_the_running_server_of_their_data_folder_and_it_drains_on_sigterm(
    kinoscore: Kinoscore,
) -> None:
    music = write_tracks(kinoscore.folder / "music")
    with kinoscore.server("up", "--port", 0) as (process, address):
        assert "3 added" in kinoscore("index", music).stderr
        with Client(address) as client:
            assert client.describe(timeout=10).track_count == 3
        second = kinoscore("up", "--port", 0)
        assert second.returncode == 1
        assert f"process {process.pid}" in second.stderr
        doctor = kinoscore("doctor")
        assert doctor.returncode == 0, doctor.stdout
        assert "3 tracks" in doctor.stdout
        process.send_signal(signal.SIGTERM)
        assert process.wait(LIMIT_SECONDS) == 0
    assert len(json.loads(kinoscore("tracks", "list", "--json").stdout)) == 3


def test_a_data_folder_that_another_command_owns_is_told(kinoscore: Kinoscore) -> None:
    from kinoscore.data_folder import DataFolder

    folder = DataFolder(kinoscore.folder / "data", purpose="index")
    try:
        result = kinoscore("tracks", "list")
    finally:
        folder.release()
    assert result.returncode == 1
    assert f"in use by `kinoscore index` (process {os.getpid()})" in result.stderr


def test_sigterm_while_indexing_finishes_what_is_in_flight_and_the_next_run_goes_on(
    catalogue: Kinoscore, tmp_path: Path
) -> None:
    count = 12
    music = write_tracks(tmp_path / "music", pitches=[200.0 + 10 * n for n in range(count)], seconds=40.0)
    name = catalogue.catalogue
    with Client(catalogue.address) as client:
        run = catalogue.start("index", music)
        while client.describe(catalogue=name, timeout=10).track_count == 0:
            assert run.poll() is None
        run.send_signal(signal.SIGTERM)
        _, said = run.communicate(timeout=LIMIT_SECONDS)
        assert run.returncode == 0, said
        stored = client.describe(catalogue=name, timeout=10).track_count
        assert f"{stored} added" in said
        for track in client.list_tracks(catalogue=name, timeout=10):
            assert len(client.get_track(track.track_id, catalogue=name, timeout=10).passages) > 1
        again = catalogue("index", music)
        assert again.returncode == 0, again.stderr
        assert client.describe(catalogue=name, timeout=10).track_count == count


def test_ctrl_c_is_quiet(catalogue: Kinoscore, tmp_path: Path) -> None:
    music = write_tracks(tmp_path / "music", pitches=[200.0 + 10 * n for n in range(8)], seconds=40.0)
    name = catalogue.catalogue
    with Client(catalogue.address) as client:
        run = catalogue.start("index", music)
        while client.describe(catalogue=name, timeout=10).track_count == 0:
            assert run.poll() is None
        run.send_signal(signal.SIGINT)
        _, said = run.communicate(timeout=LIMIT_SECONDS)
    assert run.returncode == 130
    assert said == ""


def test_services_in_processes_of_their_own_do_what_one_process_does(
    library: Kinoscore, tmp_path: Path
) -> None:
    own = Kinoscore(tmp_path, library.repository)
    vectors = tmp_path / "vectors"
    with (
        own.server("serve", "video", "--port", 0) as (_, video),
        own.server("serve", "music", "--port", 0) as (_, music),
        own.server("serve", "fusion", "--port", 0) as (_, fusion),
        own.server("serve", "ranking", "--port", 0, "--vectors", vectors) as (_, ranking),
        own.server(
            *("serve", "recommend", "--port", 0, "--video-address", video, "--music-address", music),
            *("--fusion-address", fusion, "--ranking-address", ranking),
        ) as (_, front_door),
    ):
        at = ("--address", front_door)
        indexed = own("index", library.folder / "music", *at)
        assert indexed.returncode == 0, indexed.stderr
        apart = own("recommend", library.folder / "clip.mp4", "--json", *at)
    together = library("recommend", library.folder / "clip.mp4", "--json")
    assert json.loads(apart.stdout) == json.loads(together.stdout)


def test_the_settings_of_a_service_are_listed_with_their_variables() -> None:
    shown = subprocess.run(
        command_line("serve", "ranking", "--help"), capture_output=True, text=True, check=True
    )
    for piece in ("--port", "KINOSCORE_PORT", "--vectors", "--cache", "default: memory:"):
        assert piece in shown.stdout


def test_limits_come_from_a_settings_file_and_a_wrong_file_is_told(
    library: Kinoscore, kinoscore: Kinoscore, tmp_path: Path
) -> None:
    settings = tmp_path / "kinoscore.toml"
    settings.write_text("max_upload_bytes = 1000\n")
    clip = library.folder / "clip.mp4"
    large = kinoscore("recommend", clip, KINOSCORE_SETTINGS=str(settings))
    assert large.returncode == 1
    assert "1000" in large.stderr
    settings.write_text("no_such_key = 1\n")
    wrong = kinoscore("recommend", clip, KINOSCORE_SETTINGS=str(settings))
    assert wrong.returncode == 1
    assert "unknown key 'no_such_key'" in wrong.stderr


def test_the_demo_shows_everything_once_and_again_takes_what_is_there(kinoscore: Kinoscore) -> None:
    preview = kinoscore.folder / "preview.mp4"
    first = kinoscore("demo", "--preview", preview, "-k", 2)
    assert first.returncode == 0, first.stderr
    assert "12 added" in first.stderr
    for clip in ("joyful-carnival.mp4", "sad-vigil.mp4"):
        assert clip in first.stdout
    assert preview.stat().st_size > 10_000
    again = kinoscore("demo", "--json")
    assert "12 unchanged" in again.stderr
    assert {len(answer["hits"]) for answer in json.loads(again.stdout).values()} == {5}


def test_the_version_is_printed() -> None:
    import kinoscore as package

    shown = subprocess.run(command_line("--version"), capture_output=True, text=True, check=True)
    assert package.__version__ in shown.stdout
