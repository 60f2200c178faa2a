"""What a request says about a file, as the readers take it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum
from typing import Any, TypeVar

from servers.ingestion.data_process.type_names import parsed_type
from servers.ingestion.errors import InvalidReadOptions, shown
from servers.ingestion.readers.options import Compression, Format, ReadOptions

_Kind = TypeVar("_Kind", bound=Enum)

_TEXTS = ("delimiter", "quote", "escape", "encoding", "sheet", "json_path")


def parsed_options(read: Mapping[str, Any], file: str) -> ReadOptions:
    """Reads the options; those that are not given are the readers' own.

    Args:
        read: By their names in `ReadOptions`; formats and compressions by the names of their constants, types as Arrow writes them.
        file: What the sender calls the file, for the error.

    Raises:
        InvalidReadOptions: INVALID_ARGUMENT: an option is unknown, or has a value that it cannot have.
    """

    def checked(name: str, is_valid: Callable[[Any], bool], what: str) -> Any:
        if not is_valid(read[name]):
            raise InvalidReadOptions(f"`{name}` is {shown(read[name])}, and has to be {what}", file=file)
        return read[name]

    def chosen(name: str, kinds: type[_Kind]) -> _Kind:
        known = kinds.__members__
        return kinds[checked(name, lambda value: isinstance(value, str) and value in known, f"one of {', '.join(known)}")]

    options: dict[str, Any] = {}
    for name in read:
        if name in _TEXTS:
            options[name] = checked(name, lambda value: isinstance(value, str), "text")
        elif name == "format":
            options[name] = chosen(name, Format)
        elif name == "compression":
            options[name] = chosen(name, Compression)
        elif name == "has_header":
            options[name] = checked(name, lambda value: isinstance(value, bool), "true or false")
        elif name == "skip_rows":
            options[name] = checked(name, lambda value: type(value) is int and value >= 0, "a whole number from 0 on")
        elif name == "null_values":
            options[name] = tuple(checked(name, _are_texts, "a list of texts"))
        elif name == "column_types":
            types = checked(name, lambda value: isinstance(value, dict) and _are_texts(list(value.values())), "an object of texts")
            options[name] = {column: parsed_type(text, file=file, column=column) for column, text in types.items()}
        else:
            raise InvalidReadOptions(f"there is no option {shown(name)}", file=file)
    return ReadOptions(**options)


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(entry, str) for entry in value)
