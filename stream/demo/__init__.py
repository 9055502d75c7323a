"""Runs everything on this machine: a Kafka, topics, workers, simulated users and a view of them.

`run` is the order in which things are started and ended; `workers` are real worker processes;
`page` is the service that shows them in a browser, and `truth` tells it what is true; `tracker`
compares updates with the simulated truth; `view` draws it in a terminal or as a picture. Whatever
is started here is ended here, also after Ctrl-C. Only the command line imports it. Begin with
`run`.
"""
