"""Reads a shape of one's own, as a TOML file describes it (`--mapping FILE`).

Begin with `mapping_file`, which says what such a file holds. `mapping_format` reads a document by
it, and `mapping_columns` many; `paths` finds the values in them, `picks` makes fields of these, and
`suggestion` proposes a file from a sample.
"""
