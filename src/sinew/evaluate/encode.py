"""Writes frames as MP4, GIF and PNG, each replaced at once and never half."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from sinew.core.errors import SinewError
from sinew.core.files import write_bytes
from sinew.evaluate.frame import ACCENT, BAD, GOOD, INK, PAPER, POINT_COLOURS, even

Frames = Sequence[NDArray[np.uint8]]
GIF_LADDER = ((1.0, 1, 240), (1.0, 1, 96), (1.0, 2, 96), (0.85, 2, 64), (0.667, 3, 48), (0.5, 4, 32))
"""Share of the width, every which frame, and colours: tried in turn until a GIF is small enough."""


def mp4_bytes(frames: Frames, fps: int, *, quality: int = 21) -> bytes:
    """Return an H.264 film that every browser plays (yuv420p, index in front).

    Args:
        frames: (h, w, 3) uint8 RGB each, even sides.
        fps: frames per second.
        quality: constant rate factor, smaller is better and larger.
    """
    import av

    height, width = frames[0].shape[:2]
    options = {"crf": str(quality), "preset": "medium", "tune": "animation", "threads": "1"}
    # The index moves to the front in a second pass over the file, so the container must lie on disk.
    with tempfile.TemporaryDirectory(prefix="sinew-film-") as folder:
        path = Path(folder) / "film.mp4"
        with av.open(str(path), "w", options={"movflags": "+faststart"}) as container:
            stream = container.add_stream("libx264", rate=fps, options=options)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
            container.mux(stream.encode())
        return path.read_bytes()


def gif_bytes(frames: Frames, fps: float, *, width: int, colours: int = 240) -> bytes:
    """Return an endless GIF with one palette for all frames.

    Args:
        frames: (h, w, 3) uint8 RGB each.
        fps: frames per second; the format counts hundredths of a second.
        width: of the result [px].
        colours: size of the palette.
    """
    height = even(frames[0].shape[0] * width / frames[0].shape[1])
    images = [Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS) for frame in frames]
    palette = _palette(images, colours)
    # No dithering: its noise would change every pixel of every frame, and the file would be several times larger.
    flat = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    file = io.BytesIO()
    flat[0].save(
        file, "GIF", save_all=True, append_images=flat[1:], duration=round(100 / fps) * 10, loop=0, optimize=True
    )
    return file.getvalue()


def small_gif(frames: Frames, fps: float, *, width: int, limit: int) -> bytes:
    """Return the best GIF of at most ``limit`` bytes: first at full width, then with fewer frames, colours and pixels.

    Raises:
        SinewError: even the smallest is larger.
    """
    for share, every, colours in GIF_LADDER:
        kept = [*frames[:-1:every], frames[-1]]
        content = gif_bytes(kept, fps / every, width=even(width * share), colours=colours)
        if len(content) <= limit:
            return content
    raise SinewError(
        f"A GIF of {len(frames)} frames stays over {limit / 1e6:.1f} MB at half of {width} px. "
        "Film fewer ticks or use the MP4."
    )


def png_bytes(frame: NDArray[np.uint8]) -> bytes:
    """Return a still as PNG."""
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "PNG", optimize=True)
    return file.getvalue()


def jpeg_bytes(frame: NDArray[np.uint8], *, width: int | None = None, quality: int = 82) -> bytes:
    """Return a still as JPEG, for stand-ins where every kilobyte counts."""
    image = Image.fromarray(frame)
    if width is not None and width < image.width:
        image = image.resize((width, round(image.height * width / image.width)), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=quality, optimize=True, progressive=True)
    return file.getvalue()


def save(path: Path, content: bytes) -> Path:
    """Write the bytes atomically and return the path."""
    write_bytes(path, content)
    return path


def _palette(images: Sequence[Image.Image], colours: int) -> Image.Image:
    """Return a palette for all images; the colours of marks and rings are in it however small these are."""
    picked = [images[round(number)] for number in np.linspace(0, len(images) - 1, min(6, len(images)))]
    side = max(picked[0].width // 2, 1)
    swatches = (INK, PAPER, GOOD, BAD, ACCENT, *POINT_COLOURS)
    sheet = Image.new("RGB", (side * len(picked), side + 24))
    for number, image in enumerate(picked):
        sheet.paste(image.resize((side, side)), (number * side, 0))
    for number, colour in enumerate(swatches):
        left = number * sheet.width // len(swatches)
        sheet.paste(colour, (left, side, left + sheet.width // len(swatches) + 1, side + 24))
    return sheet.quantize(colors=colours, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
