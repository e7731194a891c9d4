"""What the boxes of a fragmented MP4 say of its pictures (ISO/IEC 14496-12, 8.8): no codec."""

from dataclasses import dataclass

__all__ = ["TrackFlags", "begins_with_key_frame", "sample_count", "video_tracks", "with_bases"]

# In the flags of tfhd and trun, and in those of a sample.
_HAS_BASE, _HAS_INDEX, _HAS_DURATION, _HAS_SIZE, _HAS_FLAGS = 0x01, 0x02, 0x08, 0x10, 0x20
_RUN_HAS_OFFSET, _RUN_HAS_FIRST_FLAGS, _RUN_HAS_FLAGS = 0x001, 0x004, 0x400
_RUN_HAS_DURATION, _RUN_HAS_SIZE = 0x100, 0x200
_IS_NO_KEY = 0x00010000


@dataclass(frozen=True, slots=True)
class TrackFlags:
    """Of each track of pictures, by its number, the flags of samples that have none of their own."""

    defaults: dict[int, int]


def video_tracks(index: bytes) -> TrackFlags:
    """What the index (`moov`) says of the tracks of pictures."""
    defaults = {}
    for track in _inside(index, b"trak"):
        headers = _inside(index, b"tkhd", *track)
        media = _inside(index, b"mdia", *track)
        handlers = [found for each in media for found in _inside(index, b"hdlr", *each)]
        if headers and any(index[start + 8 : start + 12] == b"vide" for start, _ in handlers):
            start = headers[0][0]
            defaults[_number(index, start + (20 if index[start] else 12))] = 0
    for extension in _inside(index, b"mvex"):
        for start, _ in _inside(index, b"trex", *extension):
            if (track_id := _number(index, start + 4)) in defaults:
                defaults[track_id] = _number(index, start + 20)
    return TrackFlags(defaults)


def begins_with_key_frame(fragment: bytes, tracks: TrackFlags) -> bool:
    """Whether decoding can begin with the pictures of a fragment (`moof`)."""
    for start, end in _inside(fragment, b"traf"):
        headers, runs = _inside(fragment, b"tfhd", start, end), _inside(fragment, b"trun", start, end)
        if headers and runs and _number(fragment, headers[0][0] + 4) in tracks.defaults:
            return not _first_flags(fragment, headers[0][0], runs[0][0], tracks) & _IS_NO_KEY
    return False


def sample_count(fragment: bytes) -> int:
    """How many samples of all tracks a fragment holds."""
    return sum(
        _number(fragment, start + 4)
        for track in _inside(fragment, b"traf")
        for start, _ in _inside(fragment, b"trun", *track)
    )


def with_bases(fragment: bytes, taken_from: int, given_at: int) -> bytes:
    """A `moof` whose positions in the file, where it names some, are those at which it is given.

    They are counted from its own beginning or from that of its data: nothing else makes sense in a stream.
    Where bytes are missing, what they were before is unknown.
    """
    written = bytearray(fragment)
    near = {0, len(fragment), len(fragment) + 8, len(fragment) + 16}
    for track in _inside(fragment, b"traf"):
        for start, end in _inside(fragment, b"tfhd", *track):
            if _flags(fragment, start) & _HAS_BASE and start + 16 <= end:
                ahead = int.from_bytes(fragment[start + 8 : start + 16]) - taken_from
                base = given_at + (ahead if ahead in near else 0)
                written[start + 8 : start + 16] = base.to_bytes(8)
    return bytes(written)


def _first_flags(fragment: bytes, header: int, run: int, tracks: TrackFlags) -> int:
    """Those of the first sample of a run."""
    flags = _flags(fragment, run)
    if flags & _RUN_HAS_FIRST_FLAGS:
        return _number(fragment, run + 8 + 4 * bool(flags & _RUN_HAS_OFFSET))
    if flags & _RUN_HAS_FLAGS:
        before = sum(bool(flags & bit) for bit in (_RUN_HAS_OFFSET, _RUN_HAS_DURATION, _RUN_HAS_SIZE))
        return _number(fragment, run + 8 + 4 * before)
    flags = _flags(fragment, header)
    if flags & _HAS_FLAGS:
        before = sum(bool(flags & bit) for bit in (_HAS_INDEX, _HAS_DURATION, _HAS_SIZE))
        return _number(fragment, header + 8 + 8 * bool(flags & _HAS_BASE) + 4 * before)
    return tracks.defaults[_number(fragment, header + 4)]


def _flags(data: bytes, start: int) -> int:
    return int.from_bytes(data[start + 1 : start + 4])


def _number(data: bytes, start: int) -> int:
    return int.from_bytes(data[start : start + 4])


def _inside(data: bytes, kind: bytes, start: int = 8, end: int | None = None) -> list[tuple[int, int]]:
    """Where the contents of the inner boxes of a kind begin and end."""
    end = len(data) if end is None else end
    found = []
    while start + 8 <= end:
        size = _number(data, start)
        if size < 8 or start + size > end:
            break
        if data[start + 4 : start + 8] == kind:
            found.append((start + 8, start + size))
        start += size
    return found
