import pytest
from hypothesis import given
from hypothesis import strategies as st

from kinoscore.errors import InvalidFilter
from kinoscore.ranking.expressions import encode_tags, quote, to_milvus
from kinoscore.ranking.filters import (
    MAX_CONDITIONS,
    MAX_DEPTH,
    MAX_LENGTH,
    And,
    Comparison,
    Membership,
    Not,
    Or,
    Range,
    parse_filter,
)


def test_the_example_of_the_contract_parses() -> None:
    tree = parse_filter('licence IN ("CC-BY-4.0", "CC0-1.0") AND NOT artist = "Somebody" AND duration >= 60')
    assert tree == And(
        (
            Membership("licence", ("CC-BY-4.0", "CC0-1.0")),
            Not(Comparison("artist", "=", "Somebody")),
            Comparison("duration", ">=", 60.0),
        )
    )


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_an_empty_filter_passes_every_track(text: str) -> None:
    assert parse_filter(text) is None


def test_and_binds_tighter_than_or_and_not_tighter_than_both() -> None:
    a, b, c = (Comparison("tempo", "=", float(number)) for number in (1, 2, 3))
    assert parse_filter("tempo = 1 OR tempo = 2 AND tempo = 3") == Or((a, And((b, c))))
    assert parse_filter("(tempo = 1 OR tempo = 2) AND tempo = 3") == And((Or((a, b)), c))
    assert parse_filter("NOT tempo = 1 AND tempo = 2") == And((Not(a), b))


def test_keywords_and_field_names_are_case_insensitive() -> None:
    assert parse_filter('not TAGS in ("sad") or Tempo between 60 and 90') == Or(
        (Not(Membership("tags", ("sad",))), Range("tempo", 60.0, 90.0))
    )


def test_not_may_stand_before_in_and_between() -> None:
    assert parse_filter('licence NOT IN ("x")') == Not(Membership("licence", ("x",)))
    assert parse_filter("tempo NOT BETWEEN -1 AND 1.5e2") == Not(Range("tempo", -1.0, 150.0))


def test_backslashes_escape_inside_double_quotes() -> None:
    assert parse_filter(r'title = "a \"b\" \\ \n\r\t"') == Comparison("title", "=", 'a "b" \\ \n\r\t')


@pytest.mark.parametrize(
    ("text", "position", "expected"),
    [
        ("artist =", 8, "expected a value in double quotes"),
        ("artist = ", 9, "at character 10"),
        ('artist "x"', 7, "expected = != IN after 'artist'"),
        ("artist = 5", 9, "expected a value in double quotes"),
        ('duration > "60"', 11, "expected a number after '>'"),
        ('artist < "x"', 7, "expected = != IN"),
        ("genre = 1", 0, "there is no field 'genre', expected one of track_id"),
        ("tempo = 1 tempo = 2", 10, "expected AND, OR or the end of the filter"),
        ("(tempo = 1", 10, "expected AND, OR or ')'"),
        ("tempo = 1)", 9, "expected AND, OR or the end"),
        ("tempo IN 1", 9, "expected '('"),
        ("tempo IN ()", 10, "expected a number"),
        ("tempo IN (1 2)", 12, "expected ',' or ')'"),
        ("tempo BETWEEN 1 OR 2", 16, "expected AND"),
        ('artist BETWEEN "a" AND "b"', 7, "expected = != IN"),
        ("tempo NOT = 1", 10, "expected IN or BETWEEN"),
        ("NOT", 3, "expected a field"),
        ("AND", 0, "expected a field"),
        ("tempo = 1 AND", 13, "expected a field after 'AND'"),
        ("artist = 'x'", 9, "double quotes"),
        ('artist = "x', 9, "expected a closing quote"),
        (r'artist = "\x"', 10, "expected one of"),
        ("tempo = 1e999", 8, "too large"),
        ("tempo = 1; drop", 9, "unexpected ';'"),
        ("tempo = 12abc", 8, "unexpected '1'"),
        ("tempo == 1", 7, "expected a number"),
    ],
)
def test_a_mistake_is_told_with_its_position_and_what_was_expected(
    text: str, position: int, expected: str
) -> None:
    with pytest.raises(InvalidFilter) as caught:
        parse_filter(text)
    assert caught.value.position == position
    assert expected in caught.value.message
    assert caught.value.field == "filter"


def test_length_depth_and_number_of_values_are_bounded() -> None:
    with pytest.raises(InvalidFilter, match="longer than"):
        parse_filter(" " * (MAX_LENGTH + 1))
    deep = "(" * MAX_DEPTH + "tempo = 1" + ")" * MAX_DEPTH
    assert parse_filter(deep) == Comparison("tempo", "=", 1.0)
    with pytest.raises(InvalidFilter, match="inside each other"):
        parse_filter(f"NOT {deep}")
    with pytest.raises(InvalidFilter, match="values"):
        parse_filter(f"tempo IN ({', '.join(['1'] * (MAX_CONDITIONS + 1))})")


def position_of_mistake(text: str) -> int:
    """Where a filter stops making sense; 0 when it does make sense."""
    try:
        parse_filter(text)
    except InvalidFilter as error:
        return error.position
    return 0


@given(st.text(max_size=80))
def test_any_text_parses_or_is_refused_with_a_position_inside_it(text: str) -> None:
    assert 0 <= position_of_mistake(text) <= len(text)


@given(
    st.lists(
        st.sampled_from(
            ["tempo", "artist", "=", "IN", "(", ")", "NOT", "AND", "OR", '"x"', "1", ",", "BETWEEN"]
        ),
        max_size=14,
    )
)
def test_any_order_of_words_parses_or_is_refused(words: list[str]) -> None:
    text = " ".join(words)
    assert 0 <= position_of_mistake(text) <= len(text)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=40))
def test_text_is_kept_exactly_through_quotes_and_escapes(text: str) -> None:
    assert parse_filter(f"title = {quote(text)}") == Comparison("title", "=", text)


def test_a_filter_becomes_an_expression_of_operators_that_every_engine_knows() -> None:
    tree = parse_filter('NOT tags = "Sad" AND (licence IN ("a", "b") OR duration BETWEEN 60 AND 90)')
    assert tree is not None
    assert to_milvus(tree) == (
        '(not (tags like "%|sad|%") and '
        '(licence in ["a", "b"] or (track_duration >= 60.0 and track_duration <= 90.0)))'
    )


@given(st.lists(st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12), max_size=5))
def test_an_encoded_tag_holds_no_separator_wildcard_quote_or_backslash(tags: list[str]) -> None:
    column = encode_tags(tags)
    assert not set(column) & set('%_"\\\n')
    assert column.count("|") == (len({tag.casefold() for tag in tags}) + 1 if tags else 0)
