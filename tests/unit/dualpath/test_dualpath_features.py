"""Readers of paired features: the layouts, and what is refused. All folders are made up here."""

import csv
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dualpath.data.features.emomv import read_emomv, source_groups
from dualpath.data.features.mgsv import read_mgsv
from dualpath.data.features.muvisync import TOKENS, read_muvisync
from dualpath.data.features.pairs import FeaturePairs, LabelledMusic, check_pairs
from dualpath.data.features.prepare import fit_preparation
from kinoscore.errors import InvalidRequest, NotFound

Rows = list[dict[str, object]]


def _write_csv(path: Path, rows: Rows) -> None:
    with path.open("w", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture
def mgsv(tmp_path: Path) -> Callable[..., Path]:
    """A small folder in the layout of MGSV-EC."""

    def make(splits: dict[str, list[tuple[str, str]]] | None = None) -> Path:
        random = np.random.default_rng(0)
        for name, width in (("vit_feature1", 6), ("ast_feature2p5", 5)):
            (tmp_path / name).mkdir()
            for number in range(4):
                steps = random.normal(size=(10 + number, width)).astype(np.float32)
                letter = "v" if name.startswith("vit") else "m"
                np.save(tmp_path / name / f"{letter}{number}.npy", steps)
        for split, pairs in (
            splits or {"train": [("v0", "m0"), ("v1", "m0")], "val": [("v2", "m2")]}
        ).items():
            rows: Rows = [
                {"video_id": video, "music_id": music, "music_start": 2.5, "music_end": 12.5}
                for video, music in pairs
            ]
            _write_csv(tmp_path / f"{split}_data.csv", rows)
        return tmp_path

    return make


@pytest.fixture
def muvisync(tmp_path: Path) -> Path:
    """Five items of unequal length; the second is one that is left out."""
    random = np.random.default_rng(1)
    (tmp_path / "emotion6_names.json").write_text(json.dumps(["exciting", "fearful", "sad"]))
    (tmp_path / "chord_attr.json").write_text(json.dumps({"N": 0, "maj": 1, "min": 2}))
    lengths = [("001", 60), ("712", 40), ("003", 81), ("004", 32), ("005", 300)]
    _write_csv(
        tmp_path / "train.csv",
        [{"id": name, "seconds": seconds, "key": "C# minor"} for name, seconds in lengths],
    )
    coarse, fine = sum(seconds // 2 for _, seconds in lengths), sum(seconds for _, seconds in lengths)
    np.savez(
        tmp_path / "train.npz",
        clip_l14=random.normal(size=(coarse, 768)).astype(np.float16),
        emotion6=random.random((coarse, 3)).astype(np.float16),
        motion=random.random(coarse),
        scene_offset=random.integers(0, 9, fine),
        loudness=random.random(fine),
        note_density=random.random(fine),
        chord_root=random.integers(0, 13, fine),
        chord_attr=random.integers(-1, 3, fine),
    )
    return tmp_path


@pytest.fixture
def emomv(tmp_path: Path) -> Path:
    """One set with both modalities and one of music alone."""
    random = np.random.default_rng(2)
    rows: Rows = [
        {"row": 0, "name": "aaa_01", "match": 1, "video_emotion": "Sad", "music_emotion": "Sad"},
        {"row": 1, "name": "bbb_02", "match": 1, "video_emotion": "relax", "music_emotion": "relax"},
        {"row": 2, "name": "aaa_03_PAIR_ccc_01", "match": 0, "video_emotion": "sad", "music_emotion": "fear"},
    ]
    for name in ("C_train", "A_train_audio_only"):
        _write_csv(tmp_path / f"{name}.csv", rows)
    vggish = random.random((3, 128)).astype(np.float32)
    np.savez(tmp_path / "C_train.npz", vggish=vggish, slowfast=random.random((3, 2304)).astype(np.float16))
    np.savez(tmp_path / "A_train_audio_only.npz", vggish=vggish + 1)
    return tmp_path


def test_items_of_any_length_have_the_same_number_of_tokens(muvisync: Path) -> None:
    pairs = read_muvisync(muvisync)
    assert pairs.identifiers == ("001", "003", "004", "005")
    assert pairs.video.shape == (4, TOKENS, 768 + 1 + 3 + 4)
    assert pairs.music.shape[:2] == (4, TOKENS)
    assert read_muvisync(muvisync, trim=2).video.shape[1] == TOKENS - 4


def test_a_token_says_nothing_of_the_length_of_its_item(muvisync: Path) -> None:
    # The spread within a window depends on how many samples it holds: that number must be the same.
    archive = dict(np.load(muvisync / "train.npz"))
    archive["loudness"] = np.tile([0.0, 1.0], len(archive["loudness"]) // 2 + 1)[: len(archive["loudness"])]
    np.savez(muvisync / "train.npz", **archive)
    spread = read_muvisync(muvisync).music[:, :, 4]
    np.testing.assert_allclose(spread, 0.5, atol=1e-6)


def test_passages_are_consecutive_and_those_of_a_track_are_one_group(muvisync: Path) -> None:
    pairs = read_muvisync(muvisync, passage_seconds=16)
    # 60, 81, 32 and 300 s hold 3, 5, 2 and 18 whole passages, each with windows at 0, 2, ... 10 s.
    assert np.bincount(pairs.groups).tolist() == [3, 5, 2, 18]
    assert pairs.identifiers[:4] == ("001@0", "001@16", "001@32", "003@0")
    assert pairs.video.shape == (28, 6, 768 + 1 + 3 + 4)
    loudness = np.load(muvisync / "train.npz")["loudness"]
    assert pairs.music[1, 2, 0] == pytest.approx(loudness[16 + 4 : 16 + 10].mean(), rel=1e-6)
    inner = read_muvisync(muvisync, passage_seconds=16, trim=1)
    assert inner.identifiers[:2] == ("001@16", "003@16")
    assert np.bincount(inner.groups, minlength=4).tolist() == [1, 3, 0, 16]


@pytest.mark.parametrize("seconds", [6, 17, -16])
def test_a_passage_that_holds_no_course_is_refused(muvisync: Path, seconds: int) -> None:
    with pytest.raises(InvalidRequest, match="even number of seconds, 8 at least"):
        read_muvisync(muvisync, passage_seconds=seconds)


def test_passages_longer_than_every_track_are_refused(muvisync: Path) -> None:
    with pytest.raises(InvalidRequest, match="no track is long enough"):
        read_muvisync(muvisync, passage_seconds=400)


def test_rows_that_share_a_source_are_one_group() -> None:
    groups = source_groups([("a",), ("b",), ("a", "c"), ("d",), ("c", "e")])
    assert groups.tolist() == [0, 1, 0, 2, 0]


def test_emomv_gives_emotions_of_both_sides_and_music_on_demand(emomv: Path) -> None:
    pairs = read_emomv(emomv)
    assert pairs.match.tolist() == [True, True, False]
    assert pairs.groups.tolist() == [0, 1, 0]
    assert pairs.video_emotion is not None
    assert pairs.video_emotion.argmax(axis=1).tolist() == [4, 3, 4]
    assert pairs.more_music is None
    extra = read_emomv(emomv, more_music=True).more_music
    assert extra is not None
    assert len(extra) == 3


def test_mgsv_cuts_the_moment_and_groups_by_track(mgsv, tmp_path: Path) -> None:
    pairs = read_mgsv(mgsv())
    assert pairs.identifiers == ("v0+m0", "v1+m0", "v2+m2")
    assert pairs.splits == ("train", "train", "val")
    assert pairs.groups.tolist() == [0, 0, 1]
    windows = np.load(tmp_path / "ast_feature2p5" / "m0.npy")
    np.testing.assert_array_equal(pairs.music[0][0], windows[1])
    np.testing.assert_array_equal(pairs.music[0][-1], windows[4])


def test_a_pair_in_two_splits_is_refused(mgsv) -> None:
    folder = mgsv({"train": [("v0", "m0")], "val": [("v0", "m0")]})
    with pytest.raises(InvalidRequest, match="v0\\+m0 is listed in train and val"):
        read_mgsv(folder)


def test_a_missing_column_is_named(mgsv) -> None:
    folder = mgsv()
    (folder / "train_data.csv").write_text("video_id,music_id,music_start\nv0,m0,0\n")
    with pytest.raises(InvalidRequest, match="no column music_end"):
        read_mgsv(folder)


def test_a_missing_feature_file_is_named(mgsv) -> None:
    folder = mgsv()
    (folder / "vit_feature1" / "v1.npy").unlink()
    with pytest.raises(NotFound, match=r"v1\.npy"):
        read_mgsv(folder)


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        (np.full((4, 6), np.nan), "NaN"),
        (np.zeros((4, 7)), "7 wide, the others 6"),
        (np.zeros((0, 6)), r"\[tokens, width\]"),
        (np.zeros(6), r"\[tokens, width\]"),
    ],
)
def test_features_that_cannot_be_used_are_refused(mgsv, steps: np.ndarray, words: str) -> None:
    folder = mgsv()
    np.save(folder / "vit_feature1" / "v1.npy", steps)
    with pytest.raises(InvalidRequest, match=words):
        read_mgsv(folder)


@pytest.mark.parametrize("content", [b"", b"no array", b"\x93NUMPY\x01\x00v\x00{'descr'"])
def test_a_file_that_is_no_array_is_named(mgsv, dualpath, content: bytes) -> None:
    folder = mgsv()
    (folder / "vit_feature1" / "v1.npy").write_bytes(content)
    status, _, message = dualpath("benchmark", "mgsv", "--data", folder)
    assert status == 1
    assert re.fullmatch(r"dualpath: .*v1\.npy cannot be read as arrays .*fetch it again\n", message)


def test_an_array_that_holds_no_numbers_is_named(mgsv) -> None:
    folder = mgsv()
    for values, words in ((np.array([{}]), "cannot be read"), (np.array([["a"]]), "no numbers")):
        np.save(folder / "vit_feature1" / "v1.npy", values)
        with pytest.raises(InvalidRequest, match=rf"v1\.npy .*{words}"):
            read_mgsv(folder)
    with (folder / "vit_feature1" / "v1.npy").open("wb") as file:
        np.savez(file, a=np.zeros((4, 6)))
    with pytest.raises(InvalidRequest, match=r"v1\.npy holds several arrays"):
        read_mgsv(folder)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("v1,m0", "row 3 has other cells than its first line names"),
        ("v1,m0,0,5,6", "row 3 has other cells than its first line names"),
        ("v1,m0,nan,5", "row 3: nan to 5 s is no moment of m0, which lasts 25 s"),
        ("v1,m0,-1,5", "no moment of m0"),
        ("v1,m0,5,2", "5 to 2 s is no moment of m0"),
        ("v1,m0,30,40", "no moment of m0"),
        ("v1,m0,20,28", "no moment of m0"),
        ("v1,m0,one,5", "row 3: music_start and music_end are seconds"),
        ("v\u00e9,m0,0,5", "is no CSV in UTF-8"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(mgsv, row: str, words: str) -> None:
    folder = mgsv()
    text = f"video_id,music_id,music_start,music_end\nv0,m0,0,27\n{row}\n"
    (folder / "train_data.csv").write_bytes(text.encode("latin-1"))
    with pytest.raises(InvalidRequest, match=words) as refused:
        read_mgsv(folder)
    assert "train_data.csv" in str(refused.value)


def test_a_match_is_one_or_zero(emomv: Path) -> None:
    table = emomv / "C_train.csv"
    table.write_text(table.read_text().replace("1,bbb_02,1", "1,bbb_02,yes"))
    with pytest.raises(InvalidRequest, match=r"C_train\.csv, row 3: match is 1 or 0, not 'yes'"):
        read_emomv(emomv)


@pytest.mark.parametrize(
    ("name", "change", "words"),
    [
        ("emotion6", lambda values: values[:, :2], r"emotion6 is of shape .* not \[n, 3\]"),
        ("motion", lambda values: values[:, None], r"motion is of shape .* not \[n\]"),
        ("loudness", lambda values: values - 5, "loudness holds NaN, infinity, or less than 0"),
        ("chord_root", lambda values: values * np.nan, "chord_root holds NaN"),
    ],
)
def test_an_array_of_another_kind_names_its_archive(muvisync: Path, name: str, change, words: str) -> None:
    archive = dict(np.load(muvisync / "train.npz"))
    np.savez(muvisync / "train.npz", **{**archive, name: change(archive[name])})
    with pytest.raises(InvalidRequest, match=rf"train\.npz: {words}"):
        read_muvisync(muvisync)


@pytest.mark.parametrize("text", ["{", "3", "[]", '"maj"'])
def test_broken_names_of_chords_are_named(muvisync: Path, text: str) -> None:
    (muvisync / "chord_attr.json").write_text(text)
    with pytest.raises(InvalidRequest, match=r"chord_attr\.json .*fetch it again"):
        read_muvisync(muvisync)


def test_a_key_that_is_none_names_its_table(muvisync: Path) -> None:
    table = muvisync / "train.csv"
    table.write_text(table.read_text().replace("81,C# minor", "81,A"))
    with pytest.raises(InvalidRequest, match=r"train\.csv: a key is .* not 'A' as of 003"):
        read_muvisync(muvisync)


def test_a_broken_archive_is_named(muvisync: Path) -> None:
    whole = (muvisync / "train.npz").read_bytes()
    for content in (b"", whole[:1000], b"no archive"):
        (muvisync / "train.npz").write_bytes(content)
        with pytest.raises(InvalidRequest, match=r"train\.npz cannot be read"):
            read_muvisync(muvisync)


def test_the_same_content_under_two_names_is_refused(mgsv) -> None:
    folder = mgsv()
    steps = np.load(folder / "vit_feature1" / "v0.npy")
    np.save(folder / "vit_feature1" / "v1.npy", steps)
    with pytest.raises(InvalidRequest, match="hold the same features"):
        read_mgsv(folder)


def test_an_array_of_another_length_than_the_table_is_refused(muvisync: Path) -> None:
    archive = dict(np.load(muvisync / "train.npz"))
    np.savez(muvisync / "train.npz", **{**archive, "loudness": archive["loudness"][:-1]})
    with pytest.raises(InvalidRequest, match=r"loudness has 512 rows where .* needs 513"):
        read_muvisync(muvisync)


def test_an_array_of_another_width_is_refused(emomv: Path) -> None:
    archive = dict(np.load(emomv / "C_train.npz"))
    np.savez(emomv / "C_train.npz", **{**archive, "vggish": archive["vggish"][:, :100]})
    with pytest.raises(InvalidRequest, match="100 wide, the others 128"):
        read_emomv(emomv)


def test_an_array_that_is_not_there_is_named(emomv: Path, muvisync: Path) -> None:
    archive = dict(np.load(emomv / "C_train.npz"))
    np.savez(emomv / "C_train.npz", vggish=archive["vggish"])
    with pytest.raises(InvalidRequest, match="no array slowfast"):
        read_emomv(emomv)
    (muvisync / "train.npz").unlink()
    with pytest.raises(NotFound, match=r"train\.npz"):
        read_muvisync(muvisync)


@pytest.mark.parametrize("read", [read_emomv, read_muvisync, read_mgsv])
def test_a_folder_of_something_else_is_not_found(read, tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        read(tmp_path)


def test_nan_in_a_pair_names_the_pair(made_up_features) -> None:
    pairs: FeaturePairs = made_up_features(4)
    music = pairs.music.copy()
    music[2, 0, 0] = np.nan
    with pytest.raises(InvalidRequest, match="pair2 hold NaN"):
        check_pairs(replace(pairs, music=music))


@pytest.mark.parametrize(
    "change",
    [
        lambda pairs: {"splits": ("val", *pairs.splits[1:])},
        lambda pairs: {"video_emotion": pairs.video_emotion[::-1]},
        lambda pairs: {"music_emotion": None},
        lambda pairs: {"emotion_names": pairs.emotion_names[::-1]},
        lambda pairs: {"more_music": LabelledMusic(pairs.music, pairs.video_emotion)},
        lambda pairs: {"groups": pairs.groups + 1},
        lambda pairs: {"video_blocks": (5, 7)},
    ],
)
def test_a_digest_follows_all_that_a_method_learns_from(change, made_up_features) -> None:
    pairs: FeaturePairs = made_up_features(6, labelled=True)
    assert made_up_features(6, labelled=True).digest() == pairs.digest()
    assert replace(pairs, **change(pairs)).digest() != pairs.digest()


def test_a_digest_follows_the_emotion_of_further_music(made_up_features) -> None:
    pairs: FeaturePairs = made_up_features(6, labelled=True)
    assert pairs.video_emotion is not None
    digests = {
        replace(pairs, more_music=LabelledMusic(pairs.music, emotion)).digest()
        for emotion in (pairs.video_emotion, 1 - pairs.video_emotion)
    }
    assert len(digests) == 2


def test_prepared_tokens_are_narrow_and_standardised_by_the_training_rows(made_up_features) -> None:
    pairs: FeaturePairs = made_up_features(60, video_width=150)
    training = pairs.rows(np.arange(40))
    prepared = fit_preparation(training).apply(pairs)
    assert prepared.video.shape[2] == 128
    np.testing.assert_allclose(prepared.music[:40].mean(axis=(0, 1)), 0.0, atol=1e-4)
    np.testing.assert_allclose(prepared.music[:40].std(axis=(0, 1)), 1.0, atol=1e-3)
    components = prepared.video[:40].std(axis=(0, 1))
    assert components[0] > components[-1]
    assert prepared.video_emotion is not None
    np.testing.assert_allclose(prepared.video_emotion.sum(axis=1), 1.0, atol=1e-5)
    assert prepared.music_emotion is prepared.video_emotion
