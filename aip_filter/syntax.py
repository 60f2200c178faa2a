"""Text to syntax tree: the grammar of AIP-160 with limits on what a caller may make us chew on."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from lark import Lark, Token, Tree
from lark.exceptions import UnexpectedCharacters, UnexpectedEOF, UnexpectedInput, UnexpectedToken

from aip_filter.errors import FilterError

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "MAX_RESTRICTIONS",
    "Conjunction",
    "Disjunction",
    "Expression",
    "Literal",
    "Negation",
    "Node",
    "Restriction",
    "parse",
]

MAX_LENGTH = 4096
"""Longest filter, in characters."""
MAX_RESTRICTIONS = 200
"""Most comparisons in one filter; SQLite refuses expressions 1,000 deep."""
MAX_DEPTH = 32
"""Deepest nesting of parentheses and negations."""

_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}
_TERMINALS = {
    "AND": "AND",
    "COMPARATOR": "a comparison (= != < <= > >= :)",
    "DOT": ".",
    "KEY": "a key",
    "LITERAL": "a value",
    "LPAR": "(",
    "MINUS": "-",
    "NAME": "a field name",
    "NOT": "NOT",
    "OR": "OR",
    "RPAR": ")",
    "STRING": "a quoted string",
    "$END": "the end",
}


@dataclass(frozen=True, slots=True)
class Literal:
    """The right side of a comparison.

    Args:
        text: The value without quotes, escapes and outer wildcards.
        position: Where it begins in the filter.
        is_quoted: Whether it stood in quotes.
        any_prefix: Whether an unescaped ``*`` stood before it.
        any_suffix: Whether an unescaped ``*`` stood behind it.
    """

    text: str
    position: int
    is_quoted: bool = False
    any_prefix: bool = False
    any_suffix: bool = False

    @property
    def is_presence(self) -> bool:
        """Whether it is a lone ``*``."""
        return not self.text and self.any_prefix and self.any_suffix

    @property
    def has_wildcard(self) -> bool:
        """Whether it is a pattern and no plain value."""
        return self.any_prefix or self.any_suffix


@dataclass(frozen=True, slots=True)
class Restriction:
    """One comparison; `operator` and `literal` are None for a bare name."""

    path: tuple[str, ...]
    position: int
    operator: str | None = None
    literal: Literal | None = None


@dataclass(frozen=True, slots=True)
class Negation:
    """What must not hold."""

    operand: Node


@dataclass(frozen=True, slots=True)
class Conjunction:
    """What must hold together; at least two."""

    operands: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Disjunction:
    """Of what at least one must hold; at least two."""

    operands: tuple[Node, ...]


Node: TypeAlias = Restriction | Negation | Conjunction | Disjunction


@dataclass(frozen=True, slots=True)
class Expression:
    """A parsed filter. An empty filter has no root and matches everything."""

    text: str
    root: Node | None

    def restrictions(self) -> Iterator[Restriction]:
        """Return the comparisons from left to right."""
        stack = [] if self.root is None else [self.root]
        while stack:
            node = stack.pop()
            if isinstance(node, Restriction):
                yield node
            elif isinstance(node, Negation):
                stack.append(node.operand)
            else:
                stack.extend(reversed(node.operands))


@functools.lru_cache(maxsize=256)
def parse(text: str) -> Expression:
    """Parse a filter.

    Args:
        text: A filter as AIP-160 writes it, for example ``state = "READY" AND tags.team = "a"``; empty matches everything.

    Raises:
        FilterError: If it does not parse, or is longer, deeper or has more comparisons than the limits.
    """
    if len(text) > MAX_LENGTH:
        raise FilterError(f"the filter has {len(text):,} characters; at most {MAX_LENGTH:,} are allowed")
    try:
        tree = _parser().parse(text)
    except UnexpectedInput as error:
        raise _syntax_error(text, error) from None
    budget = _Budget()
    child = tree.children[0] if tree.children else None
    return Expression(text, None if child is None else _node(cast("Tree[Token]", child), budget, depth=0))


@functools.cache
def _parser() -> Lark:
    grammar = Path(__file__).with_name("grammar.lark").read_text(encoding="utf-8")
    return Lark(grammar, parser="lalr", lexer="contextual", propagate_positions=True, maybe_placeholders=True)


class _Budget:
    """Counts the comparisons of one filter against the limit."""

    def __init__(self) -> None:
        self.restrictions = 0

    def spend(self, position: int) -> None:
        self.restrictions += 1
        if self.restrictions > MAX_RESTRICTIONS:
            raise FilterError(f"the filter has more than {MAX_RESTRICTIONS} comparisons", position)


def _node(tree: Tree[Token], budget: _Budget, depth: int) -> Node:
    if depth > MAX_DEPTH:
        raise FilterError(f"the filter is nested deeper than {MAX_DEPTH} levels", tree.meta.start_pos)
    if tree.data == "restriction":
        return _restriction(tree, budget)
    if tree.data == "negation":
        return Negation(_node(cast("Tree[Token]", tree.children[1]), budget, depth + 1))
    if tree.data == "composite":
        return _node(cast("Tree[Token]", tree.children[0]), budget, depth + 1)
    operands = tuple(_node(child, budget, depth) for child in tree.children if isinstance(child, Tree))
    if len(operands) == 1:
        return operands[0]
    return Disjunction(operands) if tree.data == "factor" else Conjunction(operands)


def _restriction(tree: Tree[Token], budget: _Budget) -> Restriction:
    member, comparator, value = (*tree.children, None, None)[:3]
    tokens = cast("Tree[Token]", member).children
    path = tuple(_plain(cast("Token", token)) for token in tokens)
    position = cast("Token", tokens[0]).start_pos or 0
    budget.spend(position)
    if not isinstance(comparator, Token) or not isinstance(value, Token):
        return Restriction(path, position)
    return Restriction(path, position, str(comparator), _literal(value))


def _characters(token: Token) -> list[tuple[str, bool]]:
    """Return each character of a string or word with whether it was escaped."""
    if token.type != "STRING":
        return [(character, False) for character in token]
    characters = []
    body = iter(token[1:-1])
    for character in body:
        if character == "\\":
            escaped = next(body)
            characters.append((_ESCAPES.get(escaped, escaped), True))
        else:
            characters.append((character, False))
    return characters


def _plain(token: Token) -> str:
    return "".join(character for character, _ in _characters(token))


def _literal(token: Token) -> Literal:
    characters = _characters(token)
    any_prefix = bool(characters) and characters[0] == ("*", False)
    any_suffix = bool(characters) and characters[-1] == ("*", False)
    inner = characters[1 if any_prefix else 0 : -1 if any_suffix and len(characters) > 1 else None]
    if any_prefix and len(characters) == 1:
        inner = []
    text = "".join(character for character, _ in inner)
    return Literal(text, token.start_pos or 0, token.type == "STRING", any_prefix, any_suffix)


def _syntax_error(text: str, error: UnexpectedInput) -> FilterError:
    expected: set[str] = set()
    if isinstance(error, UnexpectedToken):
        expected = set(error.accepts or error.expected)
    elif isinstance(error, UnexpectedCharacters):
        expected = set(error.allowed or ())
    elif isinstance(error, UnexpectedEOF):
        expected = set(error.expected)
    at_end = isinstance(error, UnexpectedEOF) or (isinstance(error, UnexpectedToken) and error.token.type == "$END")
    position = len(text) if at_end or error.pos_in_stream is None else error.pos_in_stream
    allowed = sorted(_TERMINALS.get(name, name) for name in expected)
    what = (
        "the filter ends too early" if at_end else f"the filter cannot be read at character {position}: {text[position : position + 20]!r}"
    )
    return FilterError(f"{what}; expected {' or '.join(allowed) or 'something else'}", position, allowed)
