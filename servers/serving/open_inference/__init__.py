"""The Open Inference Protocol (KServe's version 2, as Triton speaks it), over gRPC and over REST.

`contract` and `grpc_*` know the messages, `rest_*`, `binary_extension` and `content_encoding` the bodies; what is between them and the
prediction engine (which model, which tensors, what is told of a model) is said once, in the other modules.
"""
