"""Turns the value of a record, in whatever shape a topic has it, into events of the contract.

Begin with `event_format`: what a format is and what it gives. One file a format; `registry` knows
them by name; `documents` takes values apart that hold several documents; `values` turns what JSON
holds into texts, numbers and moments, by one rule for all formats; `columns` reads many records of
some formats at once. Pure: no clock, no framework.
A format says what was meant; whether that is an event, the contract says (contracts/event.py).
"""
