"""Defines the errors of the models package.

The package never imports stream/, so the command line turns these into its own.
"""

from __future__ import annotations


class ModelDataError(ValueError):
    """Says that data cannot be learned from; the message says what to change."""


class ModelDirectoryError(ValueError):
    """Says that a model directory is missing, damaged or of another version; it names the file."""
