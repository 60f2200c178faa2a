"""Work with data in processes of its own, which the server starts on demand and may kill at any moment.

`pool` is the server's side. A process is a program that calls `program.run`, and loads what is heavy with its first operation.
"""
