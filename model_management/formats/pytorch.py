"""PyTorch: safetensors for tensors by name, ``torch.export`` for modules."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from model_management.formats.artifact import Format, LoadRequest, SaveRequest, engine_of, existing
from model_management.formats.errors import (
    ArtifactDamaged,
    EngineMissing,
    SampleInputInvalid,
    UnknownModelType,
    UntrustedTypes,
)

__all__ = ["EXPORTED_PROGRAM", "FORMAT", "export_program"]

_TENSORS_FILE = "model.safetensors"
_PROGRAM_FILE = "model.pt2"
EXPORTED_PROGRAM = "torch.export.ExportedProgram"
"""What `load_artifact` has to be told to trust: reading a .pt2 evaluates expressions and may unpickle (ADR 0025)."""


def _save(model: Any, folder: Path, request: SaveRequest) -> dict[str, Any]:
    torch = _torch()
    description: dict[str, Any] = {"engine": engine_of(model, "torch")}
    if isinstance(model, Mapping):
        return description | _save_tensors(model, folder)
    if isinstance(model, torch.export.ExportedProgram):
        torch.export.save(model, folder / _PROGRAM_FILE)
        return description | {"kind": "program", "untrusted_types": [EXPORTED_PROGRAM]}
    if not isinstance(model, torch.nn.Module):
        raise UnknownModelType(f"{type(model).__name__} is neither a torch.nn.Module nor a dictionary of tensors")
    if request.sample_input is None:
        raise SampleInputInvalid("a torch.nn.Module is saved by tracing it: pass sample_input, or save module.state_dict() instead")
    torch.export.save(export_program(model, request.sample_input), folder / _PROGRAM_FILE)
    return description | {"kind": "program", "untrusted_types": [EXPORTED_PROGRAM]}


def _load(folder: Path, request: LoadRequest) -> Any:
    torch = _torch()
    if (folder / _TENSORS_FILE).exists():
        import safetensors
        import safetensors.torch

        try:
            return safetensors.torch.load_file(folder / _TENSORS_FILE)
        except safetensors.SafetensorError as error:
            raise ArtifactDamaged(f"{_TENSORS_FILE} cannot be read: {error}") from error
    path = existing(folder / _PROGRAM_FILE)
    if EXPORTED_PROGRAM not in request.trusted_types:
        raise UntrustedTypes([EXPORTED_PROGRAM])
    try:
        return torch.export.load(path).module()
    except Exception as error:
        # torch lets through whatever a malformed archive leads to: RuntimeError, AssertionError, KeyError, JSONDecodeError, ...
        raise ArtifactDamaged(f"{_PROGRAM_FILE} cannot be read: {type(error).__name__}: {error}") from error


def export_program(module: Any, sample_input: Any) -> Any:
    """Trace a module so that the first dimension of each input may have any size.

    Args:
        module: In training mode or not; it is traced in evaluation mode and left as it was.
        sample_input: A tensor or array, or a tuple of them, batch first.

    Raises:
        SampleInputInvalid: If the module cannot be traced with it.
    """
    torch = _torch()
    inputs = as_tensors(sample_input)
    # A batch of one would be taken for a constant.
    inputs = tuple(tensor.repeat(2, *([1] * (tensor.dim() - 1))) if tensor.dim() and tensor.shape[0] == 1 else tensor for tensor in inputs)
    batch = torch.export.Dim("batch")
    shapes = tuple({0: batch} if tensor.dim() else None for tensor in inputs)
    was_training = module.training
    try:
        module.eval()
        return torch.export.export(module, inputs, dynamic_shapes=shapes)
    except Exception as error:
        # The tracer's errors have no common type.
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise SampleInputInvalid(
            f"the module cannot be traced with this sample_input ({reason}); its inputs need the batch as their first dimension and no "
            "control flow that depends on values; or save module.state_dict() instead"
        ) from error
    finally:
        module.train(was_training)


def as_tensors(sample_input: Any) -> tuple[Any, ...]:
    """Return a sample, which may be one array or several, as a tuple of tensors."""
    torch = _torch()
    several = sample_input if isinstance(sample_input, (tuple, list)) else (sample_input,)
    return tuple(value if isinstance(value, torch.Tensor) else torch.as_tensor(value) for value in several)


def _save_tensors(tensors: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    torch = _torch()
    import safetensors.torch

    if wrong := sorted(repr(name) for name, value in tensors.items() if not (isinstance(name, str) and isinstance(value, torch.Tensor))):
        raise UnknownModelType(
            f"a dictionary that is saved as safetensors has names and tensors only; these are not: {', '.join(wrong[:5])}"
        )
    # Tied weights share memory, which safetensors refuses: each name gets its own copy then.
    seen: set[int] = set()
    separate: dict[str, Any] = {}
    for name, tensor in tensors.items():
        address = tensor.untyped_storage().data_ptr()
        separate[name] = tensor.clone().contiguous() if address in seen else tensor.contiguous()
        seen.add(address)
    safetensors.torch.save_file(separate, folder / _TENSORS_FILE)
    return {"kind": "tensors"}


def _torch() -> Any:
    try:
        import torch
        import torch.export
    except ImportError as error:
        raise EngineMissing("torch", "torch") from error
    return torch


FORMAT = Format("pytorch", _save, _load)
