"""The nouns that every floor of the house shares, on one page.

Shape letters everywhere: B batch, T history, H horizon (chunk length), A action size, S state size,
N tokens, D features, V vocabulary, L units a head scores, h image height, w image width.

Outside a policy everything is in physical units. Arrays are NumPy arrays on the side of data and
environments and torch tensors on the side of models: a type parameter ``X`` says which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor, nn

X = TypeVar("X")
Y = TypeVar("Y")
Metrics = Mapping[str, Any]
"""Scalars by name: floats, or 0-dim tensors that nobody has waited for yet."""

ActionKind = Literal["absolute", "delta", "relative", "waypoint"]
Rows = NDArray[np.int64] | Sequence[int] | None
"""Which rows of a batch are meant; None means all of them."""


# --------------------------------------------------------------------------------------- the robot


@dataclass(frozen=True)
class CameraSpec:
    """One camera: image size, pinhole intrinsics and pose.

    Attributes:
        height: image height [px].
        width: image width [px].
        intrinsics: (fx, fy, cx, cy) [px], or None when unknown.
        pose: camera-to-robot transform as 16 numbers, row-major, or None when unknown [m].
    """

    height: int
    width: int
    intrinsics: tuple[float, float, float, float] | None = None
    pose: tuple[float, ...] | None = None


@dataclass(frozen=True)
class SensorSpec:
    """One further sensor (depth, lidar, ...): shape of a reading (padded with NaN), unit, rate [1/s], NumPy's type."""

    shape: tuple[int, ...]
    unit: str
    hz: float
    dtype: Literal["float32", "uint8", "int16", "uint16"] = "float32"


@dataclass(frozen=True)
class RobotSpec:
    """What a robot sees and takes; travels in dataset, checkpoint, environment, artefact and server.

    Attributes:
        embodiment: name of the body; statistics are keyed by it.
        cameras: by name.
        state: names of the S proprioceptive values.
        state_units: their units, same length.
        action: names of the A action values.
        action_units: their units, same length.
        low: lower action bounds in physical units, length A.
        high: upper action bounds in physical units, length A.
        hz: control rate [1/s].
        kind: what an action value means.
        binary: action names that only ever take their low or their high value; heads classify these.
        gripper_sign: +1 when a larger gripper action opens, -1 when it closes, 0 without a gripper.
        rotation: representation of orientation in state and action, or "none".
        sensors: by name.
        schema_version: version of this record.
    """

    embodiment: str
    cameras: Mapping[str, CameraSpec]
    state: tuple[str, ...]
    state_units: tuple[str, ...]
    action: tuple[str, ...]
    action_units: tuple[str, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    hz: float
    kind: ActionKind
    binary: tuple[str, ...] = ()
    gripper_sign: Literal[-1, 0, 1] = 0
    rotation: Literal["none", "quaternion", "euler", "rot6d", "axis_angle"] = "none"
    sensors: Mapping[str, SensorSpec] = field(default_factory=dict)
    schema_version: int = 1

    @property
    def action_size(self) -> int:
        """A, the number of action values."""
        return len(self.action)

    @property
    def state_size(self) -> int:
        """S, the number of proprioceptive values."""
        return len(self.state)

    @property
    def binary_mask(self) -> tuple[bool, ...]:
        """For each of the A action values, whether it is two-valued."""
        return tuple(name in self.binary for name in self.action)


@dataclass(frozen=True)
class Statistics:
    """What normalisation needs to know of D values, each array (D,) float32; NaN entries were left out.

    Attributes:
        count: frames seen.
    """

    mean: NDArray[np.float32]
    std: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    q01: NDArray[np.float32]
    q99: NDArray[np.float32]
    count: int


# ------------------------------------------------------------------------------- what flows between


@dataclass(frozen=True)
class Observation(Generic[X]):
    """What a policy may see, for B rows and T ticks of history (the last one is now).

    Attributes:
        images: by camera, (B, T, 3, h, w) uint8 RGB.
        state: (B, T, S) float32, physical units.
        instruction: B sentences; "" when none was given.
        sensors: by name, (B, T, ...) readings.
        present: by camera or sensor, (B,) bool; a missing key means present everywhere.
        history_is_pad: (B, T) bool, True where the episode had not begun; None means no padding.
        prev_actions: (B, P, A) what was executed in the P ticks before now, oldest first, as the robot takes it; NaN
            where the episode had not begun. Of a single tick P = 1. None where nobody says it or wants it.
        context: named extra conditioning (return-to-go, goal image, latent).
        privileged: simulator truth, (B, ...) of the current tick. Experts and labels read it;
            a policy never does.
    """

    images: Mapping[str, X]
    state: X
    instruction: tuple[str, ...]
    sensors: Mapping[str, X] = field(default_factory=dict)
    present: Mapping[str, X] = field(default_factory=dict)
    history_is_pad: X | None = None
    prev_actions: X | None = None
    context: Mapping[str, X] = field(default_factory=dict)
    privileged: Mapping[str, X] = field(default_factory=dict)

    @property
    def num_rows(self) -> int:
        """B."""
        return len(self.instruction)

    def public(self) -> Observation[X]:
        """Return the same observation without simulator truth."""
        return dataclasses.replace(self, privileged={})

    def map(self, convert: Callable[[X], Y]) -> Observation[Y]:
        """Return the observation with every array put through ``convert`` (device, type, rows)."""
        return map_arrays(self, convert)


@dataclass(frozen=True)
class Batch(Generic[X]):
    """Supervised windows: what was seen and which actions followed.

    Attributes:
        obs: B observations.
        actions: (B, H, A) float32, physical units.
        is_pad: (B, H) bool, True where the chunk runs over the end of what is known.
        weight: (B,) float32 loss weights.
        targets: auxiliary labels by name, (B, ...) float32; NaN where a row has none.
        action_mask: (B, A) bool of the action values this body has; None means all.
        task: B task names.
        source: B dataset names.
        ids: (B,) int64 frame numbers, unique within a source.
    """

    obs: Observation[X]
    actions: X
    is_pad: X
    weight: X
    targets: Mapping[str, X] = field(default_factory=dict)
    action_mask: X | None = None
    task: tuple[str, ...] = ()
    source: tuple[str, ...] = ()
    ids: X | None = None

    @property
    def num_rows(self) -> int:
        """B."""
        return self.obs.num_rows

    def map(self, convert: Callable[[X], Y]) -> Batch[Y]:
        """Return the batch with every array put through ``convert``."""
        return map_arrays(self, convert)


@dataclass(frozen=True)
class RLBatch(Generic[X]):
    """Decisions of a policy with what came of them; one row is one executed chunk.

    Attributes:
        obs: B observations at the decision.
        chunk: (B, H, A) physical actions.
        trace: what the head needs to score the same draw again, (B, ...) by name; may be empty.
        log_prob: (B, L) of the behaviour policy; ``mask`` says which units count.
        mask: (B, L) bool.
        reward: (B,) summed over the executed part of the chunk.
        discount: (B,) factor on the value of ``next_obs``.
        terminated: (B,) bool. truncated: (B,) bool.
        next_obs: B observations after the chunk, or None for methods without a critic.
        advantage: (B,) or None. group: (B,) int64, rows that share an initial state, or None.
        version: (B,) int64, the policy update that acted. ids: (B,) int64.
    """

    obs: Observation[X]
    chunk: X
    trace: Mapping[str, X]
    log_prob: X
    mask: X
    reward: X
    discount: X
    terminated: X
    truncated: X
    next_obs: Observation[X] | None = None
    advantage: X | None = None
    group: X | None = None
    version: X | None = None
    ids: X | None = None

    @property
    def num_rows(self) -> int:
        """B."""
        return self.obs.num_rows

    def map(self, convert: Callable[[X], Y]) -> RLBatch[Y]:
        """Return the batch with every array put through ``convert``."""
        return map_arrays(self, convert)


@dataclass(frozen=True)
class SequenceBatch(Generic[X]):
    """Stretches of episodes for sequence models; here T is the length of the stretch.

    Attributes:
        obs: as in Observation, T consecutive ticks. actions: (B, T, A) taken at these ticks.
        reward: (B, T). terminated: (B, T) bool. is_first: (B, T) bool. mask: (B, T) bool.
        return_to_go: (B, T) or None. timestep: (B, T) int64 or None.
    """

    obs: Observation[X]
    actions: X
    reward: X
    terminated: X
    is_first: X
    mask: X
    return_to_go: X | None = None
    timestep: X | None = None

    @property
    def num_rows(self) -> int:
        """B."""
        return self.obs.num_rows

    def map(self, convert: Callable[[X], Y]) -> SequenceBatch[Y]:
        """Return the batch with every array put through ``convert``."""
        return map_arrays(self, convert)


@dataclass(frozen=True)
class TextBatch(Generic[X]):
    """Image-text rows: images (B, K, 3, h, w) uint8, ids / labels / masks (B, N), labels -100 where no loss."""

    images: X
    input_ids: X
    labels: X
    attention_mask: X
    segment_ids: X | None = None
    ids: X | None = None

    @property
    def num_rows(self) -> int:
        """B."""
        return int(self.input_ids.shape[0])  # type: ignore[attr-defined]

    def map(self, convert: Callable[[X], Y]) -> TextBatch[Y]:
        """Return the batch with every array put through ``convert``."""
        return map_arrays(self, convert)


def map_arrays(record: Any, convert: Callable[[Any], Any]) -> Any:  # noqa: ANN401  (any record above)
    """Return a copy of a record with ``convert`` applied to its arrays, nested records and mappings included."""
    changes: dict[str, Any] = {}
    for item in dataclasses.fields(record):
        value = getattr(record, item.name)
        if dataclasses.is_dataclass(value):
            changes[item.name] = map_arrays(value, convert)
        elif isinstance(value, Mapping):
            changes[item.name] = {name: convert(array) for name, array in value.items()}
        elif value is not None and not isinstance(value, tuple):
            changes[item.name] = convert(value)
    return dataclasses.replace(record, **changes)


NumpyObservation = Observation[NDArray[Any]]
NumpyBatch = Batch[NDArray[Any]]


# -------------------------------------------------------------------------------- models, as seen


@dataclass(frozen=True)
class Features:
    """What an encoder hands to an action head.

    Attributes:
        tokens: (B, N, D). mask: (B, N) bool, True for real tokens; None means all.
        places: (N, D) or (B, N, D), where tokens lie, for a head that attends to them again.
        cache: per-layer keys and values (B, heads, N, size), positions applied, for a head with joint attention;
            ``mask`` says which of the N count here, too.
        decode: continues the language model behind the tokens, for a head that decodes through it: embeddings
            (B, M, D) from the first one on to hidden states (B, M, D), each looking at those up to it.
        state: (B, S), what is felt or what was made of it, for a head that has a token of its own for it.
    """

    tokens: Tensor
    mask: Tensor | None = None
    places: Tensor | None = None
    cache: tuple[tuple[Tensor, Tensor], ...] | None = None
    decode: Callable[[Tensor], Tensor] | None = None
    state: Tensor | None = None


class ActionHead(Protocol):
    """Turns features into action chunks. Inside a policy, so actions here are normalised."""

    def loss(self, features: Features, batch: Batch[Tensor]) -> Tensor:
        """Return the loss per row, (B,); padded steps do not count."""
        ...

    def sample(self, features: Features, noise: Tensor | None = None) -> Tensor:
        """Return chunks (B, H, A); ``noise`` (B, H, A) is an input so that export can own it."""
        ...


class StochasticHead(ActionHead, Protocol):
    """An action head that reinforcement learning can score."""

    def rollout(self, features: Features) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) and the trace that scores the same draw again."""
        ...

    def log_prob(self, features: Features, trace: Mapping[str, Tensor]) -> Tensor:
        """Return log-probabilities (B, L) of a traced draw."""
        ...

    def mask(self, execute: int, alive: Tensor) -> Tensor:
        """Return which of the L units were executed, (B, L) bool; ``alive`` (B, H) marks steps before the end."""
        ...


class Policy(Protocol):
    """Acts every tick: a trained VLA, a scripted expert, an exported engine, a shielded policy, MPC."""

    @property
    def spec(self) -> RobotSpec:
        """The robot this policy was made for."""
        ...

    def reset(self, rows: Rows = None) -> None:
        """Forget what was remembered of these rows: an episode starts."""
        ...

    def select_action(self, obs: NumpyObservation, rows: Rows = None) -> NDArray[np.float32]:
        """Return actions (B, A) for this tick, physical units.

        Args:
            obs: B observations of this tick (T = 1; the policy keeps its own history).
            rows: which rows of the policy's memory they belong to; None means 0 .. B-1.
        """
        ...


class PointingPolicy(Policy, Protocol):
    """A policy that can say where it thinks the named things are."""

    def points(self) -> Mapping[str, NDArray[np.float32]]:
        """Return the points predicted by the last ``select_action``, (B, 2 or 3) by name, physical units."""
        ...


class ChunkPolicy(Policy, Protocol):
    """A policy that predicts action chunks."""

    def predict_action_chunk(self, obs: NumpyObservation) -> NDArray[np.float32]:
        """Return chunks (B, H, A), physical units, for observations with full history."""
        ...


class Trainable(Protocol):
    """The training face of a policy: what supervised recipes need of it, and no more."""

    def losses(self, batch: Batch[Tensor]) -> Mapping[str, Tensor]:
        """Return loss terms per row, each (B,), already weighted against each other."""
        ...


class StochasticTrainable(Trainable, Protocol):
    """A trainable policy that reinforcement learning can sample and score."""

    def rollout(self, obs: Observation[Tensor]) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Draw chunks (B, H, A) in physical units with the trace that scores them."""
        ...

    def log_prob(self, obs: Observation[Tensor], trace: Mapping[str, Tensor]) -> Tensor:
        """Return log-probabilities (B, L) of a traced draw."""
        ...


# ------------------------------------------------------------------------------------ environments


@dataclass(frozen=True)
class StepResult:
    """What ``VecEnv.step`` returns for the rows that were stepped (all arrays have that many rows).

    Attributes:
        obs: the next observations; images are the last rendered ones when ``render`` was False.
        reward: (B,) float32. terminated: (B,) bool. truncated: (B,) bool.
        success: (B,) bool, the instruction's goal holds now.
        note: B short sentences on how the episode stands; filled where it ended, else "".
    """

    obs: NumpyObservation
    reward: NDArray[np.float32]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    success: NDArray[np.bool_]
    note: tuple[str, ...]


class VecEnv(Protocol):
    """Several copies of a world stepped together. Nothing resets by itself.

    A *state id* is an opaque string that names one initial state with its instruction, for ever:
    the same id gives the same episode start on every machine. Ids come from ``states``.
    """

    @property
    def spec(self) -> RobotSpec:
        """The robot in this world."""
        ...

    @property
    def num_envs(self) -> int:
        """How many rows there are."""
        ...

    @property
    def tasks(self) -> tuple[str, ...]:
        """Task names, for tables."""
        ...

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the sets of initial states; "train" and "seen" exist everywhere and share none."""
        ...

    @property
    def target_names(self) -> tuple[str, ...]:
        """Keys of ``privileged`` that are recorded as auxiliary labels."""
        ...

    def states(self, split: str, task: str, count: int, start: int = 0) -> tuple[str, ...]:
        """Return ids ``start .. start + count`` of a split's initial states for one task."""
        ...

    def variant(self, state_id: str, name: str) -> str | None:
        """Return the id of the same scene under another instruction, or None where there is none.

        Args:
            state_id: the initial state.
            name: ``wrong`` names another goal but judges the old one; ``other`` names another goal
                and judges it; ``silent`` gives no instruction.
        """
        ...

    def reset(self, state_ids: Sequence[str], rows: Rows = None) -> NumpyObservation:
        """Start episodes in these rows and return their observations (T = 1)."""
        ...

    def step(self, actions: NDArray[np.float32], rows: Rows = None, *, render: bool = True) -> StepResult:
        """Apply actions (B, A), physical units, to these rows for one tick of 1 / hz seconds."""
        ...

    def get_state(self, rows: Rows = None) -> tuple[bytes, ...]:
        """Return a snapshot of each row that ``set_state`` restores exactly."""
        ...

    def set_state(self, states: Sequence[bytes], rows: Rows = None) -> NumpyObservation:
        """Restore snapshots and return the observations there."""
        ...

    def picture(self, row: int, size: int) -> NDArray[np.uint8]:
        """Return a picture of one row for people, (size, size, 3) RGB; policies never see it."""
        ...

    def project(self, row: int, points: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where points (K, 2 or 3) [m] of ``privileged`` coordinates lie in ``picture``, (K, 2) in 0 .. 1."""
        ...


class EnvConfig(Protocol):
    """A world's settings: light to import, picklable, able to build the world and its expert."""

    @property
    def kind(self) -> str:
        """The world's name in ``ENVS``."""
        ...

    def build(self, num_envs: int) -> VecEnv:
        """Return the world with that many rows."""
        ...

    def expert(self) -> Policy:
        """Return a stateless policy that reads ``Observation.privileged``."""
        ...


# ---------------------------------------------------------------------------------------- training


@dataclass(frozen=True)
class Cursor:
    """Where a recipe stands in its stream of batches: the next update's number, from 0."""

    update: int = 0


BatchT_co = TypeVar("BatchT_co", covariant=True)
BatchT = TypeVar("BatchT")


class Sized(Protocol):
    """What the engine asks of any batch, a (robot, web) pair included."""

    @property
    def num_rows(self) -> int:
        """Rows in this batch."""
        ...


class Stateful(Protocol):
    """Anything whose whole state is a tree of tensors and plain values."""

    def state_dict(self) -> dict[str, Any]:
        """Return the state."""
        ...

    def load_state_dict(self, state: dict[str, Any], /) -> Any:  # noqa: ANN401  (torch returns keys)
        """Take the state back."""
        ...


class Recipe(Stateful, Protocol[BatchT]):
    """One training algorithm: where batches come from and what an update does with one."""

    @property
    def modules(self) -> Mapping[str, nn.Module]:
        """Everything with weights, by name; "policy" is the one that acts."""
        ...

    @property
    def optims(self) -> Mapping[str, Stateful]:
        """One optimiser per trained module."""
        ...

    def acting(self) -> nn.Module:
        """Return the policy to evaluate, save and deploy: the averaged weights where there are any."""
        ...

    def batches(self, start: Cursor) -> Iterator[BatchT]:
        """Yield batches from ``start`` on; batch k depends on the seed and k only (and on data collected before it)."""
        ...

    def update(self, batch: BatchT) -> Metrics:
        """Learn from one batch."""
        ...
