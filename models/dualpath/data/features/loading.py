"""Files of features, opened: whatever is wrong with one is a line that names it.

numpy and csv raise a dozen kinds of errors on files that were cut off, or that hold something else.
"""

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kinoscore.errors import InvalidRequest, NotFound

__all__ = ["load_archive", "load_array", "load_json", "read_rows"]


def read_rows(table: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    """The rows of a CSV, each with a cell for every column of its first line.

    Raises:
        NotFound: there is no such file.
        InvalidRequest: it is no CSV in UTF-8, has no rows, lacks a column, or a row has other cells than the
            first line names.
    """
    try:
        # A spreadsheet begins its CSV with a byte order mark.
        with table.open(newline="", encoding="utf-8-sig") as lines:
            rows = list(csv.DictReader(lines))
    except FileNotFoundError as error:
        raise NotFound(f"no {table}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequest(f"{table} is no CSV in UTF-8: {error}; save it as one") from error
    missing = [name for name in columns if not rows or name not in rows[0]]
    if missing:
        raise InvalidRequest(f"{table} has no rows or no column {missing[0]}")
    for number, row in enumerate(rows, start=2):
        if None in row or None in row.values():
            raise InvalidRequest(
                f"{table}, row {number} has other cells than its first line names: correct it or leave it out"
            )
    return rows


def load_array(path: Path) -> NDArray[np.generic]:
    """The array of a .npy.

    Raises:
        InvalidRequest: it cannot be read, or holds no numbers.
    """
    try:
        # numpy leaves a file open that it cannot read, unless it is ours.
        with path.open("rb") as file:
            values = np.load(file, allow_pickle=False)
    except Exception as error:  # np.load raises almost anything on a foreign file
        raise _unreadable(path, error) from error
    if not isinstance(values, np.ndarray):
        raise InvalidRequest(f"{path} holds several arrays, not one: save one with numpy.save")
    return _numbers(values, str(path))


def load_archive(path: Path, names: Sequence[str]) -> dict[str, NDArray[np.generic]]:
    """These arrays of a .npz.

    Raises:
        InvalidRequest: it cannot be read, lacks an array, or one holds no numbers.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            held = {name: arrays[name] for name in names if name in arrays}
    except Exception as error:  # np.load raises almost anything on a foreign file
        raise _unreadable(path, error) from error
    missing = [name for name in names if name not in held]
    if missing:
        raise InvalidRequest(f"{path} has no array {missing[0]}")
    return {name: _numbers(values, f"{name} of {path}") for name, values in held.items()}


def load_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InvalidRequest: it is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidRequest(f"{path} is no JSON: {error}; write or fetch it again") from error


def _unreadable(path: Path, error: Exception) -> InvalidRequest:
    # numpy's own words advise to unpickle foreign files: they stay in the chain of causes.
    cause = error.strerror if isinstance(error, OSError) and error.strerror else "cut off, or something else"
    return InvalidRequest(f"{path} cannot be read as arrays of numpy ({cause}): extract or fetch it again")


def _numbers(values: NDArray[np.generic], name: str) -> NDArray[np.generic]:
    if values.dtype.kind not in "biuf":
        raise InvalidRequest(f"{name} holds {values.dtype}, no numbers: extract it again")
    return values
