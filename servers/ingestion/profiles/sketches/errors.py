"""What can be wrong with sketches."""

from __future__ import annotations


class SketchUnreadable(ValueError):
    """The bytes are no sketch, are damaged, or are of a version that this program does not know."""


class KindsDiffer(ValueError):
    """Columns of kinds that do not mix, such as numbers and texts, were to be merged."""
