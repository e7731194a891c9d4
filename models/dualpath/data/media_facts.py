"""What must be known of a media file before it is decoded: its content's digest, length and streams.

Every file is read once; what was learnt is kept in a file of lines, so an interrupted reading goes on.
"""

import hashlib
import json
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from kinoscore.errors import KinoscoreError
from kinoscore.media.decoding import probe

__all__ = ["MediaFacts", "read_facts"]


@dataclass(frozen=True, slots=True)
class MediaFacts:
    """Of one file.

    Attributes:
        digest: SHA-256 of its bytes.
        sound: of its encoded sound alone, which retagging keeps; "" without sound.
        seconds: its length.
        problem: why it cannot be used, or "".
    """

    digest: str = ""
    sound: str = ""
    has_video: bool = False
    seconds: float = 0.0
    problem: str = ""


def read_facts(
    files: Sequence[Path],
    store: Path,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[Path, MediaFacts]:
    """The facts of all files. A file that cannot be read has a `problem`, which is not kept.

    Args:
        store: where facts are kept, one file a line; made where missing. A file of another size or time of
            change is read anew.
        workers: threads that read.
        progress: called with (files done, files in all).
    """
    wanted = list(dict.fromkeys(files))
    known = _read_store(store)
    facts = {file: known[_key(file)] for file in wanted if _key(file) in known}
    missing = [file for file in wanted if file not in facts]
    progress(len(facts), len(wanted))
    store.parent.mkdir(parents=True, exist_ok=True)
    pool = ThreadPoolExecutor(max(workers, 1))
    try:
        with store.open("a", encoding="utf-8") as lines:
            for file, one in zip(missing, pool.map(_read_file, missing), strict=True):
                facts[file] = one
                if not one.problem:
                    lines.write(json.dumps({"key": _key(file), **asdict(one)}) + "\n")
                    lines.flush()
                progress(len(facts), len(wanted))
    finally:
        pool.shutdown(cancel_futures=True)
    return facts


def _read_file(file: Path) -> MediaFacts:
    try:
        found = probe(file)
        with file.open("rb") as content:
            digest = hashlib.file_digest(content, "sha256").hexdigest()
    except (KinoscoreError, OSError) as error:
        return MediaFacts(problem=str(error))
    return MediaFacts(digest, found.digest or "", found.has_video, found.duration_seconds)


def _key(file: Path) -> str:
    status = file.stat()
    return f"{file.resolve()}|{status.st_size}|{status.st_mtime_ns}"


def _read_store(store: Path) -> dict[str, MediaFacts]:
    known: dict[str, MediaFacts] = {}
    if store.is_file():
        for line in store.read_text(encoding="utf-8").splitlines():
            try:
                values = json.loads(line)
                key = values.pop("key")
                known[key] = MediaFacts(**values)
            except (ValueError, KeyError, TypeError):
                continue  # the line that an interruption cut off
    return known
