"""Filters as Milvus expressions, in operators that Milvus Lite and Milvus share, closed to injections."""

import re
from collections.abc import Iterable

from kinoscore.ranking.filters import And, Comparison, Filter, Membership, Not, Or, Range, Value

COLUMNS = {
    "track_id": "track_id",
    "title": "title",
    "artist": "artist",
    "licence": "licence",
    "tags": "tags",
    "duration": "track_duration",
    "tempo": "tempo",
    "valence": "track_valence",
    "arousal": "track_arousal",
}
"""Field of the filter language to column of the collection."""

_OPERATORS = {"=": "==", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
_STRING_ESCAPES = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_NEEDS_STRING_ESCAPE = re.compile(r'[\\"\n\r\t]')
_NEEDS_TAG_ESCAPE = re.compile(r"[^a-z0-9 -]")


def quote(text: str) -> str:
    """A Milvus string literal that means exactly `text`."""
    return '"' + _NEEDS_STRING_ESCAPE.sub(lambda match: _STRING_ESCAPES[match.group()], text) + '"'


def encode_tags(tags: Iterable[str]) -> str:
    """One column for all tags: `|calm|piano|`, in lower case, empty when there are none.

    Everything but a-z, 0-9, space and hyphen becomes `~` + code point in hexadecimal + `~`. So neither a
    separator nor a wildcard of LIKE can occur inside a tag, and `LIKE "%|calm|%"` is exact on every engine.
    """
    encoded = sorted({_encode_tag(tag) for tag in tags})
    return f"|{'|'.join(encoded)}|" if encoded else ""


def _encode_tag(tag: str) -> str:
    return _NEEDS_TAG_ESCAPE.sub(lambda match: f"~{ord(match.group()):x}~", tag.casefold())


def to_milvus(tree: Filter) -> str:
    """The expression that holds for exactly the rows whose tracks pass the filter."""
    match tree:
        case Comparison("tags", operator, value):
            return _has_tag(value) if operator == "=" else f"not ({_has_tag(value)})"
        case Comparison(field, operator, value):
            return f"{COLUMNS[field]} {_OPERATORS[operator]} {_literal(value)}"
        case Membership("tags", values):
            return "(" + " or ".join(_has_tag(value) for value in values) + ")"
        case Membership(field, values):
            return f"{COLUMNS[field]} in [{', '.join(_literal(value) for value in values)}]"
        case Range(field, low, high):
            return f"({COLUMNS[field]} >= {_literal(low)} and {COLUMNS[field]} <= {_literal(high)})"
        case Not(operand):
            return f"not ({to_milvus(operand)})"
        case And(operands):
            return "(" + " and ".join(to_milvus(operand) for operand in operands) + ")"
        case Or(operands):
            return "(" + " or ".join(to_milvus(operand) for operand in operands) + ")"


def _has_tag(value: Value) -> str:
    return f'tags like "%|{_encode_tag(str(value))}|%"'


def _literal(value: Value) -> str:
    return quote(value) if isinstance(value, str) else repr(float(value))
