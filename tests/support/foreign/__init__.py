"""Writes events as other people's trackers do, after their owners' specifications, with the truth.

Each module writes the calls of one format. It draws first what a user did, in the words of the
contract, and then how the tracker says it; so the truth owes nothing to the code that reads.
"""
