"""What the two ends of a live stream say to each other over its socket: `live_pool` and `live_worker`.

Towards the decoder a job, then pieces of the stream, each behind a header, then the end of the direction.
From the decoder pictures, each with a report, and a last report that ends the stream or names an error. Times
are those of the monotonic clock, which the processes of a machine share.
"""

import json
import struct
from dataclasses import asdict, dataclass, field
from typing import Any

from kinoscore.media.types import FrameSpec, Limits

__all__ = ["PIECE_BYTES", "PIECE_HEADER", "REPORT_HEADER", "SIZE", "LiveJob", "LiveReport"]

# Of a job.
SIZE = struct.Struct("<I")
# Arrival, how full the buffer is (0 to 1), bytes.
PIECE_HEADER = struct.Struct("<dfI")
# Bytes of the report and of the pixels.
REPORT_HEADER = struct.Struct("<II")
PIECE_BYTES = 1 << 16


@dataclass(frozen=True, slots=True)
class LiveJob:
    """What a decoder must know of a stream.

    Attributes:
        offset_seconds, last_seconds, next_sample: where the stream is, as `StreamClock` and `LiveSampler`.
        lag_seconds: how far it may be behind before decoding is degraded; None for any.
        is_resumed: the bytes may begin in the middle.
    """

    spec: FrameSpec
    limits: Limits
    offset_seconds: float | None
    last_seconds: float
    next_sample: int
    lag_seconds: float | None
    is_resumed: bool

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "LiveJob":
        fields = json.loads(data)
        spec, limits = FrameSpec(**fields.pop("spec")), Limits(**fields.pop("limits"))
        return cls(spec=spec, limits=limits, **fields)


@dataclass(frozen=True, slots=True)
class LiveReport:
    """Where a stream is; with a picture, or at its end.

    Attributes:
        first, end: the numbers of the samples that the picture shows; none without a picture.
        arrived: when the picture came.
        repaired, dropped, damaged: as `StreamClock` and `LiveCounts`, since the decoder took the stream.
        is_end: nothing more will come.
        error: the class of an error that ended the stream; empty for none.
    """

    offset_seconds: float | None
    last_seconds: float
    next_sample: int
    repaired: int
    dropped: int
    damaged: int
    first: int = 0
    end: int = 0
    arrived: float = 0.0
    is_end: bool = False
    error: str = ""
    message: str = ""
    metadata: dict[str, Any] = field(default_factory=dict)

    def encode(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    @classmethod
    def decode(cls, data: bytes) -> "LiveReport":
        return cls(**json.loads(data))
