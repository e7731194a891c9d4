"""The program of one decoder process: `python -m kinoscore.media.worker SHARED_FILE MEMORY_LIMIT`.

`kinoscore.media.pool` starts it and talks to it in lines of JSON. It reads from standard input

    {"job": "frames" | "audio" | "probe", "path": ..., "limits": {...}, ...}    one job at a time
    {"acknowledge": true}                                                       a slot may be written again
    {"cancel": true}                                                            the rest is not wanted

and writes to standard output {"ready": true} once, and then for each job {"started": true}, any number of

    {"offset": bytes, "timestamps": [seconds, ...]}    uint8 [n, height, width, 3] lies in the shared file
    {"offset": bytes, "samples": n}                    float32 [n] lies in the shared file

and one of {"summary": {...}}, {"probe": {...}}, {"cancelled": true} and
{"error": class, "message": ..., "metadata": {...}}.

Pixels and samples pass through the shared file alone, in SLOTS slots that are used in turn. The process ends
when its standard input does, so it never outlives the pool; and after a job that has left less than half of
its memory: another one takes its place.
"""

import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any, TextIO

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InternalError, KinoscoreError
from kinoscore.media.decoding import (
    BATCH_FRAMES,
    BLOCK_SAMPLES,
    Decoding,
    iter_audio,
    iter_frames,
    probe,
)
from kinoscore.media.process import confine, memory_left
from kinoscore.media.types import AudioBlock, FrameBatch, FrameSpec, Limits

__all__ = ["SLOTS", "main"]

# How many batches a decoder may be ahead of its consumer.
SLOTS = 4

Message = dict[str, Any]
logger = logging.getLogger(__name__)


class _CancelledError(Exception):
    """The pool does not want the rest of the job."""


class _Pipes:
    """The worker's side of the conversation. A thread listens, so that cancellation is heard during work."""

    def __init__(self, output: TextIO) -> None:
        self._jobs: queue.SimpleQueue[Message] = queue.SimpleQueue()
        self._free = threading.Semaphore(SLOTS)
        self._cancelled = threading.Event()
        self._output = output

    def listen(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def next_job(self) -> Message:
        return self._jobs.get()

    def send(self, message: Message) -> None:
        print(json.dumps(message), file=self._output, flush=True)

    def await_slot(self) -> None:
        """Returns when a slot may be written. Raises _CancelledError."""
        self._free.acquire()
        if self._cancelled.is_set():
            raise _CancelledError

    def _listen(self) -> None:
        for line in sys.stdin:
            message: Message = json.loads(line)
            if "acknowledge" in message:
                self._free.release()
            elif "cancel" in message:
                self._cancelled.set()
                self._free.release()
            else:
                # The pool sends a job only after the end of the last one: nobody else uses these now.
                self._cancelled.clear()
                self._free = threading.Semaphore(SLOTS)
                self._jobs.put(message)
        # Not sys.exit: the codec may hang in another thread.
        os._exit(0)


class _Slots:
    """Writes arrays to the shared file, one slot after the other."""

    def __init__(self, shared_file: int, slot_bytes: int, pipes: _Pipes) -> None:
        self._file = shared_file
        self._slot_bytes = slot_bytes
        self._pipes = pipes
        self._written = 0

    def write(self, array: NDArray[Any]) -> int:
        """Waits for a free slot, writes the array there and tells at which byte."""
        self._pipes.await_slot()
        offset = (self._written % SLOTS) * self._slot_bytes
        self._written += 1
        os.pwrite(self._file, np.ascontiguousarray(array).data, offset)
        return offset


def main() -> None:
    """Serves jobs until standard input ends, or one has left little of the memory for the next."""
    shared_file, memory_limit = int(sys.argv[1]), int(sys.argv[2])
    pipes = _Pipes(confine(memory_limit))
    pipes.listen()
    pipes.send({"ready": True})
    while memory_left() > memory_limit / 2:
        job = pipes.next_job()
        pipes.send({"started": True})
        try:
            for message in _run(job, shared_file, pipes):
                pipes.send(message)
        except _CancelledError:
            pipes.send({"cancelled": True})
        except KinoscoreError as error:
            pipes.send(_as_message(error))
        except Exception as error:
            logger.exception("a decoding job failed")
            pipes.send(_as_message(InternalError(f"the decoder failed: {type(error).__name__}: {error}")))


def _run(job: Message, shared_file: int, pipes: _Pipes) -> Iterator[Message]:
    limits = Limits(**job["limits"])
    if job["job"] == "frames":
        spec = FrameSpec(**job["spec"])
        slots = _Slots(shared_file, BATCH_FRAMES * spec.height * spec.width * 3, pipes)
        yield from _frames(iter_frames(job["path"], spec, limits, threads=job["threads"]), slots)
    elif job["job"] == "audio":
        slots = _Slots(shared_file, BLOCK_SAMPLES * 4, pipes)
        yield from _audio(iter_audio(job["path"], job["sample_rate"], limits), slots)
    else:
        yield {"probe": asdict(probe(job["path"], limits))}


def _frames(batches: Decoding[FrameBatch], slots: _Slots) -> Iterator[Message]:
    try:
        for batch in batches:
            yield {"offset": slots.write(batch.frames), "timestamps": batch.timestamps.tolist()}
        yield {"summary": asdict(batches.summary)}
    finally:
        batches.close()


def _audio(blocks: Decoding[AudioBlock], slots: _Slots) -> Iterator[Message]:
    try:
        for block in blocks:
            yield {"offset": slots.write(block.samples), "samples": len(block.samples)}
        yield {"summary": asdict(blocks.summary)}
    finally:
        blocks.close()


def _as_message(error: KinoscoreError) -> Message:
    return {"error": type(error).__name__, "message": error.message, "metadata": error.metadata}


if __name__ == "__main__":
    main()
