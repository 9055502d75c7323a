"""Defines the errors of the models package.

The package never imports stream/, so the command line turns these into its own.
"""

from __future__ import annotations


class ModelDataError(ValueError):
    """Says that data cannot be learned from; the message says what to change."""


class ModelDirectoryError(ValueError):
    """Says that a model directory is missing, damaged or of another version; it names the file."""


class DeviceError(RuntimeError):
    """Says that what a training is to run on is not there; the message says what to set."""


class LostRankError(RuntimeError):
    """Says that another process of a training has ended, or cannot be reached."""
