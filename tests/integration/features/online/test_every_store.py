"""What every online store promises, on LMDB, a real Redis and a real PostgreSQL."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from servers.features.online import OnlineRow, OnlineStore, Written, open_online_store
from servers.features.online.errors import EntityKeyCollision
from tests.integration.features.online.writer import KEYS, vector_of

LONG = b"a long key " * 60
ROOT = Path(__file__).parents[4]


def rows_of(count: int, event_time: int = 1, size: int = 200) -> list[OnlineRow]:
    return [OnlineRow(b"key %d" % number, vector_of(event_time, 0, number, size)) for number in range(count)]


class TestWritingAndReading:
    @pytest.mark.parametrize("key", [b"", b"\0", b"a", b"\x00\xff\n%", LONG[:254], LONG[:255], LONG, LONG * 90])
    def test_what_was_written_comes_back(self, store: OnlineStore, view: str, key: bytes) -> None:
        vector = vector_of(5, 6, 7)
        assert store.write(view, [OnlineRow(key, vector)]) == Written(1, 0)
        assert store.read(view, [key, key + b"\0", b"another", key]) == [vector, None, None, vector]

    def test_vectors_of_any_bytes_and_many_sizes_come_back(self, store: OnlineStore, view: str) -> None:
        rows = [OnlineRow(b"%d" % size, vector_of(1, 1, size, size)) for size in (0, 1, 1999, 2000, 4096, 70_000, 3_000_000)]
        rows.append(OnlineRow(b"all", vector_of(1, 1, 0, 0) + bytes(range(256)) * 3))
        assert store.write(view, iter(rows)) == Written(len(rows), 0)
        assert store.read(view, [row.key for row in rows]) == [row.vector for row in rows]

    def test_more_rows_than_a_batch_come_back_in_the_order_of_the_keys(self, store: OnlineStore, view: str) -> None:
        rows = rows_of(5200)
        assert store.write(view, rows) == Written(5200, 0)
        random.Random(1).shuffle(rows)
        assert store.read(view, [row.key for row in rows]) == [row.vector for row in rows]
        assert store.count(view) == 5200

    def test_nothing_is_there_before_it_is_written(self, store: OnlineStore, view: str) -> None:
        assert store.read(view, []) == []
        assert store.read(view, [b"a", b"b"]) == [None, None]
        assert store.write(view, []) == Written(0, 0)
        assert (store.count(view), store.delete(view, [b"a"]), store.delete(view, []), store.remove_older(view, 9)) == (0, 0, 0, 0)
        store.drop(view)

    def test_views_do_not_see_each_other(self, store: OnlineStore, view: str) -> None:
        names = [view, view + "0", view[:-1], "ü/" + view, view.upper()]
        for number, name in enumerate(names):
            store.write(name, [OnlineRow(b"a", vector_of(number, 0, number)), OnlineRow(b"0a", vector_of(number, 0, 9))])
        found = store.read_many({name: [b"a", b"b"] for name in names} | {f"{view}/none": [b"a"], f"{view}/empty": []})
        assert found == {name: [vector_of(number, 0, number), None] for number, name in enumerate(names)} | {
            f"{view}/none": [None],
            f"{view}/empty": [],
        }
        assert store.read_many({}) == {}
        store.drop(view)
        assert [store.count(name) for name in names] == [0, 2, 2, 2, 2]

    def test_another_process_sees_it(self, url: str, store: OnlineStore, view: str) -> None:
        store.write(view, rows_of(3))
        program = (
            f"from servers.features.online import open_online_store as o\ns = o({url!r}, timeout_s=60)\n"
            f"print(s.read({view!r}, [b'key 2'])[0].hex())"
        )
        read = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
        assert bytes.fromhex(read.stdout) == rows_of(3)[2].vector

    @pytest.mark.parametrize("name", ["", "v" * 201, "a\0b"])
    def test_a_name_that_cannot_be_a_view_is_refused(self, store: OnlineStore, name: str) -> None:
        for call in (store.count, store.drop, lambda name: store.read(name, [b"a"]), lambda name: store.write(name, rows_of(1))):
            with pytest.raises(ValueError, match="view"):
                call(name)

    def test_check_is_content(self, store: OnlineStore) -> None:
        store.check()


class TestTheNewestWins:
    @pytest.mark.parametrize(
        ("kept", "late"),
        [((5, 0), (4, 9)), ((5, 5), (5, 4)), ((5, 5), (5, 5)), ((0, 0), (-1, 0)), ((-1, 0), (-(2**63), 0)), ((2**63 - 1, 0), (2**62, 0))],
    )
    def test_whatever_comes_first(self, store: OnlineStore, view: str, kept: tuple[int, int], late: tuple[int, int]) -> None:
        newer, older = vector_of(*kept, 1), vector_of(*late, 1)
        assert store.write(view, [OnlineRow(b"a", newer)]) == Written(1, 0)
        assert store.write(view, [OnlineRow(b"a", older)]) == Written(0, 1)
        assert store.write(view, [OnlineRow(b"b", older)]) == Written(1, 0)
        assert store.write(view, [OnlineRow(b"b", newer)]) == (Written(1, 0) if kept != late else Written(0, 1))
        assert store.read(view, [b"a", b"b"]) == [newer, newer]

    def test_of_one_batch(self, store: OnlineStore, view: str) -> None:
        vectors = [vector_of(event, 0, event) for event in (3, 9, 1, 9, 4)]
        written = store.write(view, [OnlineRow(b"a", vector) for vector in vectors] + [OnlineRow(LONG, vector) for vector in vectors])
        assert written.written + written.kept_newer == 10
        assert store.read(view, [b"a", LONG]) == [vector_of(9, 0, 9), vector_of(9, 0, 9)]

    def test_where_all_times_are_equal_any_order_ends_with_the_same(self, store: OnlineStore, view: str) -> None:
        one, other = vector_of(1, 1, 200), vector_of(1, 1, 90)
        store.write(view, [OnlineRow(b"a", one), OnlineRow(b"b", other)])
        store.write(view, [OnlineRow(b"a", other), OnlineRow(b"b", one)])
        assert store.read(view, [b"a", b"b"]) == [one, one]

    @settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
    @given(data=st.data())
    def test_of_random_writes_by_many_threads(self, store: OnlineStore, view: str, data: st.DataObject) -> None:
        times = st.integers(-3, 3)
        row = st.builds(
            OnlineRow, st.sampled_from([b"a", b"b", b"", LONG]), st.builds(vector_of, times, times, st.integers(0, 2), st.just(3))
        )
        batches = data.draw(st.lists(st.lists(row, max_size=8), min_size=2, max_size=6))
        name = f"{view}/{random.Random().getrandbits(64)}"
        with ThreadPoolExecutor(len(batches)) as threads:
            written = list(threads.map(lambda batch: store.write(name, batch), batches))
        rows = [row for batch in batches for row in batch]
        expected = {key: max(vector for other, vector in rows if other == key) for key, _ in rows}
        assert dict(zip(expected, store.read(name, list(expected)), strict=True)) == expected
        assert sum(each.written + each.kept_newer for each in written) == len(rows)
        assert store.count(name) == len(expected)

    def test_of_random_writes_by_many_processes(self, url: str, store: OnlineStore, view: str) -> None:
        chance = random.Random(7)
        keys = [b"%d" % number for number in range(40)] + [LONG]
        shares = [
            [
                (
                    view,
                    [
                        (chance.choice(keys), vector_of(chance.randrange(-50, 50), chance.randrange(3), chance.randrange(256), 60))
                        for _ in range(50)
                    ],
                )
                for _ in range(20)
            ]
            for _ in range(3)
        ]
        program = [sys.executable, "-m", "tests.integration.features.online.racer", url]
        racers = [subprocess.Popen(program, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in shares]
        for racer in racers:
            assert racer.stdout is not None
            assert racer.stdout.readline() == "ready\n"
        for racer, share in zip(racers, shares, strict=True):
            racer.communicate(json.dumps([(view, [(key.hex(), vector.hex()) for key, vector in rows]) for view, rows in share]) + "\n")
        assert [racer.returncode for racer in racers] == [0] * 3
        rows = [row for share in shares for _, batch in share for row in batch]
        expected = [max(vector for other, vector in rows if other == key) for key in keys]
        assert store.read(view, keys) == expected

    def test_readers_meet_whole_vectors_that_never_get_older(self, store: OnlineStore, view: str) -> None:
        stop = threading.Event()
        failures: list[object] = []

        def read() -> None:
            last = b""
            while not stop.is_set():
                for vector in store.read(view, [b"key 0"] * 3):
                    if vector is not None and (vector < last or len(set(vector[16:])) != 1):
                        failures.append(vector)
                    last = vector or last

        threads = [threading.Thread(target=read) for _ in range(3)]
        for thread in threads:
            thread.start()
        for event_time in range(60):
            store.write(view, [OnlineRow(b"key 0", vector_of(event_time, 0, event_time))])
            store.write(view, [OnlineRow(b"key 0", vector_of(event_time // 2, 0, event_time))])
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []


class TestRemoving:
    def test_what_is_deleted_is_gone_and_may_come_again_however_old(self, store: OnlineStore, view: str) -> None:
        store.write(view, [*rows_of(4, event_time=9), OnlineRow(LONG, vector_of(9, 0, 0))])
        assert store.delete(view, [b"key 1", b"key 3", b"never", LONG]) == 3
        assert store.delete(view, [b"key 1", LONG]) == 0
        assert store.count(view) == 2
        assert store.write(view, rows_of(2, event_time=1)) == Written(1, 1)
        assert store.read(view, [b"key 0", b"key 1", LONG]) == [rows_of(1, 9)[0].vector, rows_of(2, 1)[1].vector, None]

    def test_of_older_vectors_exactly_those_go(self, store: OnlineStore, view: str) -> None:
        rows = [OnlineRow(b"%d" % time, vector_of(time, 10**6, 1, 40)) for time in range(-2500, 2500)]
        store.write(view, rows)
        store.write(view, [OnlineRow(LONG, vector_of(-9, 0, 1)), OnlineRow(LONG * 2, vector_of(9, 0, 1))])
        store.write(view + "2", rows_of(1, event_time=-5))
        assert store.remove_older(view, 3) == 2503 + 1
        assert store.remove_older(view, 3) == 0
        assert store.read(view, [b"2", b"3", b"-2500", LONG, LONG * 2]) == [
            None,
            vector_of(3, 10**6, 1, 40),
            None,
            None,
            vector_of(9, 0, 1),
        ]
        assert (store.count(view), store.count(view + "2")) == (2498, 1)

    def test_a_view_is_dropped_whole(self, store: OnlineStore, view: str) -> None:
        store.write(view, [*rows_of(12_000, size=20), OnlineRow(LONG, vector_of(1, 1, 1))])
        store.drop(view)
        assert (store.count(view), store.read(view, [b"key 0", LONG])) == (0, [None, None])


class TestLongKeys:
    def test_keys_of_one_hash_are_noticed_and_never_mixed_up(
        self, url: str, store: OnlineStore, view: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if url.startswith("redis"):
            pytest.skip("Redis keeps whole keys")

        class Weak:
            def __init__(self, key: bytes) -> None:
                self._key = key

            def digest(self) -> bytes:
                return b"the same for all"

        monkeypatch.setattr("servers.features.online.keys.hashlib.sha256", Weak)
        one, other = LONG + b"1", LONG + b"2"
        store.write(view, [OnlineRow(one, vector_of(1, 1, 1))])
        assert store.read(view, [one, other]) == [vector_of(1, 1, 1), None]
        for batch in ([other], [b"short", other], [other, b"z" * 900, one]):
            with pytest.raises(EntityKeyCollision):
                store.write(view, [OnlineRow(key, vector_of(5, 5, 5)) for key in batch])
        assert store.delete(view, [other]) == 0
        assert store.read(view, [one, other, b"short"]) == [vector_of(1, 1, 1), None, None]


class TestKilledWriters:
    def test_nothing_is_half_written_and_the_rest_goes_on(self, url: str, store: OnlineStore, view: str) -> None:
        program = [sys.executable, "-m", "tests.integration.features.online.writer", url, view]
        for rounds in (1, 3):
            writer = subprocess.Popen(program, cwd=ROOT, stdout=subprocess.PIPE, text=True)
            assert writer.stdout is not None
            for _ in range(rounds):
                said = int(writer.stdout.readline())
            # It is within the next time, or just behind this one.
            writer.kill()
            writer.wait()
            writer.stdout.close()
            found = store.read(view, [b"key %d" % key for key in range(KEYS)])
            times = [int.from_bytes(vector[:8]) - 2**63 for vector in found if vector is not None]
            assert len(times) == KEYS
            assert min(times) >= said
            assert all(vector == vector_of(time, time, time) for vector, time in zip(found, times, strict=True))
            # Far enough: a server may still do what a writer sent before it died.
            later = max(times) + 1_000_000
            assert store.write(view, [OnlineRow(b"key 0", vector_of(later, 0, 1))]) == Written(1, 0)
            store.delete(view, [b"key %d" % key for key in range(KEYS)])


def test_many_processes_read_while_one_writes(url: str, store: OnlineStore, view: str) -> None:
    store.write(view, rows_of(50))
    keys = [b"key %d" % number for number in range(50)]
    program = (
        f"from servers.features.online import open_online_store as o\ns = o({url!r}, timeout_s=60)\n"
        f"for _ in range(100): assert None not in s.read({view!r}, {keys!r})\nprint(s.count({view!r}))"
    )
    readers = [subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    event_time = 2
    while any(reader.poll() is None for reader in readers):
        store.write(view, rows_of(50, event_time))
        event_time += 1
    assert [reader.communicate()[0] for reader in readers] == ["50\n"] * 3


def test_a_closed_store_can_be_opened_again(url: str, store: OnlineStore, view: str) -> None:
    store.write(view, rows_of(1))
    store.close()
    again = open_online_store(url, timeout_s=60)
    assert again.read(view, [b"key 0"]) == [rows_of(1)[0].vector]
    again.close()
