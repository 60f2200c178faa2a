"""Reading CSV in one pass gives what reading it in two passes does."""

from __future__ import annotations

import csv
import errno
import io
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest import mock

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from servers.ingestion.errors import InvalidFile
from servers.ingestion.readers import csv_rows, csv_text
from servers.ingestion.readers.csv_rows import _CsvFile
from servers.ingestion.readers.guessed_column import GuessedColumn, WrongGuess
from servers.ingestion.readers.kept_rows import KeptRows
from servers.ingestion.readers.options import ReadOptions
from servers.ingestion.readers.text_types import TextColumn, cast_text
from tests.unit.ingestion.readers.conftest import Read, read_file

NULL_WORDS = ReadOptions().null_values
THEMES = [
    ["0", "1", "-2", "9007199254740993", "999999999999999", "9223372036854775807"],
    ["1", "1.5", "0.1", "5.0", "-0", "12.50", "1e5", "1e+20", "1e-7", ".5", "5.", "inf", "-Infinity", "nan", "0.30000000000000004"],
    ["true", "False", "TRUE"],
    ["2020-02-29", "0001-01-01", "9999-12-31"],
    ["2020-02-29", "2020-02-29 12:30:01", "2020-02-29 12:30:01.5", "2020-02-29 12:30:01.123", "2020-02-29 12:30:01.123456"],
    ["2020-02-29T12:30:01", "2020-02-29T12:30", "2020-02-29T12:30:01.123456000", "2020-02-29 12:30:01.000000"],
    ["2020-02-29T12:30:01Z", "2020-02-29 12:30:01.123Z", "2020-02-29T12:30:01+02:00", "2020-02-29 12:30:01.123456Z"],
    ["12345678901234567890", "0.1234567890123456789", "0.1234567890123456789012345678901234567890123", "1e400"],
    ["", "NA", "NaN", "nan", "-999"],
    ["x", "007", "-007", "+5", " 5", "0x1F", "0xF", "TRUE ", "2021-02-29", "0000-01-01", "0000-01-01 00:00:00", "é", "1_0", "-nan", "-"],
]
ANY = st.sampled_from([value for theme in THEMES for value in theme])


@st.composite
def columns(draw: st.DrawFn, height: int) -> list[str]:
    """Mostly values of one kind, then perhaps of another: what the first blocks say is wrong."""
    theme = st.sampled_from(draw(st.sampled_from(THEMES)))
    values = draw(st.lists(theme, min_size=height, max_size=height))
    for place in draw(st.lists(st.integers(0, height - 1), max_size=2)):
        values[place] = draw(ANY)
    return values


@st.composite
def files(draw: st.DrawFn) -> bytes:
    height = draw(st.integers(1, 25))
    text = io.StringIO()
    writer = csv.writer(text, quoting=draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])))
    writer.writerow(["a", "b", "c"])
    writer.writerows(zip(*(draw(columns(height)) for _ in "abc"), strict=True))
    return text.getvalue().encode()


def is_same(left: pa.Table, right: pa.Table) -> bool:
    """Compares text too, since nan is not equal to itself and -0.0 is equal to 0.0."""
    return left.schema == right.schema and str(left.to_pydict()) == str(right.to_pydict())


def read(data: bytes, options: ReadOptions, block: int, *, in_two: bool) -> Read | tuple[type[InvalidFile], str]:
    with TemporaryDirectory() as folder, ExitStack() as stack:
        path = Path(folder) / "stored"
        path.write_bytes(data)
        for module in (csv_text, csv_rows):
            stack.enter_context(mock.patch.object(module, "BLOCK_BYTES", block))
        if in_two:
            stack.enter_context(mock.patch.object(_CsvFile, "_in_one_pass", side_effect=WrongGuess))
        try:
            return read_file(path, "x.csv", options)
        except InvalidFile as error:
            return type(error), error.message


@settings(max_examples=200, deadline=None)
@given(
    files(),
    st.integers(8, 400),
    st.sampled_from([NULL_WORDS, ("",), ("", "-999", "1", "1.5")]),
    st.sampled_from([{}, {"a": pa.int16()}, {"a": pa.string(), "b": pa.float64()}]),
)
@example(b"a,b,c\n1,,x\n" + b"9007199254740993,,x\n" * 9 + b"1.5,,x\n", 64, NULL_WORDS, {})
@example(b'a,b,c\n1.5,,x\n"NaN",,x\n"nan","",x\n', 10, NULL_WORDS, {})
def test_one_pass_gives_what_two_do(data, block, null_values, wanted):
    options = ReadOptions(delimiter=",", null_values=null_values, column_types=wanted)
    quick, careful = read(data, options, block, in_two=False), read(data, options, block, in_two=True)
    if isinstance(careful, Read) and isinstance(quick, Read):
        assert is_same(quick.table, careful.table)
        assert quick.warnings == careful.warnings
    else:
        assert quick == careful


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 30).flatmap(columns), st.lists(st.integers(1, 30)), st.sampled_from([NULL_WORDS, (), ("", "-999", "1")]))
@example(["1", "9007199254740993", "1.5"], [1, 1], NULL_WORDS)
@example(["2020-02-29 12:30:01", "0000-01-01 12:30:01"], [1], NULL_WORDS)
@example(["2020-02-29", "0000-01-01"], [1], NULL_WORDS)
@example(["12", "-999"], [1], ("-999",))
@example(["-0", "1.5"], [1], NULL_WORDS)
@example(["1", "-0", "1.5"], [1, 1], NULL_WORDS)
def test_a_guess_is_right_or_given_up(values, sizes, null_words):
    text, guessed, known = pa.array(values), GuessedColumn(null_words), TextColumn(null_words)
    known.add(text)
    parts = []
    start = 0
    try:
        for size in [*sizes, len(values)]:
            if part := values[start : start + size]:
                parts.append(guessed.read(pa.array(part)))
            start += size
    except WrongGuess:
        return
    assert guessed.type == known.type
    assert not known.has_too_many_digits
    widened = pa.concat_arrays([guessed.widened(part) for part in parts])
    assert str(widened.to_pylist()) == str(cast_text(text, known.type, null_words).to_pylist())


@pytest.mark.parametrize(
    ("first", "late"),
    [
        ("1", "2.5"),
        ("1.5", "3"),
        ("2020-02-29", "2020-02-29 12:30:01"),
        ("", "7"),
        ("", "x"),
        ("x", "7"),
        ("true", ""),
        ("2020-02-29T12:30:01Z", "2020-02-29T12:30:01+02:00"),
    ],
)
def test_one_pass_is_enough_where_a_column_becomes_wider_late(monkeypatch, first, late):
    monkeypatch.setattr(_CsvFile, "_in_two_passes", None)
    data = "a,b,c\n" + f"{first},k,1\n" * 50 + f"{late},k,1\n"
    assert isinstance(read(data.encode(), ReadOptions(), 64, in_two=False), Read)


@pytest.mark.parametrize("batches_before", [0, 1])
def test_a_full_disk_costs_a_second_pass(monkeypatch, batches_before):
    adding = KeptRows.adding

    @contextmanager
    def on_a_small_disk(rows: KeptRows) -> Iterator[Callable[[pa.RecordBatch], None]]:
        added = 0

        def add(batch: pa.RecordBatch) -> None:
            nonlocal added
            added += 1
            if added > batches_before:
                raise OSError(errno.ENOSPC, "No space left on device")
            add_really(batch)

        with adding(rows) as add_really:
            yield add

    monkeypatch.setattr(KeptRows, "adding", on_a_small_disk)
    found = read(b"a,b\n" + b"1,x\n" * 1000, ReadOptions(), 64, in_two=False)
    assert isinstance(found, Read)
    assert found.table.num_rows == 1000


def test_an_end_in_the_middle_of_a_character_is_found_whatever_the_blocks():
    for block in (1, 2, 3, 4096):
        found = read("a,b\n1,é".encode()[:-1], ReadOptions(), block, in_two=False)
        assert found[1].startswith("x.csv, line 2: byte 0xc3 is not utf-8")
