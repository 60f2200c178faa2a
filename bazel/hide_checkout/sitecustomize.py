"""Takes the checkout off the import path, where the editable install put it.

Python imports this file at its start when the folder is on PYTHONPATH. What runs in Bazel then finds only those files of ours that its
rule names, and a forgotten one is an error instead of a result that Bazel keeps after the file has changed.
"""

from __future__ import annotations

import site
import sys
from pathlib import Path

_editable = {
    line for folder in site.getsitepackages() for file in Path(folder).glob("*mlmesh*.pth") for line in file.read_text("utf-8").splitlines()
}
sys.path[:] = [entry for entry in sys.path if entry not in _editable]
