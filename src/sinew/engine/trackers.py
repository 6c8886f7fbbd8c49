"""Experiment trackers beside metrics.jsonl: TensorBoard without being asked, others by name, all of them offline."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from sinew.core.errors import ConfigError, require
from sinew.engine.events import EventFile
from sinew.engine.findings import Finding, read

PROJECT = "sinew"
DEFAULT = ("tensorboard",)
"""What tracks a run that names nothing: its files need no package and cost nothing."""


@dataclass(frozen=True)
class Tracked:
    """The run that is tracked.

    Attributes:
        path: its directory.
        config: its settings as JSON values.
        update: where it goes on; 0 for a new one.
    """

    path: Path
    config: Mapping[str, Any] = field(default_factory=dict)
    update: int = 0

    @property
    def name(self) -> str:
        """Of the run, as trackers show it."""
        return self.path.name


class Tracker(Protocol):
    """Somewhere else to look at a run."""

    def numbers(self, update: int, numbers: Mapping[str, float]) -> None:
        """Take a row of numbers."""
        ...

    def picture(self, update: int, name: str, path: Path) -> None:
        """Take a PNG."""
        ...

    def text(self, update: int, name: str, text: str) -> None:
        """Take a text, Markdown."""
        ...

    def close(self) -> None:
        """Finish: nothing more will come from this process."""
        ...


class TensorBoard:
    """Event files in the run's folder ``tensorboard``; see them with ``tensorboard --logdir runs``."""

    def __init__(self, run: Tracked) -> None:
        self.file = EventFile(run.path / "tensorboard", step=run.update)
        if not run.update:
            lines = [f"| `{name}` | {value} |" for name, value in flat(run.config).items()]
            self.text(0, "config", "\n".join(["| setting | value |", "|---|---|", *lines]))

    def numbers(self, update: int, numbers: Mapping[str, float]) -> None:
        """Take a row of numbers."""
        self.file.numbers(update, numbers)

    def picture(self, update: int, name: str, path: Path) -> None:
        """Take a PNG."""
        self.file.picture(update, name, path.read_bytes())

    def text(self, update: int, name: str, text: str) -> None:
        """Take a text."""
        self.file.text(update, name, text)

    def close(self) -> None:
        """Close the event file."""
        self.file.close()


class Wandb:
    """Weights & Biases, offline unless WANDB_MODE says otherwise; ``wandb sync RUN/wandb/offline-*`` uploads it."""

    def __init__(self, run: Tracked) -> None:
        self.wandb = require("wandb", extra="wandb")
        self.run = self.wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=run.name,
            id=run.name,
            dir=str(run.path),
            mode=os.environ.get("WANDB_MODE", "offline"),
            config=dict(run.config),
            resume="allow",
            settings=self.wandb.Settings(silent=True),
        )

    def numbers(self, update: int, numbers: Mapping[str, float]) -> None:
        """Take a row of numbers."""
        self.run.log(dict(numbers), step=update)

    def picture(self, update: int, name: str, path: Path) -> None:
        """Take a PNG."""
        self.run.log({name: self.wandb.Image(str(path))}, step=update)

    def text(self, update: int, name: str, text: str) -> None:
        """Take a text; it becomes a line of the run's log table and of its summary."""
        self.run.log({name: self.wandb.Html(f"<pre>{text}</pre>")}, step=update)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()


class Trackio:
    """Hugging Face's local tracker, in the run's folder ``trackio`` unless TRACKIO_DIR names another one."""

    def __init__(self, run: Tracked) -> None:
        os.environ.setdefault("TRACKIO_DIR", str(run.path.absolute() / "trackio"))
        self.trackio = require("trackio", extra="trackio")
        self.run = self.trackio.init(
            project=PROJECT, name=run.name, config=dict(flat(run.config)), resume="allow", embed=False
        )

    def numbers(self, update: int, numbers: Mapping[str, float]) -> None:
        """Take a row of numbers."""
        self.run.log(dict(numbers), step=update)

    def picture(self, update: int, name: str, path: Path) -> None:
        """Take a PNG."""
        self.run.log({name: self.trackio.Image(str(path))}, step=update)

    def text(self, update: int, name: str, text: str) -> None:
        """Take a text."""
        self.run.log({name: self.trackio.Markdown(text)}, step=update)

    def close(self) -> None:
        """Finish the run."""
        self.run.finish()


class Mlflow:
    """MLflow in ``mlflow.db`` beside the runs, unless MLFLOW_TRACKING_URI names a server or another file."""

    def __init__(self, run: Tracked) -> None:
        client = require("mlflow.tracking", extra="mlflow").MlflowClient
        place = run.path.absolute().parent / "mlflow.db"
        self.client = client(tracking_uri=os.environ.get("MLFLOW_TRACKING_URI", f"sqlite:///{place}"))
        known = self.client.get_experiment_by_name(PROJECT)
        artifacts = (place.parent / "mlflow-artifacts").as_uri()
        experiment = known.experiment_id if known else self.client.create_experiment(PROJECT, artifacts)
        same = self.client.search_runs([experiment], f"attributes.run_name = '{run.name}'") if run.update else []
        self.id = same[0].info.run_id if same else self.client.create_run(experiment, run_name=run.name).info.run_id
        for name, value in () if same else flat(run.config).items():
            self.client.log_param(self.id, _plain(name), value)

    def numbers(self, update: int, numbers: Mapping[str, float]) -> None:
        """Take a row of numbers."""
        for name, number in numbers.items():
            self.client.log_metric(self.id, _plain(name), number, step=update, synchronous=True)

    def picture(self, update: int, name: str, path: Path) -> None:
        """Take a PNG."""
        self.client.log_artifact(self.id, str(path))

    def text(self, update: int, name: str, text: str) -> None:
        """Take a text."""
        self.client.log_text(self.id, text, f"{_plain(name)}-{update}.md")

    def close(self) -> None:
        """Finish the run."""
        self.client.set_terminated(self.id)


TRACKERS: dict[str, Callable[[Tracked], Tracker]] = {
    "tensorboard": TensorBoard,
    "wandb": Wandb,
    "trackio": Trackio,
    "mlflow": Mlflow,
}
"""By the name that --track gives."""


class Tracking:
    """Passes the record of a run on to its trackers; ``show`` is made for ``on_log``.

    A tracker that fails is told about once and then left alone: no training ends for a chart.

    Args:
        names: of trackers; None means those of every run, ("none",) no one.
        run: that is tracked.
        note: told which tracker failed.

    Raises:
        ConfigError: there is no tracker of that name.
        DependencyError: its package is not installed.
    """

    def __init__(self, names: Sequence[str] | None, run: Tracked, *, note: Callable[[str], None]) -> None:
        self.note = note
        self.trackers = {name: TRACKERS[name](run) for name in check_trackers(names)}

    def show(self, row: Mapping[str, Any]) -> None:
        """Take a row of metrics.jsonl: numbers, or a finding."""
        update = int(row["update"])
        if isinstance(row.get("finding"), Mapping):
            self._each(lambda tracker: tracker.text(update, "findings", in_markdown(read(row["finding"]))))
            return
        numbers = {
            name: float(value)
            for name, value in row.items()
            if name != "update" and isinstance(value, int | float) and math.isfinite(value)
        }
        self._each(lambda tracker: tracker.numbers(update, numbers))

    def picture(self, update: int, name: str, path: Path) -> None:
        """Pass a PNG on."""
        self._each(lambda tracker: tracker.picture(update, name, path))

    def close(self) -> None:
        """Finish with all of them."""
        self._each(lambda tracker: tracker.close())
        self.trackers.clear()

    def _each(self, action: Callable[[Tracker], None]) -> None:
        for name, tracker in list(self.trackers.items()):
            try:
                action(tracker)
            except Exception as error:  # noqa: BLE001  (whatever another's package raises must not end a training)
                del self.trackers[name]
                self.note(f"{name} takes no more of this run ({error}); metrics.jsonl has all of it.")


def check_trackers(names: Sequence[str] | None) -> tuple[str, ...]:
    """Return the trackers that are meant.

    Raises:
        ConfigError: there is none of that name.
    """
    wanted = DEFAULT if names is None else tuple(name for name in names if name != "none")
    unknown = [name for name in wanted if name not in TRACKERS]
    if unknown:
        raise ConfigError(f"--track {' '.join(unknown)}: there are {', '.join(TRACKERS)} and none.")
    return wanted


def flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the settings of a nested configuration by dotted names; lists as they are written."""
    found: dict[str, Any] = {}
    for name, value in tree.items():
        inner: Any = value
        if isinstance(inner, Mapping) and inner:
            found |= flat(inner, f"{prefix}{name}.")
        elif value is not None:
            found[f"{prefix}{name}"] = value if isinstance(value, bool | int | float | str) else str(value)
    return found


def in_markdown(finding: Finding) -> str:
    """Return a finding as a paragraph."""
    return f"**{finding.title}**: {finding.evidence}\n\n*likely:* {finding.cause}\n\n*try:* {finding.remedy}"


def _plain(name: str) -> str:
    """Return a name in the letters that MLflow takes."""
    return "".join(letter if letter.isalnum() or letter in "_-./ " else "_" for letter in name)
