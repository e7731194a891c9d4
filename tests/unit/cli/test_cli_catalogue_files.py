from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.cli.catalogue_files import (
    Description,
    find_audio_files,
    local_path,
    read_manifest,
    within,
)
from kinoscore.errors import InvalidRequest, NotFound


def make_files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"sound")


def test_audio_files_are_found_under_folders_in_order_and_once(tmp_path: Path) -> None:
    make_files(tmp_path, "b.ogg", "a/Song.MP3", "notes.txt", ".hidden/c.wav", ".d.flac")
    found = find_audio_files([tmp_path, tmp_path / "b.ogg"])
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["a/Song.MP3", "b.ogg"]


def test_a_named_file_is_taken_whatever_its_suffix(tmp_path: Path) -> None:
    make_files(tmp_path, "take.aiff")
    assert find_audio_files([tmp_path / "take.aiff"]) == [tmp_path / "take.aiff"]


def test_a_folder_below_a_hidden_one_is_searched_when_it_is_named(tmp_path: Path) -> None:
    make_files(tmp_path, ".music/a.ogg")
    assert find_audio_files([tmp_path / ".music"]) == [tmp_path / ".music" / "a.ogg"]


def test_a_path_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="nowhere: no such file or folder"):
        find_audio_files([tmp_path / "nowhere"])


def test_a_manifest_describes_files_beside_it_and_in_the_given_folders(tmp_path: Path) -> None:
    make_files(tmp_path, "lists/near.ogg", "music/far.ogg")
    manifest = tmp_path / "lists" / "tracks.csv"
    manifest.write_text(
        "file,title,artist,licence,attribution,tags,tempo\n"
        'near.ogg,Near,Ann,CC0-1.0,"Near, by Ann",calm; slow;calm,60\n'
        "far.ogg,Far,,,,,\n",
        encoding="utf-8",
    )
    described = read_manifest(manifest, [tmp_path / "music"])
    assert described.describe(tmp_path / "lists" / "near.ogg") == Description(
        "Near", "Ann", "CC0-1.0", "Near, by Ann", ("calm", "slow"), 60.0
    )
    assert described.describe(tmp_path / "music" / "far.ogg") == Description(title="Far")
    assert described.describe(tmp_path / "other.ogg") == Description()
    assert described.notes == ()


def test_license_and_author_are_taken_for_licence_and_artist(tmp_path: Path) -> None:
    make_files(tmp_path, "a.ogg")
    manifest = tmp_path / "tracks.csv"
    manifest.write_text("file,license,author,Artist\na.ogg,MIT,Ben,Ann\n", encoding="utf-8")
    described = read_manifest(manifest, [])
    assert described.describe(tmp_path / "a.ogg") == Description(licence="MIT", artist="Ann")


def test_unknown_columns_and_missing_files_give_one_note_each(tmp_path: Path) -> None:
    make_files(tmp_path, "a.ogg")
    manifest = tmp_path / "tracks.csv"
    manifest.write_text("file,mood,year\na.ogg,x,1999\nb.ogg,y,2000\nc.ogg,z,2001\n", encoding="utf-8")
    assert read_manifest(manifest, []).notes == (
        "tracks.csv: columns that mean nothing to kinoscore: mood, year",
        "tracks.csv: 2 of its files do not exist, the first is b.ogg",
    )


def test_a_row_shorter_than_the_header_leaves_the_rest_open(tmp_path: Path) -> None:
    make_files(tmp_path, "a.ogg")
    manifest = tmp_path / "tracks.csv"
    manifest.write_text("file,title,tempo\na.ogg\n", encoding="utf-8")
    assert read_manifest(manifest, []).describe(tmp_path / "a.ogg") == Description()


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"title,artist\nA,B\n", "no column `file`"),
        (b"", "no column `file`"),
        (b"file,tempo\na.ogg,fast\n", "line 2: the tempo must be in beats a minute, not 'fast'"),
        (b"file,tempo\na.ogg,nan\n", "line 2: the tempo"),
        (b"file,title\na.ogg,\xff\xfe\n", "not a manifest that can be read"),
        (b'file,title\na.ogg,"open\n', "not a manifest that can be read"),
    ],
)
def test_what_is_no_manifest_is_refused_in_one_line(tmp_path: Path, content: bytes, complaint: str) -> None:
    make_files(tmp_path, "a.ogg")
    manifest = tmp_path / "tracks.csv"
    manifest.write_bytes(content)
    with pytest.raises(InvalidRequest, match=complaint) as refusal:
        read_manifest(manifest, [])
    assert "\n" not in str(refusal.value)


def test_a_manifest_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"tracks\.csv: no such file"):
        read_manifest(tmp_path / "tracks.csv", [])


def test_a_description_fills_its_gaps_from_another() -> None:
    manifest = Description(title="Right", tags=("calm",))
    own = Description(title="wrong", artist="Ann", tags=("loud",), tempo=90.0)
    assert manifest.or_else(own) == Description(title="Right", artist="Ann", tags=("calm",), tempo=90.0)


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=20))
def test_a_file_uri_leads_back_to_its_path(name: str) -> None:
    path = Path("/music") / name
    assert local_path(path.as_uri()) == path


@pytest.mark.parametrize("uri", ["", "http://host/a.ogg", "s3://bucket/a.ogg", "file://elsewhere/a.ogg"])
def test_what_is_not_on_this_machine_has_no_path(uri: str) -> None:
    assert local_path(uri) is None


def test_a_place_holds_itself_and_what_lies_under_it() -> None:
    places = [Path("/music"), Path("/songs/a.ogg")]
    assert within(Path("/music/b/c.ogg"), places)
    assert within(Path("/songs/a.ogg"), places)
    assert not within(Path("/musical/b.ogg"), places)
    assert not within(Path("/songs/b.ogg"), places)
