from __future__ import annotations

import json

from google.rpc import status_pb2

from servers.serving.open_inference.errors import rest_error


def test_an_error_over_rest_is_what_tritons_client_reads_and_what_all_others_are() -> None:
    text = 'there is no model "ä"'

    assert json.loads(rest_error(status_pb2.Status(code=5, message=text))) == {"error": text, "code": 5, "message": text, "details": []}
