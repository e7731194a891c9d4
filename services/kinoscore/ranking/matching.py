"""Filters asked of one track at hand, with the meaning that they have in the store."""

import operator
from collections.abc import Mapping
from typing import Any

from kinoscore.ranking.expressions import COLUMNS, encode_tags
from kinoscore.ranking.filters import And, Comparison, Filter, Membership, Not, Or, Range, Value
from kinoscore.ranking.rows import TrackRecord, filtered_columns

__all__ = ["passes"]

_COMPARISONS = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def passes(condition: Filter | None, record: TrackRecord) -> bool:
    """Whether the filter lets a track pass."""
    return condition is None or _holds(condition, filtered_columns(record.metadata, record.emotion))


def _holds(tree: Filter, columns: Mapping[str, Any]) -> bool:
    match tree:
        case Comparison("tags", comparison, value):
            return _has_tag(columns, value) == (comparison == "=")
        case Comparison(field, comparison, value):
            return bool(_COMPARISONS[comparison](columns[COLUMNS[field]], value))
        case Membership("tags", values):
            return any(_has_tag(columns, value) for value in values)
        case Membership(field, values):
            return columns[COLUMNS[field]] in values
        case Range(field, low, high):
            return bool(low <= columns[COLUMNS[field]] <= high)
        case Not(operand):
            return not _holds(operand, columns)
        case And(operands):
            return all(_holds(operand, columns) for operand in operands)
        case Or(operands):
            return any(_holds(operand, columns) for operand in operands)


def _has_tag(columns: Mapping[str, Any], value: Value) -> bool:
    return encode_tags([str(value)]) in columns["tags"]
