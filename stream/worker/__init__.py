"""Holds the process around the pipeline: how a worker starts, refuses, recovers, reports and ends.

Begin with `app`, the composition root that wires everything and starts nothing; `process` runs it.
Before it, `preflight` finds what a worker must refuse; `watchdog` and `web` look at it while it
runs, through small protocols. `restore` and `table` keep the states of the partitions it owns, and
`sweep` forgets users who were silent for too long. Only `cli`, `demo` and `bench` may import this
room.
"""
