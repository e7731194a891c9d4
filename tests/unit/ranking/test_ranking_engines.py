"""How a Milvus server is searched, against a client that answers as badly as an HNSW index may."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pymilvus import MilvusException

from kinoscore.errors import FailedPrecondition, InternalError, KinoscoreError, StorageFull, Unavailable
from kinoscore.ranking.engines import MOST_EF, Row, Search, ServerEngine, compare_all, to_our_error

DIMENSION = 4


def seconds() -> float:
    return 10.0


class Library:
    """Answers as a client of pymilvus does; a search reaches `reach` rows, a broad one `broad`."""

    def __init__(self, count: int, *, reach: int, broad: int) -> None:
        self.vectors = np.random.default_rng(3).standard_normal((count, DIMENSION)).astype(np.float32)
        self.reach = reach
        self.broad = broad
        self.breadths: list[int] = []
        self.compared = 0

    def best(self, query: NDArray[np.float32], count: int) -> list[int]:
        return [int(number) for number in np.argsort(-(self.vectors @ query), kind="stable")[:count]]

    def search(self, collection: str, *, data: Any, limit: int, search_params: Any, **_: Any) -> Any:
        breadth = search_params["params"]["ef"]
        self.breadths.append(breadth)
        reached = min(limit, self.broad if breadth == MOST_EF else self.reach)
        return [
            [
                {"distance": float(self.vectors[number] @ query), "entity": {"number": number}}
                for number in self.best(query, reached)
            ]
            for query in data
        ]

    def query(self, collection: str, expression: str, **_: Any) -> Any:
        return [{"count(*)": len(self.vectors)}]

    def query_iterator(self, collection: str, *, batch_size: int, **_: Any) -> Any:
        self.compared += len(self.vectors)
        rows = [{"number": number, "vector": vector.tolist()} for number, vector in enumerate(self.vectors)]
        pages = [rows[start : start + 7] for start in range(0, len(rows), 7)]

        class Pages:
            def next(self) -> list[Row]:
                return pages.pop(0) if pages else []

            def close(self) -> None: ...

        return Pages()


def found_in(library: Library, most: int) -> tuple[list[list[int]], list[list[int]]]:
    """What a search finds for two queries, and what it ought to."""
    engine = ServerEngine("http://localhost:19530")
    engine.client = library  # type: ignore[assignment]
    queries = np.random.default_rng(4).standard_normal((2, DIMENSION)).astype(np.float32)
    found = engine.search(Search("c", queries, "", "p", most, ["number"]), seconds)
    for rows in found:
        assert [row["distance"] for row in rows] == sorted((row["distance"] for row in rows), reverse=True)
    return [[row["number"] for row in rows] for rows in found], [
        library.best(query, most) for query in queries
    ]


def test_a_full_list_costs_one_search() -> None:
    library = Library(100, reach=100, broad=100)
    found, expected = found_in(library, 10)
    assert found == expected
    assert (len(library.breadths), library.compared) == (1, 0)


def test_a_list_is_not_taken_to_be_short_where_there_is_no_more() -> None:
    library = Library(6, reach=6, broad=6)
    found, expected = found_in(library, 10)
    assert found == expected
    assert (len(library.breadths), library.compared) == (1, 0)


def test_a_short_list_is_searched_again_as_broadly_as_can_be() -> None:
    library = Library(100, reach=4, broad=100)
    found, expected = found_in(library, 10)
    assert found == expected
    assert library.breadths[1:] == [MOST_EF]
    assert library.compared == 0


def test_a_list_that_stays_short_is_made_by_comparing_all_rows() -> None:
    library = Library(100, reach=4, broad=9)
    found, expected = found_in(library, 10)
    assert found == expected
    assert library.compared == 100


@pytest.mark.parametrize("most", [1, 5, 50])
def test_comparing_all_rows_finds_the_nearest_of_every_page(most: int) -> None:
    vectors = np.random.default_rng(5).standard_normal((30, DIMENSION)).astype(np.float32)
    queries = np.random.default_rng(6).standard_normal((3, DIMENSION)).astype(np.float32)

    def pages() -> Iterator[list[Row]]:
        for start in range(0, 30, 8):
            yield [
                {"number": start + place, "vector": vector.tolist()}
                for place, vector in enumerate(vectors[start : start + 8])
            ]

    for query, rows in zip(queries, compare_all(queries, pages(), most), strict=True):
        assert [row["number"] for row in rows] == np.argsort(-(vectors @ query))[:most].tolist()


def test_a_password_in_the_url_is_never_told() -> None:
    told = ServerEngine("https://user:secret@milvus.example:19530").location
    assert told == "https://milvus.example:19530"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (MilvusException(100, "collection not found"), FailedPrecondition),
        (MilvusException(1600, "alias not found"), FailedPrecondition),
        (MilvusException(1100, "invalid parameter"), InternalError),
        (MilvusException(2, "server unavailable"), Unavailable),
        (OSError(28, "No space left on device"), StorageFull),
        (OSError(104, "Connection reset by peer"), Unavailable),
    ],
)
def test_every_failure_is_one_of_our_errors(error: Exception, kind: type[KinoscoreError]) -> None:
    assert type(to_our_error(error)) is kind
