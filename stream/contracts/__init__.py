"""Defines what clusters store and others read: the event, its faults, the state record, schemas.

A change in here is a change of data that already lies in somebody's cluster, so it needs a new
version and a golden sample under tests/golden. Everything is pure: bytes in, values out, no clock
and no framework. Every room above may import it but `audit`, which reads the same contracts with
code of its own. Begin with `event`, then `state_record`, then `control`.
"""
