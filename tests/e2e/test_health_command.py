"""`kinoscore health`, as an orchestrator asks it, and the demo in a server that runs already."""

import json
import socket

import pytest
from support.repository import write_tiny_repository
from support.stack import Kinoscore


@pytest.fixture
def kinoscore(tmp_path_factory: pytest.TempPathFactory) -> Kinoscore:
    folder = tmp_path_factory.mktemp("health")
    return Kinoscore(folder, write_tiny_repository(folder / "repository"))


def test_a_server_that_serves_is_healthy_and_one_that_has_ended_is_not(kinoscore: Kinoscore) -> None:
    with kinoscore.server("serve", "fusion", "--port", 0, "--log-level", "error") as (_, address):
        healthy = kinoscore("health", address)
        assert (healthy.returncode, healthy.stdout) == (0, "SERVING\n")
        assert kinoscore("health", address, "--service", "kinoscore.v1.FusionService").returncode == 0
        other = kinoscore("health", address, "--service", "kinoscore.v1.RankingService")
        assert other.returncode == 1
        assert other.stderr == f"error: {address} has no service kinoscore.v1.RankingService\n"
    ended = kinoscore("health", address)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert ended.stderr.startswith(f"error: no server answers at {address}")
    assert len(ended.stderr.splitlines()) == 1


def test_a_server_that_hangs_is_unhealthy_within_the_time_given(kinoscore: Kinoscore) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        hung = kinoscore("health", address, "--timeout", 0.5)
    assert hung.returncode == 1
    assert hung.stderr == f"error: no answer from {address} in 0.5 s\n"


def test_the_demo_can_be_indexed_in_a_running_server_apart_from_its_other_catalogues(
    kinoscore: Kinoscore,
) -> None:
    with kinoscore.up() as up:
        options = ("--address", up.address, "--catalogue", "sample", "--json", "-k", 2)
        shown = kinoscore("demo", *options)
        assert shown.returncode == 0, shown.stderr
        assert "12 added" in shown.stderr
        assert f"--address {up.address} --catalogue sample" in shown.stderr
        assert {len(answer["hits"]) for answer in json.loads(shown.stdout).values()} == {2}
        listed = kinoscore("tracks", "list", "--json", "--address", up.address, "--catalogue", "sample")
        assert len(json.loads(listed.stdout)) == 12
        assert json.loads(kinoscore("tracks", "list", "--json", "--address", up.address).stdout or "[]") == []
