"""Parameters of requests, inputs and outputs: the few that mean something here, and those that must not be passed over in silence."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from servers.serving.json_values import shown
from servers.serving.open_inference.errors import UnservedExtension, invalid

# A client that put its data elsewhere, or wants something else than the tensor, would take any answer for a wrong one.
_UNSERVED = {
    "shared_memory_region": "shared memory is not served; send the tensor's data in the request, and read the answer's from the response",
    "classification": "the classification extension is not served; ask for the output itself and take the largest values",
}


def refuse_unserved(names: Collection[str], place: str) -> None:
    """Refuses what asks for an extension of Triton's that this server does not have.

    Raises:
        UnservedExtension: If a parameter does.
    """
    for name, text in _UNSERVED.items():
        if name in names:
            raise UnservedExtension(f"{place}.{name}: {text}", field_violations=[(f"{place}.{name}", text)])


def text_of(parameters: Mapping[str, object], name: str, place: str = "parameters") -> str:
    """A parameter that is text; empty where it is not given.

    Raises:
        InvalidInferRequest: If it is something else.
    """
    value = parameters.get(name, "")
    if not isinstance(value, str):
        raise invalid(f"{place}.{name}", f"expected a string; got {shown(value)}")
    return value


def flag_of(parameters: Mapping[str, object], name: str, place: str, *, default: bool) -> bool:
    """A parameter that is true or false.

    Raises:
        InvalidInferRequest: If it is something else.
    """
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise invalid(f"{place}.{name}", f"expected true or false; got {shown(value)}")
    return value
