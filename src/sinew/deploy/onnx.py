"""Exports a policy to ONNX graphs in an artefact."""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn
from torch.export import Dim
from torch.nn import functional

from sinew.core.errors import CheckpointError, ConfigError, SpecError, require
from sinew.core.files import write_text
from sinew.core.types import NumpyObservation
from sinew.deploy.artefact import TOKENIZER, Graph, Manifest, Port, Scale, new_artefact, seal, versions
from sinew.deploy.graphs import Prefix, Seeing, Step, SteppingHead, Whole, inside
from sinew.models.config import PolicyConfig
from sinew.models.heads.config import DiffusionHeadConfig
from sinew.models.normalizer import Normalizer
from sinew.models.policy import VLAPolicy

EXAMPLE_ROWS = 2
"""Rows that are traced; one row would be taken for a constant."""
EXAMPLE_WORDS = 3
ONE_FILE = 1 << 30
"""Bytes of weights up to which a graph holds them itself; protobuf ends at 2 GiB."""


def export_onnx(policy: VLAPolicy, path: Path, *, source: Mapping[str, Any]) -> Manifest:
    """Write a policy as an artefact of ONNX graphs; batch and words are of any length.

    A head that steps from noise gives two graphs, "prefix" and "step", and the loop stays with the
    caller; any other gives one. The policy itself is left as it is.

    Args:
        policy: trained, on any device.
        path: directory of the artefact; an older artefact there is replaced.
        source: where the policy comes from.

    Raises:
        CheckpointError: the policy has no statistics yet, or ``path`` holds something else.
        ConfigError: a part of it would not act in a graph as it does here.
        DependencyError: onnx or onnxscript is not installed.
    """
    require("onnx", extra="deploy")
    require("onnxscript", extra="deploy")
    check_exportable(policy.config)
    twin = copy.deepcopy(policy).to("cpu").eval()
    if not all(value.isfinite().all() for one in (twin.normalizer, twin.own) for value in one.buffers()):
        raise CheckpointError("the policy has no statistics of its data yet. Export one that was trained.")
    points = _point_names(twin)
    stepping = twin.head if isinstance(twin.head, SteppingHead) else None
    with new_artefact(path) as directory:
        with torch.no_grad(), _quiet():
            graphs = _whole(twin, points, directory) if stepping is None else _steps(twin, points, directory)
        write_text(directory / TOKENIZER, twin.tokenizer.to_str(pretty=False))
        manifest = Manifest(
            format="onnx",
            runner="single" if stepping is None else "denoise",
            graphs=graphs,
            robot=twin.spec,
            history=twin.config.history,
            horizon=twin.config.horizon,
            execute=twin.config.execute,
            max_tokens=twin.config.language.max_tokens,
            points={name: twin.normalizer.sizes[f"targets_{name}"] for name in points},
            normalizer={name: _scale(one, name) for one in (twin.normalizer, twin.own) for name in one.sizes},
            times=() if stepping is None else stepping.times,
            padding=twin.word_ids.padding,
            ending=twin.word_ids.ending,
            template=twin.word_ids.template,
            drawn=inside(twin) if inside(twin) != twin.spec.action_size else None,
            previous=twin.config.num_previous,
            source=source,
            versions=versions("torch", "onnx", "onnxscript"),
        )
        return seal(directory, manifest)


def check_exportable(config: PolicyConfig) -> None:
    """Refuse policies whose artefact would act otherwise than they do.

    Raises:
        ConfigError: with the part, and what works.
    """
    head = config.head
    if isinstance(head, DiffusionHeadConfig) and (head.before or head.eta):
        what = "draws steps before now" if head.before else "draws at every step (--policy.head.eta above 0)"
        raise ConfigError(
            f"this diffusion head {what}, which an artefact cannot: its noise is an input of the size of a chunk. "
            "Serve or run the policy itself (sinew serve, sinew run)."
        )


def exportable(config: PolicyConfig) -> bool:
    """Return whether there can be an artefact of such a policy."""
    try:
        check_exportable(config)
    except ConfigError:
        return False
    return True


def _whole(policy: VLAPolicy, points: tuple[str, ...], directory: Path) -> dict[str, Graph]:
    args, dims = _sight(policy)
    outputs = ("actions", *(f"points.{name}" for name in points))
    return {"policy": _export(Whole(policy, points), args, dims, outputs, directory / "policy.onnx")}


def _steps(policy: VLAPolicy, points: tuple[str, ...], directory: Path) -> dict[str, Graph]:
    args, dims = _sight(policy)
    prefix = Prefix(policy, points)
    decided, *rest = prefix(*args.values())
    memory = rest[len(points) :]
    outputs = ("decided", *(f"points.{name}" for name in points), *_memory_names(memory))
    batch = dims["state"]
    time = torch.full((EXAMPLE_ROWS,), cast("SteppingHead", policy.head).times[0])
    chunk = torch.randn(*decided.shape[:2], inside(policy))
    inputs = {"memory": memory, "decided": decided, "chunk": chunk, "time": time}
    graphs = {"prefix": _export(prefix, args, dims, outputs, directory / "prefix.onnx")}
    wider = prefix(*{**args, "ids": functional.pad(args["ids"], (0, 1), value=1)}.values())[1 + len(points) :]
    same = {**dict.fromkeys(inputs, batch), "memory": _memory_dims(batch, memory, wider)}
    graphs["step"] = _export(Step(policy), inputs, same, ("next", "actions"), directory / "step.onnx")
    return graphs


def _memory_dims(
    batch: Mapping[int, Any], memory: Sequence[torch.Tensor], wider: Sequence[torch.Tensor]
) -> list[dict[int, Any]]:
    """Return which sizes of each part of a memory vary: the batch, and what is longer where one more word was said."""
    tokens = Dim("tokens")
    pairs = (zip(one.shape, other.shape, strict=True) for one, other in zip(memory, wider, strict=True))
    return [{**batch, **{axis: tokens for axis, (few, more) in enumerate(sizes) if few != more}} for sizes in pairs]


def _memory_names(memory: Sequence[torch.Tensor]) -> list[str]:
    return ["context", *(f"context.{number}" for number in range(1, len(memory)))]


def _sight(policy: VLAPolicy) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return an example of what a policy sees, by argument, and which of its sizes vary."""
    config, spec = policy.config, policy.spec
    views = [(EXAMPLE_ROWS, config.history, 3, camera.height, camera.width) for camera in spec.cameras.values()]
    words = min(EXAMPLE_WORDS, config.language.max_tokens)
    args = {
        "images": [torch.randint(0, 256, view, dtype=torch.uint8) for view in views],
        "state": torch.randn(EXAMPLE_ROWS, config.history, spec.state_size),
        "ids": torch.ones(EXAMPLE_ROWS, words, dtype=torch.int64),
    }
    batch = {0: Dim("batch")}
    longer = {1: Dim("words", min=1, max=config.language.max_tokens)} if words > 1 else {}
    dims: dict[str, Any] = {"images": [batch] * len(views), "state": batch, "ids": batch | longer}
    if config.num_previous:
        args["previous"] = torch.randn(EXAMPLE_ROWS, config.num_previous, spec.action_size)
        dims["previous"] = batch
    return args, dims


def _export(
    module: nn.Module, args: Mapping[str, Any], dims: Mapping[str, Any], outputs: tuple[str, ...], path: Path
) -> Graph:
    """Write one graph and return what it is.

    Strict tracing: unlike the other way it follows ``len(tensor)``, and leaves caches of the model alone.
    """
    inputs = [name for key, value in args.items() for name in _names(key, value, module)]
    values, shapes = tuple(args.values()), tuple(dims.values())
    program = torch.export.export(module.eval(), values, dynamic_shapes=shapes, strict=True)
    graph: Any = torch.onnx.export(
        program, values, dynamo=True, dynamic_shapes=shapes, input_names=inputs, output_names=outputs, verbose=False
    )
    for node in graph.model.graph.all_nodes():
        node.metadata_props.clear()  # traces of the exporting machine's files
    ports = [[_port(value) for value in values] for values in (graph.model.graph.inputs, graph.model.graph.outputs)]
    fixed = [port.name for part in ports for port in part if not isinstance(port.shape[0], str)]
    drawn = [node.op_type for node in graph.model.graph.all_nodes() if node.op_type.startswith("Random")]
    if fixed or drawn:
        raise SpecError(
            f"this policy cannot be exported: {', '.join(fixed + drawn)} would be fixed or drawn inside the graph. "
            "A head that begins with noise needs times, remember, advance and finish, see SteppingHead; one that draws "
            "at every step, as diffusion does with --policy.head.eta above 0, has to be told not to."
        )
    size = sum(value.numel() * value.element_size() for value in module.state_dict().values())
    graph.save(str(path), external_data=size > ONE_FILE)
    return Graph(path.name, tuple(ports[0]), tuple(ports[1]))


def _names(argument: str, value: Any, module: nn.Module) -> list[str]:  # noqa: ANN401  (a tensor or a list of them)
    if argument == "memory":
        return _memory_names(value)
    cameras = module.policy.spec.cameras if argument == "images" and isinstance(module, Seeing) else ()
    return [f"images.{name}" for name in cameras] or [argument]


def _port(value: Any) -> Port:  # noqa: ANN401  (an untyped package's)
    shape = tuple(size if isinstance(size, int) else str(size.value) for size in value.shape)
    return Port(value.name, value.dtype.numpy().name, shape)


def _scale(normalizer: Normalizer, name: str) -> Scale:
    mean, std = (normalizer.get_buffer(f"{name}_{part}").tolist() for part in ("mean", "std"))
    return Scale(tuple(mean), tuple(std))


def _point_names(policy: VLAPolicy) -> tuple[str, ...]:
    """Return the names of the points that the policy shows when it acts."""
    args, _ = _sight(policy)
    images = {name: view.numpy() for name, view in zip(policy.spec.cameras, args["images"], strict=True)}
    before = args["previous"].numpy() if "previous" in args else None
    sentences = ("",) * EXAMPLE_ROWS
    policy.predict_action_chunk(NumpyObservation(images, args["state"].numpy(), sentences, prev_actions=before))
    return tuple(policy.points())


@contextmanager
def _quiet() -> Generator[None]:
    """Within, torch keeps to itself what it has to say about its own parts."""
    log = logging.getLogger("torch.onnx")
    before = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(before)
