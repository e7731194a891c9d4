"""What is wrong with a model repository, and what to do about it."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from kinoscore.errors import InvalidRepository
from kinoscore.inference.onnx import read_signature
from kinoscore.inference.repository import MANIFEST_FILE, ModelEntry, ModelRepository
from kinoscore.inference.signature import Port, Signature, declared_shape
from kinoscore.inference.targets import BACKENDS, TRITON_TYPES

__all__ = ["Flaw", "check_repository"]

_WRITE_CONFIGURATION = "write the configurations again with `kinoscore models convert`"
_WRITE_REPOSITORY = "write the repository again with `dualpath export`"
_TYPES = {model_config_pb2.DataType.Value(name): dtype for dtype, name in TRITON_TYPES.items()}


@dataclass(frozen=True, slots=True)
class Flaw:
    """One thing that is wrong.

    Attributes:
        place: the file, relative to the repository.
        text: what is wrong with it.
        remedy: what to do.
    """

    place: str
    text: str
    remedy: str


def check_repository(path: Path) -> list[Flaw]:
    """Everything that is wrong with a repository: manifest, checksums, each configuration against its graph.

    A repository without flaws is served by Triton, and runs in-process.
    """
    try:
        repository = ModelRepository.with_unchecked_models(path)
    except InvalidRepository as error:
        return [Flaw(MANIFEST_FILE, error.message, _WRITE_REPOSITORY)]
    manifest = repository.manifest
    flaws: list[Flaw] = []
    for short_name, entry in manifest.models.items():
        flaws += _check_model(repository, short_name, entry)
    known = {entry.name for entry in manifest.models.values()}
    for folder in sorted(path.iterdir()):
        if folder.is_dir() and folder.name not in known:
            flaws.append(
                Flaw(folder.name, f"{MANIFEST_FILE} does not name it", "move it out of the repository")
            )
    return flaws


def _check_model(repository: ModelRepository, short_name: str, entry: ModelEntry) -> Iterator[Flaw]:
    graph = repository.model_path(short_name)
    place = str(graph.relative_to(repository.path))
    try:
        repository.check_model(short_name)
        signature = read_signature(graph)
    except InvalidRepository as error:
        yield Flaw(place, error.message, _WRITE_REPOSITORY)
        return
    place = f"{entry.name}/config.pbtxt"
    try:
        text = (repository.path / place).read_text(encoding="utf-8")
        config = text_format.Parse(text, model_config_pb2.ModelConfig())
    except OSError as error:
        yield Flaw(place, f"cannot be read ({error.strerror})", _WRITE_CONFIGURATION)
        return
    except (UnicodeDecodeError, text_format.ParseError) as error:
        yield Flaw(place, f"is not a Triton configuration ({error})", _WRITE_CONFIGURATION)
        return
    for text in _differences(config, entry, signature):
        yield Flaw(place, text, _WRITE_CONFIGURATION)
    if config.backend == "python" and not graph.with_name("model.py").is_file():
        yield Flaw(f"{entry.name}/{entry.version}/model.py", "does not exist", _WRITE_CONFIGURATION)


def _differences(config: Any, entry: ModelEntry, signature: Signature) -> Iterator[str]:
    """Where a configuration contradicts its graph or the manifest."""
    if config.name not in ("", entry.name):
        yield f"names the model {config.name}, and its folder is {entry.name}"
    if config.backend not in BACKENDS.values():
        known = " and ".join(sorted(set(BACKENDS.values())))
        yield f"has the backend {config.backend!r}; kinoscore knows {known}"
    if config.max_batch_size != entry.max_batch_size:
        yield f"has max_batch_size {config.max_batch_size}, and {MANIFEST_FILE} {entry.max_batch_size}"
    if not config.HasField("dynamic_batching"):
        yield "has no dynamic_batching: concurrent requests would run one by one"
    yield from _port_differences("input", config.input, signature.inputs)
    yield from _port_differences("output", config.output, signature.outputs)


def _port_differences(kind: str, declared: Any, ports: tuple[Port, ...]) -> Iterator[str]:
    found = {port.name: port for port in declared}
    for port in ports:
        other = found.pop(port.name, None)
        if other is None:
            yield f"lacks the {kind} {port.name} of the graph"
            continue
        dtype = _TYPES.get(other.data_type)
        if dtype != port.dtype:
            yield f"has the {kind} {port.name} as {dtype or 'another type'}, and the graph as {port.dtype}"
        shape = declared_shape(other)
        if shape != port.shape:
            yield f"has the {kind} {port.name} as {list(shape)} a row, and the graph as {list(port.shape)}"
    for name in found:
        yield f"has the {kind} {name}, which the graph does not have"
