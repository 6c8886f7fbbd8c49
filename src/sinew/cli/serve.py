"""``sinew serve``: a policy as a network service."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from sinew.cli.words import read
from sinew.core.errors import ConfigError

UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


@dataclass(frozen=True)
class ServeOptions:
    """Serve a policy over websockets until SIGTERM or Ctrl-C.

    Attributes:
        path: run, checkpoint or exported artefact.
        host: address to listen on; beyond loopback anyone who reaches it can use the policy.
        port: TCP port; 0 takes a free one.
        max_message: largest message taken, such as 16MiB.
        protocol: openpi (openpi-client) or vla-eval (vla-evaluation-harness).
        key: NAME=KEY where a part of the observation has another key than usual, such as front=observation/image,
            state=joints+gripper or instruction=task; may be given several times.
        resize: letterbox images of another size instead of refusing them.
        instruction: taken when a client sends none.
        batch: requests answered together when they wait at the same time.
        device: auto, cpu, cuda or mps.
    """

    path: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="PATH")]
    host: str = "127.0.0.1"
    port: int = 8000
    max_message: str = "16MiB"
    protocol: Literal["openpi", "vla-eval"] = "openpi"
    key: Annotated[tuple[str, ...], tyro.conf.UseAppendAction] = ()
    resize: bool = False
    instruction: str | None = None
    batch: int = 8
    device: str = "auto"


def serve(words: list[str]) -> int:
    """Serve a policy."""
    options = read(ServeOptions, words, "sinew serve")
    max_message = parse_size(options.max_message)

    from sinew.deploy.load import load_policy
    from sinew.deploy.serve import ServeConfig
    from sinew.deploy.serve import serve as serve_policy

    names = {item.name for item in dataclasses.fields(ServeConfig)} - {"max_message", "keys"}
    config = ServeConfig(max_message=max_message, keys=options.key, **{name: getattr(options, name) for name in names})
    policy = load_policy(options.path, device=options.device)
    serve_policy(policy, config, lambda line: print(line, flush=True))
    return 0


def parse_size(text: str) -> int:
    """Return the bytes that "16MiB", "2 GB" or "4096" means.

    Raises:
        ConfigError: it is no size.
    """
    match = re.fullmatch(r"(\d+(?:\.\d+)?) *([A-Za-z]*)", text.strip())
    if match is None or match[2].upper() not in UNITS:
        raise ConfigError(f"--max-message {text}: wanted a size such as 16MiB or 4096.")
    return int(float(match[1]) * UNITS[match[2].upper()])
