"""``sinew data label``: a local page on which a person clicks the named things in a few frames."""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from sinew.cli.words import read
from sinew.data.config import DataConfig, IngestConfig


@dataclass(frozen=True)
class LabelOptions:
    """Click the named things in a few frames, on a page in the browser; training then takes them as labels.

    Attributes:
        path: a recorded data set or a store; docs/data.md lists the formats.
        points: what to click in each frame, in this order.
        frames: how many frames to show, of each camera.
        cameras: whose images to show; by default those of the first.
        port: of the page on this machine; 0 takes a free one.
        browser: open the page where there is a desktop.
        spec: JSON file with what the data do not say; by default the one beside them.
        image_size: height and width [px] that images are scaled to; give training the same.
        instruction: the sentence for episodes that have none; give training the same.
        out: directory that holds runs, and what is read in for them.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    points: str = "target,goal"
    frames: int = 20
    cameras: str = ""
    port: int = 0
    browser: bool = True
    spec: Path | None = None
    image_size: tuple[int, int] | None = None
    instruction: str | None = None
    out: Path = Path("runs")


def label(words: list[str]) -> int:
    """Serve the page until the person is done or presses Ctrl-C."""
    options = read(LabelOptions, words, "sinew data label")
    from sinew.core.local_page import LocalPage
    from sinew.data.label_page import LabelPage
    from sinew.data.labels import labels_path
    from sinew.run import RunConfig
    from sinew.run.recordings import read_in

    ingest = IngestConfig(spec=options.spec, image_size=options.image_size, instruction=options.instruction)
    _, (recorded,) = read_in(RunConfig(data=DataConfig(path=str(options.path), ingest=ingest)), options.out)
    page = LabelPage(
        recorded.store,
        labels_path(options.path),
        points=_names(options.points),
        cameras=_names(options.cameras),
        count=options.frames,
        command=shlex.join(["sinew", "train", "bc", "--data", str(options.path), *_same(options)]),
    )
    with LocalPage(page.get, page.post, port=options.port) as local:
        print(f"{len(page.items)} frames to label: {local.url}")
        print("Every click is saved. Finish there, or Ctrl-C here, ends it.")
        sys.stdout.flush()
        if options.browser and _has_desktop():
            webbrowser.open(local.url)
        try:
            page.finished.wait()
        except KeyboardInterrupt:
            print()
    print(f"{page.labelled} of {len(page.items)} frames are labelled in {page.path}.\nTrain with them: {page.command}")
    return 0


def _same(options: LabelOptions) -> list[str]:
    """Return the flags with which training reads the same images and sentences from the same place."""
    said: dict[str, list[str]] = {}
    if options.spec is not None:
        said["--spec"] = [str(options.spec)]
    if options.instruction is not None:
        said["--instruction"] = [options.instruction]
    if options.image_size is not None:
        said["--data.ingest.image-size"] = [str(side) for side in options.image_size]
    if options.out != Path("runs"):
        said["--out"] = [str(options.out)]
    return [word for flag, words in said.items() for word in (flag, *words)]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _has_desktop() -> bool:
    """Whether a browser has a window to open in; a text one would take over the terminal."""
    return sys.platform == "darwin" or bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
