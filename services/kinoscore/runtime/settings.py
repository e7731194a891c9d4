"""Settings of every command.

Flags win over environment variables (`KINOSCORE_<FIELD>`), those over a TOML file, that over the defaults.
Fields are flat and simple, so that a command line can offer each as a flag with its description. One file may
serve all commands: a key of another command is passed over, a key of none is refused.
"""

import os
import tempfile
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from platformdirs import user_data_path
from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from kinoscore.errors import InvalidRequest, NotFound

__all__ = [
    "CacheSettings",
    "FusionSettings",
    "LiveSettings",
    "MediaSettings",
    "ModelSettings",
    "MusicSettings",
    "RankingSettings",
    "RecommendSettings",
    "ServerSettings",
    "Settings",
    "StackSettings",
    "VideoSettings",
    "split_paths",
]

_MEBIBYTE = 1024 * 1024


def split_paths(text: str) -> tuple[Path, ...]:
    """The paths of a text with `:` between them, as in PATH."""
    return tuple(Path(part) for part in text.split(os.pathsep) if part)


def _to_paths(value: object) -> object:
    """A text, or a single path, as what pydantic takes for several."""
    if isinstance(value, str):
        return split_paths(value)
    return (value,) if isinstance(value, Path) else value


Paths = Annotated[tuple[Path, ...], NoDecode, BeforeValidator(_to_paths)]


def _port(default: int) -> Any:
    return Field(default, ge=0, le=65535, description="The port to listen on; 0 takes a free one.")


class Settings(BaseSettings):
    """What every command takes."""

    model_config = SettingsConfigDict(env_prefix="KINOSCORE_", frozen=True, extra="forbid")

    settings: Path | None = Field(None, description="A TOML file with settings.")

    @classmethod
    def load(cls, **flags: object) -> Self:
        """The settings of this command.

        Args:
            flags: what the command line was given; they win over everything else.

        Raises:
            NotFound: the settings file does not exist.
            InvalidRequest: the file is not TOML, or a value is not what its field takes.
        """
        try:
            return cls(**flags)  # type: ignore[arg-type]
        except ValidationError as error:
            first = error.errors()[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InvalidRequest(f"setting {field!r}: {first['msg']}", field=field) from None

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        path = init_settings().get("settings") or env_settings().get("settings")
        from_file = _read_settings_file(settings_cls, Path(path)) if path else {}
        return init_settings, env_settings, InitSettingsSource(settings_cls, from_file)


class ServerSettings(Settings):
    """What every server takes."""

    host: str = Field("127.0.0.1", description="The address to listen on; 0.0.0.0 for all.")
    port: int = _port(50050)
    grace_seconds: float = Field(
        20.0, ge=0, description="How long running requests may go on after SIGTERM, in seconds."
    )
    max_message_bytes: int = Field(
        16 * _MEBIBYTE, gt=0, description="The largest single message; uploads come in many."
    )
    default_deadline_seconds: float = Field(
        120.0, gt=0, description="The time for a request whose caller set no deadline."
    )
    max_concurrent_requests: int = Field(
        64, gt=0, description="Requests served at once; more are refused with RESOURCE_EXHAUSTED."
    )
    metrics_port: int = Field(
        0, ge=0, le=65535, description="The port for Prometheus to read metrics from; 0 for none."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least important log lines to write: debug, info, warning or error."
    )


class MediaSettings(Settings):
    """What a server that decodes media takes."""

    decoder_workers: int = Field(
        2,
        gt=0,
        description="Decoder processes for files; as many more for live streams of bytes, and for single "
        "pictures, once some come.",
    )
    decoder_queue: int = Field(
        64, gt=0, description="Files that may wait for a decoder; more are refused with RESOURCE_EXHAUSTED."
    )
    decode_memory_bytes: int = Field(
        1536 * _MEBIBYTE, gt=0, description="The most address space that a decoder process may use."
    )
    decode_seconds: float = Field(300.0, gt=0, description="The most time that decoding one file may take.")
    max_upload_bytes: int = Field(2048 * _MEBIBYTE, gt=0, description="The largest media file.")
    max_clip_seconds: float = Field(3600.0, gt=0, description="The longest video clip.")
    max_track_seconds: float = Field(7200.0, gt=0, description="The longest track.")
    max_pixels: int = Field(8192 * 4320, gt=0, description="The largest picture, as width times height.")
    spool_folder: Path = Field(
        default_factory=lambda: Path(tempfile.gettempdir()), description="Where uploads wait for decoding."
    )


class ModelSettings(Settings):
    """What a server that needs the model repository takes."""

    repository: Paths = Field(
        (),
        description="The model repository; several, with `:` between them, serve an embedding space each. "
        "`shipped` is the one that came with kinoscore, which is taken when nothing is set.",
    )
    inference: str = Field(
        "onnx:",
        description="The inference engine: `onnx:` is ONNX Runtime in-process; or `triton://host:port`.",
    )
    inference_shared_memory: bool = Field(
        False,
        description="Hand frames and sound to Triton in shared memory; it must see this /dev/shm.",
    )
    inference_threads: int = Field(
        1, ge=0, description="Threads that one model computes with; 0 takes as many as there are cores."
    )
    inference_queue: int = Field(
        256, gt=0, description="Calls that may wait for one model; more are refused with RESOURCE_EXHAUSTED."
    )


class CacheSettings(Settings):
    """What a server that keeps answers takes."""

    cache: str = Field("memory:", description="The cache: `memory:`, or the URL of a Redis server.")
    cache_seconds: float = Field(
        600.0, ge=0, description="How long an answer or an encoded clip stays in the cache; 0 for no time."
    )


class LiveSettings(Settings):
    """What a front door with live sessions takes."""

    live_sessions: int = Field(
        32, gt=0, description="Live sessions at once; more are refused with RESOURCE_EXHAUSTED."
    )
    live_sessions_per_caller: int = Field(
        0,
        ge=0,
        description="Live sessions at once from one network address; 0 for no limit of its own: behind a "
        "proxy, all callers have one address.",
    )
    live_idle_seconds: float = Field(
        30.0,
        gt=0,
        description="A live session in which nothing comes, or no update is read, for so long ends.",
    )
    live_session_seconds: float = Field(
        14400.0, gt=0, description="The longest live session; the client can resume it in a new call."
    )
    live_resume_seconds: float = Field(
        120.0, gt=0, description="How long after its last update a live session can be resumed."
    )
    live_key: str = Field(
        "",
        description="Signs the resume tokens of live sessions: a secret, the same for all front doors. "
        "Without it only the process that made a token takes it.",
    )


class VideoSettings(ServerSettings, MediaSettings, ModelSettings):
    """`kinoscore serve video`."""

    port: int = _port(50051)
    live_lag_seconds: float = Field(
        4.0, gt=0, description="How much of a live stream may wait to be encoded: then frames are left out."
    )


class MusicSettings(ServerSettings, MediaSettings, ModelSettings):
    """`kinoscore serve music`."""

    port: int = _port(50052)


class FusionSettings(ServerSettings, ModelSettings):
    """`kinoscore serve fusion`."""

    port: int = _port(50053)


class RankingSettings(ServerSettings, ModelSettings, CacheSettings):
    """`kinoscore serve ranking`."""

    port: int = _port(50054)
    vectors: str = Field(
        default_factory=lambda: str(user_data_path("kinoscore") / "vectors"),
        description="The vector store: a folder for Milvus Lite, or the URL of a Milvus server.",
    )
    cache_stale_seconds: float = Field(
        3600.0,
        ge=0,
        description="How long an older answer may stand in for a vector store that is silent; 0 for never.",
    )
    search_seconds: float = Field(10.0, gt=0, description="The most time that one search may take.")


class RecommendSettings(ServerSettings, CacheSettings, LiveSettings):
    """`kinoscore serve recommend`."""

    video_address: str = Field("127.0.0.1:50051", description="Where the video encoder listens.")
    music_address: str = Field("127.0.0.1:50052", description="Where the music encoder listens.")
    fusion_address: str = Field("127.0.0.1:50053", description="Where the fusion service listens.")
    ranking_address: str = Field("127.0.0.1:50054", description="Where the ranking service listens.")


class StackSettings(VideoSettings, MusicSettings, FusionSettings, RankingSettings, LiveSettings):
    """All services in one process: `kinoscore up`."""

    port: int = _port(50050)


def _read_settings_file(command: type[BaseSettings], path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise NotFound(f"the settings file {path} does not exist", field="settings") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidRequest(f"the settings file {path} cannot be read: {error}", field="settings") from error
    known = {name for group in _all_settings(Settings) for name in group.model_fields}
    unknown = sorted(values.keys() - known)
    if unknown:
        raise InvalidRequest(f"the settings file {path} has an unknown key {unknown[0]!r}", field=unknown[0])
    return {name: value for name, value in values.items() if name in command.model_fields}


def _all_settings(root: type[Settings]) -> Iterator[type[Settings]]:
    yield root
    for group in root.__subclasses__():
        yield from _all_settings(group)
