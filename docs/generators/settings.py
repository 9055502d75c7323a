"""Writes the page of the settings, from `stream.config`."""

from __future__ import annotations

import dataclasses

from docs.generators.markdown import table
from stream.config import SECRETS, Settings
from stream.config.fields import variable_of


def settings_page() -> str:
    """Returns the table of a worker's settings."""
    rows = [
        (
            f"`{each.name}`",
            f"`{variable_of(each.name)}`",
            f"`{str(each.default).lower() if isinstance(each.default, bool) else each.default}`"
            if each.default != ""
            else "",
            each.metadata["doc"],
        )
        for each in dataclasses.fields(Settings)
    ]
    secrets = " and ".join(f"`{name}`" for name in sorted(SECRETS))
    return f"""# Settings

A setting comes from the first of these places that gives it.

1. The command line. The option is the name with hyphens: `max_batch_events` is
   `--max-batch-events`. {secrets} have none, because everybody on a machine can
   read the command line of a process. `kafka_options` are given one by one:
   `--kafka-option client.rack=zone-a`.
2. The environment, by the variable of the table.
3. A folder of secrets, if `INTEREST_STREAM_SECRETS_DIR` names one: a file a setting, named as the
   setting. Other files in it are let be.
4. A TOML file, if `--config FILE` or `INTEREST_STREAM_CONFIG` names one: a key a setting, and a
   table `[kafka_options]`.
5. The defaults of the table.

A variable that begins with `INTEREST_STREAM_`, or a key of the file, that is no setting ends the
command with exit code 2 and the nearest name. So does a value that cannot work.
`interest-stream worker --show-settings` prints what is in force, and marks what is not the default.

{table(("setting", "variable", "default", "does"), rows)}"""
