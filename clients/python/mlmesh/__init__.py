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
    from mlmesh import features as features
    from mlmesh import plan as plan
    from mlmesh.aio.mesh import AsyncMesh as AsyncMesh
    from mlmesh.connecting import Mesh as Mesh
    from mlmesh.connecting import connect as connect
    from mlmesh.connecting import connect_async as connect_async
    from mlmesh.errors import MeshError as MeshError
    from mlmesh.ingestion_options import ExpectationGate as ExpectationGate
    from mlmesh.ingestion_options import ReadOptions as ReadOptions
    from mlmesh.ingestion_options import SchemaContract as SchemaContract
    from mlmesh.job_specs import JobInput as JobInput
    from mlmesh.job_specs import JobOutput as JobOutput
    from mlmesh.job_specs import JobResources as JobResources
    from mlmesh.job_specs import JobSpec as JobSpec
    from mlmesh.pipeline_specs import PipelineInput as PipelineInput
    from mlmesh.pipeline_specs import PipelineOutput as PipelineOutput
    from mlmesh.pipeline_specs import PipelineSpec as PipelineSpec
    from mlmesh.pipeline_specs import QualityRule as QualityRule
    from mlmesh.predictions import Prediction as Prediction

# gRPC, protobuf and numpy take a while to load: `import mlmesh` alone must not.
_EXPORTS = {
    "AsyncMesh": "mlmesh.aio.mesh",
    "ExpectationGate": "mlmesh.ingestion_options",
    "JobInput": "mlmesh.job_specs",
    "JobOutput": "mlmesh.job_specs",
    "JobResources": "mlmesh.job_specs",
    "JobSpec": "mlmesh.job_specs",
    "Mesh": "mlmesh.connecting",
    "MeshError": "mlmesh.errors",
    "PipelineInput": "mlmesh.pipeline_specs",
    "PipelineOutput": "mlmesh.pipeline_specs",
    "PipelineSpec": "mlmesh.pipeline_specs",
    "Prediction": "mlmesh.predictions",
    "QualityRule": "mlmesh.pipeline_specs",
    "ReadOptions": "mlmesh.ingestion_options",
    "SchemaContract": "mlmesh.ingestion_options",
    "connect": "mlmesh.connecting",
    "connect_async": "mlmesh.connecting",
}

__all__ = [
    "AsyncMesh",
    "ExpectationGate",
    "JobInput",
    "JobOutput",
    "JobResources",
    "JobSpec",
    "Mesh",
    "MeshError",
    "PipelineInput",
    "PipelineOutput",
    "PipelineSpec",
    "Prediction",
    "QualityRule",
    "ReadOptions",
    "SchemaContract",
    "connect",
    "connect_async",
    "errors",
    "features",
    "plan",
]


def __getattr__(name: str) -> Any:
    if name in {"errors", "features", "plan"}:
        return import_module(f"mlmesh.{name}")
    try:
        module = _EXPORTS[name]
    except KeyError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None
    return getattr(import_module(module), name)


def __dir__() -> list[str]:
    return __all__
