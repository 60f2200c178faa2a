from __future__ import annotations

import time
import uuid

from servers.serving.prediction_ids import new_prediction_id


def test_an_id_is_a_uuid_of_version_7_with_the_time_it_was_made():
    before = time.time_ns() // 1_000_000
    made = uuid.UUID(new_prediction_id())
    after = time.time_ns() // 1_000_000

    assert (made.version, made.variant) == (7, uuid.RFC_4122)
    assert before <= made.int >> 80 <= after


def test_ids_do_not_repeat():
    assert len({new_prediction_id() for _ in range(10_000)}) == 10_000
