from __future__ import annotations

import subprocess
import sys

HEAVY = ("asyncio", "google.protobuf", "grpc", "onnx", "prometheus_client", "pydantic", "sqlalchemy", "uvloop")
PROGRAM = f"""
import sys
import servers.serving.model_process.__main__
assert "onnxruntime" not in sys.modules, "it is imported at a low priority"
import servers.serving.model_process.model_runner
print(sorted(set({HEAVY!r}) & set(sys.modules)))
"""


def test_the_process_of_a_model_imports_nothing_that_it_does_not_need():
    printed = subprocess.run((sys.executable, "-P", "-c", PROGRAM), capture_output=True, text=True, check=True).stdout

    assert printed.strip() == "[]"
