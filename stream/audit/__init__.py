"""Was every event applied to its user's state exactly once? A second, independent reading answers.

Nothing in here imports `pipeline` or `contracts`: the event contract (`event_rules`), requests
about users (`control_rules`), the state record (`changelog`), the digest (`replay`) and dead
letters (`dead_letters`) are read again with plain Python, so a bug in the worker cannot hide
itself. `reader` fetches whole topics with a consumer of its own. The import rules check this
independence on every build. The command line and the fault campaign import this room. Begin with
`compare`.
"""
