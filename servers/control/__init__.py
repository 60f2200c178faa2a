"""The light control services together in one process, each on a socket of its own."""
