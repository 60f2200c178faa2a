"""What only LMDB has: a limit, a map shared by processes, and readers that may be killed."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from servers.features.online import OnlineRow, Written
from servers.features.online.errors import OnlineStoreFull, OnlineStoreUnavailable
from servers.features.online.lmdb_store import LmdbOnlineStore
from tests.integration.features.online.writer import vector_of

MIB = 1 << 20
ROOT = Path(__file__).parents[4]
SAY_READY_AND_WAIT = "print('ready', flush=True)\nsys.stdin.read()"


def fill(store: LmdbOnlineStore, size: int = 8000) -> int:
    """Write until there is no more room, and return how many rows were written."""
    for number in itertools.count():
        try:
            store.write("v", [OnlineRow(b"%d" % number, vector_of(1, 1, number, size))])
        except OnlineStoreFull:
            return number
    raise AssertionError


def test_a_full_store_keeps_what_it_has_and_can_be_emptied(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path, max_bytes=MIB)
    count = fill(store)
    assert 60 < count < 130
    with pytest.raises(OnlineStoreFull, match="limit of 1,048,576 bytes; remove vectors or raise the limit"):
        store.write("v", [OnlineRow(b"%d" % number, vector_of(2, 2, 2, 8000)) for number in range(count)])
    assert store.read("v", [b"0", b"%d" % (count - 1)]) == [vector_of(1, 1, 0, 8000), vector_of(1, 1, count - 1, 8000)]
    # One at a time, from the middle: each needs new pages before it gives back old ones.
    assert [store.delete("v", [b"%d" % number]) for number in range(40, 50)] == [1] * 10
    assert store.remove_older("v", 2) == count - 10
    assert store.count("v") == 0
    again = fill(store)
    assert again > count * 0.9
    store.drop("v")
    assert store.count("v") == 0
    assert (tmp_path / "data.mdb").stat().st_size < 2 * MIB
    store.close()


def write_newer_ones(store: LmdbOnlineStore) -> None:
    for time in itertools.count(2):
        store.write("v", [OnlineRow(b"a", vector_of(time, 1, 1, 100))])


def test_vectors_can_be_removed_when_not_one_page_is_free(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path, max_bytes=MIB)
    store.write("v", [OnlineRow(b"a", vector_of(1, 1, 1, 100))])
    # Whoever reads keeps all pages of that moment.
    program = f"import lmdb, sys\nt = lmdb.open({str(tmp_path)!r}).begin()\n" + SAY_READY_AND_WAIT
    reader = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stdout.readline() == b"ready\n"
    with pytest.raises(OnlineStoreFull):
        write_newer_ones(store)
    for _ in range(3):
        assert store.delete("v", [b"a"]) in (0, 1)
    assert store.count("v") == 0
    assert (tmp_path / "data.mdb").stat().st_size < 2 * MIB
    reader.communicate(b"")
    assert store.write("v", [OnlineRow(b"a", vector_of(1, 1, 1, 100))]) == Written(1, 0)
    store.close()


def test_readers_go_on_while_another_thread_makes_room_in_a_full_store(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path, max_bytes=MIB)
    store.write("w", [OnlineRow(b"a", vector_of(1, 1, 1))])
    stop = threading.Event()
    seen: list[object] = []

    def read() -> None:
        try:
            while not stop.is_set():
                if store.read("w", [b"a"] * 20) != [vector_of(1, 1, 1)] * 20:
                    seen.append("another vector")
        except BaseException as error:
            seen.append(error)

    readers = [threading.Thread(target=read) for _ in range(2)]
    for reader in readers:
        reader.start()
    for _ in range(3):
        fill(store, 60_000)
        for number in range(5):
            store.delete("v", [b"%d" % number])
        store._map_anew(store._generation, 0)  # as when another process has made the map larger
        store.drop("v")
    stop.set()
    for reader in readers:
        reader.join()
    assert seen == []
    store.close()


def test_a_process_with_a_larger_limit_is_followed(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path, max_bytes=MIB)
    store.write("v", [OnlineRow(b"before", vector_of(1, 1, 1))])
    program = (
        "from pathlib import Path\nfrom servers.features.online.lmdb_store import LmdbOnlineStore as S\n"
        "from tests.integration.features.online.writer import vector_of\n"
        f"S(Path({str(tmp_path)!r}), max_bytes={64 * MIB}).write('v', [(b'%d' % n, vector_of(1, 1, n)) for n in range(2000)])"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
    assert store.read("v", [b"before", b"1999"]) == [vector_of(1, 1, 1), vector_of(1, 1, 1999)]
    assert store.write("v", [OnlineRow(b"before", vector_of(2, 1, 1))]) == Written(1, 0)
    assert store.count("v") == 2001
    store.close()


def test_a_killed_reader_does_not_keep_old_pages(tmp_path: Path) -> None:
    store = LmdbOnlineStore(tmp_path)
    rows = [OnlineRow(b"%d" % number, vector_of(1, 1, 1)) for number in range(100)]
    store.write("v", rows)
    program = f"import lmdb, sys\nt = lmdb.open({str(tmp_path)!r}).begin()\nprint(t.id(), flush=True)\nsys.stdin.read()"
    reader = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert reader.stdout is not None
    assert reader.stdout.readline()
    reader.kill()
    reader.communicate()
    store.check()
    for time in range(2, 40):
        store.write("v", [OnlineRow(key, vector_of(time, 1, 1)) for key, _ in rows])
    assert (tmp_path / "data.mdb").stat().st_size < 6 * sum(len(vector) for _, vector in rows)
    store.close()


def test_more_readers_than_there_are_slots_are_told_to_try_again(tmp_path: Path) -> None:
    program = f"import lmdb, sys\ne = lmdb.open({str(tmp_path)!r}, max_readers=2)\nt = [e.begin(), e.begin()]\n" + SAY_READY_AND_WAIT
    other = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert other.stdout is not None
    assert other.stdout.readline() == b"ready\n"
    with pytest.raises(OnlineStoreUnavailable) as caught:
        LmdbOnlineStore(tmp_path).read("v", [b"a"])
    assert caught.value.retry_after_s == 1
    other.communicate(b"")
    store = LmdbOnlineStore(tmp_path)
    assert store.read("v", [b"a"]) == [None]
    store.close()
