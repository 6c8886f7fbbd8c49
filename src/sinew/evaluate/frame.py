"""Draws one frame of a film: the picture, what the policy sees and points at, and the sentence above it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

INK, PAPER, MUTED = (20, 23, 28), (244, 242, 238), (150, 156, 166)
GOOD, BAD, ACCENT = (63, 179, 110), (224, 88, 70), (110, 168, 254)
POINT_COLOURS = ((255, 64, 160), (0, 205, 245), (255, 196, 0), (170, 130, 255), (255, 125, 40), (150, 225, 60))
"""One per pointed-at name, in the order in which the policy lists them."""

SMALLEST = 6
"""Letters are never smaller than that [px]."""
FINE = 4  # sprites are drawn this much larger and then reduced, which smooths their edges


@dataclass(frozen=True)
class Shot:
    """What one tick looked like, before anything is written on it.

    Attributes:
        picture: (s, s, 3) uint8, the world as people see it.
        views: (h, w, 3) uint8 each, the policy's own cameras.
        points: where the policy points, (x, y) in 0 .. 1 of the picture, by name.
    """

    picture: NDArray[np.uint8]
    views: tuple[NDArray[np.uint8], ...] = ()
    points: Mapping[str, tuple[float, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Caption:
    """What is written on a frame.

    Attributes:
        instruction: the sentence; "" when none was given.
        tick: of the episode. total: its length. seconds: since its start.
        success: how the episode ended, None while it runs.
        note: what the world says of the ending.
    """

    instruction: str
    tick: int = 0
    total: int = 1
    seconds: float = 0.0
    success: bool | None = None
    note: str = ""


def even(value: float) -> int:
    """Return the nearest even number: the video format wants even sides."""
    return 2 * round(value / 2)


def frame_size(size: int, *, footer: bool = True) -> tuple[int, int]:
    """Return (width, height) [px] of a frame around a picture of side ``size``."""
    return even(size), even(size) + _header(size) + (_footer(size) if footer else 0)


def draw_frame(shot: Shot, caption: Caption, *, footer: bool = True) -> NDArray[np.uint8]:
    """Return the frame of one tick, (height, width, 3) uint8 of ``frame_size``.

    Args:
        shot: what is to be seen.
        caption: what is to be read.
        footer: whether the legend, the tick and the note stand below the picture.
    """
    size = shot.picture.shape[0]
    width, height = frame_size(size, footer=footer)
    canvas = Image.new("RGB", (width, height), INK)
    canvas.paste(Image.fromarray(shot.picture).resize((width, width)), (0, _header(size)))
    _draw_views(canvas, shot.views, size)
    for colour, (x, y) in zip(POINT_COLOURS, shot.points.values(), strict=False):
        if 0.0 <= x <= 1.0 and 0.0 <= y <= 1.0:
            _paste(canvas, _ring(colour, even(0.075 * size)), round(x * width), _header(size) + round(y * width))
    _draw_sentence(canvas, caption.instruction, size)
    _draw_progress(canvas, caption, size)
    if caption.success is not None:
        _paste(
            canvas,
            _mark(even(0.13 * size), success=caption.success),
            round(0.905 * size),
            _header(size) + round(0.095 * size),
        )
    if footer:
        _draw_footer(canvas, shot, caption, size)
    return np.asarray(canvas)


def _header(size: int) -> int:
    return even(0.125 * size)


def _footer(size: int) -> int:
    return even(0.07 * size)


@lru_cache(maxsize=64)
def _font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the one font that is surely there: the plotting library brings it."""
    import matplotlib as mpl

    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(mpl.get_data_path()) / "fonts" / "ttf" / name), max(size, SMALLEST))


def _draw_sentence(canvas: Image.Image, instruction: str, size: int) -> None:
    """Write the sentence as large as it fits, on two lines if one would be small."""
    draw, height, room = ImageDraw.Draw(canvas), _header(size), 0.94 * size
    text = instruction or "(no instruction)"
    one = _font(round(0.054 * size))
    while one.getlength(text) > room and one.size > max(0.046 * size, SMALLEST):
        one = _font(int(one.size) - 1)
    fill = PAPER if instruction else MUTED
    if one.getlength(text) <= room:
        draw.text((0.03 * size, height / 2), text, font=one, fill=fill, anchor="lm")
        return
    two = _font(round(0.042 * size))
    if two.getlength(text) <= room:
        draw.text((0.03 * size, height / 2), text, font=two, fill=fill, anchor="lm")
        return
    for number, line in enumerate(_wrap(text, two, room)):
        draw.text((0.03 * size, height * (0.29 + 0.44 * number)), line, font=two, fill=fill, anchor="lm")


def _wrap(text: str, font: ImageFont.FreeTypeFont, room: float) -> tuple[str, str]:
    """Break a text into two lines of at most ``room`` pixels; what is still too long ends in dots."""
    words, first = text.split(" "), ""
    while words and font.getlength(f"{first} {words[0]}".strip()) <= room:
        first = f"{first} {words.pop(0)}".strip()
    return (
        (_shorten(first, font, room), _shorten(" ".join(words), font, room))
        if first
        else (_shorten(text, font, room), "")
    )


def _shorten(text: str, font: ImageFont.FreeTypeFont, room: float) -> str:
    if font.getlength(text) <= room:
        return text
    while text and font.getlength(text + "…") > room:
        text = text[:-1]
    return text.rstrip() + "…"


def _draw_views(canvas: Image.Image, views: Sequence[NDArray[np.uint8]], size: int) -> None:
    """Set the policy's own cameras into the upper left corner, thinly framed and named."""
    side, margin, label = round(0.22 * size), round(0.025 * size), _font(round(0.024 * size))
    draw, top = ImageDraw.Draw(canvas), _header(size) + round(0.025 * size)
    for number, view in enumerate(views):
        image = Image.fromarray(view)
        scale = side / max(image.size)
        image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.NEAREST)
        box = (margin - 1, top - 1, margin + image.width, top + image.height)
        canvas.paste(image, (margin, top))
        draw.rectangle(box, outline=PAPER, width=max(size // 320, 1))
        top = box[3] + 2
        if number == len(views) - 1:
            place = (margin, top + round(0.008 * size))
            draw.text(place, "what it sees", font=label, fill=PAPER, stroke_width=max(size // 320, 1), stroke_fill=INK)


def _draw_progress(canvas: Image.Image, caption: Caption, size: int) -> None:
    """Draw how far the episode is, on the line between sentence and picture, and its outcome."""
    thick, top = max(size // 160, 2), _header(size)
    colour = {None: ACCENT, True: GOOD, False: BAD}[caption.success]
    reach = size if caption.success is not None else round(size * caption.tick / max(caption.total, 1))
    if reach > 0:
        ImageDraw.Draw(canvas).rectangle((0, top - thick, reach - 1, top - 1), fill=colour)


def _draw_footer(canvas: Image.Image, shot: Shot, caption: Caption, size: int) -> None:
    """Write the legend of the points, or the note once the episode is over, and the clock."""
    draw, font = ImageDraw.Draw(canvas), _font(round(0.031 * size))
    middle, left = canvas.height - _footer(size) / 2, 0.03 * size
    clock = f"{caption.seconds:.1f} s · tick {caption.tick}"
    draw.text((0.97 * size, middle), clock, font=font, fill=MUTED, anchor="rm")
    room = 0.97 * size - font.getlength(clock) - 2 * left
    if caption.success is not None:
        note = caption.note or ("success" if caption.success else "failure")
        draw.text(
            (left, middle), _shorten(note, font, room), font=font, fill=GOOD if caption.success else BAD, anchor="lm"
        )
        return
    for colour, name in zip(POINT_COLOURS, shot.points, strict=False):
        label = name.replace("_", " ")
        if left + font.getlength(label) + 0.03 * size > room:
            return
        _paste(canvas, _dot(colour, even(0.024 * size)), round(left + 0.012 * size), round(middle))
        draw.text((left + 0.034 * size, middle), label, font=font, fill=PAPER, anchor="lm")
        left += 0.034 * size + font.getlength(label) + 0.035 * size


def _paste(canvas: Image.Image, sprite: Image.Image, x: int, y: int) -> None:
    canvas.paste(sprite, (x - sprite.width // 2, y - sprite.height // 2), sprite)


def _sprite(side: int) -> tuple[Image.Image, ImageDraw.ImageDraw, Any]:
    """Return an enlarged empty sprite, its pen, and a function that gives the box of a centred circle."""
    large = Image.new("RGBA", (side * FINE, side * FINE), (0, 0, 0, 0))

    def circle(radius: float) -> tuple[float, float, float, float]:
        """Return the box of a circle whose radius is given as a share of half the side."""
        reach, centre = radius * side * FINE / 2, side * FINE / 2
        return (centre - reach, centre - reach, centre + reach, centre + reach)

    return large, ImageDraw.Draw(large), circle


def _reduced(large: Image.Image) -> Image.Image:
    return large.resize((large.width // FINE, large.height // FINE), Image.Resampling.BOX)


@lru_cache(maxsize=64)
def _ring(colour: tuple[int, int, int], side: int) -> Image.Image:
    """Return a crosshair ring: coloured, with a dark edge so that it reads on any ground."""
    large, draw, circle = _sprite(side)
    stroke = side * FINE / 2
    draw.ellipse(circle(0.86), outline=(*INK, 150), width=round(0.34 * stroke))
    draw.ellipse(circle(0.80), outline=(*colour, 255), width=round(0.20 * stroke))
    draw.ellipse(circle(0.22), fill=(*INK, 150))
    draw.ellipse(circle(0.16), fill=(*colour, 255))
    return _reduced(large)


@lru_cache(maxsize=64)
def _dot(colour: tuple[int, int, int], side: int) -> Image.Image:
    large, draw, circle = _sprite(side)
    draw.ellipse(circle(0.98), fill=(*colour, 255))
    return _reduced(large)


@lru_cache(maxsize=8)
def _mark(side: int, *, success: bool) -> Image.Image:
    """Return a check in a green disc or a cross in a red one."""
    large, draw, circle = _sprite(side)
    unit = side * FINE
    draw.ellipse(circle(0.98), fill=(*PAPER, 255))
    draw.ellipse(circle(0.90), fill=(*(GOOD if success else BAD), 255))
    check = ((0.28, 0.52), (0.44, 0.68), (0.73, 0.36))
    strokes = (check,) if success else (((0.33, 0.33), (0.67, 0.67)), ((0.67, 0.33), (0.33, 0.67)))
    for stroke in strokes:
        points = [(x * unit, y * unit) for x, y in stroke]
        draw.line(points, fill=(255, 255, 255, 255), width=round(0.09 * unit), joint="curve")
        for x, y in (points[0], points[-1]):
            reach = 0.045 * unit
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=(255, 255, 255, 255))
    return _reduced(large)
