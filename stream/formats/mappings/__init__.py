"""Reads a shape of one's own, as a TOML file describes it (`--mapping FILE`).

Begin with `mapping_file`, which says what such a file holds. `mapping_format` reads documents by
it, `paths` finds the values in them, and `suggestion` proposes a file from a sample.
"""
