from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest

from servers.serving.errors import ModelNotFound
from servers.serving.model_source import ModelChoice, SourceFile, SourceVersion


@dataclass
class MemorySource:
    """A registry in memory, which can be away and can be slow."""

    versions: dict[str, list[SourceVersion]] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    outage: Exception | None = None
    asked: int = 0
    fetched: list[str] = field(default_factory=list)
    before_answer: Callable[[], None] = lambda: None

    def save(self, name: str, onnx_path: str = "model.onnx", **files: bytes) -> SourceVersion:
        made = []
        for key, content in files.items():
            digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
            self.blobs[digest] = content
            made.append(SourceFile(key.replace("__", "/").replace("_", "."), digest, len(content)))
        saved = self.versions.setdefault(name, [])
        saved.append(SourceVersion("default", name, len(saved) + 1, "onnx", onnx_path, tuple(made)))
        return saved[-1]

    def resolve(self, choice: ModelChoice, timeout_s: float) -> SourceVersion:
        self.asked += 1
        self.before_answer()
        if self.outage is not None:
            raise self.outage
        found = self.versions.get(choice.name)
        if not found:
            raise ModelNotFound(f"there is no {choice}")
        return found[choice.version - 1]

    def fetch(self, project: str, file: SourceFile) -> Iterator[bytes]:
        self.fetched.append(file.path)
        if self.outage is not None:
            raise self.outage
        content = self.blobs[file.digest]
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]


@dataclass
class Clock:
    """Monotonic seconds that a test turns."""

    seconds: float = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def source() -> MemorySource:
    return MemorySource()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Something for threads of a test to wait for; open at the latest when the test is over."""
    event = threading.Event()
    yield event
    event.set()
