"""What is true of uploads whatever serves them, on a folder with SQLite and on an S3 with PostgreSQL."""

from __future__ import annotations

import os
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import Engine

from blob_store import UploadNotFound as NoSuchBlob
from servers.ingestion.errors import FileTooLarge
from servers.ingestion.records import NewIngestion
from servers.ingestion.store import Ingestions, Uploads
from servers.ingestion.uploads.errors import (
    TooManyBytes,
    TooManySenders,
    UploadIncomplete,
    UploadInUse,
    UploadLimitReached,
    UploadNotFound,
    WrongOffset,
)
from servers.ingestion.uploads.uploading import Uploading
from servers.runtime.work import NewTask, TaskTable
from sql_engine import begin_write
from tests.integration.ingestion.uploads.conftest import DAY, Clock, Shape, new_uploading

CONTENT = os.urandom(3_000_000)


class Ingested:
    """Ingestions of uploads that end when a test says so."""

    def __init__(self, engine: Engine, clock: Clock, project: str) -> None:
        self._engine, self._clock, self._project = engine, clock, project
        self._ingestions = Ingestions(engine)
        self._tasks = TaskTable(engine, on_end=self._ingestions.end, clock=clock)

    def begin(self, upload_id: str) -> str:
        """An ingestion that needs an upload; raises `LookupError` where it is not there."""
        new = NewIngestion(str(uuid.uuid4()), self._project, "flights", "", "APPEND", {}, "", self._clock())
        with begin_write(self._engine) as connection:
            self._ingestions.add(connection, new, None)
            if not Uploads(self._engine).use(connection, upload_id, new.id, self._clock()):
                raise LookupError(upload_id)
            self._tasks.enqueue(connection, NewTask(task_id=new.id, kind="none", payload={}))
        return new.id

    def end(self, ingestion_id: str) -> None:
        self._tasks.cancel(ingestion_id)


@pytest.fixture
def ingested(engine: Engine, clock: Clock, project: str) -> Ingested:
    return Ingested(engine, clock, project)


def blob_id_of(uploading: Uploading, project: str, upload_id: str) -> str:
    blob_id = uploading.get(project, upload_id).known.blob_id
    assert blob_id is not None
    return blob_id


def is_stored(shape: Shape, blob_id: str) -> bool:
    try:
        shape.blobs().upload(blob_id)
    except NoSuchBlob:
        return False
    return True


def whole(uploading: Uploading, project: str, content: bytes = CONTENT) -> str:
    upload_id = uploading.begin(project, "rows.csv", len(content)).known.id
    assert uploading.append(project, upload_id, 0, [content]).is_complete
    return upload_id


def test_a_file_comes_in_pieces_through_several_servers(
    shape: Shape, engine: Engine, uploading: Uploading, clock: Clock, project: str
) -> None:
    begun = uploading.begin(project, "rows.csv", len(CONTENT))
    assert (begun.offset_bytes, begun.is_complete, begun.known.expire_time) == (0, False, clock.now + DAY)
    other = new_uploading(shape, engine, clock)

    assert uploading.append(project, begun.known.id, 0, [CONTENT[:1_000_000], b"", CONTENT[1_000_000:1_500_000]]).offset_bytes == 1_500_000
    clock.now += timedelta(hours=1)
    done = other.append(project, begun.known.id, 1_500_000, [CONTENT[1_500_000:]])

    assert (done.offset_bytes, done.is_complete, done.known.expire_time) == (len(CONTENT), True, clock.now + DAY)
    with shape.blobs().opened_upload(blob_id_of(uploading, project, begun.known.id), shape.folder) as path:
        assert path.read_bytes() == CONTENT


def test_what_came_before_a_sender_fails_stays(uploading: Uploading, project: str) -> None:
    upload_id = uploading.begin(project, "rows.csv", 10).known.id

    def failing() -> Iterator[bytes]:
        yield b"12345"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        uploading.append(project, upload_id, 0, failing())
    assert uploading.get(project, upload_id).offset_bytes == 5
    assert uploading.append(project, upload_id, 5, [b"67890"]).is_complete


@pytest.mark.parametrize("offset", [0, 4, 6, 10, 10**15])
def test_bytes_that_do_not_continue_are_refused_with_where_it_stands(uploading: Uploading, project: str, offset: int) -> None:
    upload_id = uploading.begin(project, "rows.csv", 10).known.id
    uploading.append(project, upload_id, 0, [b"12345"])
    with pytest.raises(WrongOffset, match="stands at byte 5") as refused:
        uploading.append(project, upload_id, offset, [b"x"])
    assert refused.value.metadata["current_offset"] == "5"
    assert uploading.get(project, upload_id).offset_bytes == 5


def test_more_than_was_announced_is_refused(uploading: Uploading, project: str) -> None:
    upload_id = uploading.begin(project, "rows.csv", 10).known.id
    with pytest.raises(TooManyBytes, match="10 bytes"):
        uploading.append(project, upload_id, 0, [b"12345", b"678901"])
    assert uploading.get(project, upload_id).offset_bytes <= 10
    stands_at = uploading.get(project, upload_id).offset_bytes
    assert uploading.append(project, upload_id, stands_at, [b"1234567890"[stands_at:]]).is_complete
    with pytest.raises(TooManyBytes):
        uploading.append(project, upload_id, 10, [b"x"])
    assert uploading.append(project, upload_id, 10, []).is_complete


def test_of_many_senders_at_an_offset_the_file_has_the_bytes_of_one(shape: Shape, uploading: Uploading, project: str) -> None:
    size = 200_000
    upload_id = uploading.begin(project, "rows.csv", size).known.id
    start = threading.Barrier(4)

    def send(letter: bytes) -> Exception | None:
        start.wait()
        try:
            uploading.append(project, upload_id, 0, (letter * 1000 for _ in range(size // 1000)))
        except WrongOffset as error:
            return error
        return None

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(send, [b"a", b"b", b"c", b"d"]))
    stands_at = uploading.get(project, upload_id).offset_bytes
    assert uploading.append(project, upload_id, stands_at, [b"e" * (size - stands_at)]).is_complete
    with shape.blobs().opened_upload(blob_id_of(uploading, project, upload_id), shape.folder) as path:
        content = path.read_bytes()
    assert len(content) == size
    # Whole pieces, of whichever sender: nothing overlaps and nothing is lost.
    assert all(len(set(content[at : at + 1000])) == 1 for at in range(0, stands_at, 1000))


def test_other_projects_have_no_part_in_it(uploading: Uploading, project: str) -> None:
    upload_id = whole(uploading, project)
    calls: list[Any] = [
        lambda: uploading.get("other", upload_id),
        lambda: uploading.append("other", upload_id, 0, [b"x"]),
        lambda: uploading.completed("other", upload_id),
        lambda: uploading.delete("other", upload_id),
    ]
    for call in calls:
        with pytest.raises(UploadNotFound):
            call()
    assert uploading.get(project, upload_id).is_complete


def test_what_is_not_whole_cannot_be_read(uploading: Uploading, project: str) -> None:
    upload_id = uploading.begin(project, "rows.csv", 10).known.id
    uploading.append(project, upload_id, 0, [b"1234567"])
    with pytest.raises(UploadIncomplete, match="7 of 10 bytes"):
        uploading.completed(project, upload_id)


class TestLimits:
    def test_a_file_is_not_larger_than_allowed(self, shape: Shape, engine: Engine, clock: Clock, project: str) -> None:
        limited = new_uploading(shape, engine, clock, file_bytes=100)
        limited.begin(project, "rows.csv", 100)
        with pytest.raises(FileTooLarge, match="101 bytes"):
            limited.begin(project, "rows.csv", 101)

    def test_a_project_has_so_many_uploads_and_another_project_its_own(
        self, shape: Shape, engine: Engine, clock: Clock, project: str
    ) -> None:
        limited = new_uploading(shape, engine, clock, count=2)
        first = limited.begin(project, "rows.csv", 1).known.id
        limited.begin(project, "rows.csv", 1)
        with pytest.raises(UploadLimitReached, match="MAX_UPLOADS"):
            limited.begin(project, "rows.csv", 1)
        limited.begin(f"{project}-other", "rows.csv", 1)
        limited.delete(project, first)
        limited.begin(project, "rows.csv", 1)

    def test_they_have_so_many_bytes_in_all_until_their_time_is_over(
        self, shape: Shape, engine: Engine, clock: Clock, project: str
    ) -> None:
        limited = new_uploading(shape, engine, clock, total_bytes=100)
        limited.begin(project, "rows.csv", 60)
        with pytest.raises(UploadLimitReached, match="MAX_UPLOAD_BYTES"):
            limited.begin(project, "rows.csv", 41)
        limited.begin(project, "rows.csv", 40)
        clock.now += DAY
        limited.begin(project, "rows.csv", 100)

    def test_a_server_takes_so_many_at_a_time(self, shape: Shape, engine: Engine, clock: Clock, project: str) -> None:
        limited = new_uploading(shape, engine, clock, senders=1)
        first, second = (limited.begin(project, "rows.csv", 10).known.id for _ in range(2))

        def during() -> Iterator[bytes]:
            with pytest.raises(TooManySenders) as refused:
                limited.append(project, second, 0, [b"x"])
            assert refused.value.retry_after_s == 1
            yield b"1234567890"

        assert limited.append(project, first, 0, during()).is_complete
        assert limited.append(project, second, 0, [b"x"]).offset_bytes == 1


class TestTheEnd:
    def test_after_a_day_without_a_piece_it_is_gone_with_its_bytes(
        self, shape: Shape, uploading: Uploading, clock: Clock, project: str
    ) -> None:
        upload_id = whole(uploading, project)
        blob_id = blob_id_of(uploading, project, upload_id)
        clock.now += DAY - timedelta(seconds=1)
        uploading.sweep()
        assert uploading.get(project, upload_id).is_complete

        clock.now += timedelta(seconds=1)

        with pytest.raises(UploadNotFound):
            uploading.get(project, upload_id)
        assert is_stored(shape, blob_id)
        assert uploading.sweep() >= 1
        assert not is_stored(shape, blob_id)

    def test_a_sender_that_needs_days_keeps_it_alive(self, shape: Shape, uploading: Uploading, clock: Clock, project: str) -> None:
        upload_id = uploading.begin(project, "rows.csv", 100).known.id

        def slowly() -> Iterator[bytes]:
            for _ in range(10):
                clock.now += DAY / 2
                yield b"1234567890"
                uploading.sweep()

        done = uploading.append(project, upload_id, 0, slowly())

        assert (done.is_complete, done.known.expire_time) == (True, clock.now + DAY)
        assert is_stored(shape, blob_id_of(uploading, project, upload_id))

    def test_an_ingestion_keeps_it_however_long_it_takes(
        self, shape: Shape, uploading: Uploading, ingested: Ingested, clock: Clock, project: str
    ) -> None:
        upload_id = whole(uploading, project)
        blob_id = blob_id_of(uploading, project, upload_id)
        first, second = ingested.begin(upload_id), ingested.begin(upload_id)
        clock.now += 30 * DAY
        uploading.sweep()

        with pytest.raises(UploadInUse) as refused:
            uploading.delete(project, upload_id)
        assert refused.value.metadata["ingestion_id"] in (first, second)
        assert uploading.completed(project, upload_id).known.blob_id == blob_id
        third = ingested.begin(upload_id)
        for each in (first, third):
            ingested.end(each)
            uploading.sweep()
            assert is_stored(shape, blob_id)
        ingested.end(second)

        with pytest.raises(UploadNotFound):
            uploading.get(project, upload_id)
        with pytest.raises(LookupError):
            ingested.begin(upload_id)
        uploading.sweep()
        assert not is_stored(shape, blob_id)

    def test_it_goes_with_the_end_of_its_ingestion_however_young_it_is(
        self, shape: Shape, uploading: Uploading, ingested: Ingested, project: str
    ) -> None:
        upload_id = whole(uploading, project)
        blob_id = blob_id_of(uploading, project, upload_id)
        ingested.end(ingested.begin(upload_id))

        with pytest.raises(UploadNotFound):
            uploading.append(project, upload_id, len(CONTENT), [])
        uploading.sweep()
        assert not is_stored(shape, blob_id)

    def test_the_same_bytes_of_another_upload_stay(self, shape: Shape, uploading: Uploading, project: str) -> None:
        mine, others = whole(uploading, project), whole(uploading, f"{project}-other")
        blob_id = blob_id_of(uploading, f"{project}-other", others)
        uploading.delete(project, mine)
        uploading.sweep()
        assert is_stored(shape, blob_id)
        assert uploading.completed(f"{project}-other", others).is_complete

    def test_who_still_sends_what_is_deleted_learns_it(self, shape: Shape, uploading: Uploading, project: str) -> None:
        upload_id = uploading.begin(project, "rows.csv", 10).known.id
        blob_id = blob_id_of(uploading, project, upload_id)

        def during() -> Iterator[bytes]:
            yield b"12345"
            uploading.delete(project, upload_id)
            yield b"67890"

        with pytest.raises((UploadNotFound, WrongOffset)):
            uploading.append(project, upload_id, 0, during())
        assert not is_stored(shape, blob_id)

    def test_bytes_that_a_dead_server_left_go_and_those_in_use_stay(
        self, shape: Shape, uploading: Uploading, ingested: Ingested, clock: Clock, project: str
    ) -> None:
        upload_id = whole(uploading, project)
        used = blob_id_of(uploading, project, upload_id)
        ingested.begin(upload_id)
        # It died after it had begun to store, and before it wrote that down.
        left = shape.blobs().begin_upload(None, 5)
        shape.blobs().append(left, 0, [b"12345"])

        uploading.sweep()
        assert is_stored(shape, left)
        clock.now += DAY + timedelta(minutes=1)
        uploading.sweep()

        assert not is_stored(shape, left)
        assert is_stored(shape, used)


def test_ingestions_that_begin_while_it_is_swept_either_have_it_or_are_refused(
    shape: Shape, engine: Engine, uploading: Uploading, clock: Clock, project: str
) -> None:
    """Each round a sweeper and an ingestion race for an upload whose time has just come."""
    ingested, early = Ingested(engine, Clock(clock.now), project), new_uploading(shape, engine, clock)
    late = new_uploading(shape, engine, Clock(clock.now + 2 * DAY))
    outcomes = set()
    with ThreadPoolExecutor(2) as threads:
        for _ in range(15):
            upload_id = whole(early, project, b"12345")
            blob_id = blob_id_of(early, project, upload_id)
            start = threading.Barrier(2)

            def begin(upload_id: str = upload_id, start: threading.Barrier = start) -> str | None:
                start.wait()
                try:
                    return ingested.begin(upload_id)
                except LookupError:
                    return None

            def sweep(start: threading.Barrier = start) -> None:
                start.wait()
                late.sweep()

            beginning, sweeping = threads.submit(begin), threads.submit(sweep)
            sweeping.result()
            ingestion_id = beginning.result()
            assert is_stored(shape, blob_id) == (ingestion_id is not None)
            outcomes.add(ingestion_id is not None)
            if ingestion_id is not None:
                ingested.end(ingestion_id)
    assert outcomes
