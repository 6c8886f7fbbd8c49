"""Readers and writers of the field's dataset formats, one file each; they yield episodes, or images with text."""

from __future__ import annotations

from sinew.data.formats.aloha import Aloha
from sinew.data.formats.bag import Bag
from sinew.data.formats.d4rl import D4rl
from sinew.data.formats.hdf5 import Hdf5
from sinew.data.formats.image_folder import ImageFolder
from sinew.data.formats.image_text import TextSource, WritableTextSource
from sinew.data.formats.lerobot import LeRobot
from sinew.data.formats.llava import Llava
from sinew.data.formats.minari import Minari
from sinew.data.formats.recording import Recording
from sinew.data.formats.replay_zarr import ReplayZarr
from sinew.data.formats.rlds import Rlds
from sinew.data.formats.robomimic import Robomimic
from sinew.data.formats.source import Source, WritableSource
from sinew.data.formats.vd4rl import VD4rl
from sinew.data.formats.webdataset import WebDataset

WRITERS: dict[str, type[WritableSource]] = {
    "d4rl": D4rl,
    "hdf5": Hdf5,
    "lerobot": LeRobot,
    "minari": Minari,
    "recording": Recording,
}
"""Formats that are also written, by name; what one must answer to is ``formats.source.WritableSource``."""
FORMATS: dict[str, type[Source]] = {
    "rlds": Rlds,
    "robomimic": Robomimic,
    "aloha": Aloha,
    "zarr": ReplayZarr,
    "images": ImageFolder,
    "vd4rl": VD4rl,
    **WRITERS,
    "bag": Bag,
}
"""Formats by name, in the order in which their ``detect`` is asked; see ``formats.source.Source``."""
TEXT_WRITERS: dict[str, type[WritableTextSource]] = {"llava": Llava}
"""Formats of images with text that are also written, by name."""
TEXT_FORMATS: dict[str, type[TextSource]] = {**TEXT_WRITERS, "webdataset": WebDataset}
"""Formats of images with text, which are no episodes; see ``formats.image_text.TextSource``."""
