"""Films in which episodes lie one after another; a frame is found by its number, not by its seconds."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import DataError
from sinew.data.films import SLACK, converter
from sinew.data.formats.pictures import Picture

CRF = 18
"""Constant rate factor of H.264; smaller is better and larger."""
GROUP = 8
"""Frames from one key frame to the next."""


def read_frames(
    path: Path, first: int, count: int, *, fps: float, where: str, pixels: str = "rgb24"
) -> Iterator[NDArray[Any]]:
    """Yield a run of frames, decoded forward from the key frame before it.

    Args:
        path: the film.
        first: number of the first frame; frame n is shown at n / fps seconds.
        count: of frames.
        fps: frames per second.
        where: file, episode and camera, for messages.
        pixels: what is wanted of a frame: rgb24, (h, w, 3) uint8, or gray16le, (h, w) uint16.

    Raises:
        DataError: the film is missing, damaged, too short, or its frames are not evenly spaced.
    """
    from av.error import FFmpegError

    if not path.exists():
        raise DataError(f"{where}: {path} is missing. Restore the file, or leave the episode out.")
    done, convert = 0, converter(pixels)
    try:
        for number, frame in _frames(path, first, fps):
            if number == first + done:
                done += 1
                yield convert(frame)
            if done == count:
                return
            if number > first + done:
                break
    except (FFmpegError, IndexError, ValueError) as error:  # no video stream; broken text in the header
        raise DataError(f"{where}, frame {done}: {path} cannot be decoded ({error}). Restore the file.") from error
    raise DataError(
        f"{where}, frame {done}: {path} shows no frame at {(first + done) / fps:g} s, but the table lists {count} "
        f"frames from {first / fps:g} s on. Film and table must come from one recording; restore both."
    )


class Film:
    """An H.264 film that is written frame by frame; use it in a ``with`` statement.

    Args:
        path: of the new file.
        size: (height, width) [px], even numbers.
        fps: frames per second.

    Attributes:
        num_frames: frames added. num_bytes: written so far, about.
    """

    def __init__(self, path: Path, size: tuple[int, int], fps: float) -> None:
        import av

        path.parent.mkdir(parents=True, exist_ok=True)
        self.num_frames = self.num_bytes = 0
        self._container = av.open(str(path), "w")
        # No frame refers to a later one, so that a run starts at any key frame; one thread, so that bytes repeat.
        options = {"crf": str(CRF), "g": str(GROUP), "bf": "0", "preset": "medium", "threads": "1"}
        rate = Fraction(fps).limit_denominator(10_000)
        self._stream: Any = self._container.add_stream("libx264", rate=rate, options=options)
        self._stream.height, self._stream.width = size
        self._stream.pix_fmt = "yuv420p"

    def add(self, picture: Picture) -> None:
        """Append a frame."""
        import av

        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
        packets = self._stream.encode(frame)
        self._container.mux(packets)
        self.num_frames += 1
        self.num_bytes += sum(packet.size for packet in packets)

    def close(self) -> None:
        """Write what is still on its way, and the index."""
        self._container.mux(self._stream.encode())
        self._container.close()

    def __enter__(self) -> Film:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _frames(path: Path, first: int, fps: float) -> Iterator[tuple[int, Any]]:
    """Yield (number, frame) in the order shown, from some frame at or before ``first`` on."""
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        if first:
            container.seek(int(first / fps / (stream.time_base or 1)), stream=stream)
            frames = _numbered(container, stream, fps)
            head = next(frames, None)
            if head is not None and head[0] <= first:
                yield head
                yield from frames
                return
            container.seek(0, stream=stream)  # the container's index led behind the frame
        yield from _numbered(container, stream, fps)


def _numbered(container: Any, stream: Any, fps: float) -> Iterator[tuple[int, Any]]:  # noqa: ANN401
    """Yield the frames that are shown at n / fps, with their n; a faster film has others in between."""
    for frame in container.decode(stream):
        if frame.pts is not None:
            place = float(frame.pts * stream.time_base) * fps
            if abs(place - round(place)) <= SLACK:
                yield round(place), frame
