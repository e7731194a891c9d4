"""Flags win over the environment, that over the file, that over the defaults."""

from pathlib import Path

import pytest

from kinoscore.errors import InvalidRequest, NotFound
from kinoscore.runtime.settings import (
    FusionSettings,
    MusicSettings,
    RankingSettings,
    RecommendSettings,
    Settings,
    StackSettings,
    VideoSettings,
)

COMMANDS = [VideoSettings, MusicSettings, FusionSettings, RankingSettings, RecommendSettings, StackSettings]


def test_flags_win_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "kinoscore.toml"
    file.write_text('port = 1\nhost = "0.0.0.0"\ngrace_seconds = 5\n')
    monkeypatch.setenv("KINOSCORE_PORT", "2")
    monkeypatch.setenv("KINOSCORE_HOST", "::1")
    settings = VideoSettings.load(settings=file, port=3)
    assert (settings.port, settings.host, settings.grace_seconds) == (3, "::1", 5.0)
    assert settings.max_concurrent_requests == 64


def test_the_environment_may_name_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "kinoscore.toml"
    file.write_text("port = 7\n")
    monkeypatch.setenv("KINOSCORE_SETTINGS", str(file))
    assert FusionSettings.load().port == 7


def test_one_file_serves_all_commands(tmp_path: Path) -> None:
    file = tmp_path / "kinoscore.toml"
    file.write_text('cache = "redis://localhost"\nvideo_address = "video:50051"\nmax_pixels = 100\n')
    assert RankingSettings.load(settings=file).cache == "redis://localhost"
    assert RecommendSettings.load(settings=file).video_address == "video:50051"
    assert StackSettings.load(settings=file).max_pixels == 100


def test_a_key_that_no_command_knows_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "kinoscore.toml"
    file.write_text("prot = 7\n")
    with pytest.raises(InvalidRequest, match="unknown key 'prot'"):
        VideoSettings.load(settings=file)


def test_a_missing_or_broken_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match=r"nowhere\.toml does not exist"):
        VideoSettings.load(settings=tmp_path / "nowhere.toml")
    broken = tmp_path / "broken.toml"
    broken.write_text("port = ")
    with pytest.raises(InvalidRequest, match=r"broken\.toml cannot be read"):
        VideoSettings.load(settings=broken)


def test_a_wrong_value_names_its_field(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KINOSCORE_PORT", "http")
    with pytest.raises(InvalidRequest, match="'port'") as caught:
        VideoSettings.load()
    assert caught.value.field == "port"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_field_is_described(command: type[Settings]) -> None:
    assert all(field.description for field in command.model_fields.values())


def test_the_default_ports_are_where_the_front_door_looks() -> None:
    front = RecommendSettings.load()
    servers = {
        front.video_address: VideoSettings,
        front.music_address: MusicSettings,
        front.fusion_address: FusionSettings,
        front.ranking_address: RankingSettings,
    }
    for address, command in servers.items():
        settings = command.load()
        assert address == f"{settings.host}:{settings.port}"
    assert front.port == StackSettings.load().port == 50050


@pytest.mark.parametrize(
    ("given", "paths"),
    [("", ()), ("/a", ("/a",)), ("/a:shipped:/b", ("/a", "shipped", "/b")), (Path("/a"), ("/a",))],
)
def test_several_model_repositories_are_named_as_in_path(given: str | Path, paths: tuple[str, ...]) -> None:
    assert VideoSettings.load(repository=given).repository == tuple(map(Path, paths))


def test_several_model_repositories_come_from_the_environment_and_from_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "settings.toml"
    file.write_text('repository = "/file:/other"')
    assert VideoSettings.load(settings=file).repository == (Path("/file"), Path("/other"))
    monkeypatch.setenv("KINOSCORE_REPOSITORY", "/one:/two")
    assert VideoSettings.load(settings=file).repository == (Path("/one"), Path("/two"))
