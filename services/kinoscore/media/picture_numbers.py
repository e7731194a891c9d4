"""Whether pictures are missing in a stream of H.264 units, told by the numbers in their headers.

A decoder conceals what is missing and often says nothing. No codec: parameter sets and the first fields of
slice headers (ITU-T H.264, 7.3.2.1.1 and 7.3.3).
"""

from dataclasses import dataclass

__all__ = ["PictureNumbers"]

_SLICE, _IDR_SLICE, _PARAMETERS = 1, 5, 7
_PROFILES_WITH_CHROMA = frozenset((44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244))


@dataclass(frozen=True, slots=True)
class _Numbering:
    """How pictures are numbered: bits of the number, whether gaps mean nothing, bits before the number."""

    bits: int
    has_gaps: bool
    plane_bits: int


class PictureNumbers:
    """Follows the numbers of the pictures of one stream.

    Attributes:
        gaps: how often a picture's number did not follow the one before it, or a unit was none.
    """

    def __init__(self) -> None:
        self.gaps = 0
        self._numbering: _Numbering | None = None
        self._last: int | None = None

    def restart(self) -> None:
        """What comes does not follow what came."""
        self._last = None

    def look(self, unit: bytes) -> None:
        """Takes the next unit, from its header on; the first 256 bytes suffice."""
        if not unit:
            return
        kind, reference = unit[0] & 0x1F, unit[0] >> 5 & 3
        if unit[0] & 0x80 or kind == 0 or kind > 23:
            self.gaps += 1
            return
        bits = _Bits(unit[1:].replace(b"\x00\x00\x03", b"\x00\x00"))
        try:
            if kind == _PARAMETERS:
                self._numbering = _numbering(bits)
            elif kind in (_SLICE, _IDR_SLICE) and self._numbering is not None:
                self._follow(self._numbering, bits, is_reference=reference > 0, is_first=kind == _IDR_SLICE)
        except _CutOffError:
            self.gaps += 1

    def _follow(self, numbering: _Numbering, bits: "_Bits", *, is_reference: bool, is_first: bool) -> None:
        if bits.number() != 0:
            return  # not the first slice of its picture
        bits.number()
        bits.number()
        bits.take(numbering.plane_bits)
        number = bits.take(numbering.bits)
        last = self._last
        if last is not None and not is_first and not numbering.has_gaps:
            self.gaps += number not in (last, (last + 1) % (1 << numbering.bits))
        if is_reference:
            self._last = number


class _CutOffError(Exception):
    """There are fewer bits than the syntax asks for."""


class _Bits:
    """Reads numbers from bits, the highest first."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data)
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise _CutOffError
        self._left -= count
        return self._value >> self._left & ((1 << count) - 1)

    def number(self) -> int:
        """An Exp-Golomb code."""
        zeros = 0
        while not self.take(1):
            zeros += 1
            if zeros > 32:
                raise _CutOffError
        return (1 << zeros) - 1 + self.take(zeros)

    def signed(self) -> int:
        number = self.number()
        return (number + 1) // 2 if number % 2 else -(number // 2)


def _numbering(bits: _Bits) -> _Numbering:
    profile = bits.take(8)
    bits.take(16)
    bits.number()
    plane_bits = 0
    if profile in _PROFILES_WITH_CHROMA:
        chroma = bits.number()
        if chroma == 3 and bits.take(1):
            plane_bits = 2
        bits.number()
        bits.number()
        bits.take(1)
        if bits.take(1):
            for index in range(12 if chroma == 3 else 8):
                if bits.take(1):
                    _pass_scaling(bits, 16 if index < 6 else 64)
    length = bits.number() + 4
    order = bits.number()
    if order == 0:
        bits.number()
    elif order == 1:
        bits.take(1)
        bits.number()
        bits.number()
        for _ in range(min(bits.number(), 255)):
            bits.number()
    bits.number()
    return _Numbering(min(length, 16), bool(bits.take(1)), plane_bits)


def _pass_scaling(bits: _Bits, count: int) -> None:
    last = following = 8
    for _ in range(count):
        if following:
            following = (last + bits.signed()) % 256
        last = following or last
