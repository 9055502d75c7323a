"""`python -m stream.cli`: the same as `interest-stream`."""

from stream.cli.root import main

main()
