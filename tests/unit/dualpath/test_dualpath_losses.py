import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dualpath.losses.distinguish import cross_modal_contrastive_loss, distinguish_loss
from dualpath.losses.distribution import distribution_loss
from dualpath.losses.emotion import emotion_regression_loss
from dualpath.losses.metric import info_nce_loss, max_margin_loss, polarity, polarity_factor
from dualpath.losses.reconstruction import reconstruction_loss
from dualpath.losses.structure import structure_loss
from dualpath.losses.triplet import triplet_loss

SIMILARITY = torch.tensor([[0.9, 0.2, 0.1], [0.4, 0.5, 0.8], [0.0, 0.3, 0.7]], dtype=torch.float64)
POLARITIES = torch.tensor([1.0, -1.0, 0.0], dtype=torch.float64)


def _matrix(size: int, seed: int) -> torch.Tensor:
    return torch.randn(size, size, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _polarities(size: int, seed: int) -> torch.Tensor:
    return torch.randint(-1, 2, (size,), generator=torch.Generator().manual_seed(seed)).to(torch.float64)


def _unit(size: int, seed: int) -> torch.Tensor:
    values = torch.randn(size, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(values, dim=1)


def test_the_polarity_factor_is_largest_for_opposite_poles() -> None:
    expected = [[1.0, 1.5, 1.25], [1.5, 1.0, 1.25], [1.25, 1.25, 1.0]]
    np.testing.assert_allclose(polarity_factor(POLARITIES, 0.5).numpy(), expected, atol=1e-12)


def test_polarity_is_the_sign_of_centred_valence_and_zero_in_the_neutral_band() -> None:
    valence = torch.tensor([0.5, 0.29, 0.25, 0.1, -0.5], dtype=torch.float64)
    assert polarity(valence, 0.2, 0.1).tolist() == [1.0, 0.0, 0.0, 0.0, -1.0]


def test_max_margin_takes_the_hardest_weighted_negative_of_each_row_and_column() -> None:
    # rows, margin 0.2: row 0: none; row 1: max(1.5 * 0.1, 1.25 * 0.5); row 2: none
    # columns: column 0: none; column 1: 1.25 * 0.0 and 0; column 2: 1.25 * 0.3
    weights = polarity_factor(POLARITIES, 0.5)
    expected = 0.5 * (1.25 * 0.5 / 3 + 1.25 * 0.3 / 3)
    assert float(max_margin_loss(SIMILARITY, weights, 0.2)) == pytest.approx(expected, abs=1e-9)


def test_info_nce_weights_the_negatives_in_the_denominator() -> None:
    weights = polarity_factor(POLARITIES, 0.5)
    temperature = 0.5
    total = 0.0
    for scores in (SIMILARITY, SIMILARITY.T):
        for i in range(3):
            terms = [float(weights[i, j]) * math.exp(float(scores[i, j]) / temperature) for j in range(3)]
            total -= math.log(math.exp(float(scores[i, i]) / temperature) / sum(terms)) / 6
    assert float(info_nce_loss(SIMILARITY, weights, temperature)) == pytest.approx(total, abs=1e-9)


def test_info_nce_of_a_constant_matrix_is_the_logarithm_of_the_batch() -> None:
    flat = torch.zeros(5, 5, dtype=torch.float64)
    assert float(info_nce_loss(flat, torch.ones_like(flat), 0.07)) == pytest.approx(math.log(5), abs=1e-9)


@pytest.mark.parametrize(
    "loss", [lambda s, w: max_margin_loss(s, w, 0.3), lambda s, w: info_nce_loss(s, w, 0.5)]
)
class TestMetricLosses:
    @given(size=st.integers(2, 7), seed=st.integers(0, 10_000), factor=st.floats(0, 3))
    @settings(max_examples=25, deadline=None)
    def test_both_directions_count_alike(self, loss, size, seed, factor) -> None:
        similarity, weights = _matrix(size, seed), polarity_factor(_polarities(size, seed), factor)
        assert float(loss(similarity, weights)) == pytest.approx(float(loss(similarity.T, weights)), abs=1e-9)

    @given(size=st.integers(2, 7), seed=st.integers(0, 10_000))
    @settings(max_examples=25, deadline=None)
    def test_a_factor_of_zero_gives_the_plain_loss(self, loss, size, seed) -> None:
        similarity = _matrix(size, seed)
        plain = loss(similarity, torch.ones_like(similarity))
        assert float(loss(similarity, polarity_factor(_polarities(size, seed), 0.0))) == float(plain)

    @given(size=st.integers(2, 7), seed=st.integers(0, 10_000))
    @settings(max_examples=25, deadline=None)
    def test_opposite_polarity_never_lowers_the_loss(self, loss, size, seed) -> None:
        similarity, polarities = _matrix(size, seed), _polarities(size, seed)
        plain = loss(similarity, polarity_factor(polarities, 0.0))
        assert float(loss(similarity, polarity_factor(polarities, 1.0))) >= float(plain) - 1e-12

    @given(size=st.integers(2, 7), seed=st.integers(0, 10_000))
    @settings(max_examples=25, deadline=None)
    def test_the_order_of_the_batch_does_not_matter(self, loss, size, seed) -> None:
        similarity, polarities = _matrix(size, seed), _polarities(size, seed)
        order = torch.randperm(size, generator=torch.Generator().manual_seed(seed + 1))
        shuffled = loss(similarity[order][:, order], polarity_factor(polarities[order], 1.0))
        assert float(shuffled) == pytest.approx(
            float(loss(similarity, polarity_factor(polarities, 1.0))), abs=1e-9
        )

    def test_the_gradient_is_right(self, loss) -> None:
        weights = polarity_factor(_polarities(4, 3), 1.0)
        similarity = _matrix(4, 3).requires_grad_()
        assert torch.autograd.gradcheck(lambda values: loss(values, weights), similarity)


def test_the_contrastive_distinguish_loss_averages_over_the_positives_of_the_other_modality() -> None:
    video, music = _unit(4, 1), _unit(4, 2)
    labels = torch.tensor([0, 0, 1, 2])
    similarity = (video @ music.T / 0.3).numpy()
    total = 0.0
    for scores in (similarity, similarity.T):
        for i in range(4):
            positives = [j for j in range(4) if labels[j] == labels[i]]
            denominator = np.exp(scores[i]).sum()
            total -= np.mean([np.log(np.exp(scores[i, p]) / denominator) for p in positives]) / 8
    assert float(cross_modal_contrastive_loss(video, music, labels, 0.3)) == pytest.approx(total, abs=1e-9)


def test_one_class_alone_leaves_the_contrastive_loss_at_its_floor() -> None:
    same = torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64)
    loss = cross_modal_contrastive_loss(same, same, torch.zeros(3, dtype=torch.long), 0.1)
    assert float(loss) == pytest.approx(math.log(3), abs=1e-9)


def test_the_distinguish_loss_adds_the_mean_cross_entropy_of_both_modalities() -> None:
    video, music, labels = _unit(4, 1), _unit(4, 2), torch.tensor([0, 1, 1, 2])
    logits = _matrix(4, 5)[:, :3]
    flat = torch.zeros(4, 3, dtype=torch.float64)
    own = -np.mean([float(torch.log_softmax(logits, dim=1)[i, labels[i]]) for i in range(4)])
    expected = 0.5 * (own + math.log(3)) + float(cross_modal_contrastive_loss(video, music, labels, 0.3))
    assert float(distinguish_loss(logits, flat, video, music, labels, 0.3)) == pytest.approx(
        expected, abs=1e-9
    )


def test_reconstruction_compares_with_the_standardised_summary() -> None:
    summary = torch.tensor([[1.0, 3.0]], dtype=torch.float64)
    target = np.array([-1.0, 1.0]) / math.sqrt(1.0 + 1e-5)
    expected = float(((np.array([0.5, 0.0]) - target) ** 2).mean())
    loss = reconstruction_loss(torch.tensor([[0.5, 0.0]], dtype=torch.float64), summary)
    assert float(loss) == pytest.approx(expected, abs=1e-9)


def test_reconstruction_sends_no_gradient_into_its_target() -> None:
    summary = _matrix(3, 1).requires_grad_()
    reconstruction = _matrix(3, 2).requires_grad_()
    reconstruction_loss(reconstruction, summary).backward()
    assert summary.grad is None
    assert reconstruction.grad is not None


def test_emotion_regression_is_a_weighted_mean_square() -> None:
    prediction = torch.tensor([[0.0, 1.0], [1.0, 1.0]], dtype=torch.float64)
    target = torch.tensor([[1.0, 1.0], [0.0, 0.0]], dtype=torch.float64)
    assert float(emotion_regression_loss(prediction, target)) == pytest.approx(0.75, abs=1e-9)
    weights = torch.tensor([1.0, 0.0], dtype=torch.float64)
    assert float(emotion_regression_loss(prediction, target, weights)) == pytest.approx(0.5, abs=1e-9)
    assert float(emotion_regression_loss(prediction, target, weights * 0)) == 0.0


@pytest.mark.parametrize("loss", [reconstruction_loss, emotion_regression_loss])
def test_regression_gradients_are_right(loss) -> None:
    prediction, target = _matrix(3, 1)[:, :2].clone().requires_grad_(), _matrix(3, 2)[:, :2]
    assert torch.autograd.gradcheck(lambda values: loss(values, target), prediction)


def test_the_triplet_loss_averages_the_hardest_violations_of_each_anchor() -> None:
    # margin 0.2. rows: none | 0.1, 0.5 | none; columns: none | none | 0.3 (0.8 - 0.7 + 0.2)
    # the hardest of each: rows (0 + 0.5 + 0) / 3, columns (0 + 0 + 0.3) / 3; of two: half of the sums
    assert float(triplet_loss(SIMILARITY, 0.2, 1)) == pytest.approx(0.5 * (0.5 + 0.3) / 3, abs=1e-9)
    assert float(triplet_loss(SIMILARITY, 0.2, 9)) == pytest.approx(0.25 * (0.6 + 0.3) / 3, abs=1e-9)


@given(size=st.integers(2, 7), seed=st.integers(0, 10_000), hardest=st.integers(1, 9))
@settings(max_examples=25, deadline=None)
def test_the_triplet_loss_is_the_same_for_both_directions_and_any_order(size, seed, hardest) -> None:
    similarity = _matrix(size, seed)
    order = torch.randperm(size, generator=torch.Generator().manual_seed(seed))
    loss = float(triplet_loss(similarity, 0.3, hardest))
    assert float(triplet_loss(similarity.T, 0.3, hardest)) == pytest.approx(loss, abs=1e-9)
    assert float(triplet_loss(similarity[order][:, order], 0.3, hardest)) == pytest.approx(loss, abs=1e-9)


def test_the_structure_loss_is_zero_where_neighbours_keep_their_order() -> None:
    features = _unit(6, 3)
    assert float(structure_loss(features, features)) == pytest.approx(0.0, abs=1e-12)


def test_the_structure_loss_is_twice_the_difference_where_an_order_is_reversed() -> None:
    def at(*degrees: float) -> torch.Tensor:
        angles = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
        return torch.stack([torch.cos(angles), torch.sin(angles)], dim=1)

    features, embedding = at(0, 30, 70), at(0, 30, -10)
    inner, outer = embedding @ embedding.T, features @ features.T
    total = 0.0
    for i in range(3):
        for j in range(3):
            for k in range(3):
                gap = float(inner[i, j] - inner[i, k])
                total += (np.sign(gap) - np.sign(float(outer[i, j] - outer[i, k]))) * gap / 27
    assert total > 0
    assert float(structure_loss(embedding, features)) == pytest.approx(total, abs=1e-9)


def test_soft_targets_of_one_class_give_the_plain_cross_entropy() -> None:
    logits, labels = _matrix(5, 4)[:, :3], torch.tensor([0, 2, 1, 1, 0])
    target = torch.nn.functional.one_hot(labels, 3).to(torch.float64)
    plain = torch.nn.functional.cross_entropy(logits, labels)
    assert float(distribution_loss(logits, target)) == pytest.approx(float(plain), abs=1e-9)
    flat = torch.full((5, 3), 1 / 3, dtype=torch.float64)
    assert float(distribution_loss(torch.zeros_like(flat), flat)) == pytest.approx(math.log(3), abs=1e-9)


@pytest.mark.parametrize(
    "loss",
    [
        lambda values: triplet_loss(values, 0.3, 2),
        lambda values: structure_loss(values, _unit(4, 9)),
        lambda values: distribution_loss(values, torch.softmax(_matrix(4, 8), dim=1)),
    ],
)
def test_gradients_of_the_baselines_losses_are_right(loss) -> None:
    assert torch.autograd.gradcheck(loss, _matrix(4, 7).requires_grad_())
