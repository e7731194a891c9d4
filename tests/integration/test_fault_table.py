"""Every part of kinoscore fails once in each way, under load; see `support.faults` for what is promised.

It measures times and takes five minutes of a machine that does nothing else, so it runs only when asked for:
`bash tests/run -m faults`.
"""

import asyncio
from collections.abc import Iterator

import pytest
from support.deployment import deployed
from support.faults import FAULTS, Fault, Library, play
from support.redis_server import needs_redis
from support.repository import write_tiny_repository

pytestmark = [needs_redis, pytest.mark.faults]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    repository = write_tiny_repository(tmp_path_factory.mktemp("repository"))
    with deployed(repository, tmp_path_factory.mktemp("deployment")) as deployment:
        filled = Library(deployment)
        asyncio.run(filled.fill())
        yield filled


@pytest.mark.parametrize("fault", FAULTS, ids=str)
async def test_callers_meet_the_right_status_in_time_and_all_is_well_afterwards(
    fault: Fault, library: Library
) -> None:
    await play(fault, library)
