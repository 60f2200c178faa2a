"""What is here beside the tests runs in Feast's own venv."""

collect_ignore = ["client", "repository"]
