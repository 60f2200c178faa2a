from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aip_filter import FilterError, parse
from aip_filter.syntax import MAX_DEPTH, MAX_LENGTH, MAX_RESTRICTIONS, Conjunction, Disjunction, Literal, Negation, Restriction


def test_or_binds_tighter_than_and_as_the_aip_has_it():
    root = parse("a = 1 AND b = 2 OR c = 3").root
    assert isinstance(root, Conjunction)
    assert isinstance(root.operands[1], Disjunction)


def test_a_sequence_of_comparisons_is_a_conjunction():
    assert isinstance(parse("a=1 b=2").root, Conjunction)


@pytest.mark.parametrize("text", ["", "  ", "\n\t"])
def test_an_empty_filter_has_no_root(text):
    assert parse(text).root is None


def test_minus_before_a_comparison_negates_and_before_a_number_is_its_sign():
    assert parse("-a = -3").root == Negation(Restriction(("a",), 1, "=", Literal("-3", 5)))


def test_a_map_key_may_hold_dots_slashes_and_quoted_blanks():
    assert parse('labels.app.kubernetes.io/name = "x"').root.path == ("labels", "app", "kubernetes", "io/name")
    assert parse('labels."a b".c = x').root.path == ("labels", "a b", "c")


def test_names_that_begin_with_a_keyword_are_names():
    assert parse("NOTED = 1 AND ORDER = 2 AND ANDROID = 3").root.operands[0].path == ("NOTED",)


def test_an_escaped_star_is_a_star_and_an_unescaped_one_a_wildcard():
    assert parse(r'a = "\*x*"').root.literal == Literal("*x", 4, is_quoted=True, any_suffix=True)
    assert parse(r'a = "x\*"').root.literal == Literal("x*", 4, is_quoted=True)
    assert parse("a = *").root.literal.is_presence


@pytest.mark.parametrize(
    ("text", "position", "allowed"),
    [
        ("a =", 3, "a value"),
        ("a = 1 AND", 9, "a field name"),
        ("(a = 1", 6, ")"),
        ("a = 1)", 5, "the end"),
        ("a == 1", 3, "a value"),
        ('a = "x', 4, "a quoted string"),
        ("a = (1 OR 2)", 4, "a value"),
    ],
)
def test_an_error_names_the_place_and_what_may_stand_there(text, position, allowed):
    with pytest.raises(FilterError) as error:
        parse(text)
    assert error.value.position == position
    assert allowed in error.value.allowed


def test_limits_hold_on_length_comparisons_and_depth():
    parse(" ".join(["a=1"] * MAX_RESTRICTIONS))
    parse("(" * (MAX_DEPTH // 2) + "a=1" + ")" * (MAX_DEPTH // 2))
    with pytest.raises(FilterError, match=f"more than {MAX_RESTRICTIONS}"):
        parse(" ".join(["a=1"] * (MAX_RESTRICTIONS + 1)))
    with pytest.raises(FilterError, match="nested deeper"):
        parse("(" * 2000 + "a=1" + ")" * 2000)
    with pytest.raises(FilterError, match="nested deeper"):
        parse("-(" * (MAX_DEPTH + 1) + "a=1" + ")" * (MAX_DEPTH + 1))
    with pytest.raises(FilterError, match="characters"):
        parse("a" * (MAX_LENGTH + 1))


@given(st.text(max_size=40))
def test_any_text_survives_quoting(text):
    quoted = text.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    literal = parse(f'field = "{quoted}"').root.literal
    assert (literal.text, literal.has_wildcard) == (text, False)


@given(st.text(alphabet="ab01 ().*:=<>!-\"'\\ANDORT", max_size=30))
def test_any_text_parses_or_is_refused_with_a_place_inside_it(text):
    refusal = _refusal(text)
    assert refusal is None or refusal.position is None or 0 <= refusal.position <= len(text)


def _refusal(text):
    try:
        parse(text)
    except FilterError as error:
        return error
    return None
