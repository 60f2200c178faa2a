"""Subscriptions: topics of Kafka that are written into datasets continuously, each message once (ADR 52).

Here is what the server knows and decides; messages are read and written by the operation `consume` of a data process.
"""
