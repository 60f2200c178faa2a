"""New York flights of 2013: will a flight that departs now arrive late?"""

import os

# ONNX Runtime reports its use to its makers unless it is told otherwise before it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
