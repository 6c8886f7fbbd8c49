"""Reading models in the Hugging Face layout: from the hub or a directory, whole or as a blueprint, parts frozen."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from sinew.core.errors import CheckpointError, ConfigError, require
from sinew.core.files import read_json
from sinew.models.llava import is_whole, read_part

if TYPE_CHECKING:
    from sinew.models.encoder_config import Frozen

WANTED = ("*.json", "*.safetensors", "*.txt", "*.model", "*.jinja")
"""Files that are fetched from the hub: never pickles."""
WRONG = ("missing_keys", "mismatched_keys")
EXTRA = "vlm"
"""The extra of this distribution that brings ``transformers`` and ``peft``."""


def fetch(path: str, wanted: Sequence[str] = WANTED) -> Path:
    """Return the directory of a model: ``path`` itself, or where the hub's copy lies on this machine.

    Args:
        path: directory or hub id.
        wanted: patterns of the files that are fetched.

    Raises:
        CheckpointError: there is neither.
    """
    place = Path(path).expanduser()
    if place.is_dir():
        return place
    if place.is_absolute() or path.startswith((".", "~")) or path.count("/") > 1:
        raise CheckpointError(f"{path}: no such directory. Name one in the Hugging Face layout, or an id on the hub.")
    hub = require("huggingface_hub", extra=EXTRA)
    errors = importlib.import_module("huggingface_hub.errors")
    try:
        return Path(hub.snapshot_download(path, allow_patterns=list(wanted)))
    except (errors.HfHubHTTPError, errors.LocalEntryNotFoundError, errors.HFValidationError, OSError) as error:
        raise CheckpointError(
            f"{path}: neither a directory nor to be had from the hub ({type(error).__name__}: {error}). "
            "Check the id and the network, or download it and name its directory."
        ) from error


def transformers_class(module: str, name: str) -> Any:  # noqa: ANN401  (a class of an optional package)
    """Return a class of ``transformers.models``, which is imported now and no earlier.

    Raises:
        DependencyError: it is not installed.
    """
    require("transformers", extra=EXTRA)
    return getattr(importlib.import_module(f"transformers.models.{module}"), name)


def read_blueprint(kind: Any, place: Path, types: Mapping[str, str]) -> Any:  # noqa: ANN401  (a class of transformers)
    """Return the configuration that a directory holds.

    Args:
        kind: configuration class of ``transformers``.
        place: in the Hugging Face layout.
        types: from each ``model_type`` that fits to the key its part lies under, "" for the whole.

    Raises:
        CheckpointError: there is none, or it is another kind of model.
    """
    if not (place / "config.json").is_file():
        raise CheckpointError(f"{place}: no config.json. Name a directory in the Hugging Face layout.")
    content = read_json(place / "config.json")
    found = content.get("model_type")
    if found not in types:
        raise CheckpointError(
            f"{place}/config.json: model_type {found!r}, wanted {' or '.join(map(repr, types))}. "
            "Choose the kind of encoder that fits, or another directory."
        )
    part = types[found]
    inner = content[part] if part else content
    if types.get(inner.get("model_type", found)) is None or (part and types.get(inner.get("model_type"), "") != ""):
        raise CheckpointError(
            f"{place}/config.json: the {part} of this {found} is a {inner.get('model_type')!r}, wanted "
            f"{' or '.join(repr(name) for name, key in types.items() if not key)}. Choose the kind that fits."
        )
    return kind.from_dict(inner)


def load_weights(kind: Any, blueprint: Any, place: Path, **options: Any) -> nn.Module:  # noqa: ANN401
    """Return a model with the weights of a directory, in float32.

    Args:
        kind: model class of ``transformers``.
        blueprint: its configuration.
        place: in the Hugging Face layout; safetensors only, in one file or in shards.
        options: of the model class.

    Raises:
        CheckpointError: weights are missing, of another shape or unreadable.
    """
    if is_whole(place):
        return _out_of_whole(kind(blueprint, **options), place)
    try:
        with quiet():
            model, report = kind.from_pretrained(
                place,
                config=blueprint,
                dtype=torch.float32,
                use_safetensors=True,
                output_loading_info=True,
                local_files_only=True,
                **options,
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{place}: its weights cannot be used ({error}). Fetch it again.") from error
    _check_whole(place, kind.__name__, [str(name) for key in WRONG for name in report[key]])
    return model


def _out_of_whole(model: nn.Module, place: Path) -> nn.Module:
    """Return a part with its weights out of a whole vision-language model."""
    part = "language" if hasattr(model, "embed_tokens") else "vision"
    found, wanted = read_part(place, part), model.state_dict()
    wrong = [name for name, value in wanted.items() if name not in found or found[name].shape != value.shape]
    _check_whole(place, type(model).__name__, wrong)
    model.load_state_dict({name: found[name] for name in wanted})
    return model


def _check_whole(place: Path, name: str, wrong: Sequence[str]) -> None:
    if wrong:
        raise CheckpointError(
            f"{place}: {len(wrong)} weights of {name} are missing or of another shape, such as "
            f"{', '.join(sorted(wrong)[:3])}. Fetch it again, or choose the kind of encoder that fits."
        )


@contextlib.contextmanager
def quiet() -> Generator[None]:
    """Keep ``transformers`` from printing bars and advice; what matters is said by our own errors."""
    logging = importlib.import_module("transformers.utils.logging")
    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


class Freezable(nn.Module):
    """A module some parts of which may stay as they are: without gradients and always in evaluation mode."""

    def __init__(self) -> None:
        super().__init__()
        self.fixed: list[nn.Module] = []

    def freeze(self, parts: Iterable[nn.Module]) -> None:
        """Let these parts stay as they are from now on."""
        for part in parts:
            self.fixed.append(part.requires_grad_(requires_grad=False).eval())

    def train(self, mode: bool = True) -> Freezable:  # noqa: FBT001, FBT002  (torch's signature)
        """Set the mode of everything that is not frozen."""
        super().train(mode)
        for part in self.fixed:
            part.eval()
        return self

    def freeze_first(self, frozen: Frozen, layers: nn.ModuleList, embeddings: Iterable[nn.Module]) -> None:
        """Freeze as a setting says: nothing, the embeddings and some first layers, or all.

        Raises:
            ConfigError: there are not as many layers.
        """
        if frozen == "all":
            self.freeze(self.children())
            return
        if not 0 <= frozen <= len(layers):
            raise ConfigError(f"frozen {frozen}: there are {len(layers)} layers. Name at most as many, or 'all'.")
        if frozen:
            self.freeze([*embeddings, *layers[:frozen]])
