"""The filter language: which tracks may be recommended.

    licence IN ("CC-BY-4.0", "CC0-1.0") AND NOT artist = "Somebody" AND duration >= 60

    filter     = conjunction { OR conjunction }
    conjunction = negation { AND negation }
    negation   = NOT negation | "(" filter ")" | condition
    condition  = field ( "=" | "!=" | "<" | "<=" | ">" | ">=" ) value
               | field [ NOT ] IN "(" value { "," value } ")"
               | field [ NOT ] BETWEEN number AND number
    value      = string in double quotes, with \\" and \\\\ and \\n \\r \\t | number

Keywords and field names are case-insensitive; strings are compared exactly, tags without regard to case.
`tags = "sad"` asks whether "sad" is one of the track's tags. Text knows `=`, `!=` and IN; numbers know
them all.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import Final, NoReturn

from kinoscore.errors import InvalidFilter

MAX_LENGTH: Final = 8192
"""Characters of a filter."""
MAX_DEPTH: Final = 32
"""Parentheses and NOTs inside each other."""
MAX_CONDITIONS: Final = 256
"""Comparisons and listed values in all."""


class Kind(Enum):
    """What a field holds."""

    TEXT = "text"
    TAGS = "tags"
    NUMBER = "a number"


FIELDS: Final[dict[str, Kind]] = {
    "track_id": Kind.TEXT,
    "title": Kind.TEXT,
    "artist": Kind.TEXT,
    "licence": Kind.TEXT,
    "tags": Kind.TAGS,
    "duration": Kind.NUMBER,
    "tempo": Kind.NUMBER,
    "valence": Kind.NUMBER,
    "arousal": Kind.NUMBER,
}
"""The fields of a track: duration in seconds, tempo in beats a minute, emotion of the whole track."""

Value = str | float


@dataclass(frozen=True, slots=True)
class Comparison:
    """`field operator value`; the operator is one of = != < <= > >=."""

    field: str
    operator: str
    value: Value


@dataclass(frozen=True, slots=True)
class Membership:
    """`field IN (values)`; there is at least one value."""

    field: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """`field BETWEEN low AND high`, both included."""

    field: str
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Not:
    operand: "Filter"


@dataclass(frozen=True, slots=True)
class And:
    operands: tuple["Filter", ...]


@dataclass(frozen=True, slots=True)
class Or:
    operands: tuple["Filter", ...]


Filter = Comparison | Membership | Range | Not | And | Or


def parse_filter(text: str) -> Filter | None:
    """Parses a filter; None for an empty one, which every track passes.

    Raises:
        InvalidFilter: with the position where the text stops making sense and what was expected there.
    """
    if len(text) > MAX_LENGTH:
        raise InvalidFilter(f"the filter is longer than {MAX_LENGTH} characters", position=MAX_LENGTH)
    parser = _Parser(text, _tokenize(text))
    return None if parser.at_end() else parser.parse()


class _Mark(Enum):
    STRING = "string"
    NUMBER = "number"
    WORD = "word"
    SYMBOL = "symbol"
    END = "end"


@dataclass(frozen=True, slots=True)
class _Token:
    mark: _Mark
    text: str
    position: int
    value: Value = ""

    def is_keyword(self, keyword: str) -> bool:
        return self.mark is _Mark.WORD and self.text.upper() == keyword

    def is_symbol(self, *symbols: str) -> bool:
        return self.mark is _Mark.SYMBOL and self.text in symbols


_BLANK = re.compile(r"\s+")
_SYMBOL = re.compile(r"!=|<=|>=|[=<>(),]")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z0-9_.])")
_ESCAPES = {'"': '"', "\\": "\\", "n": "\n", "r": "\r", "t": "\t"}
_KEYWORDS = frozenset({"AND", "OR", "NOT", "IN", "BETWEEN"})
_EQUALITIES = ("=", "!=")
_OPERATORS = ("=", "!=", "<", "<=", ">", ">=")


def _fail(message: str, position: int) -> NoReturn:
    raise InvalidFilter(f"{message} at character {position + 1}", position=position)


def _tokenize(text: str) -> list[_Token]:
    tokens = []
    position = 0
    while position < len(text):
        if blank := _BLANK.match(text, position):
            position = blank.end()
            continue
        token, position = _next_token(text, position)
        tokens.append(token)
    return [*tokens, _Token(_Mark.END, "", len(text))]


def _next_token(text: str, position: int) -> tuple[_Token, int]:
    if text[position] == '"':
        return _read_string(text, position)
    for mark, pattern in ((_Mark.SYMBOL, _SYMBOL), (_Mark.WORD, _WORD), (_Mark.NUMBER, _NUMBER)):
        if match := pattern.match(text, position):
            value: Value = ""
            if mark is _Mark.NUMBER:
                value = float(match.group())
                if not math.isfinite(value):
                    _fail("the number is too large", position)
            return _Token(mark, match.group(), position, value), match.end()
    if text[position] == "'":
        _fail('expected double quotes ("...") around text', position)
    return _fail(f"unexpected {text[position]!r}", position)


def _read_string(text: str, start: int) -> tuple[_Token, int]:
    characters: list[str] = []
    position = start + 1
    while position < len(text):
        character = text[position]
        if character == '"':
            return _Token(_Mark.STRING, text[start : position + 1], start, "".join(characters)), position + 1
        if character == "\\":
            escape = text[position + 1 : position + 2]
            if escape not in _ESCAPES:
                _fail('expected one of \\" \\\\ \\n \\r \\t', position)
            character = _ESCAPES[escape]
            position += 1
        characters.append(character)
        position += 1
    return _fail("expected a closing quote for the text that starts", start)


class _Parser:
    """Recursive descent over the tokens; one use."""

    def __init__(self, text: str, tokens: list[_Token]) -> None:
        self._text = text
        self._tokens = tokens
        self._next = 0
        self._depth = 0
        self._conditions = 0

    def at_end(self) -> bool:
        return self._token.mark is _Mark.END

    def parse(self) -> Filter:
        tree = self._disjunction()
        if not self.at_end():
            self._expected("AND, OR or the end of the filter")
        return tree

    @property
    def _token(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._token
        self._next += 1
        return token

    def _expected(self, what: str) -> NoReturn:
        after = f" after {self._tokens[self._next - 1].text!r}" if self._next else ""
        _fail(f"expected {what}{after}", self._token.position)

    def _disjunction(self) -> Filter:
        operands = self._separated_by("OR", self._conjunction)
        return operands[0] if len(operands) == 1 else Or(operands)

    def _conjunction(self) -> Filter:
        operands = self._separated_by("AND", self._negation)
        return operands[0] if len(operands) == 1 else And(operands)

    def _separated_by(self, keyword: str, operand: Callable[[], Filter]) -> tuple[Filter, ...]:
        operands = [operand()]
        while self._token.is_keyword(keyword):
            self._take()
            operands.append(operand())
        return tuple(operands)

    def _negation(self) -> Filter:
        negated = self._token.is_keyword("NOT")
        if not negated and not self._token.is_symbol("("):
            return self._condition()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            _fail(f"more than {MAX_DEPTH} parentheses and NOTs inside each other", self._token.position)
        self._take()
        tree = Not(self._negation()) if negated else self._parenthesized()
        self._depth -= 1
        return tree

    def _parenthesized(self) -> Filter:
        tree = self._disjunction()
        if not self._token.is_symbol(")"):
            self._expected("AND, OR or ')'")
        self._take()
        return tree

    def _condition(self) -> Filter:
        field = self._field()
        negated = self._token.is_keyword("NOT")
        if negated:
            self._take()
        condition: Filter
        if self._token.is_keyword("IN"):
            self._take()
            condition = Membership(field, self._values(field))
        elif self._token.is_keyword("BETWEEN") and FIELDS[field] is Kind.NUMBER:
            self._take()
            condition = self._range(field)
        elif negated:
            self._expected("IN or BETWEEN" if FIELDS[field] is Kind.NUMBER else "IN")
        else:
            condition = Comparison(field, self._operator(field), self._value(field))
        return Not(condition) if negated else condition

    def _field(self) -> str:
        token = self._token
        if token.mark is not _Mark.WORD or token.text.upper() in _KEYWORDS:
            self._expected("a field")
        name = token.text.lower()
        if name not in FIELDS:
            _fail(f"there is no field {token.text!r}, expected one of {', '.join(FIELDS)}", token.position)
        self._take()
        return name

    def _operator(self, field: str) -> str:
        allowed = _OPERATORS if FIELDS[field] is Kind.NUMBER else _EQUALITIES
        if not self._token.is_symbol(*allowed):
            also = "IN or BETWEEN" if FIELDS[field] is Kind.NUMBER else "IN"
            self._expected(f"{' '.join(allowed)} {also}")
        return self._take().text

    def _values(self, field: str) -> tuple[Value, ...]:
        if not self._token.is_symbol("("):
            self._expected("'('")
        self._take()
        values = [self._value(field)]
        while self._token.is_symbol(","):
            self._take()
            values.append(self._value(field))
        if not self._token.is_symbol(")"):
            self._expected("',' or ')'")
        self._take()
        return tuple(values)

    def _range(self, field: str) -> Range:
        low = float(self._value(field))
        if not self._token.is_keyword("AND"):
            self._expected("AND")
        self._take()
        return Range(field, low, float(self._value(field)))

    def _value(self, field: str) -> Value:
        kind = FIELDS[field]
        wanted = _Mark.NUMBER if kind is Kind.NUMBER else _Mark.STRING
        if self._token.mark is not wanted:
            self._expected("a number" if wanted is _Mark.NUMBER else 'a value in double quotes ("...")')
        self._conditions += 1
        if self._conditions > MAX_CONDITIONS:
            _fail(f"more than {MAX_CONDITIONS} values", self._token.position)
        return self._take().value
