"""What differs between two versions, and whether one can take the other's place."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from model_management.model import ModelVersion, Signature, TensorSpec
from model_management.signature import DYNAMIC

__all__ = ["Comparison", "Difference", "compare", "is_compatible"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One field in which two versions differ.

    Args:
        field: For example ``metrics.roc_auc``.
        value: Its value in the first version; empty where it has none.
        other_value: Its value in the second version; empty where it has none.
    """

    field: str
    value: str
    other_value: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions side by side.

    Args:
        differences: What differs, by field.
        is_signature_compatible: Whether a caller of the first can call the second unchanged.
    """

    differences: tuple[Difference, ...]
    is_signature_compatible: bool


def compare(first: ModelVersion, second: ModelVersion) -> Comparison:
    """Compare two versions, of one model or of two.

    Args:
        first: What there was.
        second: What may take its place.
    """
    values, others = dict(_fields(first)), dict(_fields(second))
    differing = sorted(name for name in values.keys() | others.keys() if values.get(name, "") != others.get(name, ""))
    return Comparison(
        tuple(Difference(name, values.get(name, ""), others.get(name, "")) for name in differing),
        first.signature is not None and second.signature is not None and is_compatible(first.signature, second.signature),
    )


def is_compatible(first: Signature, second: Signature) -> bool:
    """Return whether whoever calls the first can call the second: it takes the same inputs, and gives at least the same outputs."""
    inputs = {spec.name: spec for spec in second.inputs}
    outputs = {spec.name: spec for spec in second.outputs}
    takes = inputs.keys() == {spec.name for spec in first.inputs} and all(_fits(spec, inputs[spec.name]) for spec in first.inputs)
    return takes and all(spec.name in outputs and _fits(outputs[spec.name], spec) for spec in first.outputs)


def _fits(given: TensorSpec, wanted: TensorSpec) -> bool:
    """Return whether every tensor of the first kind is one of the second."""
    return (
        given.datatype == wanted.datatype
        and len(given.shape) == len(wanted.shape)
        and all(limit in {DYNAMIC, size} for size, limit in zip(given.shape, wanted.shape, strict=True))
    )


def _fields(version: ModelVersion) -> Iterator[tuple[str, str]]:
    lineage = version.lineage
    yield "description", version.description
    yield "format", version.format
    yield "model_card", version.model_card
    yield "onnx_path", version.onnx_path
    yield "size_bytes", str(version.size_bytes)
    yield "stage", version.stage.value
    yield "state", version.state.value
    yield from _entries("tags", version.tags)
    yield from _entries("metrics", version.metrics)
    yield from _entries("parameters", version.parameters)
    yield from ((f"files.{entry.path}", f"{entry.digest} ({entry.size_bytes} bytes)") for entry in version.files)
    if version.signature is not None:
        yield from ((f"signature.inputs.{spec.name}", _tensor(spec)) for spec in version.signature.inputs)
        yield from ((f"signature.outputs.{spec.name}", _tensor(spec)) for spec in version.signature.outputs)
    yield "lineage.run_id", lineage.run_id
    yield "lineage.code_repository", lineage.code_repository
    yield "lineage.code_commit", lineage.code_commit
    yield from ((f"lineage.datasets.{dataset.name}", f"{dataset.uri} {dataset.digest}".strip()) for dataset in lineage.datasets)
    yield "lineage.parents", ", ".join(f"{parent.model}/{parent.version}" for parent in sorted(lineage.parents))


def _entries(name: str, entries: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    return ((f"{name}.{key}", str(value)) for key, value in entries.items())


def _tensor(spec: TensorSpec) -> str:
    return f"{spec.datatype} {list(spec.shape)}"
