"""ONNX, as it is; every file of it inside of the folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from model_management.formats.artifact import ONNX_FILE, Format, LoadRequest, SaveRequest, existing
from model_management.formats.errors import ArtifactDamaged, EngineMissing, UnknownModelType

__all__ = ["FORMAT", "read_onnx", "write_onnx"]

_DATA_FILE = "model.onnx.data"
_INSIDE_AT_MOST_BYTES = 1 << 30
"""A protobuf message ends at 2 GiB; above this size the tensors go into a file of their own."""


def write_onnx(model: Any, folder: Path) -> None:
    """Write a `ModelProto` as ``model.onnx``, with large tensors in ``model.onnx.data`` beside it where it is large."""
    import onnx

    if sum(_size_bytes(tensor) for tensor in model.graph.initializer) <= _INSIDE_AT_MOST_BYTES:
        onnx.save_model(model, folder / ONNX_FILE)
        return
    onnx.save_model(
        model, folder / ONNX_FILE, save_as_external_data=True, location=_DATA_FILE, size_threshold=1024, convert_attribute=False
    )


def read_onnx(path: Path) -> Any:
    """Read an ONNX with its external data, which may lie nowhere but beside it.

    Raises:
        ArtifactDamaged: If it is not an ONNX, or names a file that is outside of its folder, missing or a link.
    """
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model(path, load_external_data=False)
        onnx.checker.check_model(path)
    except (DecodeError, onnx.checker.ValidationError) as error:
        raise ArtifactDamaged(f"{path.name} is not a valid ONNX: {str(error).strip().splitlines()[0]}") from error
    for tensor in onnx.external_data_helper._get_all_tensors(model):
        if onnx.external_data_helper.uses_external_data(tensor):
            _check_location(path.parent, onnx.external_data_helper.ExternalDataInfo(tensor).location)
    onnx.external_data_helper.load_external_data_for_model(model, str(path.parent))
    return model


def _check_location(folder: Path, location: str) -> None:
    path = folder / location
    is_inside = location and not Path(location).is_absolute() and ".." not in Path(location).parts and "\\" not in location
    if not is_inside or path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise ArtifactDamaged(f"the ONNX keeps tensors in {location!r}, which is not inside of its folder")
    if not path.is_file():
        raise ArtifactDamaged(f"the ONNX keeps tensors in {location!r}, which is missing")


def _size_bytes(tensor: Any) -> int:
    return len(tensor.raw_data) or tensor.ByteSize()


def _save(model: Any, folder: Path, request: SaveRequest) -> dict[str, Any]:
    del request
    try:
        import onnx
    except ImportError as error:
        raise EngineMissing("onnx", "sklearn") from error
    if not isinstance(model, onnx.ModelProto):
        path = Path(model)
        if not path.is_file():
            raise UnknownModelType(f"{str(path)!r} is not a file")
        model = read_onnx(path)
    else:
        try:
            onnx.checker.check_model(model)
        except onnx.checker.ValidationError as error:
            raise UnknownModelType(f"the model is not a valid ONNX: {str(error).strip().splitlines()[0]}") from error
    write_onnx(model, folder)
    read_onnx(folder / ONNX_FILE)
    return {"engine": {"class": "onnx.ModelProto", "package": "onnx", "version": onnx.__version__}}


def _load(folder: Path, request: LoadRequest) -> Any:
    del request
    try:
        import onnx  # noqa: F401 - tells a missing package from a damaged file
    except ImportError as error:
        raise EngineMissing("onnx", "sklearn") from error
    return read_onnx(existing(folder / ONNX_FILE))


FORMAT = Format("onnx", _save, _load)
