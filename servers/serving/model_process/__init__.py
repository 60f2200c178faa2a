"""A process of its own for one loaded model: what crashes, hangs or keeps memory there, does so away from everybody else.

`model_process.ModelProcess` is the side of the server; `python -m servers.serving.model_process` is the other one, and this package
imports nothing by itself so that it stays small.
"""
