"""Real servers, started from wheels: no root, no container, nothing beside pip."""


class ServerFailed(Exception):
    """A server is not there, or does not start; the message says what to do, or what it printed."""
