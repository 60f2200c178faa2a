"""The main job on real flights, as `make demo` runs it."""

from __future__ import annotations

from pathlib import Path

import psutil

from tests.whole_mesh import run_mlmesh


def test_the_demo_serves_what_it_trained_and_leaves_nothing_running(tmp_path: Path) -> None:
    done = run_mlmesh("demo", "--data-dir", str(tmp_path / "demo"), timeout_s=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "both equal ONNX Runtime in this process bit for bit" in done.stdout
    roc_auc = float(done.stdout.split("ROC AUC ")[1].split()[0])
    assert roc_auc > 0.85
    left = [process for process in psutil.process_iter(["cmdline"]) if str(tmp_path) in " ".join(process.info["cmdline"] or ())]
    assert not left
