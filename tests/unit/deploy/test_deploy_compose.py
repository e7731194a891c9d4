"""What the files in deploy/ promise to an operator."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import kinoscore
from kinoscore.cli import main

yaml = pytest.importorskip("yaml", reason="PyYAML reads the compose files; install the extra `test`")

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
OURS = {"recommend", "video", "music", "fusion", "ranking", "migrate", "models", "sample", "cli"}
ENGINES = {"triton", "milvus", "etcd", "minio", "redis"}
JOBS = {"migrate", "models", "sample", "cli"}
SECRETS = {"REDIS_PASSWORD", "MINIO_ROOT_USER", "MINIO_ROOT_PASSWORD", "KINOSCORE_LIVE_KEY"}
# `${NAME}`, `${NAME:-default}`, `${NAME:?message}`; not `$$`, which reaches the container as `$`.
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?::(?P<kind>[-?])(?P<rest>[^}]*))?\}")

COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for item in value.values():
            yield from strings(item)
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, str):
        yield value


def with_defaults(text: str) -> str:
    return VARIABLE.sub(lambda found: (found["rest"] or "") if found["kind"] == "-" else "", text)


def test_the_five_services_and_their_engines_are_there() -> None:
    assert set(SERVICES) == OURS | ENGINES


@pytest.mark.parametrize("name", sorted(OURS | ENGINES))
def test_every_image_is_pinned_to_a_release(name: str) -> None:
    image = with_defaults(SERVICES[name]["image"])
    _, _, tag = image.rpartition(":")
    assert re.search(r"\d+\.\d+|\d{4}-\d{2}-\d{2}", tag), image
    assert "latest" not in image


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_image_has_the_version_of_this_checkout(name: str) -> None:
    assert with_defaults(SERVICES[name]["image"]) == f"kinoscore:{kinoscore.__version__}"


@pytest.mark.parametrize("name", sorted((OURS | ENGINES) - JOBS))
def test_what_goes_on_running_has_a_health_check_and_starts_again(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] == "CMD"
    assert {"interval", "timeout", "retries", "start_period"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", sorted(OURS | ENGINES))
def test_everything_has_limits(name: str) -> None:
    limits = SERVICES[name]["deploy"]["resources"]["limits"]
    # A laptop with two cores must be able to start it.
    assert 0 < float(with_defaults(limits["cpus"])) <= 2
    assert re.fullmatch(r"\d+[MG]", limits["memory"])
    assert limits["pids"] > 0
    assert SERVICES[name]["logging"]["options"]["max-size"]


@pytest.mark.parametrize("name", sorted(OURS))
def test_our_containers_can_change_nothing_but_their_volumes(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "user" not in service, "the image's own user is not root"


def test_our_image_runs_as_a_user_who_is_not_root_and_its_last_stage_has_no_build_tools() -> None:
    text = (DEPLOY / "Dockerfile").read_text()
    *_, last_stage = re.split(r"^FROM ", text, flags=re.MULTILINE)
    assert "\nUSER 10001:10001\n" in last_stage
    assert "pip" not in last_stage
    base = re.search(r"^ARG PYTHON_IMAGE=(\S+)$", text, re.MULTILINE)
    assert base
    assert re.fullmatch(r"python:3\.11\.\d+-slim-bookworm", base[1])


def test_only_the_front_door_is_published_and_only_on_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"recommend"}
    assert [with_defaults(port) for port in published["recommend"]] == ["127.0.0.1:50050:50050"]


def test_whatever_is_not_the_front_door_has_no_way_out() -> None:
    assert COMPOSE["networks"]["inside"] == {"internal": True}
    assert COMPOSE["networks"]["storage"] == {"internal": True}
    for name, service in SERVICES.items():
        expected = {"recommend": {"front", "inside"}, "milvus": {"inside", "storage"}}.get(
            name, {"storage"} if name in ("etcd", "minio") else {"inside"}
        )
        assert set(service["networks"]) == expected, name


def test_no_secret_has_a_default() -> None:
    uses = [found for text in strings(COMPOSE) for found in VARIABLE.finditer(text)]
    assert {use["name"] for use in uses if use["kind"] == "?"} == SECRETS
    for use in uses:
        assert use["kind"] == ("?" if use["name"] in SECRETS else "-"), use[0]
    example = (DEPLOY / ".env.example").read_text()
    assert re.findall(r"^(\w+)=$", example, re.MULTILINE) == [
        "REDIS_PASSWORD",
        "MINIO_ROOT_USER",
        "MINIO_ROOT_PASSWORD",
        "KINOSCORE_LIVE_KEY",
    ]


def test_the_example_of_the_environment_names_every_variable() -> None:
    used = {found["name"] for text in strings(COMPOSE) for found in VARIABLE.finditer(text)}
    gpu = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())
    assert {found["name"] for text in strings(gpu) for found in VARIABLE.finditer(text)} == {"KINOSCORE_GPUS"}
    named = set(re.findall(r"^#?(\w+)=", (DEPLOY / ".env.example").read_text(), re.MULTILINE))
    assert named == used | {"COMPOSE_PROFILES"}


def test_everything_starts_after_what_it_needs_is_healthy() -> None:
    def before(name: str) -> dict[str, str]:
        needs = SERVICES[name].get("depends_on", {})
        return {need: condition["condition"] for need, condition in needs.items()}

    healthy, done = "service_healthy", "service_completed_successfully"
    assert before("recommend") == dict.fromkeys(("video", "music", "fusion", "ranking", "redis"), healthy)
    assert before("ranking") == {"migrate": done, "milvus": healthy, "redis": healthy}
    assert before("migrate") == {"milvus": healthy}
    assert before("milvus") == {"etcd": healthy, "minio": healthy}
    for name in ("video", "music", "fusion"):
        assert before(name) == {"triton": healthy}
    assert before("triton") == {"models": done}
    assert before("sample") == {"recommend": healthy}


def test_each_service_is_asked_for_its_health_at_the_port_where_it_listens() -> None:
    for name in sorted(OURS - JOBS):
        command, check = SERVICES[name]["command"], SERVICES[name]["healthcheck"]["test"]
        assert command[:3] == ["serve", name, "--port"]
        assert check == ["CMD", "kinoscore", "health", f"127.0.0.1:{command[3]}"]
    addresses = SERVICES["recommend"]["environment"]
    for name in ("video", "music", "fusion", "ranking"):
        port = SERVICES[name]["command"][3]
        assert addresses[f"KINOSCORE_{name.upper()}_ADDRESS"] == f"{name}:{port}"


def test_all_that_must_outlive_a_container_is_in_a_named_volume() -> None:
    kept = {
        "milvus": "milvus:/var/lib/milvus",
        "etcd": "etcd:/etcd",
        "minio": "minio:/minio_data",
        "models": "models:/models",
    }
    for name, volume in kept.items():
        assert SERVICES[name]["volumes"] == [volume]
    mounts = [with_defaults(mount) for service in SERVICES.values() for mount in service.get("volumes", ())]
    assert {mount.split(":")[0] for mount in mounts} == {*COMPOSE["volumes"], "./media"}
    assert "./media:/media:ro" in mounts


def test_the_gpu_file_gives_a_gpu_to_triton_and_changes_nothing_else() -> None:
    gpu = yaml.safe_load((DEPLOY / "compose.gpu.yaml").read_text())
    assert list(gpu) == ["services"]
    assert list(gpu["services"]) == ["triton"]
    [device] = gpu["services"]["triton"]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_every_setting_that_a_container_gets_is_one_that_its_command_knows() -> None:
    from kinoscore.runtime import settings

    models = {
        "recommend": settings.RecommendSettings,
        "video": settings.VideoSettings,
        "music": settings.MusicSettings,
        "fusion": settings.FusionSettings,
        "ranking": settings.RankingSettings,
        "migrate": settings.RankingSettings,
    }
    for name, model in models.items():
        for variable in SERVICES[name]["environment"]:
            assert variable.removeprefix("KINOSCORE_").lower() in model.model_fields, (name, variable)


@pytest.mark.parametrize("name", sorted(OURS))
def test_every_container_of_ours_runs_a_command_that_exists(name: str) -> None:
    # Arguments are parsed before help is shown, so a wrong command or option fails.
    arguments = [with_defaults(argument) for argument in SERVICES[name]["command"]]
    shown = CliRunner().invoke(main, [*arguments, "--help"])
    assert shown.exit_code == 0, shown.output
    health = SERVICES[name]["healthcheck"].get("test", ["CMD", "kinoscore"])
    assert CliRunner().invoke(main, [*health[2:], "--help"]).exit_code == 0


def test_the_image_holds_the_sources_that_the_wheel_is_built_from_and_nothing_else() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    allowed = re.findall(r"^!(\S+)$", (DEPLOY / "Dockerfile.dockerignore").read_text(), re.MULTILINE)
    assert {Path(path).parts[0] for path in build["only-include"]} <= set(allowed)
    assert {Path(path).parts[0] for path in build["force-include"]} <= set(allowed)
    for name in allowed:
        assert (ROOT / name).exists(), name


def program(name: str) -> str:
    """The program, where it is installed: in the tests' environment or on the path."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def checked(*command: str, **environment: str) -> None:
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd=DEPLOY, env={**os.environ, **environment}
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_compose_files_follow_the_specification() -> None:
    checker = program("check-jsonschema")
    checked(checker, "--builtin-schema", "vendor.compose-spec", "compose.yaml", "compose.gpu.yaml")


def test_compose_accepts_the_files_together() -> None:
    docker = program("docker")
    if subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("this docker has no Compose v2")
    files = ("--file", "compose.yaml", "--file", "compose.gpu.yaml")
    secrets = dict.fromkeys(SECRETS, "secret")
    checked(docker, "compose", *files, "--profile", "*", "config", "--quiet", **secrets)


def test_the_linter_finds_nothing_in_the_dockerfiles() -> None:
    files = [str(path) for path in sorted(DEPLOY.rglob("Dockerfile"))]
    assert files
    checked(program("hadolint"), *files)


def test_the_line_of_the_readme_draws_every_password(tmp_path: Path) -> None:
    program("openssl")
    readme = (DEPLOY / "README.md").read_text()
    [line] = [line for line in readme.splitlines() if line.startswith("for name in REDIS_PASSWORD")]
    environment = tmp_path / ".env"
    environment.write_text((DEPLOY / ".env.example").read_text())
    subprocess.run(["bash", "-ec", line], cwd=tmp_path, check=True)
    drawn = dict(re.findall(r"^(\w+)=(\w{32})$", environment.read_text(), re.MULTILINE))
    assert set(drawn) == SECRETS
    assert len(set(drawn.values())) == len(SECRETS)


def test_there_is_a_stand_in_for_each_engine_and_the_readme_says_what_it_is() -> None:
    assert {path.parent.name for path in DEPLOY.glob("stand-ins/*/Dockerfile")} == ENGINES
    readme = (DEPLOY / "README.md").read_text()
    for name in ENGINES:
        assert f"| `{SERVICES[name]['image']}` |" in readme


def test_what_an_operator_writes_beside_the_compose_file_is_never_committed() -> None:
    ignored = (DEPLOY / ".gitignore").read_text().split()
    assert {"*.env", "/backup/", "/media/"} <= set(ignored)
