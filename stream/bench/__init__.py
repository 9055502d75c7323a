"""Programs that measure a worker: rate, latency, load, joins, overload. They assert nothing.

`rate` drains a backlog on a fresh topic, `load` paces events in an open loop, `conditions`,
`joins`, `overload` and `formats` measure what a rate alone does not tell. A figure whose audit is
not clean is refused. `broker` starts a Kafka where none serves. Comparisons with other libraries
live in tests/benchmarks, because they need those libraries. Begin with `rate`.
"""
