"""The embedding spaces of a vector store: a collection each, and one alias that tells which is searched.

A collection is named `kinoscore_<space>`, has one vector field and is the same on Milvus Lite, a Milvus
server and a cluster, but for its index. The alias `kinoscore_active` is the only record of the active
space. Whoever opens a folder makes what is missing there; on a server, which many share, `kinoscore ranking
migrate` does.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from pymilvus import DataType, MilvusClient, MilvusException

from kinoscore.errors import FailedPrecondition, NotFound, SpaceMismatch
from kinoscore.ranking import rows
from kinoscore.ranking.engines import MISSING, Engine, Limit, count_rows, open_engine, translated
from kinoscore.ranking.rows import PASSAGES, TRACKS
from kinoscore.runtime.deadline import Deadline

__all__ = [
    "ALIAS",
    "Space",
    "active_space",
    "collection_name",
    "drop_space",
    "list_spaces",
    "migrate",
    "missing",
    "no_active_space",
    "point_alias",
    "require_collection",
    "require_presence",
    "space_of",
    "switch_space",
    "with_collection",
]

ALIAS = "kinoscore_active"
SECONDS = 60.0
"""For one command on the spaces; to make a collection takes a server some seconds."""
_PREFIX = "kinoscore_"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Space:
    """A space that a store holds; `tracks` counts those of all catalogues."""

    space: str
    tracks: int
    active: bool


def collection_name(space: str) -> str:
    return _PREFIX + space


def space_of(collection: str) -> str:
    """The space that a collection of ours holds."""
    return collection.removeprefix(_PREFIX)


# Commands: each opens the store, does its work and closes it. They raise DataFolderInUse where another
# process owns the folder, Unavailable where the server does not answer.


async def migrate(location: str, space: str, dimension: int) -> list[str]:
    """Makes what a space needs where it is missing, and makes the space active where none is.

    Returns:
        What was done, a line each; empty when nothing was missing.

    Raises:
        SpaceMismatch: the collection exists with another dimension or other columns.
    """
    return await _opened(location, lambda engine, limit: with_collection(engine, space, dimension, limit))


async def list_spaces(location: str) -> list[Space]:
    """The spaces of a store in order of their ids."""
    return await _opened(location, _list)


async def switch_space(location: str, space: str, *, force: bool = False) -> str | None:
    """Makes a space the active one; returns the one that was, None when there was none.

    Every request that begins from now on is answered in the space, by the services that have its models.

    Raises:
        NotFound: the store has no such space.
        FailedPrecondition: it holds no track, and `force` is not set.
    """
    return await _opened(location, lambda engine, limit: point_alias(engine, space, force, limit))


async def drop_space(location: str, space: str) -> int:
    """Removes a space with its tracks; returns how many there were.

    Raises:
        NotFound: the store has no such space.
        FailedPrecondition: it is the active one.
    """
    return await _opened(location, lambda engine, limit: _drop(engine, space, limit))


# What follows blocks: it runs in a thread, with an engine that is open.


def active_space(client: MilvusClient, limit: Limit) -> str | None:
    """The space that the alias points at; None where there is no alias."""
    try:
        return space_of(client.describe_alias(ALIAS, timeout=limit())["collection_name"])
    except MilvusException as error:
        if error.code in MISSING:
            return None
        raise


def require_collection(engine: Engine, space: str, dimension: int | None, limit: Limit) -> None:
    """Loads the collection of a space, of any dimension where that is None.

    Raises:
        FailedPrecondition: the store lacks the collection, or has no active space.
        SpaceMismatch: the collection has another dimension or other columns.
    """
    require_presence(engine, space, limit)
    _check_schema(engine.client, space, dimension, limit)
    engine.client.load_collection(collection_name(space), timeout=limit())


def require_presence(engine: Engine, space: str, limit: Limit) -> str:
    """The active space.

    Raises:
        FailedPrecondition: the store lacks the collection of `space`, or has no active space.
    """
    active = active_space(engine.client, limit)
    if active is None or not engine.client.has_collection(collection_name(space), timeout=limit()):
        raise missing(engine, space)
    return active


def missing(engine: Engine, space: str) -> FailedPrecondition:
    """What to say where the collection of a space, or the alias, is not there."""
    return FailedPrecondition(
        f"the vector store {engine.location} has no index for the embedding space {space}, or has lost it; "
        "restore it, or make an empty one with `kinoscore ranking migrate`"
    )


def no_active_space(engine: Engine) -> FailedPrecondition:
    """What to say where there is no alias."""
    return FailedPrecondition(
        f"the vector store {engine.location} has no active embedding space, or has lost it; restore it, or "
        "make an empty one with `kinoscore ranking migrate`"
    )


def with_collection(engine: Engine, space: str, dimension: int, limit: Limit) -> list[str]:
    """`migrate`, in an open store."""
    client, collection = engine.client, collection_name(space)
    done: list[str] = []
    if not client.has_collection(collection, timeout=limit()):
        _create(engine, collection, dimension, limit)
        done.append(
            f"made the collection {collection} ({engine.index['index_type']}, {dimension} numbers a row)"
        )
    _check_schema(client, space, dimension, limit)
    for partition in {TRACKS, PASSAGES} - set(client.list_partitions(collection, timeout=limit())):
        client.create_partition(collection, partition, timeout=limit())
        done.append(f"made the partition {partition}")
    client.load_collection(collection, timeout=limit())
    if active_space(client, limit) is None:
        client.create_alias(collection, ALIAS, timeout=limit())
        done.append(f"made {space} the active space")
    return done


def point_alias(engine: Engine, space: str, force: bool, limit: Limit) -> str | None:
    """`switch_space`, in an open store."""
    client = engine.client
    _require_space(engine, space, limit)
    if not force and _count_tracks(client, space, limit) == 0:
        raise FailedPrecondition(
            f"the space {space} holds no track, so that searches would find nothing; index into it first, "
            "or use --force"
        )
    before = active_space(client, limit)
    point = client.create_alias if before is None else client.alter_alias
    point(collection_name(space), ALIAS, timeout=limit())
    return before


def _create(engine: Engine, collection: str, dimension: int, limit: Limit) -> None:
    schema = MilvusClient.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("pk", DataType.VARCHAR, is_primary=True, max_length=rows.KEY_BYTES)
    for name, size in rows.TEXT_COLUMNS.items():
        schema.add_field(name, DataType.VARCHAR, max_length=size)
    for name in rows.WHOLE_NUMBER_COLUMNS:
        schema.add_field(name, DataType.INT64)
    for name in rows.NUMBER_COLUMNS:
        schema.add_field(name, DataType.DOUBLE)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=dimension)
    index = engine.client.prepare_index_params()
    index.add_index("vector", **engine.index)
    engine.client.create_collection(
        collection, schema=schema, index_params=index, consistency_level="Bounded", timeout=limit()
    )


def _check_schema(client: MilvusClient, space: str, dimension: int | None, limit: Limit) -> None:
    collection = collection_name(space)
    description = client.describe_collection(collection, timeout=limit())
    fields = {field["name"]: field for field in description["fields"]}
    expected = {"pk", *rows.TEXT_COLUMNS, *rows.WHOLE_NUMBER_COLUMNS, *rows.NUMBER_COLUMNS, "vector"}
    if fields.keys() != expected:
        raise SpaceMismatch(
            f"the collection {collection} has other columns: another version of kinoscore made it; "
            "index into another vector store"
        )
    stored = int(fields["vector"]["params"]["dim"])
    if dimension is not None and stored != dimension:
        raise SpaceMismatch(
            f"the collection {collection} holds vectors of dimension {stored}, not {dimension}; "
            "index into another vector store"
        )


def _list(engine: Engine, limit: Limit) -> list[Space]:
    active = active_space(engine.client, limit)
    spaces = _spaces(engine.client, limit)
    return [Space(space, _count_tracks(engine.client, space, limit), space == active) for space in spaces]


def _drop(engine: Engine, space: str, limit: Limit) -> int:
    client = engine.client
    _require_space(engine, space, limit)
    # Milvus 2.3 would drop it all the same, and leave the alias pointing at nothing.
    if active_space(client, limit) == space:
        raise FailedPrecondition(
            f"{space} is the active space; make another one active first with `kinoscore spaces switch`"
        )
    tracks = _count_tracks(client, space, limit)
    client.drop_collection(collection_name(space), timeout=limit())
    return tracks


def _spaces(client: MilvusClient, limit: Limit) -> list[str]:
    names = client.list_collections(timeout=limit())
    return sorted(space_of(name) for name in names if name.startswith(_PREFIX))


def _require_space(engine: Engine, space: str, limit: Limit) -> None:
    spaces = _spaces(engine.client, limit)
    if space not in spaces:
        held = f"it has {', '.join(spaces)}" if spaces else "it has none"
        raise NotFound(
            f"the vector store {engine.location} has no space {space!r}; {held}. `kinoscore ranking migrate` "
            "makes the space of a model repository",
            field="space",
        )


def _count_tracks(client: MilvusClient, space: str, limit: Limit) -> int:
    collection = collection_name(space)
    client.load_collection(collection, timeout=limit())
    return count_rows(client, collection, "passage == -1", limit)


async def _opened(location: str, work: Callable[[Engine, Limit], T]) -> T:
    def run() -> T:
        engine = open_engine(location)
        deadline = Deadline.after(SECONDS)
        try:
            with translated():
                engine.open(deadline.require())
                return work(engine, deadline.require)
        finally:
            engine.close()

    return await asyncio.to_thread(run)
