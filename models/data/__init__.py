"""Turns raw events into the data set that models train on: cleaning, splits, interests.

Whatever is left out is counted with its reason. `prepare` is the way in, `splits` says which events
a model may learn from, `interests` and `clusters` say which interests there are, `replay` gives
histories to a model as a worker would. No network is known here. `training` and `evaluation`
import it. Begin with `prepare`.
"""
