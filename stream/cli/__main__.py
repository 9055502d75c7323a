"""Runs the command line: `python -m stream.cli` is the same as `interest-stream`."""

from stream.cli.root import program

program()
