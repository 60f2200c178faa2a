"""What a caller learns of an error, and what only the log does."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from functools import partial
from typing import Any

import orjson
import pyarrow as pa
import pytest

from servers.ingestion.errors import CorruptFile
from servers.runtime.data_process import conversation
from servers.runtime.data_process.conversation import Advice, answer_all
from servers.runtime.data_process.messages import OnProgress, line_of
from servers.runtime.errors import NotFound


class Panic(BaseException):
    """As those of Rust: no `Exception`."""


ADVICE = Advice("MEMORY_BYTES", {"polars": "data", "pyarrow": "data", "deltalake": "data"})


def answers(problem: BaseException | None, result: Any = None) -> list[dict[str, Any]]:
    def perform(operation: str, arguments: Mapping[str, Any], on_progress: OnProgress) -> Any:
        on_progress({"rows_read": 1})
        if problem is not None:
            raise problem
        return result

    sent: list[bytes] = []
    answer_all(
        [{"operation": "ingest", "arguments": {}}],
        sent.append,
        perform,
        ADVICE,
    )
    return [orjson.loads(line) for line in sent]


def test_progress_comes_before_the_result() -> None:
    assert answers(None, [1]) == [{"progress": {"rows_read": 1}}, {"result": [1]}]


def test_an_error_of_ours_is_told() -> None:
    error = answers(NotFound("no flights", reason="NO_FLIGHTS"))[-1]["error"]
    assert (error["code"], error["reason"], error["message"]) == ("NOT_FOUND", "NO_FLIGHTS", "no flights")


@pytest.mark.parametrize("problem", [KeyError("secret"), Panic("secret"), ImportError("secret", name="numpy")])
def test_a_fault_is_told_to_the_log_alone(problem: BaseException, capfd: pytest.CaptureFixture[str]) -> None:
    error = answers(problem)[-1]["error"]
    assert (error["code"], error["reason"]) == ("INTERNAL", "INTERNAL")
    assert "secret" not in str(error)
    assert "secret" in capfd.readouterr().err


def caused(error: Exception, cause: Exception) -> Exception:
    try:
        try:
            raise cause
        except Exception:
            raise error from None
    except Exception as raised:
        return raised


@pytest.mark.parametrize(
    "problem",
    [
        MemoryError(),
        pa.ArrowMemoryError("malloc of size 8 failed"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
        ImportError("libarrow.so: failed to map segment from shared object", name="pyarrow.lib"),
        RuntimeError("can't start new thread"),
        Panic("OS can't spawn worker thread: Resource temporarily unavailable (os error 11)"),
        caused(CorruptFile("the file is damaged", file="a.csv"), pa.ArrowMemoryError("realloc failed")),
    ],
)
def test_want_of_memory_is_told_as_that(problem: BaseException) -> None:
    error = answers(problem)[-1]["error"]
    assert (error["code"], error["reason"]) == ("RESOURCE_EXHAUSTED", "OUT_OF_MEMORY")


def test_words_of_a_file_are_not_taken_for_want_of_memory() -> None:
    problem = CorruptFile("the value 'Cannot allocate memory' is no number", file="a.csv")
    assert answers(caused(problem, pa.ArrowInvalid("'Cannot allocate memory'")))[-1]["error"]["reason"] == "CORRUPT_FILE"


@pytest.mark.parametrize("module", ["pyarrow", "polars", "deltalake.exceptions"])
def test_a_missing_package_is_told_with_what_to_install(module: str) -> None:
    error = answers(ModuleNotFoundError(f"No module named {module!r}", name=module))[-1]["error"]
    assert (error["code"], error["reason"]) == ("FAILED_PRECONDITION", "DATA_EXTRA_MISSING")
    assert "mlmesh[data]" in error["message"]


def test_a_result_that_is_too_large_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "line_of", partial(line_of, max_line_bytes=900))
    assert answers(None, "x" * 1000)[-1]["error"]["reason"] == "RESULT_TOO_LARGE"
