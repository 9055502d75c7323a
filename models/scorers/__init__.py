"""Holds the scorers of the blend behind one interface, and the blend of them.

`scorer` is the interface, `registry` the append-only order in which scorers are stored; a new
scorer is one new file and a line there. `blend` adds up their scores, `fit_weights` finds the
weights on validation users. The shared checks are tests/unit/models/scorers/test_every_scorer.py.
`serving`, `training` and `evaluation` import this room. Begin with `scorer`.
"""
