"""Writes the pages of docs/reference, one file a kind of page; docs/generate.py puts them together.

Each reads what it describes from the code. `markdown` makes tables.
"""
