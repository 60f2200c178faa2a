"""What feature views and feature services are made of.

```python
from mlmesh.features import select

mesh.features.create_service("fraud", [select("user_activity", features=["clicks"], prefix="u_"), "user_week"])
```
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from mlmesh.pipeline_specs import PipelineInput


@dataclass(frozen=True)
class Feature:
    """A feature of a view, where more is to be said than its type."""

    type: str = ""
    """Its type, such as `int64` or `list<float32>`; empty = that of the column. A view that is pushed to has to name it."""

    column: str = ""
    """Column of the source; empty = that of its name."""

    description: str = ""
    """What it means."""


Features = Sequence[str] | Mapping[str, str | Feature]
"""Features of a view: names, whose types are those of the columns; or by name types or `Feature`s."""

ViewInputs = Mapping[str, str | PipelineInput]
"""Datasets that a view is computed from, by the name by which its plan or SQL reads them."""


@dataclass(frozen=True)
class Selection:
    """Features of a view that are wanted together."""

    view: str
    """The view."""

    features: Sequence[str] = ()
    """Names of the features; empty = all of the view."""

    version: int = 0
    """Version of the view; 0 = the newest. A service keeps the one that is the newest when it is made."""

    prefix: str = ""
    """Put before the names of the features, so that those of several views differ."""

    keys: Mapping[str, str] = field(default_factory=dict)
    """Name by which the caller gives a join key, by the join key's name: `{"account_id": "sender_id"}`."""


Selections = str | Selection | Sequence[str | Selection]
"""Features of views: a view's name stands for all of its features."""


def select(
    view: str, features: Sequence[str] = (), *, version: int = 0, prefix: str = "", keys: Mapping[str, str] | None = None
) -> Selection:
    """Returns features of a view that are wanted together.

    Args:
        view: The view.
        features: Names of the features; empty = all of the view.
        version: Version of the view; 0 = the newest. A service keeps the one that is the newest when it is made.
        prefix: Put before the names of the features, so that those of several views differ.
        keys: Name by which the caller gives a join key, by the join key's name: `{"account_id": "sender_id"}`.
    """
    return Selection(view, tuple(features), version, prefix, dict(keys or {}))


@dataclass(frozen=True)
class OnDemand:
    """A feature that is computed when it is asked for, by the same code online and offline."""

    expression: str
    """A scalar expression over the service's features (with their prefixes), its inputs and the on-demand features before it, as DuckDB
    reads it."""

    type: str
    """Its type. The expression is cast to it."""

    description: str = ""
    """What it means."""


OnDemandFeatures = Mapping[str, tuple[str, str] | OnDemand]
"""On-demand features by name, in order: `("amount / spend", "float64")`, expression and type."""
