"""What a stream of rows ends with."""

from __future__ import annotations

from servers.runtime.errors import Aborted, FailedPrecondition, InvalidArgument, ResourceExhausted, Unavailable


class SequenceGap(FailedPrecondition):
    """A batch does not follow on the last one that is in the dataset."""

    reason = "SEQUENCE_GAP"

    def __init__(self, producer: str, sequence: int, expected: int) -> None:
        message = f"batch {sequence} of producer {producer!r} is not the next one, {expected} is; go on with that"
        super().__init__(
            message,
            metadata={"producer": producer, "expected_sequence": str(expected)},
            preconditions=[("SEQUENCE", producer, message)],
        )


class StreamMisused(InvalidArgument):
    """The messages of a stream do not come as the contract has them."""

    reason = "STREAM_MISUSED"


class BatchTooLarge(ResourceExhausted):
    """A batch has more rows than one may have."""

    reason = "BATCH_TOO_LARGE"

    def __init__(self, most_rows: int) -> None:
        super().__init__(f"the batch has more than {most_rows:,} rows, which is the limit; send them in several batches")


class TooManyStreams(ResourceExhausted):
    """The server has as many streams of rows as it takes on."""

    reason = "TOO_MANY_STREAMS"

    def __init__(self, most: int) -> None:
        super().__init__(
            f"this server has {most:,} streams of rows and takes no more; repeat the call later, or send larger batches in fewer streams",
            metadata={"concurrent_streams": str(most)},
            retry_after_s=1,
        )


class StreamExpired(Aborted):
    """A stream was silent for too long, or lasted for so long that its caller has to show a token again.

    Args:
        why: What it did, as a clause.
    """

    reason = "STREAM_EXPIRED"

    def __init__(self, why: str) -> None:
        super().__init__(f"the stream {why}; open it again, and go on from its position", retry_after_s=0)


class StreamTakenOver(FailedPrecondition):
    """The producer has opened another stream to the dataset, and of two only the newer one goes on."""

    reason = "STREAM_TAKEN_OVER"

    def __init__(self, producer: str) -> None:
        message = (
            f"another stream of producer {producer!r} into the dataset was opened; what was not acknowledged here was not written by this "
            "one. Give each program that sends a producer of its own"
        )
        super().__init__(message, metadata={"producer": producer}, preconditions=[("PRODUCER", producer, message)])


class StreamInterrupted(Unavailable):
    """The server stops, or cannot prolong its right to write."""

    reason = "STREAM_INTERRUPTED"

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; open the stream again, and go on from its position", retry_after_s=0.5)
