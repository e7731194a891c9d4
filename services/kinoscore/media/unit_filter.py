"""Lets the units of an H.264 stream in Annex B through to a decoder, and counts where some are missing."""

import re

from kinoscore.media.picture_numbers import PictureNumbers

__all__ = ["UnitFilter"]

LARGEST_PARAMETERS = 1 << 16
# So much of a unit is looked at.
_LOOK_BYTES = 256
_START = b"\x00\x00\x01"
# Any slice ends the parameter sets; a slice of an IDR picture, parameter sets, SEI and AUD can begin anew.
_SLICE = re.compile(rb"\x00\x00\x01[\x01\x21\x41\x61\x25\x45\x65\x02\x22\x42\x62]", re.DOTALL)
_BEGINNING = re.compile(rb"\x00\x00\x01[\x25\x45\x65\x27\x47\x67\x06\x09]", re.DOTALL)


class UnitFilter:
    """Takes the bytes of a stream, cut anywhere, and gives all of them at once.

    Attributes:
        initialisation: the units before the first slice, once known; empty where they are too many.
        damaged: how often pictures were missing, or units none.
    """

    def __init__(self) -> None:
        self.initialisation: bytes | None = None
        self.is_renewed = False
        self._held = b""
        self._is_seeking = False
        self._numbers = PictureNumbers()
        # From the last start code on whose unit was not looked at.
        self._unseen = b""

    @property
    def damaged(self) -> int:
        return self._numbers.gaps

    @property
    def can_restart(self) -> bool:
        return True

    def push(self, data: bytes) -> bytes:
        """Takes the next bytes."""
        if self.initialisation is None:
            self._collect(data)
        if self._is_seeking:
            self._held += data
            match = _BEGINNING.search(self._held)
            if match is None:
                self._held = self._held[-3:]
                return b""
            data, self._held = self._held[match.start() :], b""
            self._is_seeking = False
        self._look(data)
        return data

    def restart(self) -> bytes:
        """The parameter sets: what follows them begins with a picture that needs no other."""
        self._is_seeking = True
        self._held = self._unseen = b""
        self._numbers.restart()
        return self.initialisation or b""

    def _collect(self, data: bytes) -> None:
        seen = max(0, len(self._held) - len(_START))
        self._held += data
        match = _SLICE.search(self._held, seen)
        if match is None and len(self._held) <= LARGEST_PARAMETERS:
            return
        self.initialisation = self._held[: match.start()] if match else b""
        self._held = b""

    def _look(self, data: bytes) -> None:
        self._unseen += data
        start = self._unseen.find(_START)
        while start >= 0:
            begin = start + len(_START)
            following = self._unseen.find(_START, begin)
            if following < 0 and len(self._unseen) - begin < _LOOK_BYTES:
                break
            end = begin + _LOOK_BYTES if following < 0 else min(following, begin + _LOOK_BYTES)
            self._numbers.look(self._unseen[begin:end])
            start = following
        self._unseen = self._unseen[start if start >= 0 else -2 :]
