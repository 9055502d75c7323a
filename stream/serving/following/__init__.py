"""Reads the topics into the file, in a process of its own: the only one that writes it.

Whoever asks is answered by the other process, which only reads the file. So neither a large batch
nor the lock of Python's interpreter keeps a request waiting.

    follower    reads profiles and updates into the store, for ever
    child       the process around it: what it tells and what it is asked
    parent      the other process's side: starts it, knows how far it is, asks it
    messages    what the two say to each other

Both processes end together. The child ends when its socket does, so it outlives nobody, and a
parent whose child is gone ends with the reason. Whenever either is killed, the file holds the
topics as of its positions.
"""
