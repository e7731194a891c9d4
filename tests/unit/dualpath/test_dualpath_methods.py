"""Every method of the benchmark on made-up pairs: one interface, its promises, the dual path's switches."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from dualpath.benchmark.tasks import Retrieval
from dualpath.data.features.pairs import FeaturePairs
from dualpath.data.features.prepare import fit_preparation
from dualpath.methods.agreement import tells_emotion
from dualpath.methods.by_name import ABLATIONS, ALL, STANDARD, choose_methods, without_emotion
from dualpath.methods.method import Kind, Method
from dualpath.networks.canonical import canonical_directions
from dualpath.networks.course import CourseStandard
from dualpath.networks.feature_paths import FeatureDualPath, FeaturePathsConfig
from dualpath.training.features import LEAST_PAIRS, FeatureTraining, train_on_rows
from kinoscore.errors import InvalidRequest

ROWS = 140


@pytest.fixture(scope="module")
def settings() -> dict[str, object]:
    """What makes any method quick."""
    return {"steps": 3, "directions": 5, "dimension": 8}


def _prepared(pairs: FeaturePairs) -> FeaturePairs:
    return fit_preparation(pairs).apply(pairs)


def _defaults(method: Method, changes: dict[str, object]) -> dict[str, object]:
    first = {name: values[0] for name, values in method.space.items()}
    return {**first, **{name: value for name, value in changes.items() if name in first}}


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_a_similarity_matrix_comes_out_and_the_seed_repeats_it(
    method: Method, made_up_features, settings
) -> None:
    pairs = _prepared(made_up_features(ROWS))
    few = pairs.rows(np.arange(6))
    first, second = (method.fit(pairs, _defaults(method, settings), seed=3) for _ in range(2))
    matrix = first.similarity(few.video, few.music[:4])
    assert matrix.shape == (6, 4)
    assert np.isfinite(matrix).all()
    np.testing.assert_array_equal(matrix, second.similarity(few.video, few.music[:4]))


@pytest.mark.parametrize("method", STANDARD[1:], ids=lambda method: method.name)
def test_a_permutation_of_the_items_permutes_the_matrix(method: Method, made_up_features, settings) -> None:
    pairs = _prepared(made_up_features(ROWS))
    fitted = method.fit(pairs, _defaults(method, settings), seed=1)
    order = np.random.default_rng(0).permutation(ROWS)
    matrix = fitted.similarity(pairs.video, pairs.music)
    shuffled = fitted.similarity(pairs.video[order], pairs.music[order])
    np.testing.assert_allclose(shuffled, matrix[np.ix_(order, order)], atol=2e-4)


@pytest.mark.parametrize("method", STANDARD, ids=lambda method: method.name)
def test_labelled_rows_that_do_not_match_are_no_pairs_to_learn(
    method: Method, made_up_features, settings
) -> None:
    pairs = _prepared(made_up_features(2 * ROWS, labelled=True))
    fitted = method.fit(pairs, _defaults(method, settings), seed=1)
    assert fitted.similarity(pairs.video[:3], pairs.music[:3]).shape == (3, 3)


@pytest.mark.parametrize("name", ["cca", "pls", "info-nce", "triplet", "dual-path", "cca-aligned"])
def test_what_can_be_learned_is_learned(name: str, made_up_features) -> None:
    method = choose_methods([name])[0]
    pairs = _prepared(made_up_features(260))
    fitted = method.fit(pairs.rows(np.arange(200)), _defaults(method, {"directions": 5}), seed=1)
    chance = np.mean([1, 5, 10, 25]) / 60
    assert Retrieval().score(fitted, pairs.rows(np.arange(200, 260))) > 2 * chance


def test_the_course_finds_what_a_mean_over_time_cannot(made_up_features) -> None:
    pairs: FeaturePairs = made_up_features(260)
    moving = replace(
        pairs,
        video=pairs.video - pairs.video.mean(axis=1, keepdims=True),
        music=pairs.music - pairs.music.mean(axis=1, keepdims=True),
    )
    prepared = _prepared(moving)
    scores = {}
    for name in ("dual-path", "dual-path-no-course"):
        method = choose_methods([name])[0]
        fitted = method.fit(prepared.rows(np.arange(200)), _defaults(method, {"directions": 5}), seed=1)
        scores[name] = Retrieval().score(fitted, prepared.rows(np.arange(200, 260)))
    assert scores["dual-path"] > scores["dual-path-no-course"] + 0.2


def test_a_single_emotion_class_is_refused(made_up_features, settings) -> None:
    pairs = _prepared(made_up_features(ROWS))
    assert pairs.video_emotion is not None
    same = np.tile(pairs.video_emotion[:1], (ROWS, 1))
    for name in ("emotion-agreement", "dual-path", "emotion-only"):
        method = choose_methods([name])[0]
        with pytest.raises(InvalidRequest, match="single emotion class"):
            method.fit(
                replace(pairs, video_emotion=same, music_emotion=same), _defaults(method, settings), seed=1
            )


def test_features_without_emotion_are_for_methods_without_emotion(made_up_features, settings) -> None:
    pairs = replace(_prepared(made_up_features(ROWS)), video_emotion=None, music_emotion=None)
    plain = choose_methods(["dual-path-no-emotion-path"])[0]
    plain.fit(pairs, _defaults(plain, settings), seed=1)
    whole = choose_methods(["dual-path"])[0]
    with pytest.raises(InvalidRequest, match="without emotion"):
        whole.fit(pairs, _defaults(whole, settings), seed=1)


def test_without_emotion_the_methods_about_it_are_left_out_and_named(made_up_features, settings) -> None:
    methods, note = without_emotion(ALL)
    assert [method.name for method in methods if "emotion" in method.name] == ["dual-path-no-emotion-path"]
    assert "left out: emotion-only, emotion-agreement, dual-path-no-key-frames" in note
    assert "without its emotion path: dual-path, dual-path-no-shared-encoder" in note
    pairs = replace(_prepared(made_up_features(ROWS)), video_emotion=None, music_emotion=None)
    for method in methods:
        method.fit(pairs, _defaults(method, settings), seed=1)
    assert without_emotion(choose_methods(["cca"])) == (choose_methods(["cca"]), "")
    with pytest.raises(InvalidRequest, match="emotion-only: these need emotion"):
        without_emotion(choose_methods(["emotion-only"]))


def test_one_emotion_alone_tells_nothing(made_up_features) -> None:
    pairs: FeaturePairs = made_up_features(40, labelled=True)
    assert pairs.video_emotion is not None
    sad = np.flatnonzero(pairs.video_emotion.argmax(axis=1) == 1)
    assert tells_emotion(pairs, np.arange(40))
    assert not tells_emotion(pairs, sad)
    assert not tells_emotion(replace(pairs, video_emotion=None), np.arange(40))
    assert tells_emotion(made_up_features(40), sad)


def test_fewer_pairs_than_the_batch_are_one_batch() -> None:
    network = torch.nn.Linear(2, 1)
    seen: list[list[int]] = []

    def loss(rows: torch.Tensor) -> torch.Tensor:
        seen.append(sorted(rows.tolist()))
        return network.weight.sum()

    train_on_rows(network, loss, 9, FeatureTraining(steps=3), seed=0)
    assert seen == [list(range(9))] * 3
    with pytest.raises(InvalidRequest, match="7 training pairs are too few: 8 are the least"):
        train_on_rows(network, loss, LEAST_PAIRS - 1, FeatureTraining(), seed=0)


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.name)
def test_every_method_trains_with_the_least_pairs(method: Method, made_up_features, settings) -> None:
    pairs = _prepared(made_up_features(LEAST_PAIRS))
    fitted = method.fit(pairs, _defaults(method, settings), seed=1)
    assert np.isfinite(fitted.similarity(pairs.video, pairs.music)).all()


def test_an_unknown_method_is_refused_with_those_there_are() -> None:
    with pytest.raises(
        InvalidRequest, match="no method 'vm-net'; there are standard, ablations, random, cca"
    ):
        choose_methods(["vm-net"])
    assert choose_methods(["standard", "cca"]) == list(STANDARD)
    assert {method.kind for method in choose_methods(["ablations"])} == {Kind.ABLATION}
    assert len({method.name for method in ALL}) == len(STANDARD) + len(ABLATIONS)


def test_canonical_directions_of_known_correlation() -> None:
    random = np.random.default_rng(0)
    common = random.normal(size=(20_000, 1))
    x = np.concatenate([common, random.normal(size=(20_000, 2))], axis=1).astype(np.float32)
    y = (common + random.normal(size=(20_000, 1))).astype(np.float32)
    found = canonical_directions(x, y, 5, 0.0, 0.0)
    assert found.correlation.shape == (1,)
    assert found.correlation[0] == pytest.approx(np.sqrt(0.5), abs=0.02)
    assert np.corrcoef((x @ found.x)[:, 0], common[:, 0])[0, 1] == pytest.approx(1.0, abs=1e-3)


def test_the_course_is_free_of_what_all_items_share_and_of_each_items_level() -> None:
    tokens = torch.randn(50, 8, 3, generator=torch.Generator().manual_seed(0))
    standard = CourseStandard(8, 3)
    standard.learn(tokens)
    course = standard(tokens)
    torch.testing.assert_close(course.mean(dim=0), torch.zeros(8, 3), atol=0.05, rtol=0)
    raised = standard(tokens + torch.arange(50.0)[:, None, None])
    torch.testing.assert_close(raised, course, atol=1e-3, rtol=1e-3)
    assert float(standard(1000 * tokens).abs().max()) <= 4.0


def _network(**switches: object) -> FeatureDualPath:
    torch.manual_seed(0)
    return FeatureDualPath(FeaturePathsConfig(directions=5, **switches), 6, 4, 12, 3, 0.3).eval()  # type: ignore[arg-type]


def _tokens(width: int) -> torch.Tensor:
    return torch.randn(7, 12, width, generator=torch.Generator().manual_seed(width))


def test_embeddings_of_the_dual_path_are_unit() -> None:
    network = _network()
    for side in (network.encode_video(_tokens(6)), network.encode_music(_tokens(4))):
        for embedding in (side.content, side.fused, side.course, side.emotion):
            torch.testing.assert_close(embedding.norm(dim=1), torch.ones(7))


@pytest.mark.parametrize(
    ("switch", "off", "part"),
    [
        ("shared_encoder", False, "encoders.1."),
        ("decoders", False, "decoders."),
        ("channel_attention", False, "attention."),
        ("fusion", "sum", "fusion.layers."),
    ],
)
def test_a_switch_takes_its_weights_away(switch: str, off: object, part: str) -> None:
    on = any(name.startswith(part) for name in _network().state_dict())
    without = any(name.startswith(part) for name in _network(**{switch: off}).state_dict())
    assert on != without


def test_without_the_emotion_path_emotion_does_not_reach_the_fused_space() -> None:
    changed = {}
    for use in (True, False):
        network = _network(emotion_path=use)
        before = network.encode_music(_tokens(4)).fused
        with torch.no_grad():
            network.emotions[1].embed.weight.mul_(-2.0)
        changed[use] = not torch.equal(before, network.encode_music(_tokens(4)).fused)
    assert changed == {True: True, False: False}


def test_key_tokens_change_the_emotion_and_nothing_else() -> None:
    tokens = _tokens(6)
    key, uniform = (_network(key_frames=on).encode_video(tokens) for on in (True, False))
    assert torch.equal(key.content, uniform.content)
    assert not torch.equal(key.emotion, uniform.emotion)
