"""Runs a real Apache Kafka on this machine: jars from Maven coordinates, Java from a wheel.

`local_kafka` starts and stops one KRaft node in a `folder` of its own; `jars` resolves Kafka once
into the user's cache; `ports` finds free ports. `processes` starts processes and tells one from
another, and `cleanup` ends what was started at whatever moment Ctrl-C comes; nothing is ever ended
by name. The demo, the benchmarks, the tests and `interest-stream broker` use this room; production
never does. Begin with `local_kafka`.
"""
