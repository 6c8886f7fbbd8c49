"""Settings of collecting, ingesting, windowing and augmenting; light to import."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True)
class CollectConfig:
    """How demonstrations are recorded from a world's scripted expert.

    Attributes:
        episodes: successful episodes to keep.
        mix: share of each task by name, in any unit; empty means equal shares.
        noise: standard deviations of action noise, as a share of half the action range; each
            episode draws one. Labels stay clean.
        burst: chance per tick of a burst of stronger noise.
        flip: chance per tick that a two-valued action is flipped.
        group: episodes per job handed to a worker process; part of what is recorded.
        held_out: share of episodes kept for validation.
        stills: further initial states, each seen for one tick with what the expert would do there.
    """

    episodes: int = 3000
    mix: dict[str, float] | None = None
    noise: tuple[float, ...] = (0.0, 0.2, 0.35)
    burst: float = 0.02
    flip: float = 0.005
    group: int = 50
    held_out: float = 0.02
    stills: int = 0


@dataclass(frozen=True)
class MirrorConfig:
    """What a mirrored or turned image means for the numbers; every state, action and label value stands in one list.

    Values are named ``state.NAME``, ``action.NAME`` and, for labels, ``targets.LABEL.NUMBER``, such as ``state.y``.

    Attributes:
        keep: values that stay.
        negate: those that change sign when mirrored, or lie as far on the other side of ``about``.
        swap: pairs that change places when mirrored, such as the joints of a left and a right arm.
        turn: pairs (right, down) in the image that turn with it; these are kept or negated when mirrored too.
        spin: angles [rad], positive from right to down in the image, that a turn adds to.
        about: the value at the mirror or at the turning point, 0 where none is given.
        cameras: pairs of cameras that change places when mirrored.
        words: pairs of words that change places when mirrored.
    """

    keep: tuple[str, ...] = ()
    negate: tuple[str, ...] = ()
    swap: tuple[tuple[str, str], ...] = ()
    turn: tuple[tuple[str, str], ...] = ()
    spin: tuple[str, ...] = ()
    about: dict[str, float] = field(default_factory=dict)
    cameras: tuple[tuple[str, str], ...] = ()
    words: tuple[tuple[str, str], ...] = (
        ("left", "right"),
        ("leftmost", "rightmost"),
        ("leftwards", "rightwards"),
        ("clockwise", "counterclockwise"),
    )


@dataclass(frozen=True)
class PhraseConfig:
    """Changes of instructions in training; what is not known to be harmless is never touched.

    Attributes:
        keep: share of the rows whose sentence stays as it is, at least 0.5.
        synonym: chance that a phrase in the table of synonyms is exchanged, of a sentence that is changed.
        template: chance that it is said in another form ("can you ...").
        insert: chance that "please" or "carefully" is added.
        delete: chance that a word that can be missed is left out.
        synonyms: the table; None takes the one in ``data/phrases.py``.
        protect: further words that must not be touched.
        longest: words; a sentence that would become longer stays as it is, for longer ones are cut by the policy.
    """

    keep: float = 0.5
    synonym: float = 0.5
    template: float = 0.3
    insert: float = 0.3
    delete: float = 0.3
    synonyms: dict[str, tuple[str, ...]] | None = None
    protect: tuple[str, ...] = ()
    longest: int = 20


@dataclass(frozen=True)
class AugmentConfig:
    """Changes of a batch in training, drawn once per row, the same over a window. None switches off.

    Attributes:
        brightness: largest relative change.
        contrast: largest relative change.
        shift: largest shift [px], edge-padded.
        hue: share of the rows whose hues are turned by any angle, of those whose sentence has none of ``hue_words``.
        hue_words: words that are only true of the colours as they are.
        saturation: largest relative change.
        tint: largest turn of all hues [rad].
        crop: largest share of height and width that is cut away before scaling up again.
        blur: largest standard deviation [px].
        noise: largest standard deviation of pixel noise, of 255.
        cutout: longest side of a grey patch, as a share of the image.
        flip: share of the rows that are mirrored; needs ``mirror``.
        turn: largest angle by which images are turned [rad]; needs ``mirror``.
        mirror: what that means for the numbers.
        phrases: how instructions are changed.
        chances: by name, share of the rows that each of saturation (with tint), crop, blur, noise, cutout and turn
            changes; 1 for saturation, crop and turn, 0.2 for the others.
    """

    brightness: float = 0.15
    contrast: float = 0.15
    shift: int = 0
    hue: float = 0.0
    hue_words: tuple[str, ...] = ()
    saturation: float | None = None
    tint: float | None = None
    crop: float | None = None
    blur: float | None = None
    noise: float | None = None
    cutout: float | None = None
    flip: float | None = None
    turn: float | None = None
    mirror: MirrorConfig | None = None
    phrases: PhraseConfig | None = None
    chances: dict[str, float] | None = None


@dataclass(frozen=True)
class IngestConfig:
    """How a recorded data set is read into a store.

    Attributes:
        spec: JSON file with what the data set does not say of its robot; None looks for the one beside it.
        image_size: (height, width) [px] that images are scaled to; None leaves them as they are.
        instruction: the sentence for episodes that have none; without it these are refused.
        held_out: share of episodes kept for validation.
        raw_gb: most that images may take as they are [GB]; where they would take more, they are packed as JPEG of
            quality 95, a fourth of the size or less. None means 50.
        films: leave images in the films of the data set and decode what is needed when it is; slower to read than a
            copy, and nothing is copied. The films must stay where they are.
        stream: gigabytes of disk for images while training goes on; the data set is then read in by parts, again in
            every epoch, and only numbers and held-out episodes stay. None reads it in once.
    """

    spec: Path | None = None
    image_size: tuple[int, int] | None = None
    instruction: str | None = None
    held_out: float = 0.1
    raw_gb: float | None = None
    films: bool | None = None
    stream: float | None = None


@dataclass(frozen=True)
class SourceConfig:
    """One of several data sets that are learned from together.

    Attributes:
        path: a data set of a known format, or a store.
        weight: factor on how often it is drawn.
        name: for tables; the name of the file where none is given.
        ingest: how it is read; None reads it as the others.
        fingerprint: of what was found there; filled in when the data are read.
    """

    path: str
    weight: float = 1.0
    name: str = ""
    ingest: IngestConfig | None = None
    fingerprint: str = ""


@dataclass(frozen=True)
class Stage:
    """Weights of the sources at one moment of a run.

    Attributes:
        at: share of the run, 0 .. 1.
        weights: of each source, in their order.
    """

    at: float
    weights: tuple[float, ...]


@dataclass(frozen=True)
class MixConfig:
    """How often each of several data sets is drawn: p ~ weight n^(1 / temperature), n its training frames.

    Attributes:
        sources: the data sets.
        bodies: several, where they may be of different robots, whose cameras, states, actions and rates differ; None
            wants one.
        temperature: 1 draws by size, inf all sources alike.
        stages: weights over the run instead of the fixed ones, in straight lines from stage to stage.
        success_power: how strongly sources are drawn whose held-out episodes are not imitated well yet; 0 not at all.
        task_power: loss weights by task, ~ frequency^-power; 1 gives every task the same say, 0 every frame.
    """

    sources: tuple[SourceConfig, ...] = ()
    bodies: Literal["several"] | None = None
    temperature: float = 1.0
    stages: tuple[Stage, ...] = ()
    success_power: float = 0.0
    task_power: float = 0.0


@dataclass(frozen=True)
class DataConfig:
    """Recordings to learn from.

    Attributes:
        path: a data set of a known format, or a store; "" where there are several.
        mix: several data sets in place of the one.
        ingest: how they are read; an image larger than needed is scaled where no size is given.
        labels: what teaches the pointers: recorded coordinates (space), clicks (image), or hindsight, which is where
            the robot acted next and what it moved in the images, clicks over it. auto takes space before hindsight.
        tolerance: a step counts as right where every action is this close, as a share of its range.
        quality: how strongly the loss of an episode goes by its quality in the mask beside the data (sinew data
            filter): times quality^this. None weighs all alike.
        fingerprint: of what was found there; filled in when the data are read.
    """

    path: str = ""
    ingest: IngestConfig = field(default_factory=IngestConfig)
    labels: Literal["auto", "space", "image", "hindsight", "none"] = "auto"
    tolerance: float = 0.05
    fingerprint: str = ""
    mix: MixConfig | None = None
    quality: float | None = None

    @property
    def sources(self) -> tuple[SourceConfig, ...]:
        """The data sets: those of the mixture, or the only one; none where nothing is named."""
        if self.mix is not None:
            return self.mix.sources
        return (SourceConfig(self.path),) if self.path else ()

    @property
    def several_bodies(self) -> bool:
        """Whether they may be of different robots."""
        return self.mix is not None and self.mix.bodies is not None

    @property
    def said(self) -> str:
        """Where they lie, for people."""
        return ", ".join(source.path for source in self.sources)


@dataclass(frozen=True)
class TextConfig:
    """How images with text are read into a store.

    Attributes:
        image_size: (height, width) [px] of all images there.
        fit: how they are brought to it: pad keeps all of an image and fills the rest with its mean colour, crop
            fills the size and cuts what lies outside, stretch changes the aspect.
        storage: jpeg (quality 95, without chroma subsampling) or raw bytes, which are exact and about ten times larger.
    """

    image_size: tuple[int, int] = (224, 224)
    fit: Literal["pad", "crop", "stretch"] = "pad"
    storage: Literal["jpeg", "raw"] = "jpeg"
