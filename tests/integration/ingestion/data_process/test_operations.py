"""What data processes do with real files and tables."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet
import pytest
from grpc import StatusCode

from servers.ingestion.data_process import DataProcesses, OperationFailed
from servers.ingestion.tables import Tables
from tests.integration.ingestion.data_process.conftest import MakeProcesses, ingestion

FLIGHTS = {"project": "p", "dataset": "flights"}


@pytest.fixture
def tables(tmp_path: Path) -> Tables:
    """The tables, seen without a data process."""
    return Tables((tmp_path / "tables").as_uri())


def stored(tables: Tables) -> pa.Table:
    table = tables.table("p", "flights")
    return pa.Table.from_batches(table.batches(), table.snapshot().schema)


def rows(table: pa.Table) -> list[dict[str, Any]]:
    return sorted(table.to_pylist(), key=repr)


class TestIngesting:
    TABLE = pa.table({"id": range(1000), "delay": [each * 0.25 for each in range(1000)], "carrier": ["UA", "é,\"'"] * 500})

    def test_a_csv_is_stored_as_arrow_reads_it(self, processes: DataProcesses, tables: Tables, inbox: Path) -> None:
        pyarrow.csv.write_csv(self.TABLE, inbox / "a.csv")
        result = processes.run("ingest", ingestion(inbox / "a.csv"))
        assert rows(stored(tables)) == rows(pyarrow.csv.read_csv(inbox / "a.csv"))
        assert (result["rows_read"], result["rows_written"], result["rows_rejected"]) == (1000, 1000, 0)
        assert result["schema_changes"] == ["the table was created with 3 columns"]
        assert result["dataset"] == processes.run("describe", FLIGHTS)
        assert result["dataset"]["columns"] == [["id", "int64"], ["delay", "double"], ["carrier", "string"]]
        assert result["dataset"]["row_count"] == 1000

    def test_a_parquet_is_stored_as_arrow_reads_it(self, processes: DataProcesses, tables: Tables, inbox: Path) -> None:
        table = self.TABLE.append_column("tags", pa.array([["a", None], None] * 500))
        pyarrow.parquet.write_table(table, inbox / "a.parquet")
        processes.run("ingest", ingestion(inbox / "a.parquet"))
        assert rows(stored(tables)) == rows(pyarrow.parquet.read_table(inbox / "a.parquet"))

    def test_ndjson_is_stored_as_arrow_reads_it(self, processes: DataProcesses, tables: Tables, inbox: Path) -> None:
        (inbox / "a.ndjson").write_text("\n".join(map(json.dumps, self.TABLE.to_pylist())))
        processes.run("ingest", ingestion(inbox / "a.ndjson", read={"format": "NDJSON"}))
        assert rows(stored(tables)) == rows(pyarrow.json.read_json(inbox / "a.ndjson"))

    def test_what_the_server_wrote_is_read_under_the_name_that_its_sender_gave(
        self, processes: DataProcesses, tables: Tables, tmp_path: Path
    ) -> None:
        (tmp_path / "spooled").write_text("zip;price\n01234;1\n")
        source = {"kind": "file", "path": str(tmp_path / "spooled"), "name": "prices.csv"}
        read = {"delimiter": ";", "column_types": {"zip": "string", "price": "decimal128(10, 2)"}}
        result = processes.run("ingest", ingestion("", source=source, read=read))
        assert result["dataset"]["columns"] == [["zip", "string"], ["price", "decimal128(10, 2)"]]
        assert str(stored(tables)["price"][0]) == "1.00"
        with pytest.raises(OperationFailed, match=r"prices\.csv, column 'zip': `column_types` has 'varchar'"):
            processes.run("ingest", ingestion("", source=source, read={"column_types": {"zip": "varchar"}}))

    def test_modes_append_replace_and_update(self, processes: DataProcesses, tables: Tables, inbox: Path) -> None:
        (inbox / "a.csv").write_text("id,x\n1,a\n2,b\n")
        (inbox / "b.csv").write_text("id,x\n2,c\n3,d\n")
        processes.run("ingest", ingestion(inbox / "a.csv"))
        processes.run("ingest", ingestion(inbox / "b.csv", "2"))
        assert stored(tables).num_rows == 4
        processes.run("ingest", ingestion(inbox / "a.csv", "3", "OVERWRITE"))
        assert rows(stored(tables)) == [{"id": 1, "x": "a"}, {"id": 2, "x": "b"}]
        updated = processes.run("ingest", ingestion(inbox / "b.csv", "4", "UPSERT", keys=["id"]))
        assert rows(stored(tables)) == [{"id": 1, "x": "a"}, {"id": 2, "x": "c"}, {"id": 3, "x": "d"}]
        assert (updated["rows_written"], updated["rows_updated"]) == (2, 1)

    def test_an_ingestion_that_is_repeated_writes_once(self, make: MakeProcesses, tables: Tables, inbox: Path) -> None:
        (inbox / "a.csv").write_text("id\n1\n")
        first = make().run("ingest", ingestion(inbox / "a.csv"))
        again = make().run("ingest", ingestion(inbox / "a.csv"))
        assert (first["was_delivered_before"], again["was_delivered_before"]) == (False, True)
        assert again["version"] == first["version"]
        assert stored(tables).num_rows == 1
        assert make().run("ingest", ingestion(inbox / "a.csv", "2"))["was_delivered_before"] is False

    def test_what_is_written_can_be_told_again_from_the_log(self, processes: DataProcesses, inbox: Path) -> None:
        (inbox / "a.csv").write_text("id,x\n1,a\n2,b\n")
        (inbox / "b.csv").write_text("id,x\n2,c\nno,d\n3,e\n")
        upsert = ingestion(inbox / "b.csv", "2", "UPSERT", keys=["id"], contract={"types": "DISCARD_ROW"})
        assert processes.run("delivered", ingestion(inbox / "a.csv")) is None
        assert (
            processes.run("describe", FLIGHTS | {"version": processes.run("ingest", ingestion(inbox / "a.csv"))["version"]})["row_count"]
            == 2
        )
        assert processes.run("delivered", upsert) is None
        first = processes.run("ingest", upsert)
        last = processes.run("ingest", ingestion(inbox / "a.csv", "3"))

        again = processes.run("delivered", upsert)

        told = ("rows_read", "rows_written", "rows_updated", "rows_rejected", "rows_quarantined", "rejected", "version")
        assert [again[each] for each in told] == [first[each] for each in told]
        assert (again["was_delivered_before"], again["dataset"]) == (True, last["dataset"])

    def test_a_change_of_the_schema_that_is_made_is_told_again_and_one_that_is_not_is_not_made(
        self, processes: DataProcesses, inbox: Path
    ) -> None:
        (inbox / "a.csv").write_text("id,x\n1,a\n")
        processes.run("ingest", ingestion(inbox / "a.csv"))
        change = FLIGHTS | {"ingestion_id": "2", "operation": "change_schema", "renamed_columns": {"x": "y"}, "dropped_columns": []}
        assert processes.run("delivered", change) is None
        assert processes.run("describe", FLIGHTS)["columns"][1][0] == "x"
        made = processes.run("change_schema", change)
        again = processes.run("delivered", change)
        assert (again["version"], again["schema_changes"], again["dataset"]) == (made["version"], made["schema_changes"], made["dataset"])

    def test_rejected_rows_are_counted_and_the_first_told(self, make: MakeProcesses, inbox: Path) -> None:
        processes = make(most_rejected_rows=2)
        (inbox / "a.csv").write_text("id\n1\n")
        (inbox / "b.csv").write_text("id\n2\nx\n3\ny\nz\n")
        processes.run("ingest", ingestion(inbox / "a.csv"))
        result = processes.run("ingest", ingestion(inbox / "b.csv", "2", contract={"types": "DISCARD_ROW"}))
        assert (result["rows_read"], result["rows_written"], result["rows_rejected"]) == (5, 2, 3)
        assert result["rejected"] == [
            {"row": 2, "column": "id", "value": "x", "reason": "VALUE_DOES_NOT_FIT"},
            {"row": 4, "column": "id", "value": "y", "reason": "VALUE_DOES_NOT_FIT"},
        ]

    def test_a_table_that_is_not_made_has_no_dataset(self, processes: DataProcesses, inbox: Path) -> None:
        (inbox / "a.csv").write_text("id\n1\n")
        result = processes.run("ingest", ingestion(inbox / "a.csv", contract={"tables": "DISCARD_ROW"}))
        assert (result["version"], result["dataset"], result["rows_rejected"]) == (None, None, 1)

    def test_changes_of_the_schema_and_progress_are_told(self, processes: DataProcesses, inbox: Path) -> None:
        (inbox / "a.csv").write_text("id\n1\n")
        (inbox / "b.csv").write_text("id,x\n1.5,a\n")
        processes.run("ingest", ingestion(inbox / "a.csv"))
        told: list[Any] = []
        result = processes.run("ingest", ingestion(inbox / "b.csv", "2"), on_progress=told.append)
        assert sorted(result["schema_changes"]) == ["column 'id' was widened from int64 to double", "column 'x' was added (string)"]
        assert told[0] == {"rows_read": 1}

    @pytest.mark.parametrize(
        ("text", "others", "code", "reason"),
        [
            ("a,a\n1,2\n", {}, StatusCode.INVALID_ARGUMENT, "INVALID_HEADER"),
            ("a\n1\n", {"contract": {"tables": "FREEZE"}}, StatusCode.FAILED_PRECONDITION, "SCHEMA_FROZEN"),
            ("a\n1\n", {"mode": "UPSERT"}, StatusCode.INVALID_ARGUMENT, "UPSERT_KEYS_INVALID"),
            ("a\n1\n", {"project": "P!"}, StatusCode.INVALID_ARGUMENT, "TABLE_NAME_INVALID"),
        ],
    )
    def test_errors_keep_their_facts(
        self, processes: DataProcesses, inbox: Path, text: str, others: dict[str, Any], code: StatusCode, reason: str
    ) -> None:
        (inbox / "a.csv").write_text(text)
        with pytest.raises(OperationFailed) as caught:
            processes.run("ingest", ingestion(inbox / "a.csv") | others)
        assert (caught.value.code, caught.value.reason) == (code, reason)
        if reason == "SCHEMA_FROZEN":
            assert caught.value.preconditions[0][:2] == ("SCHEMA_CONTRACT", "flights")
            assert caught.value.metadata == {"subject": "flights"}

    @pytest.mark.parametrize("name", ["../secret.csv", "%2e%2e/secret.csv", "link.csv"])
    def test_no_request_reads_elsewhere(self, processes: DataProcesses, inbox: Path, name: str) -> None:
        (inbox.parent / "secret.csv").write_text("a\n1\n")
        (inbox / "link.csv").symlink_to("../secret.csv")
        with pytest.raises(OperationFailed) as caught:
            processes.run("ingest", ingestion(f"{inbox.as_uri()}/{name}"))
        assert caught.value.reason == "SOURCE_NOT_ALLOWED"


class TestLooking:
    @pytest.fixture(autouse=True)
    def _history(self, processes: DataProcesses, inbox: Path) -> None:
        for number in (1, 2):
            (inbox / "a.csv").write_text(f"id,x\n{number},{number}.5\n")
            processes.run("ingest", ingestion(inbox / "a.csv", f"ingestion-{number}"))

    def test_versions_name_their_ingestions(self, processes: DataProcesses) -> None:
        listed = processes.run("versions", FLIGHTS | {"limit": 10})
        assert [(each["version"], each["ingestion_id"]) for each in listed] == [(2, "ingestion-2"), (1, "ingestion-1"), (0, "")]
        assert [each["version"] for each in processes.run("versions", FLIGHTS | {"limit": 1, "before": 2})] == [1]

    def test_a_dataset_is_described_as_it_is_and_was(self, processes: DataProcesses) -> None:
        now, then = processes.run("describe", FLIGHTS), processes.run("describe", FLIGHTS | {"version": 1})
        assert (now["version"], now["row_count"], then["version"], then["row_count"]) == (2, 2, 1, 1)
        assert now["create_time"] == then["create_time"] <= then["update_time"] <= now["update_time"]
        assert processes.run("describe", FLIGHTS | {"read_time": then["update_time"]}) == then

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ({"version": 9}, "TABLE_VERSION_NOT_FOUND"),
            ({"read_time": "2001-01-01T00:00:00Z"}, "TABLE_VERSION_NOT_FOUND"),
            ({"read_time": "2001-01-01T00:00:00"}, "INVALID_READ_TIME"),
            ({"read_time": "yesterday"}, "INVALID_READ_TIME"),
            ({"dataset": "none"}, "TABLE_NOT_FOUND"),
        ],
    )
    def test_what_was_never_there_is_said_so(self, processes: DataProcesses, arguments: dict[str, Any], reason: str) -> None:
        with pytest.raises(OperationFailed) as caught:
            processes.run("describe", FLIGHTS | arguments)
        assert caught.value.reason == reason

    def test_rows_are_previewed(self, processes: DataProcesses) -> None:
        shown = processes.run("preview", FLIGHTS | {"limit": 10, "offset": 0, "columns": []})
        assert shown["version"] == 2
        assert shown["columns"] == [{"name": "id", "type": "int64"}, {"name": "x", "type": "double"}]
        assert sorted(row["id"] for row in shown["rows"]) == [1, 2]
        old = processes.run("preview", FLIGHTS | {"version": 1, "limit": 10, "offset": 0, "columns": ["x"]})
        assert (old["version"], old["rows"]) == (1, [{"x": 1.5}])
        assert processes.run("preview", FLIGHTS | {"limit": 1, "offset": 1, "columns": ["id"]})["rows"] == shown_ids(shown)[1:]

    def test_a_preview_beyond_what_a_message_holds_is_refused(self, processes: DataProcesses, inbox: Path) -> None:
        large = pa.table({"text": ["x" * (12 << 20)] * 6})
        pyarrow.parquet.write_table(large, inbox / "large.parquet")
        processes.run("ingest", ingestion(inbox / "large.parquet") | {"dataset": "large"})
        with pytest.raises(OperationFailed) as caught:
            processes.run("preview", {"project": "p", "dataset": "large", "limit": 6})
        assert (caught.value.code, caught.value.reason) == (StatusCode.RESOURCE_EXHAUSTED, "RESULT_TOO_LARGE")
        [row] = processes.run("preview", {"project": "p", "dataset": "large", "limit": 1})["rows"]
        assert len(row["text"]) == 12 << 20

    def test_going_back_makes_a_new_version_and_deleting_leaves_nothing(self, processes: DataProcesses) -> None:
        back = processes.run("rollback", FLIGHTS | {"version": 1})
        assert (back["version"], back["row_count"]) == (3, 1)
        assert processes.run("delete", FLIGHTS) is None
        with pytest.raises(OperationFailed) as caught:
            processes.run("describe", FLIGHTS)
        assert (caught.value.code, caught.value.reason) == (StatusCode.NOT_FOUND, "TABLE_NOT_FOUND")
        assert caught.value.resource == ("mlops.ingestion.v1.Dataset", "p/flights")


def shown_ids(shown: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"id": row["id"]} for row in shown["rows"]]


class TestValidating:
    SUITE: ClassVar = {
        "name": "flights",
        "expectations": [
            {"type": "expect_column_values_to_be_between", "kwargs": {"column": "id", "min_value": 2}, "severity": "warning"},
            {"type": "expect_column_to_exist", "kwargs": {"column": "id"}},
            {"type": "expect_column_max_to_be_between", "kwargs": {"column": "id", "max_value": 9}},
        ],
    }

    def test_a_dataset_and_a_source_get_the_same_report(self, processes: DataProcesses, inbox: Path) -> None:
        (inbox / "a.csv").write_text("id\n3\n1\n")
        processes.run("ingest", ingestion(inbox / "a.csv"))
        source = {"kind": "uri", "uri": (inbox / "a.csv").as_uri()}
        report = processes.run("validate", FLIGHTS | {"suite": self.SUITE})
        assert report == processes.run("validate", {"project": "p", "source": source, "read": {}, "suite": self.SUITE})
        assert (report["suite_name"], report["status"], report["row_count"], report["successful_count"]) == ("flights", "WARNING", 2, 2)
        between, _, largest = report["results"]
        assert between == {
            "type": "expect_column_values_to_be_between",
            "kwargs": {"column": "id", "min_value": 2},
            "severity": "WARNING",
            "success": False,
            "observed_value": None,
            "element_count": 2,
            "missing_count": 0,
            "unexpected_count": 1,
            "unexpected_rows": [{"row": 2, "column": "id", "value": 1}],
            "reason": "",
            "message": "",
        }
        assert (largest["observed_value"], largest["element_count"], largest["severity"]) == (3, None, "CRITICAL")

    def test_an_expectation_that_cannot_run_says_why(self, processes: DataProcesses, inbox: Path) -> None:
        (inbox / "a.csv").write_text("x\n3\n")
        arguments = {"project": "p", "source": {"kind": "uri", "uri": (inbox / "a.csv").as_uri()}, "suite": self.SUITE}
        report = processes.run("validate", arguments)
        assert report["status"] == "FAILED"
        assert report["results"][0]["reason"]
        assert "id" in report["results"][0]["message"]

    def test_a_dataset_without_rows_can_be_validated(self, processes: DataProcesses, inbox: Path) -> None:
        pyarrow.parquet.write_table(pa.table({"id": pa.array([], pa.int64())}), inbox / "a.parquet")
        processes.run("ingest", ingestion(inbox / "a.parquet"))
        assert processes.run("validate", FLIGHTS | {"suite": self.SUITE})["row_count"] == 0

    def test_an_error_in_the_middle_of_a_source_is_told(self, processes: DataProcesses, inbox: Path) -> None:
        (inbox / "a.csv").write_text("id,x\n1,2\n3\n")
        with pytest.raises(OperationFailed) as caught:
            processes.run("validate", {"project": "p", "source": {"kind": "uri", "uri": (inbox / "a.csv").as_uri()}, "suite": self.SUITE})
        assert caught.value.reason == "RAGGED_ROW"

    @pytest.mark.parametrize(
        ("arguments", "reason"),
        [
            ({"suite": {"expectations": []}, "dataset": "flights"}, "INVALID_EXPECTATION_SUITE"),
            ({"suite": SUITE}, "NOTHING_TO_VALIDATE"),
            ({"suite": SUITE, "dataset": "flights", "source": {}}, "NOTHING_TO_VALIDATE"),
        ],
    )
    def test_what_cannot_be_validated_is_refused(self, processes: DataProcesses, arguments: dict[str, Any], reason: str) -> None:
        with pytest.raises(OperationFailed) as caught:
            processes.run("validate", {"project": "p"} | arguments)
        assert (caught.value.code, caught.value.reason) == (StatusCode.INVALID_ARGUMENT, reason)
