"""Keeps Faust and aiokafka in one room: clients, membership, fencing, whole batches, topics.

This is the only room that may touch private attributes of those two libraries; each use says why,
and tests/unit/stream/kafka/test_library_internals.py fails first when a new version changes one. It
knows nothing of models, states or updates. The pipeline, the worker, the clients and the jobs
import it; it imports `contracts` and the ground. Begin with `client` (connecting), `consumer`
(reading committed data) and `batches` (reading whatever a broker holds).
"""
