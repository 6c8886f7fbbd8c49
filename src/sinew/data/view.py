"""One page that shows a few episodes of a data set: images to scrub through, all values beside them, what is wrong."""

from __future__ import annotations

import base64
import io
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.files import write_text
from sinew.data.dataset import Dataset
from sinew.data.episode import Episode
from sinew.data.quality.examine import faults
from sinew.data.quality.findings import Finding
from sinew.data.quality.score import quality

MOST_FRAMES = 48
"""Frames of an episode that are on the page, evenly spread."""
ACROSS = 8
"""Of these in a row of the sheet they come on."""
MOST_VALUES = 8
"""Values of a sensor up to which each has its curve."""
MOST_BINS = 240
"""Pieces a curve is drawn in; of each its smallest and largest value."""
PICTURE = (120, 200)
"""Least and greatest height of an image on the page [px]."""
JPEG_QUALITY = 82


@dataclass(frozen=True)
class Curve:
    """One value over an episode.

    Attributes:
        name: of the value.
        unit: of the value.
        action: what should be done, or else what was measured.
        low: smallest value. high: largest.
        points: of a polyline, x in 0 .. 1000 and y in 0 .. 100 downwards; "" where it is no number anywhere.
        values: at the frames that are shown, in words.
    """

    name: str
    unit: str
    action: bool
    low: str
    high: str
    points: str
    values: tuple[str, ...]


def write_view(dataset: Dataset, numbers: Sequence[int], out: Path) -> None:
    """Write the page; it needs no other file and no network.

    Args:
        dataset: what is shown.
        numbers: of the episodes.
        out: the HTML file, replaced where it exists.

    Raises:
        DataError: an episode cannot be read.
        SinewError: the place cannot be written.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("sinew.data"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    content = {
        "name": dataset.path.resolve().name,
        "path": str(dataset.path),
        "format": dataset.format,
        "spec": dataset.spec,
        "num_episodes": len(dataset.lengths),
        "frames": sum(dataset.lengths),
        "seconds": _seconds(sum(dataset.lengths) / dataset.spec.hz),
        "shortest": min(dataset.lengths),
        "longest": max(dataset.lengths),
        "tasks": Counter(dataset.tasks).most_common(8),
        "num_tasks": len(set(dataset.tasks)),
        "episodes": [episode_content(dataset.read(number), number) for number in numbers],
        "judged": dataset.judged,
    }
    write_text(out, made.get_template("view.html.j2").render(content))


def spread(total: int, count: int) -> tuple[int, ...]:
    """Return numbers from all over 0 .. total - 1, first and last among them."""
    return tuple(sorted({round(place) for place in np.linspace(0, total - 1, min(count, total))}))


def episode_content(episode: Episode, number: int) -> dict[str, Any]:
    """Return what the page says of one episode."""
    ticks = np.array(spread(episode.num_frames, MOST_FRAMES))
    found = faults(episode)
    spec = episode.spec
    columns = [(name, unit, False, episode.state[:, i]) for i, (name, unit) in _parts(spec.state, spec.state_units)]
    for name, readings in episode.sensors.items():
        flat = readings.reshape(episode.num_frames, -1)
        if flat.shape[1] <= MOST_VALUES:
            columns += [(f"{name} {i}", spec.sensors[name].unit, False, flat[:, i]) for i in range(flat.shape[1])]
    if episode.reward is not None:
        columns.append(("reward", "", False, episode.reward))
    columns += [(name, unit, True, episode.action[:, i]) for i, (name, unit) in _parts(spec.action, spec.action_units)]
    return {
        "number": number,
        "instruction": episode.instruction,
        "task": episode.task,
        "id": episode.id,
        "success": episode.success,
        "frames": episode.num_frames,
        "seconds": f"{episode.num_frames / spec.hz:.1f} s",
        "quality": f"{quality(found, episode.num_frames, success=episode.success):.2f}",
        "findings": found,
        "marks": [mark for item in found if (mark := _mark(item, episode.num_frames))],
        "ticks": ticks.tolist(),
        "cameras": [_sheet(name, images[ticks]) for name, images in episode.images.items()],
        "curves": [_curve(name, unit, rows, action=action, ticks=ticks) for name, unit, action, rows in columns],
    }


def _parts(names: Sequence[str], units: Sequence[str]) -> enumerate[tuple[str, str]]:
    return enumerate(zip(names, units, strict=True))


def _mark(finding: Finding, frames: int) -> dict[str, Any] | None:
    """Return where a finding lies on the time axis, in per cent; None where it is of the whole episode."""
    if finding.frames is None:
        return None
    first, last = finding.frames
    wide = max(1, frames - 1)
    left = 100 * max(0.0, first - 0.5) / wide
    return {"left": f"{left:.2f}", "width": f"{min(100.0, 100 * (last + 0.5) / wide) - left:.2f}", **vars(finding)}


def _sheet(name: str, images: NDArray[np.uint8]) -> dict[str, Any]:
    """Return the images of a camera on one sheet, as the address of a picture within the page."""
    from PIL import Image

    height, width = images.shape[2:]
    shown = int(np.clip(height, *PICTURE))
    size = (max(1, round(width * shown / height)), shown)
    rows = math.ceil(len(images) / ACROSS)
    sheet = Image.new("RGB", (size[0] * ACROSS, size[1] * rows))
    how = Image.Resampling.NEAREST if shown > 2 * height else Image.Resampling.BICUBIC
    for place, image in enumerate(images):
        picture = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))).resize(size, how)
        sheet.paste(picture, (place % ACROSS * size[0], place // ACROSS * size[1]))
    file = io.BytesIO()
    sheet.save(file, "JPEG", quality=JPEG_QUALITY)
    code = base64.b64encode(file.getvalue()).decode()
    return {
        "name": name,
        "size": f"{height} x {width}",
        "width": size[0],
        "height": size[1],
        "rows": rows,
        "data": f"data:image/jpeg;base64,{code}",
    }


def _curve(name: str, unit: str, rows: NDArray[np.float32], *, action: bool, ticks: NDArray[np.int64]) -> Curve:
    values = rows.astype(np.float64)
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 0.0)
    return Curve(
        name=name,
        unit="" if unit in ("1", "?") else unit,
        action=action,
        low=f"{low:.2g}",
        high=f"{high:.2g}",
        points=_points(values, low, high) if len(known) else "",
        values=tuple(f"{value:.3g}" for value in values[ticks]),
    )


def _points(values: NDArray[np.float64], low: float, high: float) -> str:
    """Return a polyline through the smallest and largest value of each of many pieces of a curve."""
    frames = np.arange(len(values))
    chosen: list[int] = []
    for piece in np.array_split(frames, min(len(frames), MOST_BINS)):
        finite = piece[np.isfinite(values[piece])]
        if len(finite):
            ends = {int(finite[np.argmin(values[finite])]), int(finite[np.argmax(values[finite])])}
            chosen += sorted(ends)
    span = high - low
    across = 1000 / max(1, len(values) - 1)
    down = [(100 * (high - values[frame]) / span) if span else 50.0 for frame in chosen]
    return " ".join(f"{frame * across:.1f},{place:.1f}" for frame, place in zip(chosen, down, strict=True))


def _seconds(total: float) -> str:
    if total < 120:
        return f"{total:.0f} s"
    return f"{total / 60:.0f} min" if total < 7200 else f"{total / 3600:.1f} h"
