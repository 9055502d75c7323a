"""Runs the command line: `python -m interest_stream` is the same as `interest-stream`."""

from interest_stream.command import main

main()
