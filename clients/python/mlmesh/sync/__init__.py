"""The client for threads: made from `mlmesh.aio` by `clients/python/make_sync.py`, besides `blocking`. Change that, not this."""
