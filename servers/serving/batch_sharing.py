"""Whether calls of a model may share a run: what its signature proves, and what its first shared runs show.

Shared runs put the rows of several calls one behind the other along the first dimension. That is right only where this dimension counts
independent rows. A signature cannot prove independence (a model may subtract the mean of the batch), so the first shared runs are
held against runs of single calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from servers.serving.json_values import bfloat16_values
from servers.serving.signature import DYNAMIC, Signature, TensorSpec
from servers.serving.tensors import Feeds

_TOLERANCE = 1e-3
"""Difference between a row alone and in a batch, relative to the row's and the output's values: kernels differ in how they add up."""

_COARSE_TOLERANCE = 3e-2
"""Likewise, for outputs of 16 bits."""


@dataclass(frozen=True, slots=True)
class Sharing:
    """How calls of a model share runs.

    Args:
        refusal: Why they do not, whatever they want; empty where they may.
        outputs: Positions of the outputs that have the rows as their first dimension.
        names: Names of the inputs, all of which have it.
        is_uniform: Whether every other extent of the inputs is fixed, so that any two calls fit together.
    """

    refusal: str
    outputs: frozenset[int] = frozenset()
    names: tuple[str, ...] = ()
    is_uniform: bool = True

    def key(self, feeds: Feeds, outputs: tuple[int, ...], rows: int) -> object:
        """What two calls have to agree on to share a run; None where a call runs alone.

        Args:
            feeds: The inputs, checked against the signature.
            outputs: Positions of the outputs wanted.
            rows: Extent of the first input's first dimension.
        """
        if self.refusal or not self.outputs.issuperset(outputs) or len(feeds) != len(self.names):
            return None
        if self.is_uniform and len(self.names) == 1:
            return (outputs, None)
        shapes = []
        for name in self.names:
            shape = feeds[name].shape
            if shape[0] != rows:
                return None
            shapes.append(shape[1:])
        return (outputs, tuple(shapes))


def sharing_of(signature: Signature) -> Sharing:
    """What a signature proves about sharing."""
    inputs = [spec for spec in signature.inputs if not spec.is_optional]
    if not inputs:
        return Sharing("the model has no inputs")
    for spec in inputs:
        if not spec.shape or spec.shape[0] != DYNAMIC:
            return Sharing(f"the first dimension of input `{spec.name}` ({spec}) is fixed")
    named = {spec.symbols[0] for spec in inputs if spec.symbols and spec.symbols[0]}
    if len(named) > 1:
        return Sharing(f"the first dimensions of the inputs are not the same: {', '.join(sorted(named))}")
    rows = next(iter(named), "")
    for spec in inputs:
        if rows and rows in spec.symbols[1:]:
            return Sharing(f"input `{spec.name}` has its rows `{rows}` in another dimension too")
    known = {symbol for spec in inputs for symbol in spec.symbols[1:] if symbol}
    outputs = frozenset(index for index, spec in enumerate(signature.outputs) if _has_rows(spec, rows, known))
    if not outputs:
        return Sharing("no output has the rows of the inputs as its first dimension, and other extents that do not depend on other calls")
    is_uniform = all(extent != DYNAMIC for spec in inputs for extent in spec.shape[1:])
    return Sharing("", outputs, tuple(spec.name for spec in inputs), is_uniform)


def agree(spec: TensorSpec, shared: np.ndarray[Any, Any], alone: np.ndarray[Any, Any]) -> bool:
    """Whether a call's part of a shared run says the same as a run of its own."""
    if shared.shape != alone.shape:
        return False
    if spec.element.kind != "float":
        return bool(np.array_equal(shared, alone))
    tolerance = _COARSE_TOLERANCE if spec.datatype in ("FP16", "BF16") else _TOLERANCE
    if spec.datatype == "BF16":
        shared, alone = bfloat16_values(shared), bfloat16_values(alone)
    finite = alone[np.isfinite(alone)].astype(np.float64)
    scale = float(np.abs(finite).max()) if finite.size else 0.0
    return bool(np.allclose(shared, alone, rtol=tolerance, atol=tolerance * scale, equal_nan=True))


def joined(calls: Sequence[Feeds], names: Sequence[str]) -> Feeds:
    """The inputs of several calls, one behind the other."""
    return {name: np.concatenate([feeds[name] for feeds in calls]) for name in names}


def parted(arrays: Sequence[np.ndarray[Any, Any]], rows: Sequence[int]) -> list[list[np.ndarray[Any, Any]]] | None:
    """Each call's part of the outputs, without a copy; None where an output does not have as many rows as the calls together."""
    total = sum(rows)
    if any(not array.ndim or array.shape[0] != total for array in arrays):
        return None
    parts = []
    start = 0
    for count in rows:
        parts.append([array[start : start + count] for array in arrays])
        start += count
    return parts


def _has_rows(spec: TensorSpec, rows: str, known: set[str]) -> bool:
    """Whether an output's first dimension counts the rows, and nothing else about it can depend on the other calls of a run."""
    if not spec.shape or spec.shape[0] != DYNAMIC:
        return False
    symbols = spec.symbols or ("",) * len(spec.shape)
    if symbols[0] and ((rows and symbols[0] != rows) or symbols[0] in known):
        return False
    return all(extent != DYNAMIC or symbol in known for extent, symbol in zip(spec.shape[1:], symbols[1:], strict=True))
