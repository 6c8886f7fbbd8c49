"""Readers and writers of the field's dataset formats, one file each; all of them yield episodes."""

from __future__ import annotations

from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.lerobot import LeRobot
from sinew.data.formats.source import Source

FORMATS: dict[str, type[Source]] = {"hdf5": Hdf5, "lerobot": LeRobot}
"""Formats by name; what a new one must answer to is ``formats.source.Source``."""
