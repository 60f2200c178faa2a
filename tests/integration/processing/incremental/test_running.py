"""What an incremental run reads, writes and refuses."""

from __future__ import annotations

import uuid
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pytest

from demo.real_servers.s3 import S3Server
from servers.ingestion.tables import Tables, WriteMode, s3_options
from servers.processing.incremental.errors import KeysNotKept, NotIncremental
from servers.processing.incremental.keys import Keys
from servers.processing.incremental.results import Writing
from servers.processing.incremental.running import InputVersions, OutputVersion, incremental_results
from servers.processing.kernels.cancellation import Cancellation
from servers.processing.plan.nodes import PythonFunction, Scan, TypedColumn
from servers.processing.plan.plan import Plan
from servers.processing.plan.sql import plan_of_sql
from servers.runtime.tables.changes import changes
from servers.runtime.tables.errors import FullRecomputationNeeded, TableGone
from servers.runtime.tables.storage import TableStorage
from tests.integration.processing.incremental.histories import ENGINE, STORAGE, History, Pipeline
from tests.integration.processing.relations import rows_of

ORDERS = pa.table({"customer": [1, 1, 2, None], "product": [1, 2, 1, 2], "amount": [1.0, 2.0, 3.0, 4.0]})
PRODUCTS = pa.table({"product": [1, 2], "label": ["x", "y"]})
SPENT = "SELECT customer, sum(amount) AS spent, count(*) AS n FROM orders GROUP BY customer"
LABELS = "SELECT customer, label, amount FROM orders JOIN products USING (product)"
CUSTOMER = Keys(("customer",))


@pytest.fixture
def orders(tmp_path: Path) -> History:
    history = History(tmp_path, "orders")
    history.write(ORDERS)
    return history


@pytest.fixture
def products(tmp_path: Path) -> History:
    history = History(tmp_path, "products")
    history.write(PRODUCTS)
    return history


def pipeline(folder: Path, text: str, keys: Keys | None, **inputs: History) -> Pipeline:
    made = Pipeline(folder, plan_of_sql(text, {name: each.at().schema.names for name, each in inputs.items()}), keys, inputs)
    made.run_in_full()
    return made


def order(customer: int | None, amount: float, product: int = 1) -> pa.Table:
    return pa.table({"customer": pa.array([customer], pa.int64()), "product": [product], "amount": [amount]})


def assert_is_full(made: Pipeline) -> None:
    assert {name: rows_of(each.rows()) for name, each in made.outputs.items()} == {
        name: rows_of(rows) for name, rows in made.full().items()
    }


def test_one_row_a_key_is_upserted(tmp_path: Path, orders: History) -> None:
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=orders)
    orders.write(pa.concat_tables([order(2, 10.0), order(3, 5.0)]))

    result = made.run()["result"]

    assert (result.writing, result.keys, result.computed_rows, result.replaced_rows) == (Writing.UPSERT, ("customer",), 2, 1)
    assert_is_full(made)


def test_null_is_a_key_but_none_of_an_upsert(tmp_path: Path, orders: History) -> None:
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=orders)
    orders.write(order(None, 10.0))

    result = made.run()["result"]

    assert (result.writing, result.computed_rows, result.replaced_rows) == (Writing.OVERWRITE, 1, 1)
    assert_is_full(made)


def test_a_key_without_rows_vanishes(tmp_path: Path, orders: History) -> None:
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=orders)
    orders.delete("customer = 2")

    result = made.run()["result"]

    assert (result.writing, result.computed_rows, result.vanished_keys.to_pylist()) == (Writing.OVERWRITE, 0, [{"customer": 2}])
    assert_is_full(made)


def test_several_rows_of_a_key_are_replaced_together(tmp_path: Path, orders: History, products: History) -> None:
    made = pipeline(tmp_path, LABELS, CUSTOMER, orders=orders, products=products)
    orders.write(order(1, 7.0), WriteMode.UPSERT, ("customer", "product"))

    result = made.run()["result"]

    assert (result.writing, result.computed_rows, result.replaced_rows) == (Writing.OVERWRITE, 2, 2)
    assert_is_full(made)


def test_rows_that_were_only_written_anew_are_no_change(tmp_path: Path, orders: History, products: History) -> None:
    made = pipeline(tmp_path, LABELS, CUSTOMER, orders=orders, products=products)
    orders.write(order(1, 1.0), WriteMode.UPSERT, ("customer", "product"))
    products.write(PRODUCTS, WriteMode.OVERWRITE)
    assert changes(orders.uri, 1, orders.version, STORAGE).removed

    assert made.run()["result"].writing is Writing.NOTHING


def test_one_of_two_equal_rows_is_a_change_and_so_is_the_sign_of_zero(tmp_path: Path) -> None:
    history = History(tmp_path, "orders")
    history.write(pa.concat_tables([order(1, 0.0), order(1, 0.0), order(2, 0.0)]))
    text = "SELECT customer, count(*) AS n, min(CAST(amount AS VARCHAR)) AS t FROM orders GROUP BY customer"
    made = pipeline(tmp_path, text, CUSTOMER, orders=history)
    history.write(pa.concat_tables([order(1, 0.0), order(2, -0.0)]), WriteMode.OVERWRITE)

    result = made.run()["result"]

    assert (result.writing, result.computed_rows) == (Writing.UPSERT, 2)
    assert made.outputs["result"].rows().sort_by("customer").to_pylist() == [
        {"customer": 1, "n": 1, "t": "0.0"},
        {"customer": 2, "n": 1, "t": "-0.0"},
    ]


def test_files_that_a_compaction_joined_are_not_read(orders: History) -> None:
    first = orders.version
    orders.write(order(3, 1.0))
    added = orders.version
    orders.table.compact()

    found = changes(orders.uri, first, orders.version, STORAGE)
    only_joined = changes(orders.uri, added, orders.version, STORAGE)

    assert (sum(file.row_count for file in found.added), found.removed, only_joined.is_nothing) == (1, (), True)


def test_files_that_were_vacuumed_are_compared_by_the_rows_of_others_or_ask_for_a_full_run(tmp_path: Path) -> None:
    history = History(tmp_path, "orders")
    history.table = Tables(tmp_path.as_uri(), shortest_retention=timedelta(0)).table("project", "orders")
    history.write(ORDERS)
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=history)
    history.write(order(3, 1.0))
    history.table.compact()
    assert history.table.vacuum(timedelta(0)) == 2

    with pytest.raises(FullRecomputationNeeded, match=r"because 1 files of version 1 of the dataset at .* were vacuumed"):
        made.run()


def test_entries_of_the_log_are_no_need(tmp_path: Path) -> None:
    history = History(tmp_path, "orders")
    for number in range(10):
        history.write(order(number, 1.0))
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=history)
    for number in range(10, 19):
        history.write(order(number, 1.0))
    history.table.compact()
    history.write(order(19, 1.0))
    for version in (*range(10), 15):
        (tmp_path / "project/orders/_delta_log" / f"{version:020}.json").unlink()
    assert len(changes(history.uri, 10, history.version, STORAGE).removed) == 10

    assert made.run()["result"].computed_rows == 10
    assert_is_full(made)
    with pytest.raises(FullRecomputationNeeded, match=r"version 5 of the dataset at .* cannot be read any more"):
        changes(history.uri, 5, history.version, STORAGE)


def test_a_rollback_behind_a_compaction_is_understood(tmp_path: Path, orders: History) -> None:
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=orders)
    orders.write(order(3, 1.0))
    before = orders.version
    orders.table.compact()
    orders.write(order(4, 1.0))
    orders.table.rollback(before)

    assert made.run()["result"].computed_rows == 1
    assert_is_full(made)


def test_rows_of_an_input_without_keys_mean_a_full_run(tmp_path: Path, orders: History, products: History) -> None:
    made = pipeline(tmp_path, LABELS, CUSTOMER, orders=orders, products=products)
    products.write(pa.table({"product": [9], "label": ["new"]}))

    with pytest.raises(FullRecomputationNeeded, match="input 'products', which has no columns with the keys, changed: 1 rows came and"):
        made.run()


def test_columns_that_are_not_read_may_change(tmp_path: Path, orders: History) -> None:
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=orders)
    made.plan = Plan(
        tuple(Scan(step.name, "orders", ("customer", "amount")) if isinstance(step, Scan) else step for step in made.plan.steps),
        made.plan.outputs,
    )
    orders.write(order(3, 1.0).append_column("note", pa.array(["x"])))
    orders.change_columns({"product": "article"}, ("note",))

    assert made.run()["result"].computed_rows == 1
    assert_is_full(made)
    orders.write(pa.table({"customer": [1], "amount": ["x"], "other": [1]}).drop_columns("amount"))
    orders.change_columns({"amount": "old", "other": "amount"})
    with pytest.raises(FullRecomputationNeeded, match="columns that are read of input 'orders' changed: 'amount' is int64 and was double"):
        made.run()


def test_more_keys_than_are_held_mean_a_full_run(tmp_path: Path, orders: History) -> None:
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=orders)
    orders.write(pa.concat_tables([order(7, 1.0), order(8, 1.0)]))

    with pytest.raises(FullRecomputationNeeded, match="more than 1 keys are touched"):
        made.run(most_touched_keys=1)


def test_a_dataset_that_was_made_anew_is_another_one(orders: History) -> None:
    known = orders.at().table_id
    orders.write(order(3, 1.0))
    assert orders.at().table_id == known
    orders.table.delete()
    with pytest.raises(TableGone):
        changes(orders.uri, 1, 1, STORAGE, table_id=known)
    orders.write(ORDERS)

    with pytest.raises(FullRecomputationNeeded, match="was deleted and made anew"):
        changes(orders.uri, 1, 1, STORAGE, table_id=known)


def test_a_function_that_changes_keys_is_caught(tmp_path: Path, orders: History) -> None:
    source = "import pyarrow.compute as pc\n\ndef later(rows):\n    return rows.set_column(0, 'customer', pc.add(rows['customer'], 10))"
    types = {"customer": "BIGINT", "product": "BIGINT", "amount": "DOUBLE"}
    schema = tuple(TypedColumn(name, type_name) for name, type_name in types.items())
    call = PythonFunction("call", "orders", source, "later", schema, ("customer",))
    made = Pipeline(tmp_path, Plan((Scan("orders", "orders"), call), ("call",)), CUSTOMER, {"orders": orders})
    made.run_in_full()
    orders.write(order(1, 1.0))

    with pytest.raises(KeysNotKept, match="output 'call': 3 rows have keys that no changed row has"):
        made.run()


def test_files_that_cannot_have_touched_keys_are_not_read(tmp_path: Path) -> None:
    history = History(tmp_path, "orders")
    for customer in range(8):
        history.write(pa.concat_tables([order(customer, 1.0), order(customer + 1, 2.0)]))
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=history)
    history.write(order(3, 9.0))
    for file in history.at().files():
        # Customers 3 and 4, and 2 and 3, are in two of them; the others are not even opened.
        row = file.batches(history.at().schema)
        if 3 not in next(row)["customer"].to_pylist():
            (tmp_path / "project/orders" / file.path).unlink()

    assert made.run()["result"].rows is not None
    assert {"customer": 3, "spent": 12.0, "n": 3} in made.outputs["result"].rows().to_pylist()


def test_an_output_of_which_types_were_widened_stays(tmp_path: Path, orders: History) -> None:
    made = pipeline(tmp_path, "SELECT customer, CAST(product AS UTINYINT) AS p FROM orders", CUSTOMER, orders=orders)
    orders.write(order(1, 1.0, product=200))

    assert made.run()["result"].writing is Writing.OVERWRITE
    assert_is_full(made)
    made.outputs["result"].write(pa.table({"customer": [77], "p": [70_000]}))
    orders.write(order(1, 1.0))
    with pytest.raises(FullRecomputationNeeded, match="1 rows of output 'result' have values that do not have the type which"):
        made.run()


def test_an_output_that_has_lost_a_column_is_made_in_full(tmp_path: Path, orders: History) -> None:
    made = pipeline(tmp_path, SPENT, CUSTOMER, orders=orders)
    made.outputs["result"].change_columns(dropped=("n",))
    orders.write(order(1, 1.0))

    with pytest.raises(FullRecomputationNeeded, match="output 'result' has the columns 'customer', 'spent', and the plan gives"):
        made.run()


def test_new_rows_alone_are_processed_without_keys(tmp_path: Path, orders: History, products: History) -> None:
    made = pipeline(tmp_path, LABELS, None, orders=orders, products=products)
    orders.write(pa.concat_tables([order(5, 1.0), order(5, 1.0)]))
    orders.table.compact()

    result = made.run()["result"]

    assert (result.writing, made.outputs["result"].rows().num_rows) == (Writing.APPEND, 6)
    assert_is_full(made)
    assert made.run()["result"].writing is Writing.NOTHING


def test_rows_that_came_with_files_written_anew_are_processed_without_keys(tmp_path: Path, orders: History, products: History) -> None:
    made = pipeline(tmp_path, LABELS, None, orders=orders, products=products)
    orders.write(pa.concat_tables([ORDERS, ORDERS, order(5, 1.0)]), WriteMode.OVERWRITE)

    assert made.run()["result"].writing is Writing.APPEND
    assert_is_full(made)
    orders.delete("customer = 5")
    with pytest.raises(FullRecomputationNeeded, match="1 rows went from input 'orders', and the pipeline has no keys"):
        made.run()


def test_what_new_rows_change_in_others_needs_keys(tmp_path: Path, orders: History, products: History) -> None:
    made = pipeline(tmp_path, SPENT, None, orders=orders)
    orders.write(order(5, 1.0))
    with pytest.raises(NotIncremental, match="which new rows change"):
        made.run()

    made = pipeline(tmp_path, LABELS, None, orders=orders, products=products)
    orders.write(order(5, 1.0))
    products.write(pa.table({"product": [9], "label": ["new"]}))
    with pytest.raises(NotIncremental, match="both sides have new rows"):
        made.run()


def test_outputs_that_nothing_touches_are_left_alone(tmp_path: Path, orders: History, products: History) -> None:
    steps = plan_of_sql(SPENT, {"orders": ORDERS.schema.names}).steps
    plan = Plan((*steps, Scan("fixed", "products")), ("result", "fixed"))
    made = Pipeline(tmp_path, plan, CUSTOMER, {"orders": orders, "products": products})
    made.run_in_full()
    orders.write(order(5, 1.0))

    assert {name: each.writing for name, each in made.run().items()} == {"result": Writing.UPSERT, "fixed": Writing.NOTHING}
    assert_is_full(made)


def test_changes_in_an_s3(s3: S3Server) -> None:
    root = f"s3://{s3.bucket}/tables/{uuid.uuid4().hex}"
    storage = TableStorage(s3.endpoint, "", *s3.credentials)
    tables = Tables(root, s3_options(s3.endpoint, s3.credentials), shortest_retention=timedelta(0))
    for name in ("orders", "result"):
        rows = ORDERS if name == "orders" else pa.table({"customer": [1, 2, None], "spent": [3.0, 3.0, 4.0], "n": [2, 1, 1]})
        tables.table("project", name).write(iter(rows.to_batches()), rows.schema)
    orders = tables.table("project", "orders")
    orders.write(iter(order(2, 9.0).to_batches()), ORDERS.schema)
    orders.compact()
    inputs = {"orders": InputVersions(f"{root}/project/orders", 1, 3)}
    outputs = {"result": OutputVersion(f"{root}/project/result", 1)}
    plan = plan_of_sql(SPENT, {"orders": ORDERS.schema.names})

    with incremental_results(plan, CUSTOMER, inputs, outputs, storage, ENGINE, Cancellation()) as found:
        result = found["result"]
        assert (result.writing, result.rows.read_all().to_pylist()) == (Writing.UPSERT, [{"customer": 2, "spent": 12.0, "n": 2}])

    orders.vacuum(timedelta(0))
    with pytest.raises(FullRecomputationNeeded, match="vacuumed"):
        changes(inputs["orders"].uri, 1, 3, storage)
