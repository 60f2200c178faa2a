"""Arrays of every element type, as models have them, for property tests."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from servers.serving.signature import ELEMENT_TYPES
from servers.serving.tensors import RawTensor, raw_of

SHAPES = npst.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4)
_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)


@st.composite
def raw_tensors(draw: st.DrawFn, datatypes: tuple[str, ...] = tuple(ELEMENT_TYPES)) -> RawTensor:
    """Tensors of any bits: every NaN, both zeros, strings with null characters."""
    datatype = draw(st.sampled_from(datatypes))
    shape = draw(SHAPES)
    if datatype == "BYTES":
        array: np.ndarray[Any, Any] = draw(npst.arrays(object, shape, elements=_TEXTS, fill=st.nothing()))
        return raw_of("x", datatype, array)
    dtype = ELEMENT_TYPES[datatype].dtype
    if datatype == "BOOL":
        return raw_of("x", datatype, draw(npst.arrays(dtype, shape)))
    bits = draw(npst.arrays(f"<u{dtype.itemsize}", shape, fill=st.nothing()))
    return RawTensor("x", datatype, shape, bits.tobytes())
