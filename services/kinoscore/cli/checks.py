"""What `kinoscore doctor` looks at; each check tells what it found, and what to do about it."""

import shutil
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from kinoscore import AsyncClient
from kinoscore.cache import open_cache
from kinoscore.data_folder import DataFolder
from kinoscore.errors import DataFolderInUse, FailedPrecondition, KinoscoreError
from kinoscore.inference import ModelRepository, open_engine
from kinoscore.media.codecs import missing_codecs
from kinoscore.ranking.active import ActiveSpace
from kinoscore.ranking.connection import Connection
from kinoscore.ranking.store import MilvusStore
from kinoscore.runtime.deadline import Deadline
from kinoscore.runtime.settings import StackSettings
from kinoscore.stack import model_repositories, open_vectors, vector_dimension, vector_store

__all__ = ["Finding", "Verdict", "examine"]

# Room for the largest upload that most people send, and for an index of some ten thousand tracks.
_ENOUGH_BYTES = 1 << 30
_GIBIBYTE = 1 << 30
_ANSWER_SECONDS = 5.0


class Verdict(Enum):
    """How bad a finding is: only what is broken keeps kinoscore from working."""

    FINE = "ok"
    NOTE = "note"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check found, and what to do about it where there is something to do."""

    subject: str
    verdict: Verdict
    text: str
    remedy: str = ""


async def examine(settings: StackSettings, data: Path) -> AsyncIterator[Finding]:
    """Examines this installation, with these settings and this data folder, part by part."""
    yield _codecs()
    try:
        repositories = model_repositories(settings)
    except KinoscoreError as error:
        remedy = "install kinoscore again, or name another repository with --repository"
        yield Finding("models", Verdict.BROKEN, str(error), remedy)
        repositories = []
    for repository in repositories:
        yield await _models(settings, repository)
    for finding in await _index(settings, data, repositories):
        yield finding
    yield await _cache(settings)
    yield _port(settings)
    yield _disk("disk of the spool folder", settings.spool_folder, "set another one with --spool-folder")
    yield _disk("disk of the data folder", data, "choose another one with --data")


def _codecs() -> Finding:
    if missing := missing_codecs():
        return Finding(
            "codecs",
            Verdict.BROKEN,
            f"FFmpeg lacks {', '.join(missing)}",
            "install the wheel of PyAV: pip install --force-reinstall --only-binary av av",
        )
    return Finding("codecs", Verdict.FINE, "all are there")


async def _models(settings: StackSettings, repository: ModelRepository) -> Finding:
    """Loads and runs each model, or asks the server that serves them."""
    try:
        engine = await open_engine(settings.inference, repository, threads=settings.inference_threads)
        try:
            await engine.check()
        finally:
            await engine.close()
    except KinoscoreError as error:
        remedy = f"`kinoscore models check {repository.path}` says more; or choose another --inference"
        return Finding("models", Verdict.BROKEN, str(error), remedy)
    manifest = repository.manifest
    text = f"space {manifest.space}: all {len(manifest.models)} models of {repository.path} answer"
    return Finding("models", Verdict.FINE, f"{text} ({settings.inference})")


async def _index(settings: StackSettings, data: Path, repositories: list[ModelRepository]) -> list[Finding]:
    """The data folder and its vector store; where a running server owns them, that server is asked."""
    try:
        folder = DataFolder(data, purpose="doctor")
    except DataFolderInUse as error:
        return [await _owner(error)]
    except KinoscoreError as error:
        return [Finding("data folder", Verdict.BROKEN, str(error), "choose another one with --data")]
    try:
        findings = [Finding("data folder", Verdict.FINE, str(data))]
        if repositories:
            findings.append(await _store(settings, data, repositories))
        return findings
    finally:
        folder.release()


async def _owner(error: DataFolderInUse) -> Finding:
    address = error.metadata.get("address")
    if not address:
        return Finding("data folder", Verdict.NOTE, str(error))
    try:
        async with AsyncClient(address) as client:
            described = await client.describe(timeout=_ANSWER_SECONDS)
    except KinoscoreError as silence:
        process = error.metadata.get("pid", "?")
        text = f"its owner, process {process}, does not answer at {address}: {silence}"
        return Finding(
            "data folder", Verdict.BROKEN, text, "stop that process and start `kinoscore up` again"
        )
    text = f"served at {address}: space {described.space}, {described.track_count} tracks in `default`"
    return Finding("data folder", Verdict.FINE, text)


async def _store(settings: StackSettings, data: Path, repositories: list[ModelRepository]) -> Finding:
    location = vector_store(settings, data)
    served = {repository.manifest.space: repository.manifest for repository in repositories}
    connection = Connection(open_vectors(location))
    try:
        for space, manifest in served.items():
            await (await MilvusStore.within(connection, space, vector_dimension(manifest))).close()
        active = await ActiveSpace(connection).read(Deadline.after(_ANSWER_SECONDS))
    except FailedPrecondition as error:
        return Finding("vector store", Verdict.BROKEN, str(error))
    except KinoscoreError as error:
        return Finding("vector store", Verdict.BROKEN, str(error), "start it, or name another with --vectors")
    finally:
        await connection.close()
    if active not in served:
        text = f"its active space is {active}, and the models here are of {', '.join(served)}"
        return Finding("vector store", Verdict.BROKEN, text, "fill the new index with `kinoscore reindex`")
    return Finding("vector store", Verdict.FINE, f"{location.rpartition('@')[2]} opens, {active} is active")


async def _cache(settings: StackSettings) -> Finding:
    try:
        cache = open_cache(settings.cache)
    except KinoscoreError as error:
        return Finding("cache", Verdict.BROKEN, str(error), "name another with --cache")
    try:
        answers = await cache.increment("kinoscore:doctor") is not None
    finally:
        await cache.close()
    if answers:
        return Finding("cache", Verdict.FINE, f"{settings.cache.partition('@')[2] or settings.cache} answers")
    return Finding("cache", Verdict.NOTE, "does not answer; kinoscore works without, slower", "start Redis")


def _port(settings: StackSettings) -> Finding:
    with socket.socket(socket.AF_INET6 if ":" in settings.host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host.strip("[]"), settings.port))
        except OSError as error:
            text = f"{settings.host}:{settings.port} cannot be listened on ({error.strerror})"
            remedy = "another server may run there already; else choose a port with `up --port`"
            return Finding("port", Verdict.NOTE, text, remedy)
    return Finding("port", Verdict.FINE, f"{settings.host}:{settings.port} is free")


def _disk(subject: str, folder: Path, remedy: str) -> Finding:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return Finding(subject, Verdict.BROKEN, f"{folder}: {error.strerror}", remedy)
    text = f"{folder} has {free / _GIBIBYTE:.1f} GiB left"
    if free < _ENOUGH_BYTES:
        return Finding(subject, Verdict.NOTE, text, f"make room, or {remedy}")
    return Finding(subject, Verdict.FINE, text)
