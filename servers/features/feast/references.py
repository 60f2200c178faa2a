"""Which features a client of Feast means, and what they are called in the answer.

A reference is `view:feature`, or `view@v2:feature` for a version. What Feast calls full names, `view__feature`, are prefixes here.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from mlops.features.v1 import feature_view_pb2 as view_pb

from servers.features.feast.errors import FeatureNameCollision, InvalidFeastRequest
from servers.features.serving.plans import ServingPlan

__all__ = ["names_of", "selections_of"]

_MOST_VIEWS = 40
"""As in `ServeFeaturesRequest`."""
_MOST_FEATURES = 10_000
_REFERENCE = re.compile(r"([A-Za-z0-9][A-Za-z0-9_-]{0,99})(@(?:[vV]?(\d{1,18})|latest)?)?:([A-Za-z_][A-Za-z0-9_]{0,127})", re.ASCII)
_FULL = "__"
"""Ends what Feast puts before a name only where full names are asked for."""


def selections_of(references: Sequence[str]) -> list[view_pb.FeatureSelection]:
    """Returns what references select: views in the order in which they are first named, with their features in order.

    Raises:
        InvalidFeastRequest: INVALID_ARGUMENT: one is no reference, or there are too many.
        FeatureNameCollision: INVALID_ARGUMENT: one is there twice.
    """
    if not references:
        raise InvalidFeastRequest("features", "name features, each `view:feature`, or a feature_service")
    if len(references) > _MOST_FEATURES:
        raise InvalidFeastRequest("features", f"{len(references):,} are asked for; a call has at most {_MOST_FEATURES:,}")
    found: dict[tuple[str, int], view_pb.FeatureSelection] = {}
    for place, reference in enumerate(references):
        match = _REFERENCE.fullmatch(reference) if isinstance(reference, str) else None
        if match is None:
            raise InvalidFeastRequest(f"features[{place}]", f"{str(reference)[:300]!r} is not `view:feature`, nor `view@v2:feature`")
        view, version = match[1], int(match[3] or 0)
        prefix = f"{view}@v{version}{_FULL}" if version else f"{view}{_FULL}"
        found.setdefault((view, version), view_pb.FeatureSelection(view=view, version=version, prefix=prefix)).features.append(match[4])
    if len(found) > _MOST_VIEWS:
        raise InvalidFeastRequest("features", f"{len(found)} views are asked for; a call has at most {_MOST_VIEWS}")
    if twice := [name for name, count in Counter(references).items() if count > 1]:
        raise FeatureNameCollision(twice, has_full_names=True)
    return list(found.values())


def names_of(plan: ServingPlan, *, has_full_names: bool) -> list[str]:
    """Returns the name of each feature of a plan, as Feast would name it.

    A prefix that ends with `__` is Feast's and belongs to full names alone; another one is the service's, and always there. A feature
    of a service that has no prefix is, in full, `view__feature`.

    Raises:
        FeatureNameCollision: INVALID_ARGUMENT: several features would have one name.
    """
    names = list(_names(plan, has_full_names=has_full_names))
    if len(set(names)) < len(names):
        raise FeatureNameCollision([name for name, count in Counter(names).items() if count > 1], has_full_names=has_full_names)
    return names


def _names(plan: ServingPlan, *, has_full_names: bool) -> Iterator[str]:
    features = iter(plan.answer.features)
    for read in plan.reads:
        for column in read.columns:
            feature = next(features)
            prefix = column.served_name.removesuffix(column.name)
            if has_full_names:
                yield column.served_name if prefix else f"{feature.view}{_FULL}{column.name}"
            else:
                yield column.name if prefix.endswith(_FULL) else column.served_name
    yield from (feature.name for feature in features)
