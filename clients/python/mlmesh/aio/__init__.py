"""The client for asyncio. The client for threads, `mlmesh.sync`, is made from this by `clients/python/make_sync.py`."""
