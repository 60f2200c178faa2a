from __future__ import annotations

import sqlite3
from pathlib import Path

import grpc
import pytest
import sqlalchemy
from google.rpc import code_pb2, error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import exc

import aip_filter
import blob_store
from servers.runtime import errors
from servers.runtime.statuses import MAX_MESSAGE_BYTES, MAX_STATUS_BYTES, as_domain_error, reason_of, status_of
from sql_engine import connect

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.DomainError)]
texts = st.text(max_size=3000)
pairs = st.lists(st.tuples(texts, texts), max_size=40)


def unpacked(status: status_pb2.Status, kind: type) -> list[object]:
    found = []
    for packed in status.details:
        if packed.Is(kind.DESCRIPTOR):
            detail = kind()
            packed.Unpack(detail)
            found.append(detail)
    return found


domain_errors = st.builds(
    lambda kind, *arguments: kind(
        arguments[0],
        metadata=arguments[1],
        field_violations=arguments[2],
        preconditions=arguments[3],
        resource=arguments[4],
        retry_after_s=arguments[5],
    ),
    st.sampled_from(KINDS),
    texts,
    st.dictionaries(texts, texts, max_size=20),
    pairs,
    st.lists(st.tuples(texts, texts, texts), max_size=40),
    st.none() | st.tuples(texts, texts),
    st.none() | st.floats(min_value=-10, max_value=1e6),
)


@given(domain_errors)
def test_whatever_an_error_says_its_status_stays_small_and_has_one_error_info_first(error: errors.DomainError) -> None:
    status = status_of(error, "req-1")

    assert status.ByteSize() <= MAX_STATUS_BYTES
    assert len(status.message.encode()) <= MAX_MESSAGE_BYTES
    assert status.code == error.code.value[0]
    (info,) = unpacked(status, error_details_pb2.ErrorInfo)
    assert (info.reason, info.domain) == (error.reason, "mlmesh")
    assert status.details[0].Is(error_details_pb2.ErrorInfo.DESCRIPTOR)


@given(st.text(max_size=200), st.dictionaries(st.text(min_size=1, max_size=20), st.text(max_size=50), max_size=5))
def test_what_is_short_is_sent_whole(message: str, metadata: dict[str, str]) -> None:
    status = status_of(errors.NotFound(message, metadata=metadata), "req-1")

    (info,) = unpacked(status, error_details_pb2.ErrorInfo)
    assert (status.message, dict(info.metadata)) == (message, metadata)


def test_an_error_that_says_too_much_everywhere_still_fits() -> None:
    error = errors.FailedPrecondition(
        "ü" * 5000,
        metadata={f"{number}{'ü' * 100}": "ü" * 5000 for number in range(50)},
        field_violations=[("ü" * 5000, "ü" * 5000)] * 50,
        preconditions=[("ü" * 5000, "ü" * 5000, "ü" * 5000)] * 50,
        resource=("ü" * 5000, "ü" * 5000),
        retry_after_s=1,
    )

    status = status_of(error, "req-1")

    assert status.ByteSize() <= MAX_STATUS_BYTES
    (info,) = unpacked(status, error_details_pb2.ErrorInfo)
    assert 1 <= len(info.metadata) < 50
    assert unpacked(status, error_details_pb2.RetryInfo)
    assert unpacked(status, error_details_pb2.RequestInfo)


def test_many_violations_are_cut_and_counted() -> None:
    violations = [(f"field_{number}", "is wrong") for number in range(30)]

    status = status_of(errors.InvalidArgument("30 fields are wrong", field_violations=violations), "req-1")

    (bad_request,) = unpacked(status, error_details_pb2.BadRequest)
    assert len(bad_request.field_violations) == 21
    assert bad_request.field_violations[-1].description == "… and 10 more."


@given(texts)
def test_an_unknown_exception_never_shows_its_text(text: str) -> None:
    secret = f"secret {text}"

    status = status_of(RuntimeError(secret), "req-1")

    assert status.code == code_pb2.INTERNAL
    assert b"secret" not in status.SerializeToString()
    assert "req-1" in status.message


def test_every_class_of_error_has_a_code_and_a_reason_of_its_own() -> None:
    named = [kind for kind in KINDS if kind is not errors.DomainError]

    assert len({kind.code for kind in named}) == len({kind.reason for kind in named}) == len(named)


@pytest.mark.parametrize(
    ("error", "code", "reason", "field"),
    [
        (aip_filter.FilterError("no field x", 0, ["name", "state"]), "INVALID_ARGUMENT", "FILTER_INVALID", "filter"),
        (aip_filter.OrderByError("no field x"), "INVALID_ARGUMENT", "ORDER_BY_INVALID", "order_by"),
        (aip_filter.PageTokenError("not ours"), "INVALID_ARGUMENT", "PAGE_TOKEN_INVALID", "page_token"),
        (blob_store.StorageFull(), "RESOURCE_EXHAUSTED", "STORAGE_FULL", None),
        (blob_store.StoreUnavailable("no route"), "UNAVAILABLE", "BLOB_STORE_UNAVAILABLE", None),
    ],
)
def test_errors_of_our_libraries_need_no_translation(error: Exception, code: str, reason: str, field: str | None) -> None:
    status = status_of(error, "req-1")

    assert (code_pb2.Code.Name(status.code), reason_of(status)) == (code, reason)
    fields = [violation.field for detail in unpacked(status, error_details_pb2.BadRequest) for violation in detail.field_violations]
    assert fields == ([field] if field else [])


def test_a_filter_error_says_what_is_allowed() -> None:
    status = status_of(aip_filter.FilterError("no field x", 0, ["name", "state"]), "req-1")

    (info,) = unpacked(status, error_details_pb2.ErrorInfo)
    assert info.metadata["allowed"] == "name, state"


def raised_by(statement: str, engine: sqlalchemy.Engine) -> Exception:
    with engine.connect() as connection, pytest.raises(exc.DBAPIError) as caught:
        connection.exec_driver_sql(statement)
    return caught.value


def test_a_missing_table_is_a_bug_and_not_a_database_that_is_away(tmp_path: Path) -> None:
    error = raised_by("SELECT * FROM nothing", connect(f"sqlite:///{tmp_path}/a.db"))

    assert status_of(error, "req-1").code == code_pb2.INTERNAL


def test_a_locked_sqlite_file_is_unavailable(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/a.db")
    with engine.connect() as holder:
        holder.exec_driver_sql("CREATE TABLE t (x)")
        holder.commit()
        holder.exec_driver_sql("INSERT INTO t VALUES (1)")
        impatient = sqlalchemy.create_engine(f"sqlite:///{tmp_path}/a.db", connect_args={"timeout": 0})
        error = raised_by("INSERT INTO t VALUES (2)", impatient)

    known = as_domain_error(error)
    assert isinstance(known, errors.Unavailable)
    assert (known.reason, known.retry_after_s) == ("DATABASE_UNAVAILABLE", 1)


def test_a_full_sqlite_disk_is_resource_exhausted(tmp_path: Path) -> None:
    engine = connect(f"sqlite:///{tmp_path}/a.db")
    with engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA max_page_count=2")
        connection.exec_driver_sql("CREATE TABLE t (x)")
        with pytest.raises(exc.OperationalError) as caught:
            connection.exec_driver_sql("INSERT INTO t VALUES (randomblob(100000))")

    known = as_domain_error(caught.value)
    assert isinstance(known, errors.ResourceExhausted)
    assert known.reason == "STORAGE_FULL"


def test_a_postgresql_that_does_not_answer_is_unavailable() -> None:
    engine = sqlalchemy.create_engine("postgresql+psycopg://nobody@127.0.0.1:1/none")
    with pytest.raises(exc.OperationalError) as caught:
        engine.connect()

    assert isinstance(as_domain_error(caught.value), errors.Unavailable)


def test_a_mysql_that_does_not_answer_is_unavailable() -> None:
    engine = sqlalchemy.create_engine("mysql+pymysql://nobody@127.0.0.1:1/none")
    with pytest.raises(exc.OperationalError) as caught:
        engine.connect()

    assert isinstance(as_domain_error(caught.value), errors.Unavailable)


def test_an_exhausted_pool_is_unavailable() -> None:
    assert isinstance(as_domain_error(exc.TimeoutError("QueuePool limit")), errors.Unavailable)


def test_a_violated_constraint_is_the_components_to_explain() -> None:
    cause = sqlite3.IntegrityError("UNIQUE constraint failed")
    cause.sqlite_errorcode = sqlite3.SQLITE_CONSTRAINT_UNIQUE

    assert as_domain_error(exc.IntegrityError("INSERT", {}, cause)) is None


def test_an_rpc_error_that_is_no_call_is_internal() -> None:
    assert status_of(grpc.RpcError(), "req-1").code == code_pb2.INTERNAL
