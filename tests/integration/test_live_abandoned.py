"""Sessions that are opened and abandoned; `tests/bench/live_abandoned.py` does it 10,000 times."""

import asyncio
from pathlib import Path

from support.abandoned import Held, abandon
from support.live_sessions import SECONDS, held, index_tones, scene, served
from support.repository import write_tiny_repository

AT_ONCE = 16


async def test_a_thousand_abandoned_sessions_leave_nothing_behind(tmp_path: Path) -> None:
    repository = write_tiny_repository(tmp_path / "repository")
    room = {"live_sessions": AT_ONCE}
    async with served(repository, tmp_path / "data", **room) as (client, _):
        await index_tones(client, tmp_path, 2)
        await abandon(client.address, 200, AT_ONCE)
        before = await Held.now()
        await abandon(client.address, 800, AT_ONCE)
        after = await Held.now()
        assert after.tasks <= before.tasks + AT_ONCE
        assert after.descriptors <= before.descriptors + 2
        assert after.threads <= before.threads + 2
        # 40 KiB a session would be 32 MiB.
        assert after.memory < before.memory + 16
        # There is room for as many as before.
        sessions = [client.live(held(asyncio.Event(), scene(0, 2))) for _ in range(AT_ONCE)]
        async with asyncio.timeout(SECONDS):
            await asyncio.gather(*(anext(session) for session in sessions))
        await asyncio.gather(*(session.aclose() for session in sessions))
