"""What a delivery would change in a table, and whether its contract allows that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
from pyarrow import types

from servers.ingestion.table_errors import InvalidColumn, InvalidKeys, SchemaFrozen, named
from servers.ingestion.tables.column_types import INSTANT, WALL_TIME, checked_schema, common_type
from servers.ingestion.tables.contract import ChangeKind, ContractMode, SchemaChange, SchemaContract
from servers.ingestion.tables.conversion import REMEDY, Conversion, misfit
from servers.ingestion.tables.lossless import fit
from servers.ingestion.tables.spool import Spool


@dataclass(frozen=True, slots=True)
class Judgement:
    """How to write a delivery to a table."""

    conversion: Conversion
    """To the schema that the table has then."""
    added: tuple[str, ...]
    widened: tuple[str, ...]
    changes: tuple[SchemaChange, ...]
    is_new_table: bool


def differences(table: pa.Schema | None, delivered: pa.Schema) -> list[SchemaChange]:
    """Compares schemas, whatever the contract.

    Args:
        table: Of the table; None where there is none.
        delivered: Of the delivery.

    Returns:
        Changes by the table's columns, then the new columns.

    Raises:
        InvalidColumn: If a column can be in no table.
    """
    wanted = _delivered_schema(table, delivered)
    if table is None:
        return [SchemaChange(ChangeKind.TABLE_CREATED), *(_added(field) for field in wanted if not types.is_null(field.type))]
    changes = []
    for field in table:
        if field.name not in wanted.names:
            changes.append(SchemaChange(ChangeKind.COLUMN_MISSING, field.name, str(field.type)))
        elif not types.is_null(wanted.field(field.name).type) and field.type != (found := delivered.field(field.name).type):
            wider = common_type(field.type, found)
            if wider is None:
                changes.append(SchemaChange(ChangeKind.TYPE_CONFLICT, field.name, str(field.type), str(found), depends_on_values=True))
            elif wider != field.type:
                changes.append(SchemaChange(ChangeKind.TYPE_WIDENED, field.name, str(field.type), str(wider), depends_on_values=True))
    return changes + [_added(field) for field in wanted if field.name not in table.names and not types.is_null(field.type)]


def judge(table: pa.Schema | None, delivery: Spool, contract: SchemaContract, keys: Sequence[str]) -> Judgement:
    """Decides how a delivery is written. Reads only those columns whose type alone does not tell.

    Args:
        table: Schema of the table; None where it is to be made.
        delivery: Rows and their schema.
        contract: What may change.
        keys: Of an upsert; else empty.

    Raises:
        InvalidColumn: If a column can be in no table.
        InvalidKeys: If keys are no columns of the delivery, or floats or nested.
        SchemaFrozen: If the contract forbids a change.
        ValueDoesNotFit: If a value fits neither its column nor a wider type.
    """
    wanted = _delivered_schema(table, delivery.schema)
    known = pa.schema([]) if table is None else table
    added, unknown = _new_columns([field for field in wanted if field.name not in known.names], table is None, contract)
    if (
        table is not None
        and contract.columns is ContractMode.FREEZE
        and (missing := [name for name in known.names if name not in wanted.names])
    ):
        raise SchemaFrozen(
            missing[0], f"the delivery lacks columns and the contract freezes them: {named(missing)}; deliver them, null where unknown"
        )
    target = [*known, *added]
    if not target:
        raise InvalidColumn("", "does not exist: no column of the delivery has a type", "deliver at least one column with a value")
    target, widened = _widened(target, delivery, contract.types)
    schema = pa.schema(target)
    _check_keys(keys, schema, wanted)
    sources = tuple(delivery.schema.names.index(field.name) if field.name in wanted.names else None for field in schema)
    rejecting = tuple(delivery.schema.names.index(field.name) for field in unknown)
    changes = [SchemaChange(ChangeKind.TABLE_CREATED)] if table is None else []
    changes += [_added(schema.field(field.name)) for field in added]
    changes += [
        SchemaChange(ChangeKind.TYPE_WIDENED, name, str(known.field(name).type), str(schema.field(name).type))
        for name in widened
        if name in known.names
    ]
    is_doubtful = any(delivery.schema.field(field.name).type != field.type for field in schema if field.name in wanted.names)
    may_reject = bool(keys or rejecting) or (contract.types is ContractMode.DISCARD_ROW and is_doubtful)
    return Judgement(
        Conversion(schema, sources, rejecting, contract.types, tuple(keys), may_reject),
        tuple(field.name for field in added),
        tuple(name for name in widened if name in known.names),
        tuple(changes),
        table is None,
    )


def _added(field: pa.Field) -> SchemaChange:
    return SchemaChange(ChangeKind.COLUMN_ADDED, field.name, to_type=str(field.type))


def _delivered_schema(table: pa.Schema | None, delivered: pa.Schema) -> pa.Schema:
    wanted = checked_schema(delivered)
    spellings = {} if table is None else {name.casefold(): name for name in table.names}
    for name in wanted.names:
        if (spelling := spellings.get(name.casefold(), name)) != name:
            raise InvalidColumn(
                name, f"is called {spelling!r} in the table, and case does not tell columns apart", f"deliver it as {spelling!r}"
            )
    return wanted


def _new_columns(fields: Iterable[pa.Field], is_new_table: bool, contract: SchemaContract) -> tuple[list[pa.Field], list[pa.Field]]:
    """Returns those to add, and those with which rows are rejected. A column without a type has no value to keep."""
    typed = [field for field in fields if not types.is_null(field.type)]
    if is_new_table or contract.columns is ContractMode.EVOLVE:
        return typed, []
    if typed and contract.columns is ContractMode.FREEZE:
        names = named([field.name for field in typed])
        raise SchemaFrozen(
            typed[0].name,
            f"the delivery has columns that the table has not, and the contract freezes columns: {names}; leave them out, or choose evolve",
        )
    return [], typed if contract.columns is ContractMode.DISCARD_ROW else []


def _widened(target: list[pa.Field], delivery: Spool, mode: ContractMode) -> tuple[list[pa.Field], list[str]]:
    """Widens columns by the values that do not fit, or raises for the first of them."""
    fields = {field.name: field for field in target}
    doubtful = [i for i, field in enumerate(delivery.schema) if field.name in fields and field.type != fields[field.name].type]
    if not doubtful or mode in (ContractMode.DISCARD_ROW, ContractMode.DISCARD_VALUE):
        return target, []
    widened, first_row = [], 0
    for batch in delivery.batches(doubtful):
        for name in batch.schema.names:
            values = batch.column(name)
            misfits = fit(values, fields[name].type).misfits
            if misfits is None:
                continue
            wider = common_type(fields[name].type, values.type) if mode is ContractMode.EVOLVE else None
            if wider is None or wider == fields[name].type:
                raise misfit(fields[name], values, misfits, first_row, _remedy(fields[name].type, values.type, mode))
            fields[name] = fields[name].with_type(wider)
            widened.append(name)
            # Values before this one fitted the narrower type, so they fit this one; the rest of the batch has to be looked at.
            if (misfits := fit(values, wider).misfits) is not None:
                raise misfit(fields[name], values, misfits, first_row, REMEDY)
        first_row += batch.num_rows
    return [fields[field.name] for field in target], widened


def _remedy(table_type: pa.DataType, delivered: pa.DataType, mode: ContractMode) -> str:
    if mode is ContractMode.FREEZE:
        return f"{REMEDY}, or evolve to widen the column where that loses nothing"
    if types.is_timestamp(delivered) and table_type in (INSTANT, WALL_TIME) and (delivered.tz is None) != (table_type.tz is None):
        return "deliver timestamps " + ("without a time zone, as the column has them" if table_type.tz is None else "with their time zone")
    return f"no type holds {table_type} and {delivered} without loss; {REMEDY}, or deliver it as another column"


def _check_keys(keys: Sequence[str], schema: pa.Schema, wanted: pa.Schema) -> None:
    for key in keys:
        if key not in schema.names or key not in wanted.names:
            raise InvalidKeys(f"the key {key[:100]!r} is not a column of the delivery; it has {named(wanted.names)}")
        key_type = schema.field(key).type
        if types.is_floating(key_type) or types.is_nested(key_type):
            raise InvalidKeys(f"the key {key[:100]!r} has the type {key_type}; allowed are all but floats and nested types")
