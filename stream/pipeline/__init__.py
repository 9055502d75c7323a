"""Takes an event through its eight hops, from a fetched batch to a committed offset.

Read the files in this order: `transport`, `inbox`, `computing`, `decode`, `state`, `step`,
`scoring`, `updates`, `delivery`. The middle (`decode`, `state`, `step`, `updates`) is pure: no
clock, no framework, no torch. The room imports `kafka`, `contracts` and the ground, and never the
worker around it: what it needs of that, it is given as a small typed protocol. `worker`, `offline`
and `popularity` may import it; `audit` never does, so that it can judge it.
"""
