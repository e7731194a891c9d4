"""Filters asked of one track at hand, with the meaning that they have in the store."""

from collections.abc import Mapping
from typing import Any

from kinoscore.ranking.expressions import COLUMNS
from kinoscore.ranking.filters import And, Comparison, Filter, Membership, Not, Or, Range, Value
from kinoscore.ranking.rows import TrackRecord, filtered_columns

__all__ = ["passes"]


def passes(condition: Filter | None, record: TrackRecord) -> bool:
    """Whether the filter lets a track pass."""
    if condition is None:
        return True
    tags = frozenset(tag.casefold() for tag in record.metadata.tags)
    return _holds(condition, filtered_columns(record.metadata, record.emotion), tags)


def _holds(tree: Filter, columns: Mapping[str, Any], tags: frozenset[str]) -> bool:
    match tree:
        case Comparison(field, operator, value):
            return _compares(field, operator, value, columns, tags)
        case Membership(field, values):
            return any(_compares(field, "=", value, columns, tags) for value in values)
        case Range(field, low, high):
            return bool(low <= columns[COLUMNS[field]] <= high)
        case Not(operand):
            return not _holds(operand, columns, tags)
        case And(operands):
            return all(_holds(operand, columns, tags) for operand in operands)
        case Or(operands):
            return any(_holds(operand, columns, tags) for operand in operands)


def _compares(
    field: str, operator: str, value: Value, columns: Mapping[str, Any], tags: frozenset[str]
) -> bool:
    if field == "tags":
        return (str(value).casefold() in tags) == (operator == "=")
    held = columns[COLUMNS[field]]
    if operator in ("=", "!="):
        return bool((held == value) == (operator == "="))
    is_equal = held == value
    is_beyond = held > value if operator.startswith(">") else held < value
    return bool(is_beyond or (is_equal and operator.endswith("=")))
