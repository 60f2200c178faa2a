"""On-demand features of a training set, computed again by the code that serves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from mlops.features.v1 import feature_view_pb2 as pb

from servers.features.data_process.workplace import Workplace
from servers.features.online import VectorSchema
from servers.features.online.arrow_columns import column_of
from servers.features.online.vectors import encode_vectors
from servers.features.serving.on_demand import evaluate
from servers.runtime.data_process.messages import OnProgress
from servers.runtime.tables.dataset import open_dataset


def replay(workplace: Workplace, arguments: Mapping[str, Any], _on_progress: OnProgress) -> dict[str, Any]:
    """Computes on-demand features of a training set again, and compares.

    Args:
        workplace: Where it is.
        arguments: `uri` and `version` of the dataset; `columns`: names and types of what the expressions may name; `request_inputs`: which
            of those come from the caller; `on_demand`: names, expressions and types.

    Returns:
        `rows`, and how many differ in any bit, by feature: `different`.

    Raises:
        OnDemandFeatureFailed: FAILED_PRECONDITION: an expression cannot be computed of a row.
        DomainError: The dataset cannot be read.
    """
    types, inputs = dict(arguments["columns"]), set(arguments["request_inputs"])
    on_demand = [pb.OnDemandFeature(name=name, expression=text, type=kind) for name, text, kind in arguments["on_demand"]]
    request_inputs = [pb.RequestInput(name=name, type=kind) for name, kind in types.items() if name in inputs]
    feature_types = {name: kind for name, kind in types.items() if name not in inputs}
    rows, different = 0, {each.name: 0 for each in on_demand}
    dataset = open_dataset(arguments["uri"], arguments["version"], workplace.storage)
    for batch in dataset.reader([*types, *different]):
        table = pa.Table.from_batches([batch])
        found = evaluate(on_demand, request_inputs, table.select(list(types)), feature_types)
        rows += batch.num_rows
        for each in on_demand:
            different[each.name] += differing_rows(each.type, batch.column(each.name), found.column(each.name).combine_chunks())
    return {"rows": rows, "different": different}


def differing_rows(type_name: str, written: pa.Array, found: pa.Array) -> int:
    """Returns how many values of two columns are different as the online store would have them: bit by bit, and nulls among themselves.

    Args:
        type_name: Type of the feature.
        written: `(rows,)`.
        found: `(rows,)`.
    """
    schema = VectorSchema.of([("feature", type_name)])
    [feature] = schema.features
    times = np.zeros(len(written), np.int64)
    vectors = [encode_vectors(schema, [column_of(feature, each)], times, times) for each in (written, found)]
    return sum(one != other for one, other in zip(*vectors, strict=True))
