"""Inference over a stream of batches, while its source makes the next ones."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Mapping

from kinoscore.inference.engine import Array, Inference, InferenceEngine

__all__ = ["infer_stream"]

# Batches under way at once; the source waits when they are more.
_AHEAD = 2


async def infer_stream(
    engine: InferenceEngine, model: str, batches: AsyncIterable[Mapping[str, Array]], *, expires: float
) -> AsyncGenerator[Inference, None]:
    """Runs a model over every batch and yields the inferences in the order of the batches.

    Close the generator (`contextlib.aclosing`) so that what still runs is cancelled when its consumer stops.

    Args:
        batches: the inputs of `InferenceEngine.infer`. The next is drawn while earlier ones still run, so an
            array must stay as it is after it was given.
        expires: the end of the caller's time on the monotonic clock.

    Raises:
        KinoscoreError: whatever the engine or the source raises; what still runs is cancelled.
    """
    running: deque[asyncio.Task[Inference]] = deque()
    try:
        async for inputs in batches:
            timeout = expires - time.monotonic()
            running.append(asyncio.create_task(engine.infer(model, inputs, timeout=timeout)))
            if len(running) > _AHEAD:
                yield await running.popleft()
        while running:
            yield await running.popleft()
    finally:
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
