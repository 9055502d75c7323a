"""Keeps a Faust app from making folders: states are in memory and in the changelog."""

from __future__ import annotations

import faust


class FolderlessApp(faust.App):
    """Runs as faust.App does and writes no file, so that a killed worker leaves none behind."""

    def _create_directories(self) -> None:
        """Does nothing.

        Stock makes three folders at each start, which nobody would remove after a kill.
        """
