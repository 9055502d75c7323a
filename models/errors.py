"""Errors of the models package. It never imports stream/, so the command line turns these into its own."""

from __future__ import annotations


class ModelDataError(ValueError):
    """Data that cannot be learned from; the message says what to change."""


class ModelDirectoryError(ValueError):
    """A model directory that is missing, damaged or of another version; the message names the file."""
