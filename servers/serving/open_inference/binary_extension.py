"""Triton's binary tensors over HTTP: JSON first, and behind it the bytes of tensors, in the order in which the JSON names them.

https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from __future__ import annotations

from collections.abc import Sequence

from servers.serving.json_values import shown
from servers.serving.open_inference.errors import invalid

HEADER = "inference-header-content-length"
"""Header that says how many bytes of JSON there are; where it is missing, everything is JSON."""

SIZE_PARAMETER = "binary_data_size"
"""Parameter of a tensor that says how many bytes behind the JSON are its own."""

_MOST_DIGITS = 12


def split(body: bytes, header_length: str | None) -> tuple[memoryview, BinarySection]:
    """Tells JSON and tensors apart.

    Args:
        body: The whole body, not compressed any more.
        header_length: Value of the header `HEADER`; None where it is missing.

    Raises:
        InvalidInferRequest: If the header is no number, or one beyond the body.
    """
    view = memoryview(body)
    if header_length is None:
        return view, BinarySection(view[len(body) :])
    text = header_length.strip()
    is_number = text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS
    if not is_number or not 1 <= int(text) <= len(body):
        raise invalid(HEADER, f"expected the number of bytes of JSON, 1 to {len(body)} in this body; got {shown(text)}")
    return view[: int(text)], BinarySection(view[int(text) :])


def joined(document: bytes, tensors: Sequence[bytes]) -> bytes:
    """The opposite of `split`."""
    return b"".join((document, *tensors))


class BinarySection:
    """The bytes behind the JSON, taken tensor by tensor.

    Args:
        data: All of them.
    """

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._offset = 0

    def take(self, size: object, place: str) -> bytes:
        """The bytes of the next tensor.

        Args:
            size: What its parameter `SIZE_PARAMETER` says.
            place: Where that stands.

        Raises:
            InvalidInferRequest: If the size is none, or more than what is left.
        """
        left = len(self._data) - self._offset
        if type(size) is not int or size < 0:
            raise invalid(place, f"expected a number of bytes, 0 or more; got {shown(size)}")
        if size > left:
            raise invalid(place, f"{shown(size)} bytes are announced, and {left} are left behind the JSON; is the header `{HEADER}` right?")
        start, self._offset = self._offset, self._offset + size
        return bytes(self._data[start : self._offset])

    def close(self) -> None:
        """Says that there is no further tensor.

        Raises:
            InvalidInferRequest: If bytes are left.
        """
        left = len(self._data) - self._offset
        if left:
            text = (
                f"{left} bytes behind the JSON belong to no input; an input says by the parameter `{SIZE_PARAMETER}` how many are its own"
            )
            raise invalid("body", text)
