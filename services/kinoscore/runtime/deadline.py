"""One deadline for the whole chain of a request."""

import math
import time
from dataclasses import dataclass
from typing import Any, Self

import grpc

from kinoscore.errors import DeadlineExceeded

__all__ = ["Deadline"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """The moment at which the caller stops waiting, on the monotonic clock in seconds."""

    moment: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """The deadline `seconds` from now."""
        return cls(time.monotonic() + seconds)

    @classmethod
    def of(cls, context: grpc.aio.ServicerContext[Any, Any], default_seconds: float) -> Self:
        """The deadline that the caller set, or `default_seconds` from now where it set none."""
        remaining = context.time_remaining()
        given = remaining is not None and math.isfinite(remaining)
        return cls.after(remaining if given else default_seconds)

    @classmethod
    def within(cls, context: grpc.aio.ServicerContext[Any, Any], seconds: float) -> Self:
        """The deadline that the caller set, or `seconds` from now where that comes first."""
        return cls.after(min(seconds, cls.of(context, seconds).remaining()))

    def remaining(self) -> float:
        """Seconds left, 0 when there are none."""
        return max(0.0, self.moment - time.monotonic())

    def require(self) -> float:
        """Seconds left, more than 0.

        Raises:
            DeadlineExceeded: none is left.
        """
        remaining = self.remaining()
        if remaining <= 0.0:
            raise DeadlineExceeded("the request's time is up; allow more time or send a shorter piece")
        return remaining
