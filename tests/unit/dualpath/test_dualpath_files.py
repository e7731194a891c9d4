"""A user's own media files as training pairs: what is read, which passage is chosen, what is refused."""

import csv
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from support.media_files import grey_frames, grey_numbers, sine, write_clip, write_sound

from dualpath.config import MusicNumbers, NetworkConfig, VideoNumbers
from dualpath.data import media_facts
from dualpath.data.cache import open_cache
from dualpath.data.emotion import check_emotion
from dualpath.data.files import choose_spans, read_files, split_of
from dualpath.data.listing import ListedPair, read_listing
from dualpath.data.reading import read_clip, read_passage
from dualpath.data.sources import open_pairs
from kinoscore.errors import InvalidMedia, InvalidRequest, KinoscoreError, NotFound

Rows = Sequence[dict[str, object]]
VIDEO, MUSIC = VideoNumbers(), MusicNumbers()


@pytest.fixture
def listing(tmp_path: Path) -> Callable[..., Path]:
    """A CSV with four pairs of small files, v0.mp4 with m0.wav and so on; `rows` replaces its rows."""
    for number in range(4):
        sound = sine(1.0, frequency=200.0 + 10 * number)
        write_clip(tmp_path / f"v{number}.mp4", grey_frames(4 + number), rate=4, sound=sound)
        write_sound(tmp_path / f"m{number}.wav", sine(2.0, frequency=300.0 + 10 * number))

    def make(rows: Rows | None = None) -> Path:
        path = tmp_path / "pairs.csv"
        rows = rows or [{"video": f"v{number}.mp4", "music": f"m{number}.wav"} for number in range(4)]
        with path.open("w", newline="") as lines:
            writer = csv.DictWriter(lines, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
        return path

    return make


def _refused(data: Path) -> str:
    with pytest.raises(KinoscoreError) as caught:
        read_files(data, data.parent / "cache")
    message = str(caught.value)
    assert "\n" not in message
    return message


# What is read


def test_a_csv_gives_pairs_relative_to_itself(listing, tmp_path: Path) -> None:
    pairs = read_files(listing(), tmp_path / "cache")
    assert pairs.index.videos[1] == tmp_path / "v1.mp4"
    assert pairs.index.tracks[1] == tmp_path / "m1.wav"
    assert not pairs.index.known_emotion.any()


def test_no_music_means_the_sound_of_the_video(listing, tmp_path: Path) -> None:
    index = read_files(listing([{"video": "v0.mp4", "music": ""}]), tmp_path / "cache").index
    arrays = open_cache(tmp_path / "cache" / "train", index, NetworkConfig())
    assert index.tracks == index.videos
    assert arrays.loudness[0, 0] > -20


def test_no_column_of_music_means_the_sound_of_every_video(listing, tmp_path: Path) -> None:
    pairs = read_files(
        listing([{"video": "v0.mp4", "music_start": ""}, {"video": "v1.mp4"}]), tmp_path / "cache"
    )
    assert pairs.index.tracks == pairs.index.videos
    assert "its own sound" in pairs.notes[0]


def test_a_folder_pairs_files_of_equal_names(listing, tmp_path: Path) -> None:
    listing()
    for side, ending in (("videos", "v0.mp4"), ("music", "m0.wav")):
        (tmp_path / "own" / side).mkdir(parents=True)
        shutil.copy(tmp_path / ending, tmp_path / "own" / side / f"rain{Path(ending).suffix}")
    pairs, _ = read_listing(tmp_path / "own")
    assert [pair.name for pair in pairs] == ["videos/rain.mp4+music/rain.wav"]
    shutil.copy(tmp_path / "v1.mp4", tmp_path / "own" / "videos" / "sun.mp4")
    assert "sun.mp4" in _refused(tmp_path / "own")


def test_a_folder_without_music_takes_the_sound_of_the_videos(listing, tmp_path: Path) -> None:
    listing()
    (tmp_path / "own" / "videos").mkdir(parents=True)
    shutil.copy(tmp_path / "v0.mp4", tmp_path / "own" / "videos")
    (pair,) = read_listing(tmp_path / "own")[0]
    assert pair.music == pair.video


def test_emotions_come_as_names_or_numbers_or_not_at_all(listing, tmp_path: Path) -> None:
    names = ("Tense", "joyful", "", "")
    rows = [
        {"video": f"v{number}.mp4", "music": f"m{number}.wav", "emotion": name, "valence": "", "arousal": ""}
        for number, name in enumerate(names)
    ]
    rows[1] |= {"valence": 0.9, "arousal": -0.1}
    index = read_files(listing(rows), tmp_path / "cache").index
    assert index.known_emotion.tolist() == [True, True, False, False]
    np.testing.assert_allclose(index.valence_arousal[:2], [[-0.5, 0.5], [0.9, -0.1]])
    assert index.valence_centre == pytest.approx(0.2)
    assert "2 of 4" in check_emotion(index, distinguish=True)


def test_columns_without_a_meaning_are_told(listing, tmp_path: Path) -> None:
    pairs = read_files(
        listing([{"video": "v0.mp4", "music": "m0.wav", "emotoin": "sad"}]), tmp_path / "cache"
    )
    assert "emotoin" in pairs.notes[0]


def test_every_file_is_read_once(listing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    probe = media_facts.probe
    monkeypatch.setattr(media_facts, "probe", lambda file: read.append(file) or probe(file))

    def stop_after_three(done: int, total: int) -> None:
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_files(listing(), tmp_path / "cache", progress=stop_after_three)
    kept = len((tmp_path / "cache" / "files.jsonl").read_text().splitlines())
    read.clear()
    read_files(listing(), tmp_path / "cache")
    assert (kept, len(read)) == (3, 5)


# Splits and items


def test_splits_without_a_column_follow_the_content(listing, tmp_path: Path) -> None:
    pairs = read_files(listing(), tmp_path / "cache")
    assert pairs.splits == tuple(split_of(digest) for digest in pairs.index.video_digests)
    assert "digest" in pairs.notes[0]
    for row in range(4):
        (tmp_path / f"v{row}.mp4").rename(tmp_path / f"w{row}.mp4")
    renamed = [{"video": f"w{row}.mp4", "music": f"m{row}.wav"} for row in reversed(range(4))]
    assert read_files(listing(renamed), tmp_path / "cache").splits == pairs.splits[::-1]


def test_of_ten_contents_eight_are_for_training() -> None:
    counts = [split_of(f"{number:08x}") for number in range(1000)]
    assert [counts.count(split) for split in ("train", "validation", "test")] == [800, 100, 100]


def test_pairs_that_share_a_track_are_in_one_split(listing, tmp_path: Path) -> None:
    rows = [{"video": f"v{number}.mp4", "music": "m0.wav"} for number in range(4)]
    assert len(set(read_files(listing(rows), tmp_path / "cache").splits)) == 1


def test_one_content_under_two_names_is_one_item(listing, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "m0.wav", tmp_path / "again.wav")
    rows = [
        {"video": "v0.mp4", "music": "m0.wav"},
        {"video": "v1.mp4", "music": "again.wav"},
        {"video": "v2.mp4", "music": "m2.wav"},
    ]
    index = read_files(listing(rows), tmp_path / "cache").index
    (tracks,) = index.items(np.arange(3))
    assert tracks[0] == tracks[1] != tracks[2]


def test_one_content_in_two_splits_is_refused(listing, tmp_path: Path) -> None:
    shutil.copy(tmp_path / "m0.wav", tmp_path / "again.wav")
    rows = [
        {"video": "v0.mp4", "music": "m0.wav", "split": "train"},
        {"video": "v1.mp4", "music": "again.wav", "split": "test"},
    ]
    message = _refused(listing(rows))
    assert "m0.wav in train" in message
    assert "again.wav in test" in message


# Which part of a file


def _pair(own_sound: bool = False, **starts: float) -> ListedPair:
    video = Path("v.mp4")
    return ListedPair("v", video, video if own_sound else Path("m.wav"), **starts)


@pytest.mark.parametrize(
    ("pair", "seconds", "spans"),
    [
        (_pair(own_sound=True), (60.0, 60.0), (24.0, 24.0)),
        (_pair(), (60.0, 60.3), (24.0, 24.0)),
        (_pair(), (60.0, 180.0), (24.0, 84.0)),
        (_pair(), (6.0, 180.0), (0.0, 84.0)),
        (_pair(), (6.0, 7.0), (0.0, 0.0)),
        (_pair(music_start=30.0), (60.0, 180.0), (24.0, 54.0)),
        (_pair(video_start=3.2, music_start=30.0), (60.0, 180.0), (3.0, 33.0)),
    ],
)
def test_the_passage_that_goes_with_a_clip(
    pair: ListedPair, seconds: tuple[float, float], spans: tuple[float, float]
) -> None:
    assert choose_spans(pair, *seconds, VIDEO) == pytest.approx(spans)


def test_only_the_window_of_a_long_video_is_read(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "long.mp4", grey_frames(60), rate=2)
    assert grey_numbers(read_clip(clip, VIDEO, 10.0)) == list(range(20, 44))
    assert grey_numbers(read_clip(clip, VIDEO, 25.0)) == list(range(50, 60))


def test_only_the_passage_of_a_long_track_is_read(tmp_path: Path) -> None:
    samples = np.linspace(-0.5, 0.5, 40 * MUSIC.sample_rate).astype(np.float32)
    track = write_sound(tmp_path / "long.wav", samples)
    first = round(20.5 * MUSIC.sample_rate)
    passage = read_passage(track, MUSIC, 20.5)
    np.testing.assert_allclose(passage, samples[first : first + 4 * MUSIC.window_samples], atol=1e-4)


# What is refused


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"video": "v9.mp4"}, "v9.mp4"),
        ({"music": "none.wav"}, "none.wav"),
        ({"emotion": "hapy"}, "did you mean 'happy'"),
        ({"split": "training"}, "training"),
        ({"valence": "2", "arousal": "0"}, "valence is a number, -1 to 1"),
        ({"valence": "0.5"}, "one of"),
        ({"music_start": "100"}, "music_start"),
        ({"video_start": "-1"}, "video_start is a number, 0 or more"),
        ({"video": ""}, "row 2 names no video"),
    ],
)
def test_a_bad_row_is_named(listing, change: dict[str, str], words: str) -> None:
    row = {"video": "v0.mp4", "music": "m0.wav", "split": "train", **change}
    assert words in _refused(listing([row]))


def test_a_missing_or_misspelt_column_is_named(listing) -> None:
    assert "no column 'video' but clip, music" in _refused(listing([{"clip": "v0.mp4", "music": "m0.wav"}]))
    assert "no column 'music' but 'musik'" in _refused(listing([{"video": "v0.mp4", "musik": "m0.wav"}]))


def test_missing_files_are_all_named(listing) -> None:
    rows = [{"video": f"no{number}.mp4", "music": "m0.wav"} for number in range(7)]
    message = _refused(listing(rows))
    assert all(f"no{number}.mp4" in message for number in range(5))
    assert "and 2 more" in message


def test_a_pair_in_two_splits_is_refused(listing) -> None:
    rows = [{"video": "v0.mp4", "music": "m0.wav", "split": split} for split in ("train", "val")]
    assert "listed in train and validation" in _refused(listing(rows))
    assert "listed twice" in _refused(listing([rows[0], rows[0]]))


def test_a_split_in_some_rows_only_is_refused(listing) -> None:
    rows = [
        {"video": f"v{row}.mp4", "music": f"m{row}.wav", "split": split}
        for row, split in ((0, "train"), (1, ""))
    ]
    assert "row 3 has no split" in _refused(listing(rows))


def test_unreadable_media_is_named(listing, tmp_path: Path) -> None:
    data = listing([{"video": "v0.mp4", "music": "m0.wav"}, {"video": "bad.mp4", "music": "v1.mp4"}])
    (tmp_path / "bad.mp4").write_bytes(b"no media")
    assert "bad.mp4" in _refused(data)


def test_a_video_without_pictures_and_music_without_sound_are_refused(listing, tmp_path: Path) -> None:
    write_clip(tmp_path / "mute.mp4", grey_frames(4), rate=4)
    assert "m1.wav (no video stream)" in _refused(listing([{"video": "m1.wav", "music": "m0.wav"}]))
    assert "mute.mp4 (no sound)" in _refused(listing([{"video": "mute.mp4", "music": ""}]))


def test_a_file_that_fails_while_it_is_decoded_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no media")
    with pytest.raises(InvalidMedia, match=r"bad\.mp4"):
        read_clip(tmp_path / "bad.mp4", VIDEO)
    with pytest.raises(NotFound, match=r"none\.wav"):
        read_passage(tmp_path / "none.wav", MUSIC)


def test_data_is_known_by_what_each_split_holds(listing, tmp_path: Path) -> None:
    rows = [
        {"video": f"v{row}.mp4", "music": f"m{row}.wav", "split": ("train", "test")[row // 2]}
        for row in range(4)
    ]
    first = open_pairs(listing(rows), ("train",)).digests
    assert list(first) == ["train", "test"]
    (tmp_path / "v0.mp4").rename(tmp_path / "renamed.mp4")
    rows[0]["video"] = "renamed.mp4"
    assert open_pairs(listing(rows), ("train",)).digests == first
    rows[0]["music"] = "v0.mp4"
    shutil.copy(tmp_path / "renamed.mp4", tmp_path / "v0.mp4")
    changed = open_pairs(listing(rows), ("train",)).digests
    assert changed["test"] == first["test"]
    assert changed["train"] != first["train"]


def test_a_split_of_less_than_two_pairs_is_refused(listing) -> None:
    rows = [{"video": f"v{row}.mp4", "music": f"m{row}.wav", "split": "train"} for row in range(3)]
    with pytest.raises(InvalidRequest, match="0 pairs for validation"):
        open_pairs(listing(rows), ("train", "validation"))


def test_a_single_emotion_class_is_refused_where_the_loss_needs_two(made_up_split) -> None:
    index = made_up_split(4).index
    index.valence_arousal[:] = 0.5
    with pytest.raises(InvalidRequest, match="--no-distinguish"):
        check_emotion(index, distinguish=True)
    assert check_emotion(index, distinguish=False) == ""


def test_no_emotion_at_all_is_told(made_up_split) -> None:
    index = made_up_split(4).index
    index.valence_arousal[:] = np.nan
    assert "no training pair has an emotion" in check_emotion(index, distinguish=True)


def test_data_that_is_nothing_known_says_what_would_be(tmp_path: Path) -> None:
    for data in (tmp_path, tmp_path / "typo.csv"):
        with pytest.raises(NotFound, match="no CSV, no folder with"):
            open_pairs(data, ("train",))
