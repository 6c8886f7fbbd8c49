"""Every export format by name; adding one is a file and a line here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from sinew.deploy.artefact import Manifest
from sinew.deploy.onnx import export_onnx
from sinew.models.policy import VLAPolicy


class Exporter(Protocol):
    """Writes a policy as an artefact."""

    def __call__(self, policy: VLAPolicy, path: Path, *, source: Mapping[str, Any]) -> Manifest:
        """Write the artefact and return what it says of itself.

        Args:
            policy: trained; left as it is.
            path: directory of the artefact.
            source: where the policy comes from.
        """
        ...


EXPORTERS: dict[str, Exporter] = {"onnx": export_onnx}
