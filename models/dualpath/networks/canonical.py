"""Canonical correlation: linear maps under which the two sides of a pair agree most.

Hotelling, "Relations between two sets of variates", Biometrika 1936, with the covariances shrunk towards a
multiple of the identity: features are wide and pairs few.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["Canonical", "canonical_directions"]


class Canonical(NamedTuple):
    """Directions [dx, k] and [dy, k], and the correlations [k] along them, falling."""

    x: NDArray[np.float32]
    y: NDArray[np.float32]
    correlation: NDArray[np.float32]


def canonical_directions(
    x: NDArray[np.float32],
    y: NDArray[np.float32],
    count: int,
    shrink_x: float,
    shrink_y: float,
) -> Canonical:
    """Of centred rows [n, dx] and [n, dy].

    With C' = C + shrink * trace(C) / d * I, the singular vectors of C'xx^-1/2 Cxy C'yy^-1/2, mapped back. At
    most min(dx, dy) directions.
    """
    rows = len(x)
    whiten_x = _inverse_root(x.T @ x / rows, shrink_x)
    whiten_y = _inverse_root(y.T @ y / rows, shrink_y)
    cross = whiten_x @ (x.T @ y / rows).astype(np.float64) @ whiten_y
    left, correlation, right = np.linalg.svd(cross, full_matrices=False)
    keep = min(count, len(correlation))
    return Canonical(
        (whiten_x @ left[:, :keep]).astype(np.float32),
        (whiten_y @ right[:keep].T).astype(np.float32),
        correlation[:keep].astype(np.float32),
    )


def _inverse_root(covariance: NDArray[np.floating], shrink: float) -> NDArray[np.float64]:
    size = len(covariance)
    shrunk = covariance.astype(np.float64) + shrink * np.trace(covariance) / size * np.eye(size)
    values, vectors = np.linalg.eigh(shrunk)
    result: NDArray[np.float64] = (vectors / np.sqrt(np.maximum(values, 1e-12))) @ vectors.T
    return result
