"""Models as folders of files: each kind in its own safe format, and as ONNX beside it where that can be made.

```python
saved = save_artifact(model, Path("artifact"), sample_input=rows[:100])
model = load_artifact(Path("artifact"), saved.format)
```
"""

from model_management.formats.artifact import ARTIFACT_FILE, ONNX_FILE, OnnxMode, SavedArtifact
from model_management.formats.detection import detect_format
from model_management.formats.errors import (
    ArtifactDamaged,
    EngineMissing,
    FormatError,
    OnnxExportFailed,
    PickleNotAllowed,
    SampleInputInvalid,
    UnknownModelType,
    UntrustedTypes,
)
from model_management.formats.saving import FORMATS, load_artifact, save_artifact

__all__ = [
    "ARTIFACT_FILE",
    "FORMATS",
    "ONNX_FILE",
    "ArtifactDamaged",
    "EngineMissing",
    "FormatError",
    "OnnxExportFailed",
    "OnnxMode",
    "PickleNotAllowed",
    "SampleInputInvalid",
    "SavedArtifact",
    "UnknownModelType",
    "UntrustedTypes",
    "detect_format",
    "load_artifact",
    "save_artifact",
]
