"""Memory that a Triton server on this host reads large inputs from, so that they are not sent."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc.aio import InferenceServerClient
from tritonclient.utils import InferenceServerException

from kinoscore.inference.engine import Array

__all__ = ["WORTHWHILE_BYTES", "Region", "SharedRegions"]

WORTHWHILE_BYTES = 64 * 1024
"""Inputs below this size are sent: our choice."""
_REGIONS_A_SIZE = 8
_FAREWELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """One region, used by one call at a time."""

    memory: SharedMemory

    @property
    def name(self) -> str:
        """Its name at the server; unique on this host."""
        return self.memory.name

    def fill(self, values: Array, tensor: InferInput) -> None:
        """Copies an input into the region, and points the tensor there."""
        np.ndarray(values.shape, values.dtype, self.memory.buf)[...] = values
        tensor.set_shared_memory(self.name, values.nbytes)


class SharedRegions:
    """The regions of one engine, made as calls need them, registered at the server, removed at the end.

    A call that was given up leaves its region to the next one, though the server may still read it: what it
    then reads belongs to an answer that nobody waits for.
    """

    def __init__(self, client: InferenceServerClient) -> None:
        self._client = client
        self._idle: defaultdict[int, list[Region]] = defaultdict(list)
        self._all: defaultdict[int, list[Region]] = defaultdict(list)

    @contextmanager
    def borrowed(self) -> Iterator["Loan"]:
        """What one call borrows; it goes back at the end of the block."""
        loan = Loan(self)
        try:
            yield loan
        finally:
            for size, region in loan.regions:
                self._idle[size].append(region)

    async def take(self, size: int) -> Region | None:
        """An idle region of this size or a new one; None when all that may be are in use.

        Raises:
            InferenceServerException: the server cannot use it.
        """
        if self._idle[size]:
            return self._idle[size].pop()
        if len(self._all[size]) >= _REGIONS_A_SIZE:
            return None
        region = Region(SharedMemory(create=True, size=size))
        self._all[size].append(region)
        try:
            await self._register(region, size)
        except BaseException:
            self._all[size].remove(region)
            _remove(region)
            raise
        return region

    async def register_again(self) -> None:
        """Tells a server that may have been started anew of all regions.

        Raises:
            InferenceServerException: the server is lost, or cannot use them.
        """
        for size, regions in self._all.items():
            for region in regions:
                try:
                    await self._register(region, size)
                except InferenceServerException as error:
                    if error.status() != "StatusCode.ALREADY_EXISTS":
                        raise

    async def try_out(self) -> None:
        """Makes sure that the server can use memory of this host.

        Raises:
            InferenceServerException: it cannot.
        """
        with self.borrowed() as loan:
            await loan.take(WORTHWHILE_BYTES)

    async def close(self) -> None:
        """Removes all regions; a server that is lost need not know."""
        regions = [region for regions in self._all.values() for region in regions]
        with contextlib.suppress(InferenceServerException, TimeoutError):
            async with asyncio.timeout(_FAREWELL_SECONDS):
                for region in regions:
                    await self._client.unregister_system_shared_memory(region.name)
        for region in regions:
            _remove(region)
        self._all.clear()
        self._idle.clear()

    async def _register(self, region: Region, size: int) -> None:
        await self._client.register_system_shared_memory(region.name, f"/{region.name}", size)


class Loan:
    """The regions that one call uses, each with its size."""

    def __init__(self, pool: SharedRegions) -> None:
        self._pool = pool
        self.regions: list[tuple[int, Region]] = []

    async def put(self, values: Array, size: int, tensor: InferInput) -> bool:
        """Puts an input into a region of `size` bytes; False when there is none to be had."""
        region = await self.take(size)
        if region is None:
            return False
        region.fill(values, tensor)
        return True

    async def take(self, size: int) -> Region | None:
        """As `SharedRegions.take`; the region goes back with the loan."""
        region = await self._pool.take(size)
        if region is not None:
            self.regions.append((size, region))
        return region


def _remove(region: Region) -> None:
    region.memory.close()
    region.memory.unlink()
