from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[3]


@pytest.mark.parametrize(
    "load",
    [
        "from servers.serving.onnx_session import run_options\nrun_options()",
        "from model_management.onnx_export.agreement import run_onnx\ntry: run_onnx(b'', {})\nexcept Exception: pass",
        "import demo.flights.predictions",
    ],
    ids=["server", "library", "demo"],
)
def test_onnx_runtime_keeps_no_identifier_of_the_machine_and_so_reports_nothing(load: str, tmp_path: Path) -> None:
    code = f"{load}\nimport sys; assert 'onnxruntime' in sys.modules"
    environment = {name: value for name, value in os.environ.items() if name not in {"ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME"}}
    environment |= {"HOME": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}

    subprocess.run([sys.executable, "-c", code], env=environment, cwd=REPOSITORY, check=True, timeout=120)

    assert [found for found in tmp_path.rglob("*") if "onnxruntime" in found.name] == []
