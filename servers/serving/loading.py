"""From a version in the registry to a warmed session."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from servers.serving.artifacts import ArtifactCache, OnnxFiles
from servers.serving.batch_queue import BatchLimits
from servers.serving.entries import Loaded, Session, loaded_model
from servers.serving.metrics import ServingMetrics
from servers.serving.model_source import SourceVersion
from servers.serving.onnx_session import OnnxSession
from servers.serving.own_process import OwnProcess, OwnProcesses

_LOGGER = logging.getLogger(__name__)


class OnnxLoader:
    """Fetches, checks, loads and warms versions; the `Loader` of the table.

    Args:
        artifacts: Brings the files.
        metrics: Counts loads.
        batches: What a run and a queue may hold.
        intra_op_threads: Threads that share one operator.
        processes: Which models are loaded in processes of their own; None = none.
    """

    def __init__(
        self,
        artifacts: ArtifactCache,
        metrics: ServingMetrics,
        batches: BatchLimits,
        *,
        intra_op_threads: int,
        processes: OwnProcesses | None = None,
    ) -> None:
        self._artifacts = artifacts
        self._metrics = metrics
        self._batches = batches
        self._processes = processes
        self._intra_op_threads = intra_op_threads

    def __call__(self, version: SourceVersion, reserve: Callable[[int], None]) -> Loaded:
        """Loads a version; see `Loader`.

        Raises:
            servers.runtime.errors.DomainError: What `ArtifactCache.onnx_files` and `OnnxSession` raise.
        """
        started = time.perf_counter()
        try:
            loaded = self._load(version, reserve)
        except BaseException:
            self._metrics.loads.labels("failure").inc()
            raise
        self._metrics.loads.labels("success").inc()
        self._metrics.load_seconds.observe(time.perf_counter() - started)
        return loaded

    def _load(self, version: SourceVersion, reserve: Callable[[int], None]) -> Loaded:
        with self._artifacts.onnx_files(version) as files:
            reserve(files.size_bytes)
            processes = self._processes
            if processes is not None and files.size_bytes >= processes.min_bytes:
                session: Session = OwnProcess(version, files.model, self._artifacts, processes, intra_op_threads=self._intra_op_threads)
            else:
                session = self._session(version, files)
        return loaded_model(version, session, files.digest, files.size_bytes, self._metrics.version(version), self._batches)

    def _session(self, version: SourceVersion, files: OnnxFiles) -> OnnxSession:
        session = OnnxSession(files.model, intra_op_threads=self._intra_op_threads)
        refusal = session.warm_up()
        if refusal:
            _LOGGER.info("`%s` version %d does not run on zeros, so it is not warmed: %s", version.name, version.version, refusal)
        return session
