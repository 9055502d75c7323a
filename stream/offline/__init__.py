"""The pipeline without Kafka: files to data sets, rankings, explanations and drift.

`rank` sends histories through the worker's own hops, so offline and live scores are equal; the
others prepare what `train` and `evaluate` need of `models`. Training and evaluation are reached
through what `models.training` and `models.evaluation` offer, never through their insides. The
command line and the public package `interest_stream` import this room. Begin with `dataset`.
"""
