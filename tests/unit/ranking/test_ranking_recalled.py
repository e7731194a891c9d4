"""Of the passages that a search found, the best of each track."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.ranking.recalled import RecalledRows
from kinoscore.ranking.store import Found

ESTIMATES = st.sampled_from([-np.inf, -0.5, 0.0, 0.25, 0.5])
ROWS = st.dictionaries(st.tuples(st.sampled_from("abcd"), st.integers(0, 5)), ESTIMATES)


@given(ROWS)
def test_each_track_comes_once_at_its_earliest_best_passage_the_best_track_first(
    estimates: dict[tuple[str, int], float],
) -> None:
    rows = RecalledRows.of(Found(track, passage, 6, 0.0, 0.0, "") for track, passage in reversed(estimates))
    told = rows.best_of_tracks(
        np.array([estimates[hit.track_id, hit.passage] for hit in rows.hits], np.float64)
    )
    best: dict[str, tuple[float, str, int]] = {}
    for (track, passage), estimate in sorted(estimates.items()):
        if estimate > -np.inf and (track not in best or -estimate < best[track][0]):
            best[track] = (-estimate, track, passage)
    expected = [(track, passage) for _, track, passage in sorted(best.values())]
    assert [(rows.hits[row].track_id, rows.hits[row].passage) for row in told] == expected
