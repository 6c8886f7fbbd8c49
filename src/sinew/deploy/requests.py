"""Reads a client's observation map into an ``Observation`` of the robot that the policy was made for."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sinew.core.errors import ConfigError, DataError, SpecError
from sinew.core.types import CameraSpec, NumpyObservation, RobotSpec
from sinew.deploy.wire import Protocol

PREVIOUS = "prev_actions"
"""Key under which a client sends what was executed before now."""


@dataclass(frozen=True)
class Keys:
    """Where in a client's map the parts of an observation are.

    ``a/b`` is the key "a/b", or else "b" in the map "a"; ``x|y`` takes the first that is there; ``x+y`` joins vectors.

    Attributes:
        cameras: key of each camera's image.
        state: key of the S proprioceptive values.
        instruction: key of the sentence.
    """

    cameras: Mapping[str, str]
    state: str
    instruction: str

    def changed(self, words: Sequence[str]) -> Keys:
        """Return the keys with some replaced, each word "camera=key", "state=key" or "instruction=key".

        Raises:
            ConfigError: a word names nothing that the policy sees.
        """
        cameras, others = dict(self.cameras), {"state": self.state, "instruction": self.instruction}
        for word in words:
            name, _, key = word.partition("=")
            place = cameras if name in cameras else others
            if name not in place or not key:
                known = ", ".join([*cameras, *others])
                raise ConfigError(f"--key {word}: wanted NAME=KEY with NAME one of {known}.")
            place[name] = key
        return Keys(cameras, **others)


def usual_keys(spec: RobotSpec, protocol: Protocol) -> Keys:
    """Return the keys that a protocol's clients use by convention."""
    if protocol == "vla-eval":
        return Keys({name: f"images/{name}" for name in spec.cameras}, "states|state", "task_description")
    alone = "observation/image|" if len(spec.cameras) == 1 else ""
    cameras = {name: f"{alone}observation/{name}|images/{name}" for name in spec.cameras}
    return Keys(cameras, "observation/state|state", "prompt")


@dataclass(frozen=True)
class RequestReader:
    """Checks what a client sends against a robot's spec and converts it.

    Attributes:
        spec: of the robot that the policy was made for.
        keys: where the parts are.
        resize: letterbox images of another size instead of refusing them.
        instruction: taken when a client sends none; None means that it must send one.
        previous: P, executed actions that the policy looks at.
    """

    spec: RobotSpec
    keys: Keys
    resize: bool = False
    instruction: str | None = None
    previous: int = 0

    def read(self, message: Mapping[str, Any]) -> NumpyObservation:
        """Return one row of one tick.

        Raises:
            DataError: a part is missing or is no image, vector or sentence.
            SpecError: a size is not the spec's.
        """
        images = {
            name: self._image(name, camera, self._part(message, self.keys.cameras[name], name))
            for name, camera in self.spec.cameras.items()
        }
        return NumpyObservation(images=images, state=self._state(message), instruction=(self._sentence(message),))

    def executed(self, message: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return the actions (1, P, A) that were executed before now, NaN where none was.

        Raises:
            DataError: they are missing or no numbers.
            SpecError: they are of another shape.
        """
        size = (self.previous, self.spec.action_size)
        if PREVIOUS not in message:
            raise DataError(
                f"no {PREVIOUS!r} in the observation. The policy sees the {self.previous} actions executed before now: "
                f"send them as {size[0]} x {size[1]} numbers, the newest last, NaN where the episode had not begun."
            )
        try:
            found = np.asarray(message[PREVIOUS], dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(f"{PREVIOUS} are no numbers ({error}). Send {size[0]} x {size[1]} of them.") from error
        endless = bool(np.isinf(found).any())
        if found.shape != size or endless:
            raise SpecError(
                f"{PREVIOUS}: an array of shape {found.shape} came{', with infinity in it' * endless}"
                f"; {size} (ticks before now, {', '.join(self.spec.action)}) was wanted, NaN where there was none."
            )
        return found[None]

    def _part(self, message: Mapping[str, Any], expression: str, name: str) -> list[Any]:
        found = find(message, expression)
        if found is None:
            what = f"image of camera {name!r}" if name in self.spec.cameras else name
            raise DataError(
                f"no {expression!r} in the observation, which should hold the {what}. "
                f"It has: {', '.join(_names(message)) or 'nothing'}. "
                f"Send it, or start the server with --key {name}=YOURKEY."
            )
        return found

    def _image(self, name: str, camera: CameraSpec, found: list[Any]) -> NDArray[np.uint8]:
        """Return (1, 1, 3, h, w)."""
        pixels = as_pixels(found[0], f"camera {name!r}")
        if pixels.shape[:2] != (camera.height, camera.width):
            if not self.resize:
                raise SpecError(
                    f"camera {name!r}: an image of {pixels.shape[0]} x {pixels.shape[1]} (h x w) came, "
                    f"the policy was made for {camera.height} x {camera.width}. "
                    "Send that size, or start the server with --resize."
                )
            pixels = letterbox(pixels, camera.height, camera.width)
        return np.array(pixels.transpose(2, 0, 1), order="C")[None, None]

    def _state(self, message: Mapping[str, Any]) -> NDArray[np.float32]:
        """Return (1, 1, S)."""
        names = self.spec.state
        if not names:
            return np.zeros((1, 1, 0), dtype=np.float32)
        found = self._part(message, self.keys.state, "state")
        try:
            with np.errstate(over="ignore"):  # judged below
                values = np.concatenate([np.ravel(np.asarray(part, dtype=np.float32)) for part in found])
        except (TypeError, ValueError) as error:
            raise DataError(f"the state is not a vector of numbers ({error}). Send {len(names)} values.") from error
        if len(values) != len(names):
            raise SpecError(
                f"state: {len(values)} values came, the policy was made for {len(names)} ({', '.join(names)}). "
                "Send these; several keys are joined with --key state=KEY+KEY."
            )
        broken = [name for name, value in zip(names, values, strict=True) if not np.isfinite(value)]
        if broken:
            raise DataError(
                f"the state holds NaN or infinity in {', '.join(broken)}. Mend the sensor; do not act on it."
            )
        return values[None, None]

    def _sentence(self, message: Mapping[str, Any]) -> str:
        found = find(message, self.keys.instruction)
        if found is None and self.instruction is not None:
            return self.instruction
        value = self._part(message, self.keys.instruction, "instruction")[0]
        if isinstance(value, np.ndarray) and value.dtype.kind == "U" and value.size == 1:
            value = value.item()
        if not isinstance(value, str):
            raise DataError(f"the instruction is a {type(value).__name__}; wanted text, or an empty text for none.")
        return value


def find(message: Mapping[str, Any], expression: str) -> list[Any] | None:
    """Return the values that a key expression means, one per joined key, or None when they are not there."""
    for alternative in expression.split("|"):
        values = [_at(message, key) for key in alternative.split("+")]
        if all(value is not None for value in values):
            return values
    return None


def as_pixels(value: object, what: str) -> NDArray[np.uint8]:
    """Return (h, w, 3) uint8 of an image in a form that openpi takes: uint8 or float in 0..1, channels last or first.

    Raises:
        DataError: it is none of these.
    """
    if not isinstance(value, np.ndarray) or value.ndim != 3 or 3 not in (value.shape[0], value.shape[2]):
        found = f"an array of shape {value.shape}" if isinstance(value, np.ndarray) else f"a {type(value).__name__}"
        raise DataError(f"{what}: {found} came; wanted an image of shape (h, w, 3).")
    pixels = value if value.shape[2] == 3 else value.transpose(1, 2, 0)
    if pixels.dtype.kind == "f":
        with np.errstate(all="ignore"):  # judged below
            scaled = 255 * pixels
        # NaN fails both comparisons. Further out the cast would wrap around, so nothing is guessed.
        if not (scaled.min(initial=0) > -1 and scaled.max(initial=0) < 256):
            raise DataError(f"{what}: float values outside 0..1, or NaN. Send uint8, or float in 0..1.")
        return scaled.astype(np.uint8)
    if pixels.dtype != np.uint8:
        raise DataError(f"{what}: an image of dtype {pixels.dtype} came. Send uint8, or float in 0..1.")
    return pixels


def letterbox(pixels: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Return the image scaled to fit (bilinear) and centred on black, as openpi's ``resize_with_pad`` does."""
    from PIL import Image

    ratio = max(pixels.shape[1] / width, pixels.shape[0] / height)
    size = max(1, int(pixels.shape[1] / ratio)), max(1, int(pixels.shape[0] / ratio))
    scaled = Image.fromarray(np.ascontiguousarray(pixels)).resize(size, Image.Resampling.BILINEAR)
    canvas = Image.new("RGB", (width, height))
    canvas.paste(scaled, (int((width - size[0]) / 2), int((height - size[1]) / 2)))
    return np.asarray(canvas)


def to_plain(keys: Keys) -> dict[str, Any]:
    """Return keys as plain values, for the metadata frame."""
    return dataclasses.asdict(keys)


def _at(message: Mapping[str, Any], key: str) -> Any:  # noqa: ANN401  (any value that a message holds)
    if key in message:
        return message[key]
    head, _, tail = key.partition("/")
    inner = message.get(head)
    return _at(inner, tail) if tail and isinstance(inner, dict) else None


def _names(message: Mapping[str, Any]) -> list[str]:
    """Return the keys of a message, those of inner maps as "a/b", cut to what fits a line."""
    names: list[str] = []
    for key, value in message.items():
        inner = [f"{key}/{name}" for name in value] if isinstance(value, dict) else [key]
        names += [name[:60] for name in inner]
    return names[:20]
