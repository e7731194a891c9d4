"""The filters between a live stream and a demuxer: on bytes made by hand, and on real streams."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.media_files import noise_frames
from support.streams import FORMS, cut, write_stream

from kinoscore.errors import InvalidMedia
from kinoscore.media.box_filter import BoxFilter
from kinoscore.media.stream_filters import FormFinder, InitialisationFinder, StreamFilter, filter_of
from kinoscore.media.stream_forms import StreamForm, begins, find_beginning

NAMES = {
    "mp4": StreamForm.MP4,
    "mpegts": StreamForm.MPEG_TS,
    "webm": StreamForm.MATROSKA,
    "h264": StreamForm.H264,
}
PLACES = st.lists(st.floats(0, 1), max_size=30)


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("streams")
    return {form: write_stream(folder, form, noise_frames(40), group=10).read_bytes() for form in FORMS}


def box(kind: bytes, contents: bytes = b"") -> bytes:
    return (8 + len(contents)).to_bytes(4) + kind + contents


def header(base: int | None) -> bytes:
    """The header of a fragment's track, with the place of its data in the file where it names one."""
    flags, place = (0, b"") if base is None else (1, base.to_bytes(8))
    return box(b"tfhd", flags.to_bytes(4) + (1).to_bytes(4) + place)


def fragment(base: int | None = None, size: int = 50) -> bytes:
    moof = box(b"moof", box(b"mfhd", bytes(8)) + box(b"traf", header(base)))
    return moof + box(b"mdat", bytes(range(size)))


BEGINNING = box(b"ftyp", b"iso5\0\0\0\0") + box(b"moov", box(b"mvhd", bytes(20)) + box(b"mvex"))


def passed(given: StreamFilter, pieces: list[bytes]) -> bytes:
    return b"".join(given.push(piece) for piece in pieces)


@given(
    boxes=st.lists(
        st.sampled_from([b"styp", b"free", b"sidx", b"prft", b"emsg", b"mfra", b"fragment"]), max_size=12
    ),
    sizes=st.lists(st.integers(0, 255), min_size=12, max_size=12),
    places=PLACES,
)
def test_whole_boxes_pass_whatever_the_cuts_and_others_keep_their_place(
    boxes: list[bytes], sizes: list[int], places: list[float]
) -> None:
    data = BEGINNING
    expected = BEGINNING
    for kind, size in zip(boxes, sizes, strict=False):
        one = fragment(size=size) if kind == b"fragment" else box(kind, bytes(size))
        data += one
        is_passed = kind in (b"styp", b"free", b"fragment")
        expected += one if is_passed else one[:4] + b"free" + one[8:]
    tested = BoxFilter()
    assert passed(tested, cut(data, places)) == expected
    assert (tested.initialisation, tested.damaged, tested.is_renewed) == (BEGINNING, 0, False)


@given(
    seed=st.integers(0, 1000),
    size=st.integers(16, 5000),
    places=PLACES,
)
def test_garbage_between_fragments_is_passed_over_and_counted(
    seed: int, size: int, places: list[float]
) -> None:
    garbage = random.Random(seed).randbytes(size)
    tested = BoxFilter()
    given = passed(tested, cut(BEGINNING + fragment() + garbage + fragment() + fragment(), places))
    assert given.startswith(BEGINNING + fragment())
    assert given.endswith(fragment())
    assert tested.damaged == 1


@given(st.binary(max_size=3000), PLACES)
def test_no_bytes_make_a_filter_fail_or_give_more_than_it_took(data: bytes, places: list[float]) -> None:
    for form in StreamForm:
        tested = filter_of(form)
        try:
            given = passed(tested, cut(data, places)) + tested.restart() + passed(tested, cut(data, places))
        except InvalidMedia:
            continue
        assert len(given) <= 3 * len(data)


def test_a_new_demuxer_begins_with_the_initialisation_and_the_next_fragment() -> None:
    tested = BoxFilter()
    tested.push(BEGINNING + fragment()[:-20])
    assert tested.restart() == BEGINNING
    assert tested.push(fragment()[-20:] + fragment()) == fragment()
    assert tested.damaged == 0


def test_a_fragment_that_names_its_place_in_the_file_is_given_with_the_new_one() -> None:
    tested = BoxFilter()
    start = len(BEGINNING)
    assert tested.push(BEGINNING + fragment(start)) == BEGINNING + fragment(start)
    lost = 1000
    # It counts from a place that is no more: that of the fragment itself is meant.
    moved = tested.push(bytes([1]) * 40 + fragment(start + len(fragment(start)) + lost))
    assert moved == fragment(start + len(fragment(start)))


def test_the_same_index_again_is_no_new_stream_and_another_one_is() -> None:
    tested = BoxFilter()
    tested.push(BEGINNING + fragment())
    again = tested.push(BEGINNING + fragment())
    assert (again[4:8], again.endswith(fragment()), tested.is_renewed) == (b"free", True, False)
    other = box(b"ftyp", b"iso6\0\0\0\0") + box(b"moov", box(b"mvhd", bytes(24)) + box(b"mvex"))
    tested.push(other + fragment())
    assert tested.is_renewed
    assert tested.restart() + tested.push(b"") == other + fragment()
    assert tested.initialisation == other


def test_an_index_after_the_data_is_refused_with_the_remedy() -> None:
    with pytest.raises(InvalidMedia, match=r"frag_keyframe\+empty_moov"):
        BoxFilter().push(box(b"ftyp", b"isom") + box(b"mdat", bytes(100)))


def test_an_index_that_is_too_large_is_refused() -> None:
    with pytest.raises(InvalidMedia, match="larger than 4 MiB"):
        BoxFilter().push(box(b"ftyp", b"isom") + (5 << 20).to_bytes(4) + b"moov")


@pytest.mark.parametrize("form", FORMS)
def test_the_form_of_a_stream_is_told_by_its_beginning(streams: dict[str, bytes], form: str) -> None:
    assert begins(streams[form]) is NAMES[form]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no media " * 500,
        b"#EXTM3U\n" * 500,
        b"ffconcat version 1.0\nfile /etc/passwd\n" * 50,
        b"<?xml version='1.0'?><MPD>" * 100,
        b"RIFF\0\0\0\0AVI " + bytes(3000),
        b"\0\0\0\1\x40\1" + bytes(3000),
        random.Random(1).randbytes(5000),
    ],
    ids=["nothing", "text", "HLS", "concat", "DASH", "AVI", "HEVC", "noise"],
)
def test_other_bytes_are_of_no_form(data: bytes) -> None:
    assert begins(data) is None
    assert find_beginning(data, is_all=True) is None


@pytest.mark.parametrize("lead", [0, 700, 3000])
def test_packets_that_hold_h264_are_not_taken_for_it_before_there_are_enough(
    streams: dict[str, bytes], lead: int
) -> None:
    data = bytes(lead) + streams["mpegts"]
    for cut_at in range(lead + 12, lead + 2000, 7):
        finder = FormFinder(anywhere=True)
        found = finder.push(data[:cut_at]) or finder.push(data[cut_at:])
        assert found is not None
        assert found[0] is StreamForm.MPEG_TS


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(places=PLACES, seed=st.integers(0, 1000), size=st.integers(0, 5000))
def test_a_stream_is_found_behind_the_rest_of_another(
    streams: dict[str, bytes], form: str, places: list[float], seed: int, size: int
) -> None:
    lead = random.Random(seed).randbytes(size)
    finder = FormFinder(anywhere=True)
    found = None
    given = b""
    for piece in cut(lead + streams[form], places):
        if found is None:
            found = finder.push(piece)
            given = found[1] if found else b""
        else:
            given += piece
    assert found is not None
    assert found[0] is NAMES[form]
    assert streams[form].endswith(given) or given.endswith(streams[form])


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=20)
@given(places=PLACES)
def test_cuts_make_no_difference_to_what_passes(
    streams: dict[str, bytes], form: str, places: list[float]
) -> None:
    data = streams[form]
    whole, pieces = filter_of(NAMES[form]), filter_of(NAMES[form])
    assert passed(pieces, cut(data, places)) == whole.push(data)
    assert pieces.initialisation == whole.initialisation
    assert pieces.damaged == 0
    finder = InitialisationFinder(anywhere=False)
    for piece in cut(data, places):
        finder.push(piece)
    assert finder.initialisation == whole.initialisation


@pytest.mark.parametrize("form", ["mp4", "mpegts", "webm"])
@settings(max_examples=20, derandomize=True)
@given(start=st.floats(0.3, 0.6), length=st.integers(300, 2500), places=PLACES)
def test_what_is_missing_in_the_middle_is_counted(
    streams: dict[str, bytes], form: str, start: float, length: int, places: list[float]
) -> None:
    data = streams[form]
    begin = round(start * len(data))
    end = begin + length
    tested = filter_of(NAMES[form])
    passed(tested, cut(data[:begin] + data[end:], places))
    assert tested.damaged > 0


@given(missing=st.integers(1, 7), places=PLACES)
def test_pictures_that_are_missing_in_a_group_are_counted(
    streams: dict[str, bytes], missing: int, places: list[float]
) -> None:
    units = [b"\0\0\1" + unit for unit in streams["h264"].split(b"\0\0\1")[1:]]
    # Those that others refer to, of the second group of pictures.
    second = [number for number, unit in enumerate(units) if unit[3] & 0x1F == 5][1]
    referred = [number for number in range(second + 1, second + 9) if units[number][3] >> 5]
    del units[referred[missing % (len(referred) - 1)]]
    tested = filter_of(StreamForm.H264)
    passed(tested, cut(b"".join(units), places))
    assert tested.damaged > 0


def test_what_is_no_stream_is_not_remembered() -> None:
    finder = InitialisationFinder(anywhere=False)
    finder.push(b"no media " * 1000)
    finder.push(b"no media " * 1000)
    assert finder.initialisation == b""


def test_a_stream_without_any_beginning_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinoscore.media.stream_filters.LARGEST_LEAD", 1 << 20)
    finder = FormFinder(anywhere=True)
    assert finder.push(bytes(1 << 19)) is None
    with pytest.raises(InvalidMedia, match="needs its initialisation segment"):
        finder.push(bytes(1 << 20))


def test_the_initialisation_is_all_that_comes_before_the_pictures(streams: dict[str, bytes]) -> None:
    for form, mark in (("mp4", b"moof"), ("webm", b"\x1f\x43\xb6\x75"), ("h264", b"\0\0\1\x65")):
        finder = InitialisationFinder(anywhere=False)
        finder.push(streams[form])
        expected = streams[form][: streams[form].index(mark)]
        assert expected.startswith(finder.initialisation)
        assert len(expected) - len(finder.initialisation) <= 4
