"""Why there is no ONNX."""

from __future__ import annotations

__all__ = ["OnnxNotPossible", "reason_of"]

_LONGEST_REASON = 400


class OnnxNotPossible(Exception):
    """The model cannot be made an ONNX that predicts the same. The text says why, for whoever saved the model."""


def reason_of(error: BaseException) -> str:
    """Return the first line that says something, of an error of a converter, which may have pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    if not text or isinstance(error, LookupError):
        # A KeyError says nothing but the key.
        text = f"{type(error).__name__} {text}".strip()
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 1] + "…"
