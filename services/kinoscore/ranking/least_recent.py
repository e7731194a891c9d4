"""Values that are kept as long as there is room."""

from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["LeastRecent"]

Value = TypeVar("Value")


class LeastRecent(Generic[Value]):
    """Values by key; the least recently used go first.

    Args:
        most: how much all of them may weigh.
        weight: of a value, by itself 1.
    """

    def __init__(self, most: int, weight: Callable[[Value], int] = lambda value: 1) -> None:
        self._most = most
        self._weight = weight
        self._total = 0
        self._values: OrderedDict[tuple[object, ...], tuple[int, Value]] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> Value | None:
        held = self._values.get(key)
        if held is None:
            return None
        self._values.move_to_end(key)
        return held[1]

    def put(self, key: tuple[object, ...], value: Value) -> None:
        """Keeps a value, or weighs it anew. One that is too heavy by itself stays until the next comes."""
        before, _ = self._values.pop(key, (0, None))
        weight = self._weight(value)
        self._values[key] = weight, value
        self._total += weight - before
        while self._total > self._most and len(self._values) > 1:
            _, (lightened, _) = self._values.popitem(last=False)
            self._total -= lightened
