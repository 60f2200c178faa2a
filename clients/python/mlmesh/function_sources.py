"""Python functions as source that runs elsewhere."""

from __future__ import annotations
import __future__

import ast
import builtins
import dis
import inspect
from collections.abc import Callable, Iterator
from types import CodeType
from typing import Any

from mlmesh.errors import InvalidArgument

# Names of every module.
_GIVEN = {"__name__", "__builtins__"}


def source_of(function: Callable[[Any], Any]) -> tuple[str, str]:
    """Returns the name of a function, and source that defines it and needs nothing else.

    Raises:
        mlmesh.errors.InvalidArgument: It is no plain function, its source is not to be had, or it uses what is defined outside of it.
    """
    if not inspect.isfunction(function) or inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise _unsendable(f"{function!r} is no plain function", "write it with def, without async and yield")
    called = f"function {function.__name__!r}"
    if function.__name__ == "<lambda>":
        raise _unsendable("a lambda cannot be sent", "write the function with def")
    if hasattr(function, "__wrapped__"):
        raise _unsendable(f"{called} is decorated, and only its own source would be sent", "take the decorator away")
    try:
        source = inspect.getsource(function)
    except (OSError, TypeError):
        raise _unsendable(f"the source of {called} is not to be had", "write the function into a file and import it") from None
    # Texts of several lines in it would change with its indentation.
    source = f"if True:\n{source}" if source[:1].isspace() else source
    defined = _definition(source)
    if defined is None:
        raise _unsendable(f"the source of {called} is not to be told from what is around it", "write it with def, on lines of its own")
    if defined.decorator_list:
        raise _unsendable(f"{called} is decorated, and only its own source would be sent", "take the decorator away")
    _check_names(function, defined.name, source)
    return defined.name, source


def _definition(source: str) -> ast.FunctionDef | None:
    """Returns the function that source defines; None where it is not that alone."""
    try:
        (statement,) = ast.parse(source).body
        if isinstance(statement, ast.If):
            (statement,) = statement.body
    except (SyntaxError, ValueError):
        return None
    return statement if isinstance(statement, ast.FunctionDef) else None


def _check_names(function: Callable[[Any], Any], name: str, source: str) -> None:
    """Raises InvalidArgument where the source uses a name that it does not define."""
    # As it is compiled where it runs: what annotations name need not be there.
    code = compile(source, f"<{name}>", "exec", __future__.annotations.compiler_flag, dont_inherit=True)
    # Its own name is there once it is defined, so that it may call itself.
    missing = sorted(set(_global_names(code)) - {name} - _GIVEN - set(dir(builtins)))
    if missing:
        closed = [one for one in missing if one in function.__code__.co_freevars]
        what = "variables of the function around it" if closed else "what is defined outside of it"
        listed = ", ".join(closed or missing)
        hint = "import and define inside of the function what it uses; values can come in as columns"
        raise _unsendable(f"function {name!r} uses {what}: {listed}", hint)


def _global_names(code: CodeType) -> Iterator[str]:
    """Yields the names that code and the code in it look for in their module."""
    instructions = list(dis.get_instructions(code))
    # Of a class these are its own.
    stored = {one.argval for one in instructions if one.opname in {"STORE_NAME", "STORE_GLOBAL"}}
    yield from (str(one.argval) for one in instructions if one.opname in {"LOAD_GLOBAL", "LOAD_NAME"} and one.argval not in stored)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _global_names(constant)


def _unsendable(message: str, hint: str) -> InvalidArgument:
    return InvalidArgument(message, reason="FUNCTION_UNSENDABLE", hint=hint)
