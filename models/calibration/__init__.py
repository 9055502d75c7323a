"""Calibrates what is said of interests, on events that came after everything a model had learned.

`later_events` says which events a rehearsal of a training holds back and which of them it is asked
for; `correction` asks it, and fits the weights of `models.scorers.calibration` where they help
users that they were not fitted to. `models.training.train` rehearses, and imports this room. Begin
with `later_events`.
"""
