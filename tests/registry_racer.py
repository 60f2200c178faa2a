"""One of several processes that save versions of one name at once. Imports no more than it needs: all of them start together."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from model_management import ModelRegistry, create_registry

SAVES_EACH = 50


@dataclass(frozen=True)
class RegistrySpec:
    """How to open a registry, also from another process."""

    kind: str
    options: dict[str, Any] = field(default_factory=dict)

    def open(self, **more: Any) -> ModelRegistry:
        """Open it."""
        return create_registry(self.kind, **{**self.options, **more})


def small_file(folder: Path, content: str) -> Path:
    """Make a folder with one small file, the cheapest artifact there is."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "weights.txt").write_text(content)
    return folder


def save_many(spec: RegistrySpec, project: str, folder: str, barrier: Any, numbers: Any) -> None:
    """Save versions as one of several racing processes, and report their numbers."""
    with spec.open(project=project) as registry:
        source = Path(folder)
        barrier.wait()
        numbers.put([registry.save_model(small_file(source, f"{source.name} {turn}"), "raced").version for turn in range(SAVES_EACH)])
