"""Reads many records at once, field by field: a column of all documents at a time.

A format that can do so has `columns` (`event_columns`). What is not plainly one sound event is left
to the reading of single records (records.py), which says what it is and what is wrong with it; so
there is one truth, and this is a shorter way to it. `reading` judges the columns, `fields` makes
them of what documents hold, and `products` of what calls are about.
"""
