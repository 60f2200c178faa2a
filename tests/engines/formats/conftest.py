from __future__ import annotations

import os

# TensorFlow reads these when it is imported: no search for graphics cards, and errors only.
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
