"""The model registry as a plain Python library.

```python
from model_management import create_registry

registry = create_registry("local")        # JSON metadata, local files
registry = create_registry("database")     # SQL metadata: SQLite by default, PostgreSQL or MySQL by URL
registry.save_model(model, "my_model", "Description", tags={"type": "classifier", "author": "team_a"})
loaded = registry.load_model("my_model")
registry.metadata_backend.backend.get_statistics()
registry.metadata_backend.backend.find_models_by_tag("type", "classifier")
```
"""

from model_management.catalog import Verification
from model_management.comparison import Comparison, Difference
from model_management.creation import create_registry
from model_management.errors import RegistryError
from model_management.garbage import GarbageReport, Retention
from model_management.model import (
    DatasetReference,
    FileEntry,
    Lineage,
    ModelVersion,
    Page,
    RegisteredModel,
    Signature,
    Stage,
    Statistics,
    TensorSpec,
    VersionReference,
    VersionState,
)
from model_management.registry import ModelRegistry
from model_management.signing import SignatureCheck, SignatureVerdict

__all__ = [
    "Comparison",
    "DatasetReference",
    "Difference",
    "FileEntry",
    "GarbageReport",
    "Lineage",
    "ModelRegistry",
    "ModelVersion",
    "Page",
    "RegisteredModel",
    "RegistryError",
    "Retention",
    "Signature",
    "SignatureCheck",
    "SignatureVerdict",
    "Stage",
    "Statistics",
    "TensorSpec",
    "Verification",
    "VersionReference",
    "VersionState",
    "create_registry",
]
