"""Holds rules that the hops consult: which updates to send, whom to score, whom to forget.

`publish_policy` says which updates are worth sending, `score_budget` which users a costly language
model may score, `breaker` when bad records in a row mean a wrong producer. `repeats` says which
events came before, and `erasure` what a request about a user does, which events are dropped because
of one, and whose silence is over. Each is a function of the log or a small state machine that is
given the time, so it is tested without a clock. They decide nothing about delivery, and know no
Kafka and no hop; `pipeline` and `worker` import them. Begin with `publish_policy`.
"""
