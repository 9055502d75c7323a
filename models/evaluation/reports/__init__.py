"""Turns what was measured into tables of text and pages; all functions are pure, from a report.

A report is a JSON object. `table` defines what a table is; `results` lays out the evaluation of a
model, `studies` what is asked besides, `training` how a model came about. `page` puts them together
with the charts of `charts`. Only `models.evaluation` imports this room. Begin with `page`.
"""
