"""What the trainer exports for a target is a repository without flaws."""

from pathlib import Path

import pytest

from dualpath.export.repository import export_repository
from dualpath.networks.dual_path import DualPathNetwork
from kinoscore.inference.checking import check_repository
from kinoscore.inference.targets import Target, TargetOptions

pytestmark = pytest.mark.filterwarnings("ignore")  # the tracing exporter announces its successor


def test_an_export_for_a_target_has_no_flaw(network: DualPathNetwork, tmp_path: Path) -> None:
    numbers = ("mean", "deviation", "error")
    calibration = {f"{axis}_{number}": 0.5 for axis in ("valence", "arousal") for number in numbers}
    export_repository(
        network,
        tmp_path / "repository",
        calibration={"video": calibration, "music": calibration},
        weights={"fused": 1.0, "content": 0.5, "emotion": 0.5},
        neutral_band=0.1,
        training={},
        metrics={},
        options=TargetOptions(Target.PYTHON),
    )
    assert check_repository(tmp_path / "repository") == []
    assert len(list(tmp_path.glob("repository/*/1/model.py"))) == 5
