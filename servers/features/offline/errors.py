"""What can be wrong with a training set before its inputs are known."""

from __future__ import annotations

from servers.runtime.errors import InvalidArgument


class InvalidTrainingSet(InvalidArgument):
    """A specification cannot be used, whatever the inputs have in them."""

    reason = "INVALID_TRAINING_SET"


class TrainingSetColumnTwice(InvalidTrainingSet):
    """Two columns of a training set would have one name."""

    reason = "TRAINING_SET_COLUMN_TWICE"
