"""Messages and errors cross between processes as they are."""

from __future__ import annotations

import orjson
import pytest
from grpc import StatusCode
from hypothesis import given
from hypothesis import strategies as st

from servers.ingestion.table_errors import SchemaFrozen, TableNotFound, WriteConflict
from servers.runtime import errors
from servers.runtime.data_process.errors import DataProcessDied, DataProcessOutOfMemory, OperationFailed, death
from servers.runtime.data_process.messages import Lines, LineTooLong, facts_of, line_of
from servers.runtime.errors import DomainError

TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, DomainError) and kind is not DomainError]


@given(st.lists(st.dictionaries(TEXTS, TEXTS, max_size=3), max_size=5), st.lists(st.integers(1, 9), min_size=1))
def test_lines_are_put_together_from_any_pieces(messages: list[dict[str, str]], sizes: list[int]) -> None:
    stream, lines, received, place = b"".join(map(line_of, messages)), Lines(), [], 0
    while place < len(stream):
        size = sizes[place % len(sizes)]
        received += [orjson.loads(line) for line in lines.received(stream[place : place + size])]
        place += size
    assert received == messages


def test_a_line_that_does_not_end_is_given_up_at_the_limit() -> None:
    lines = Lines(10)
    assert list(lines.received(b"123456")) == []
    with pytest.raises(LineTooLong):
        list(lines.received(b"78901"))
    with pytest.raises(LineTooLong):
        line_of("123456789", 10)
    assert line_of("1234567", 10) == b'"1234567"\n'


@given(
    st.sampled_from(KINDS),
    TEXTS,
    st.dictionaries(TEXTS, TEXTS, max_size=2),
    st.lists(st.tuples(TEXTS, TEXTS), max_size=2),
    st.lists(st.tuples(TEXTS, TEXTS, TEXTS), max_size=2),
    st.none() | st.tuples(TEXTS, TEXTS),
    st.none() | st.floats(0, 1e6),
)
def test_errors_keep_all_their_facts(
    kind: type[DomainError],
    message: str,
    metadata: dict[str, str],
    violations: list[tuple[str, str]],
    preconditions: list[tuple[str, str, str]],
    resource: tuple[str, str] | None,
    retry_after_s: float | None,
) -> None:
    sent = kind(
        message,
        metadata=metadata,
        field_violations=violations,
        preconditions=preconditions,
        resource=resource,
        retry_after_s=retry_after_s,
        reason="A_REASON",
    )
    came = OperationFailed.described_by(orjson.loads(line_of(facts_of(sent))))
    assert came.code is sent.code
    assert {**vars(came), "code": None} == {**vars(sent), "code": None}


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TableNotFound("project", "flights"), StatusCode.NOT_FOUND),
        (SchemaFrozen("a", "frozen"), StatusCode.FAILED_PRECONDITION),
        (WriteConflict("flights", 100), StatusCode.ABORTED),
        (DomainError("a fault", reason="INTERNAL"), StatusCode.INTERNAL),
    ],
)
def test_subclasses_have_the_code_of_their_class(error: DomainError, code: StatusCode) -> None:
    assert OperationFailed.described_by(facts_of(error)).code is code


def test_texts_that_are_no_unicode_are_sent_all_the_same() -> None:
    assert orjson.loads(line_of(facts_of(errors.NotFound("file \ud800"))))["message"] == "file ?"


@pytest.mark.parametrize(
    ("return_code", "has_limit", "kind", "words"),
    [
        (-9, False, DataProcessOutOfMemory, "SIGKILL"),
        (-6, True, DataProcessOutOfMemory, "SIGABRT"),
        (-6, False, DataProcessDied, "SIGABRT"),
        (-11, True, DataProcessDied, "SIGSEGV"),
        (-60, False, DataProcessDied, "signal 60"),
        (71, False, DataProcessOutOfMemory, "exit status 71"),
        (1, True, DataProcessOutOfMemory, "exit status 1"),
        (1, False, DataProcessDied, "exit status 1"),
        (0, True, DataProcessDied, "exit status 0"),
    ],
)
def test_the_end_of_a_process_tells_why(return_code: int, has_limit: bool, kind: type[DomainError], words: str) -> None:
    error = death(return_code, exit_status_out_of_memory=71, has_memory_limit=has_limit, memory_setting="a setting")
    assert type(error) is kind
    assert words in error.message
    is_memory = kind is DataProcessOutOfMemory
    assert error.code is (StatusCode.RESOURCE_EXHAUSTED if is_memory else StatusCode.INTERNAL)
    assert ("more with a setting" in error.message) is is_memory
