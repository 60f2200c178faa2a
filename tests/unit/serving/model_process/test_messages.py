from __future__ import annotations

from contextlib import suppress

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from servers.serving.model_process.frames import Frame, FrameReader, MalformedFrame
from servers.serving.model_process.messages import Answer, Load, Message, Ready, Refusal, Run, message_of, message_parts
from servers.serving.model_process.packed_tensors import NamedTensor
from servers.serving.signature import Signature, TensorSpec

SIGNATURE = Signature(
    (TensorSpec("x", "FP32", (-1, 4), ("N", "")), TensorSpec("k", "INT64", (), (), is_optional=True)), (TensorSpec("y", "BYTES", (-1,)),)
)


def carried(message: Message) -> Message:
    data = b"".join(message_parts(message, max_payload_bytes=1000))
    reader = FrameReader(1000)
    reader.buffer()[: len(data)] = data
    (frame,) = reader.received(len(data))
    return message_of(frame)


@pytest.mark.parametrize(
    "message",
    [
        Load("/somewhere/model.onnx", 2, 0, 1000),
        Ready(SIGNATURE, "it does not like zeros"),
        Refusal(3, "MODEL_RUN_REFUSED", "out of bounds"),
    ],
)
def test_messages_without_tensors_arrive_as_they_were_sent(message):
    assert carried(message) == message


def test_runs_and_answers_arrive_with_their_tensors():
    tensors = [NamedTensor("x", "FP32", np.ones((2, 2), "f4")), NamedTensor("s", "BYTES", np.array(["a", "ü"], dtype=object))]

    run, answer = carried(Run(7, tensors, (1, 0))), carried(Answer(8, tensors))

    assert isinstance(run, Run)
    assert (run.call, run.outputs) == (7, (1, 0))
    assert isinstance(answer, Answer)
    assert answer.call == 8
    for found in (run.inputs, answer.outputs):
        assert [(tensor.name, tensor.datatype, tensor.array.tolist()) for tensor in found] == [
            ("x", "FP32", [[1.0, 1.0], [1.0, 1.0]]),
            ("s", "BYTES", ["a", "ü"]),
        ]


values = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 9) | st.floats(-1, 1) | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=10,
)
fields = (
    "call",
    "path",
    "reason",
    "message",
    "inputs",
    "outputs",
    "refusal",
    "intra_op_threads",
    "memory_limit_bytes",
    "max_payload_bytes",
)
headers = st.builds(
    lambda kind, rest: {"kind": kind, **rest},
    st.sampled_from(["load", "ready", "run", "answer", "refusal", "", None, 1]),
    st.dictionaries(st.sampled_from(fields), values, max_size=len(fields)),
)


@given(headers, st.binary(max_size=20))
def test_any_header_is_a_message_or_malformed(header, payload):
    try:
        message = message_of(Frame(header, np.frombuffer(payload, np.uint8)))
    except MalformedFrame:
        return
    assert isinstance(carried(message), type(message))


@given(st.data())
def test_a_damaged_message_is_a_message_or_malformed(data):
    whole = bytearray(message_parts(Ready(SIGNATURE, ""))[0][16:])
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        header = orjson.loads(whole)
    except orjson.JSONDecodeError:
        return
    if isinstance(header, dict):
        with suppress(MalformedFrame):
            message_of(Frame(header, np.empty(0, np.uint8)))


def test_what_has_no_tensors_has_no_payload():
    with pytest.raises(MalformedFrame, match="a message of kind `refusal` has no payload"):
        message_of(Frame({"kind": "refusal", "call": 1, "reason": "", "message": ""}, np.zeros(1, np.uint8)))
