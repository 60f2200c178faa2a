"""Region of an S3, where AWS tools look for it."""

from __future__ import annotations

import os


def region() -> str | None:
    """Returns the region that the environment names; None where it names none."""
    return os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or None
