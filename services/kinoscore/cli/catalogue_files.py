"""Audio files, and the manifest that describes them.

A manifest is a CSV file with a header. `file` names a file (relative to the manifest's folder, or to one of
the given folders); `title`, `artist`, `licence`, `attribution`, `tags` (separated by `;`, `,` or `|`) and
`tempo` say what the file itself does not, or says wrongly. `license` and `author` are taken for `licence` and
`artist`.
"""

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from kinoscore.errors import InvalidRequest, NotFound

__all__ = [
    "AUDIO_SUFFIXES",
    "Description",
    "Manifest",
    "find_audio_files",
    "local_path",
    "read_manifest",
    "within",
]

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".mp3", ".m4a")

_COLUMNS = ("file", "title", "artist", "licence", "attribution", "tags", "tempo")
_SYNONYMS = {"license": "licence", "author": "artist"}


@dataclass(frozen=True, slots=True)
class Description:
    """What is said of a file, by itself or by a manifest; empty, and 0 for the tempo, where nothing is."""

    title: str = ""
    artist: str = ""
    licence: str = ""
    attribution: str = ""
    tags: tuple[str, ...] = ()
    tempo: float = 0.0

    def or_else(self, other: "Description") -> "Description":
        """This description, with what it leaves open taken from the other one."""
        return Description(
            title=self.title or other.title,
            artist=self.artist or other.artist,
            licence=self.licence or other.licence,
            attribution=self.attribution or other.attribution,
            tags=self.tags or other.tags,
            tempo=self.tempo or other.tempo,
        )


@dataclass(frozen=True, slots=True)
class Manifest:
    """The rows of a manifest by the absolute paths of their files, and what to tell the user about it."""

    descriptions: dict[Path, Description]
    notes: tuple[str, ...]

    def describe(self, file: Path) -> Description:
        """What the manifest says of a file; nothing for a file that it does not name."""
        return self.descriptions.get(file, Description())


def find_audio_files(paths: Iterable[Path]) -> list[Path]:
    """The audio files under the given folders and the given files, absolute, each once, in order of their
    names.

    A file that is named is taken whatever its suffix; hidden files and folders are passed over.

    Raises:
        NotFound: a path does not exist.
    """
    found: set[Path] = set()
    for path in paths:
        if path.is_dir():
            found.update(_audio_files_under(path.resolve()))
        elif path.exists():
            found.add(path.resolve())
        else:
            raise NotFound(f"{path}: no such file or folder")
    return sorted(found)


def _audio_files_under(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if not hidden and path.suffix.lower() in AUDIO_SUFFIXES and path.is_file():
            yield path.resolve()


def within(path: Path, places: Iterable[Path]) -> bool:
    """Whether a path is one of the places or lies under one of them; all must be absolute."""
    return any(path == place or place in path.parents for place in places)


def local_path(uri: str) -> Path | None:
    """The path that a file URI names; None for any other URI."""
    parts = urlsplit(uri)
    if parts.scheme != "file" or parts.netloc not in ("", "localhost"):
        return None
    return Path(unquote(parts.path))


def read_manifest(path: Path, folders: Iterable[Path]) -> Manifest:
    """Reads a manifest.

    Args:
        path: the CSV file, UTF-8.
        folders: where files may lie, besides the manifest's own folder.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: it is not a manifest; the message names the line.
    """
    places = [path.resolve().parent, *(folder.resolve() for folder in folders)]
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            columns = _known_columns(path, reader.fieldnames or [])
            return _read_rows(path, reader, columns, places)
    except FileNotFoundError as error:
        raise NotFound(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{path}: not a manifest that can be read ({error})") from error


def _known_columns(path: Path, header: Iterable[str]) -> dict[str, str]:
    """The column of the file for each of ours; a column's own name goes before its synonym."""
    columns: dict[str, str] = {}
    for name in header:
        known = name.strip().lower()
        if known in _COLUMNS:
            columns[known] = name
        elif known in _SYNONYMS:
            columns.setdefault(_SYNONYMS[known], name)
    if "file" not in columns:
        raise InvalidRequest(
            f"{path}: the manifest has no column `file`; its columns may be {', '.join(_COLUMNS)}"
        )
    return columns


def _read_rows(
    path: Path, reader: "csv.DictReader[str]", columns: dict[str, str], places: list[Path]
) -> Manifest:
    descriptions: dict[Path, Description] = {}
    missing = []
    for row in reader:
        values = {name: (row[column] or "").strip() for name, column in columns.items()}
        if file := _locate(values["file"], places):
            descriptions[file] = _description(values, f"{path}, line {reader.line_num}")
        elif values["file"]:
            missing.append(values["file"])
    ignored = [name for name in reader.fieldnames or [] if name not in columns.values()]
    notes = []
    if ignored:
        notes.append(f"{path.name}: columns that mean nothing to kinoscore: {', '.join(ignored)}")
    if missing:
        notes.append(f"{path.name}: {len(missing)} of its files do not exist, the first is {missing[0]}")
    return Manifest(descriptions, tuple(notes))


def _locate(name: str, places: Iterable[Path]) -> Path | None:
    candidates = ((place / name).resolve() for place in places if name)
    return next((candidate for candidate in candidates if candidate.is_file()), None)


def _description(values: dict[str, str], where: str) -> Description:
    tags = values.get("tags", "").replace(";", "|").replace(",", "|").split("|")
    return Description(
        title=values.get("title", ""),
        artist=values.get("artist", ""),
        licence=values.get("licence", ""),
        attribution=values.get("attribution", ""),
        tags=tuple(dict.fromkeys(tag.strip() for tag in tags if tag.strip())),
        tempo=_tempo(values.get("tempo", ""), where),
    )


def _tempo(text: str, where: str) -> float:
    try:
        tempo = float(text or 0)
    except ValueError:
        tempo = -1.0
    if not 0 <= tempo < 1000:
        raise InvalidRequest(f"{where}: the tempo must be in beats a minute, not {text!r}")
    return tempo
