"""Keeps callers from waiting for a server that does not answer."""

import time
from collections.abc import Callable


class Breaker:
    """Closed, it lets every call go. The first failure opens it: no call goes for `rest_seconds`. After the
    rest one call at a time goes as a probe; its success closes the breaker, its failure begins another rest.

    Who is admitted holds the number of a period and hands it back with the outcome: what a call of an earlier
    period met is no news.

    Args:
        rest_seconds: how long a server that failed is left alone.
        clock: seconds that never go back.
    """

    def __init__(self, rest_seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._rest_seconds = rest_seconds
        self._clock = clock
        self._period = 0
        self._open = False
        self._rests_until = 0.0
        self._probing = False

    def admit(self) -> int | None:
        """The current period, when the call may go; None when it must not."""
        if self._open:
            if self._probing or self._clock() < self._rests_until:
                return None
            self._probing = True
        return self._period

    def succeeded(self, period: int) -> bool:
        """The call was answered; True when that closes the breaker."""
        closes = self._open and period == self._period
        if closes:
            self._begin(open_=False)
        return closes

    def failed(self, period: int) -> bool:
        """The call failed; True when that opens a closed breaker."""
        opens = not self._open
        if period != self._period:
            return False
        self._begin(open_=True)
        self._rests_until = self._clock() + self._rest_seconds
        return opens

    def abandoned(self, period: int) -> None:
        """The caller left before the outcome: the next call may probe at once."""
        if period == self._period:
            self._probing = False

    def _begin(self, *, open_: bool) -> None:
        self._period += 1
        self._open = open_
        self._probing = False
