"""Python client of the mlmesh platform.

```python
import mlmesh

mesh = mlmesh.connect()
prediction = mesh.serving.predict("flight-delay", rows)
```
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlmesh import errors as errors
    from mlmesh.aio.mesh import AsyncMesh as AsyncMesh
    from mlmesh.connecting import Mesh as Mesh
    from mlmesh.connecting import connect as connect
    from mlmesh.connecting import connect_async as connect_async
    from mlmesh.errors import MeshError as MeshError
    from mlmesh.ingestion_options import ExpectationGate as ExpectationGate
    from mlmesh.ingestion_options import ReadOptions as ReadOptions
    from mlmesh.ingestion_options import SchemaContract as SchemaContract
    from mlmesh.predictions import Prediction as Prediction

# gRPC, protobuf and numpy take a while to load: `import mlmesh` alone must not.
_EXPORTS = {
    "AsyncMesh": "mlmesh.aio.mesh",
    "ExpectationGate": "mlmesh.ingestion_options",
    "Mesh": "mlmesh.connecting",
    "MeshError": "mlmesh.errors",
    "Prediction": "mlmesh.predictions",
    "ReadOptions": "mlmesh.ingestion_options",
    "SchemaContract": "mlmesh.ingestion_options",
    "connect": "mlmesh.connecting",
    "connect_async": "mlmesh.connecting",
}

__all__ = [
    "AsyncMesh",
    "ExpectationGate",
    "Mesh",
    "MeshError",
    "Prediction",
    "ReadOptions",
    "SchemaContract",
    "connect",
    "connect_async",
    "errors",
]


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("mlmesh.errors")
    try:
        module = _EXPORTS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return __all__
