"""`interest-stream`: one sub-command a file, loaded only when it is called."""

from stream.cli.root import main

__all__ = ["main"]
