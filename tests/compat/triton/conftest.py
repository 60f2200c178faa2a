"""The suite runs in the client's own venv, by `test_triton_client`."""

collect_ignore = ["suite"]
