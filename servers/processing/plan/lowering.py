"""What the steps above the core are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import assert_never

from servers.processing.plan.errors import InvalidStep, TypeMismatch, shown
from servers.processing.plan.expressions import Names, scalar
from servers.processing.plan.limits import PlanLimits
from servers.processing.plan.names import text_literal
from servers.processing.plan.nodes import Aggregate, Column, CrossJoin, Filter, Node, Project
from servers.processing.plan.plan import Step
from servers.processing.plan.selects import Columns, names_of, types_of
from servers.processing.plan.steps import Encode, EncodeKind, FittedStep, Impute, ImputeStrategy, Sample, Scale, ScaleKind, Split, Unknown
from servers.processing.plan.types import is_float, is_number
from servers.runtime.sql_names import quoted

_HASHES = 2**64


def lowered(step: Step, columns: Callable[[str], Columns], limits: PlanLimits) -> tuple[Node, ...]:
    """Returns the nodes of a step; the last one has its name, the others names that no step can have.

    Args:
        step: Of the core or above it.
        columns: Gives the columns of a step that comes before.
        limits: How large a plan may be.

    Raises:
        InvalidPlan: INVALID_ARGUMENT: a field is wrong, or a column is not there or of the wrong type.
    """
    match step:
        case Sample():
            return (Filter(step.name, step.input, _is_below(_hash(step, columns(step.input)), _share(step.fraction))),)
        case Split():
            return (Project(step.name, step.input, (Column(step.column, _part(step, columns(step.input))),), keeps_others=True),)
        case Impute():
            return _imputed(step, columns(step.input))
        case Scale():
            return _scaled(step, columns(step.input))
        case Encode():
            return _encoded(step, columns(step.input))
        case Aggregate():
            return _keyed_by_columns(step, names_of(columns(step.input)), limits)
        case _:
            return (step,)


def _keyed_by_columns(step: Aggregate, names: Names, limits: PlanLimits) -> tuple[Node, ...]:
    """Computes keys before the aggregation: rows are brought together by columns only."""
    computed, keys = [], []
    for place, key in enumerate(step.keys):
        if scalar(key.expression, names, limits.expression_characters).column is not None:
            keys.append(key)
        else:
            computed.append(Column(f"key\x1f{place}", key.expression))
            keys.append(Column(key.name, quoted(computed[-1].name)))
    if not computed:
        return (step,)
    before = f"{step.name}.keys"
    return (Project(before, step.input, tuple(computed), keeps_others=True), replace(step, input=before, keys=tuple(keys)))


def _share(fraction: float) -> float:
    if not 0 < fraction <= 1:
        raise InvalidStep(f"the fraction is {fraction}; it has to be above 0 and at most 1")
    return fraction


def _hash(step: Sample | Split, columns: Columns) -> str:
    names = names_of(columns)
    keys = [names.column(key, "keys: the column") for key in step.keys] or list(names.names)
    # MD5 and texts of values, since DuckDB's own hash changes from version to version.
    values = [f"CASE WHEN {quoted(key)} IS NULL THEN 'null' ELSE '=' || CAST({quoted(key)} AS VARCHAR) END" for key in keys]
    return f"md5_number_lower(concat_ws(chr(31), '{int(step.seed)}', {', '.join(values)}))"


def _is_below(hash_text: str, share: float) -> str:
    return "true" if share >= 1 else f"{hash_text} < CAST({math.floor(share * _HASHES)} AS UBIGINT)"


def _part(step: Split, columns: Columns) -> str:
    if len(step.parts) < 2 or any(not part.share > 0 for part in step.parts) or abs(sum(part.share for part in step.parts) - 1) > 1e-9:
        raise InvalidStep("a split has at least two parts, whose shares are above 0 and add up to 1")
    if len({part.name for part in step.parts}) < len(step.parts):
        raise InvalidStep("two parts of the split have one name")
    hashed, below, cases = _hash(step, columns), 0.0, []
    for part in step.parts[:-1]:
        below += part.share
        cases.append(f"WHEN {_is_below(hashed, min(below, 1 - 2**-53))} THEN {text_literal(part.name)}")
    return f"CASE {' '.join(cases)} ELSE {text_literal(step.parts[-1].name)} END"


def _imputed(step: Impute, columns: Columns) -> tuple[Node, ...]:
    wanted, types = _wanted(step.columns, columns), types_of(columns)
    missing = {name: _is_missing(name, types[name]) for name in wanted}
    if step.strategy is ImputeStrategy.CONSTANT:
        if not step.constant:
            raise InvalidStep("the strategy CONSTANT needs a constant")
        texts = {name: f"CASE WHEN {missing[name]} THEN ({step.constant}\n) ELSE {quoted(name)} END" for name in wanted}
        return (Project(step.name, step.input, tuple(Column(name, text) for name, text in texts.items()), keeps_others=True),)
    function = {"MEAN": "avg", "MEDIAN": "median", "MOST_FREQUENT": "mode"}[step.strategy.value]
    if step.strategy is not ImputeStrategy.MOST_FREQUENT:
        _check_numbers(wanted, types)
    fitted = []
    filled: dict[str, tuple[Column, ...]] = {}
    for place, name in enumerate(wanted):
        fitted.append(Column(_fitted(place), f"{function}({quoted(name)}) FILTER (WHERE NOT ({missing[name]}) AND {_fit(step)})"))
        filled[name] = (Column(name, f"CASE WHEN {missing[name]} THEN {quoted(_fitted(place))} ELSE {quoted(name)} END"),)
    return _fitted_nodes(step, columns, fitted, filled)


def _scaled(step: Scale, columns: Columns) -> tuple[Node, ...]:
    wanted, types = _wanted(step.columns, columns), types_of(columns)
    _check_numbers(wanted, types)
    fitted, scaled = [], {}
    for place, name in enumerate(wanted):
        value = f"CAST({quoted(name)} AS DOUBLE)"
        where = f"FILTER (WHERE NOT ({_is_missing(name, types[name])}) AND {_fit(step)})"
        middle, spread = f"{_fitted(place)}.middle", f"{_fitted(place)}.spread"
        for column, text in zip((middle, spread), _scale(step.kind, value, where), strict=True):
            fitted.append(Column(column, text))
        off = f"{value} - {quoted(middle)}"
        scaled[name] = (Column(name, f"CASE WHEN {quoted(spread)} = 0 THEN ({off}) * 0 ELSE ({off}) / {quoted(spread)} END"),)
    return _fitted_nodes(step, columns, fitted, scaled)


def _scale(kind: ScaleKind, value: str, where: str) -> tuple[str, str]:
    match kind:
        case ScaleKind.STANDARD:
            return f"avg({value}) {where}", f"stddev_pop({value}) {where}"
        case ScaleKind.MIN_MAX:
            return f"min({value}) {where}", f"max({value}) {where} - min({value}) {where}"
        case ScaleKind.ROBUST:
            return f"median({value}) {where}", f"quantile_cont({value}, 0.75) {where} - quantile_cont({value}, 0.25) {where}"
        case _:
            assert_never(kind)


def _encoded(step: Encode, columns: Columns) -> tuple[Node, ...]:
    wanted = _wanted(tuple(each.name for each in step.columns), columns)
    categories = dict(zip(wanted, (each.categories for each in step.columns), strict=True))
    for name, known in categories.items():
        if step.kind is EncodeKind.ONE_HOT and not known:
            raise InvalidStep(f"column {shown(name)} has no categories; ONE_HOT needs them, since it makes a column of each")
        if len(set(known)) < len(known):
            raise InvalidStep(f"column {shown(name)} has a category twice")
    fitted, encoded = [], {}
    for place, name in enumerate(wanted):
        text = f"CAST({quoted(name)} AS VARCHAR)"
        known = categories[name]
        if not known:
            where = f"FILTER (WHERE {quoted(name)} IS NOT NULL AND {_fit(step)})"
            fitted.append(Column(_fitted(place), f"list(DISTINCT {text} ORDER BY {text}) {where}"))
        listed = f"[{', '.join(map(text_literal, known))}]" if known else f"coalesce({quoted(_fitted(place))}, CAST([] AS VARCHAR[]))"
        encoded[name] = _ordinal(step, name, text, listed) if step.kind is EncodeKind.ORDINAL else _one_hot(step, name, text, listed, known)
    return _fitted_nodes(step, columns, fitted, encoded)


def _ordinal(step: Encode, name: str, text: str, listed: str) -> tuple[Column, ...]:
    unknown = {
        Unknown.ERROR: _unknown_error(name, text),
        Unknown.NULL: "NULL",
        Unknown.OTHER: f"len({listed})",
    }[step.unknown]
    place = f"list_position({listed}, {text})"
    value = f"CASE WHEN {quoted(name)} IS NULL THEN NULL WHEN list_contains({listed}, {text}) THEN {place} - 1 ELSE {unknown} END"
    return (Column(name, f"CAST({value} AS BIGINT)"),)


def _one_hot(step: Encode, name: str, text: str, listed: str, known: tuple[str, ...]) -> tuple[Column, ...]:
    is_unknown = f"{quoted(name)} IS NOT NULL AND NOT list_contains({listed}, {text})"
    on_unknown = {Unknown.ERROR: _unknown_error(name, text), Unknown.NULL: "NULL", Unknown.OTHER: "0"}[step.unknown]
    columns = [
        Column(
            f"{name}_{category}",
            f"CAST(CASE WHEN {is_unknown} THEN {on_unknown} WHEN {text} = {text_literal(category)} THEN 1 ELSE 0 END AS TINYINT)",
        )
        for category in known
    ]
    if step.unknown is Unknown.OTHER:
        columns.append(Column(f"{name}_other", f"CAST(CASE WHEN {is_unknown} THEN 1 ELSE 0 END AS TINYINT)"))
    return tuple(columns)


def _unknown_error(name: str, text: str) -> str:
    return f"error({text_literal(f'column {name} has a value that is no category: ')} || {text})"


def _fitted_nodes(step: FittedStep, columns: Columns, fitted: list[Column], made: Mapping[str, tuple[Column, ...]]) -> tuple[Node, ...]:
    names = names_of(columns).names
    kept = [each for name in names for each in made.get(name, (Column(name, quoted(name)),))]
    if not fitted:
        return (Project(step.name, step.input, tuple(kept)),)
    fit, beside = f"{step.name}.fit", f"{step.name}.beside"
    return (
        Aggregate(fit, step.input, (), tuple(fitted)),
        CrossJoin(beside, step.input, fit),
        Project(step.name, beside, tuple(kept)),
    )


def _fitted(place: int) -> str:
    # The control character keeps it apart from the columns of people.
    return f"fitted\x1f{place}"


def _fit(step: FittedStep) -> str:
    return f"({step.fit_condition}\n)" if step.fit_condition else "true"


def _wanted(wanted: tuple[str, ...], columns: Columns) -> tuple[str, ...]:
    if not wanted:
        raise InvalidStep("it names no columns")
    names = names_of(columns)
    found = tuple(names.column(name) for name in wanted)
    if len(set(found)) < len(found):
        raise InvalidStep("it names a column twice")
    return found


def _check_numbers(wanted: tuple[str, ...], types: dict[str, str]) -> None:
    for name in wanted:
        if not is_number(types[name]):
            raise TypeMismatch(f"column {shown(name)} is {types[name]}; it has to be a number")


def _is_missing(name: str, type_name: str) -> str:
    return f"({quoted(name)} IS NULL OR isnan({quoted(name)}))" if is_float(type_name) else f"{quoted(name)} IS NULL"
