"""Between the contract of the quarantine and what the domain and the data processes take."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

import orjson
from google.protobuf import json_format
from google.protobuf.struct_pb2 import Struct
from mlops.ingestion.v1 import quarantine_service_pb2 as pb

from servers.ingestion.converters import json_from_proto, write_from_proto
from servers.ingestion.quarantine.errors import InvalidSelection
from servers.runtime.timestamps import timestamp

_LARGEST_EXACT = 2**53
# A level is three messages deep, and protobuf reads a hundred.
_DEEPEST = 30
_STAYS_AS_IT_IS = {"tables": "FREEZE", "columns": "DISCARD_ROW", "types": "DISCARD_ROW"}


def replay_from_proto(request: pb.ReplayQuarantinedRowsRequest) -> dict[str, Any]:
    """Reads which rows are replayed, and how they are written.

    Raises:
        InvalidSelection: A row is repaired twice, or rows are both named and described.
    """
    repairs = {repair.id: json_from_proto(repair.values) for repair in request.repairs}
    if len(repairs) < len(request.repairs):
        raise InvalidSelection("repairs", "a row has two repairs; name each row once, with all of its values")
    selected = selection_from_proto(request)
    if repairs and not request.filter:
        selected = {"ids": list(dict.fromkeys([*request.ids, *repairs])), "filter": None}
    elif repairs:
        selected["ids"] = list(repairs)
    source = {"kind": "quarantine", **selected, "repairs": [{"id": each, "values": values} for each, values in repairs.items()]}
    written = write_from_proto(request)
    return {**written, "contract": _STAYS_AS_IT_IS | written["contract"], "source": source}


def selection_from_proto(request: pb.ReplayQuarantinedRowsRequest | pb.DiscardQuarantinedRowsRequest) -> dict[str, Any]:
    """Reads which rows are meant: those of `ids`, or those that `filter` selects; all where neither says which.

    Raises:
        InvalidSelection: Both say it.
    """
    if request.ids and request.filter:
        raise InvalidSelection("filter", "rows are named by `ids` and described by `filter`; give one of them")
    return {"ids": list(request.ids), "filter": None if request.ids else request.filter}


def row_to_proto(row: Mapping[str, Any]) -> pb.QuarantinedRow:
    """Gives a row in quarantine as the contract has it."""
    return pb.QuarantinedRow(
        id=row["id"],
        ingestion_id=row["ingestion_id"],
        producer=row["producer"],
        subscription=row["subscription"],
        place=row["place"],
        row=row["row"],
        column=row["column"],
        value=row["value"] or "",
        reason=row["reason"],
        data=json_format.ParseDict(_exact(row["data"], 1), Struct()),
        quarantine_time=timestamp(datetime.fromisoformat(row["quarantine_time"])),
    )


def _exact(value: Any, level: int) -> Any:
    """A value of JSON without what a struct would round or nobody could read: such numbers, and what is nested too deep, become text."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > _LARGEST_EXACT:
        return str(value)
    if isinstance(value, dict | list) and level > _DEEPEST:
        return orjson.dumps(value).decode()
    if isinstance(value, dict):
        return {key: _exact(entry, level + 1) for key, entry in value.items()}
    return [_exact(entry, level + 1) for entry in value] if isinstance(value, list) else value
