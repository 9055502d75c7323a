"""Reads the owners' formats once more, from plain objects, for the audit alone.

It shares no code with stream/formats, and reads the same specifications. Only what a state depends
on is read: who, when, with which event_id, and whether there is a subject that is sound. Begin with
`calls`; `casts` holds what all of them share.
"""
