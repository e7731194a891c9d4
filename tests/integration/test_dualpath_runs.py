"""Training runs as processes, on a rendered world of a few pairs."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kinoscore.world import write_world

torch = pytest.importorskip("torch", reason="the trainer needs torch: install kinoscore[train]")

_DIRECTIONS = ["video to music", "music to video"]
_SECONDS = 240
_MAIN = "if __name__ == '__main__':\n    from dualpath.cli import main\n    main()\n"
_GRADIENTS = """
import sys
import torch
from torch import nn
from dualpath.config import TrainingConfig
from dualpath.training.devices import Devices

class Step(nn.Module):
    def __init__(self, network):
        super().__init__()
        self.network = network
        self.unused = nn.Linear(2, 2)

    def forward(self, batch):
        return self.network(batch.values)

if __name__ == "__main__":
    torch.manual_seed(1)
    network = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 3))
    rows = torch.randn(8, 5)
    devices = Devices(TrainingConfig(accelerator="cpu", devices=int(sys.argv[1]), batch_size=8))
    with devices:
        devices.launch()
        devices.setup(Step(network), torch.optim.SGD(network.parameters(), lr=0.1))
        for _ in range(3):
            batch = devices.gather(devices.forward(devices.share(rows)))
            # A loss that mixes all rows, as those of retrieval do.
            devices.update(torch.logsumexp(batch @ batch.T, dim=1).mean(), network, 1.0)
        same = devices.gather(torch.cat([values.detach().flatten() for values in network.parameters()])[None])
    if devices.is_first:
        torch.save((len(batch), same), sys.argv[2])
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("world")
    for split, count in (("train", 8), ("validation", 4), ("test", 6)):
        write_world(folder, split, count, 1, workers=2)
    return folder


@pytest.fixture(scope="module")
def dualpath(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command, as a process."""
    script = tmp_path_factory.mktemp("command") / "command.py"
    script.write_text(_MAIN)
    return [sys.executable, str(script)]


def _environment() -> dict[str, str]:
    paths = [str(Path(__file__).parents[2] / folder) for folder in ("services", "models")]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def _run(command: list[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*command, *arguments], env=_environment(), capture_output=True, text=True, timeout=_SECONDS
    )


def _fit(world: Path, run: Path, *more: str) -> list[str]:
    return [
        *("fit", "--data", str(world), "--run", str(run), "--epochs", "4", "--batch-size", "4"),
        *("--threads", "1", "--accelerator", "cpu", *more),
    ]


def _losses(run: Path) -> list[dict[str, str]]:
    with (run / "log.csv").open() as lines:
        return [
            {name: value for name, value in row.items() if name != "seconds"} for row in csv.DictReader(lines)
        ]


def _weights(run: Path) -> dict[str, torch.Tensor]:
    return torch.load(run / "last.pt", weights_only=True)["weights"]


@pytest.fixture(scope="module")
def whole_run(world: Path, dualpath: list[str]) -> Path:
    """A run that nothing disturbed."""
    run = world.parent / "whole"
    ended = _run(dualpath, *_fit(world, run))
    assert ended.returncode == 0, ended.stderr
    assert "best epoch" in ended.stdout
    return run


def test_ctrl_c_leaves_a_run_that_goes_on_as_if_nothing_had_been(
    world: Path, dualpath: list[str], whole_run: Path
) -> None:
    run = world.parent / "interrupted"
    with subprocess.Popen(
        [*dualpath, *_fit(world, run)],
        env=_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("epoch   1")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=_SECONDS)
    assert process.returncode == 130
    assert errors.splitlines()[-1].startswith("dualpath: interrupted")
    assert "Traceback" not in errors
    assert not (run / "summary.json").exists()
    assert not list(run.glob(".*"))
    ended = _run(dualpath, *_fit(world, run, "--resume"))
    assert ended.returncode == 0, ended.stderr
    assert "epoch   1" not in ended.stdout
    assert _losses(run) == _losses(whole_run)
    torch.testing.assert_close(_weights(run), _weights(whole_run), rtol=0, atol=0)


def test_two_runs_of_one_seed_give_the_same_figures(
    world: Path, dualpath: list[str], whole_run: Path, tmp_path: Path
) -> None:
    run = world.parent / "again"
    assert _run(dualpath, *_fit(world, run)).returncode == 0
    assert _losses(run) == _losses(whole_run)
    torch.testing.assert_close(_weights(run), _weights(whole_run), rtol=0, atol=0)
    plots = tmp_path / "plots"
    for folder in (run, whole_run):
        ended = _run(
            dualpath,
            *("evaluate", str(folder), "--data", str(world), "--gallery", "6"),
            *("--threads", "1", "--plot", str(plots)),
        )
        assert ended.returncode == 0, ended.stderr
        assert "random" in ended.stdout
        assert "occurs twice" in ended.stdout
    first, second = (json.loads((folder / "evaluation-test.json").read_text()) for folder in (run, whole_run))
    assert first == second
    model = [row for row in first["retrieval"] if row["method"] == "model"]
    assert [row["direction"] for row in model] == _DIRECTIONS
    assert {row["gallery"] for row in first["retrieval"]} == {6}
    assert {f"recall_at_{k}_interval" for k in (1, 5, 10, 25)} <= set(model[0])
    assert sum(row["queries"] for row in first["by_emotion"]) == 2 * 6
    assert "| model | video to music | 6 |" in (run / "model-card.md").read_text()
    assert {file.name for file in plots.iterdir()} == {
        "recall.png",
        "ranks.png",
        "emotions.png",
        "valence-arousal.png",
    }


def test_a_resumed_run_with_changed_settings_is_one_line(
    world: Path, dualpath: list[str], whole_run: Path
) -> None:
    ended = _run(dualpath, *_fit(world, whole_run, "--resume", "--learning-rate", "0.5"))
    assert ended.returncode == 1
    assert ended.stderr.splitlines()[-1] == (
        "dualpath: the run was started with learning_rate = 0.002, not 0.5: resume with the same, "
        "or use another --run"
    )


def test_two_processes_train_one_network(world: Path, dualpath: list[str], whole_run: Path) -> None:
    run = world.parent / "two"
    ended = _run(dualpath, *_fit(world, run, "--devices", "2"))
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("epoch   4") == 1
    assert (run / "summary.json").is_file()
    assert len(_losses(run)) == 4


def test_gradients_of_shared_batches_are_those_of_whole_ones(tmp_path: Path) -> None:
    script = tmp_path / "gradients.py"
    script.write_text(_GRADIENTS)
    results = []
    for count in (1, 2):
        answer = tmp_path / f"{count}.pt"
        ended = _run([sys.executable, str(script)], str(count), str(answer))
        assert ended.returncode == 0, ended.stderr
        results.append(torch.load(answer, weights_only=True))
    (rows, alone), (rows_shared, shared) = results
    assert rows == rows_shared == 8
    torch.testing.assert_close(shared, alone.expand(2, -1))
