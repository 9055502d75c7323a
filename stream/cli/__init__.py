"""Holds the command line: words in, words out, an exit code.

One file a sub-command, loaded only when it is called; `root` finds it and turns errors into a
message and an exit code. Where a command is long, `*_report` does its work and `*_view` shows what
came out; `bench_compare` and `bench_conditions` are sub-commands of `bench`. Options that several
sub-commands share are in `options` and `data_options`; what `train` and `evaluate` both show is in
`training_view`. Nothing else imports this room. Begin with `root`.
"""

from stream.cli.root import main

__all__ = ["main"]
