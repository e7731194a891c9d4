import hashlib
import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from dualpath.config import NetworkConfig
from dualpath.export import repository as repository_module
from dualpath.export.graphs import graphs
from dualpath.export.repository import config_text, export_repository, space_id
from dualpath.networks.dual_path import DualPathNetwork
from kinoscore.errors import FailedPrecondition, InternalError
from kinoscore.inference.repository import ModelRepository

pytestmark = pytest.mark.filterwarnings("ignore")  # the tracing exporter announces its successor

CALIBRATION = {
    side: {
        f"{axis}_{kind}": 0.5 for axis in ("valence", "arousal") for kind in ("mean", "deviation", "error")
    }
    for side in ("video", "music")
}


def _export(network: DualPathNetwork, destination: Path) -> str:
    return export_repository(
        network,
        destination,
        calibration=CALIBRATION,
        weights={"fused": 1.0, "content": 0.5, "emotion": 0.5},
        neutral_band=0.1,
        training={"seed": 1},
        metrics={},
    )


@pytest.fixture(scope="module")
def exported(network: DualPathNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    destination = tmp_path_factory.mktemp("export") / "repository"
    _export(network, destination)
    return destination


def _session(folder: Path, name: str) -> onnxruntime.InferenceSession:
    manifest = json.loads((folder / "kinoscore.json").read_text())
    path = folder / manifest["models"][name]["name"] / "1" / "model.onnx"
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def test_every_output_of_torch_and_onnx_runtime_agrees(exported: Path, network: DualPathNetwork) -> None:
    for graph in graphs(network):
        inputs = graph.example(5, torch.Generator().manual_seed(9))
        with torch.no_grad():
            result = graph.module(*inputs)
        expected = result if isinstance(result, tuple) else (result,)
        feed = {port.name: values.numpy() for port, values in zip(graph.inputs, inputs, strict=True)}
        actual = _session(exported, graph.name).run([port.name for port in graph.outputs], feed)
        for ours, theirs in zip(expected, actual, strict=True):
            assert float(np.abs(ours.numpy() - theirs).max()) <= 1e-4


def test_the_services_can_load_what_was_exported(exported: Path, network: DualPathNetwork) -> None:
    loaded = ModelRepository.load(exported)
    assert loaded.manifest.space == space_id(network)
    assert loaded.manifest.video.feature_dimension == network.frame_encoder.feature_dimension
    assert loaded.manifest.music.onset_rate == pytest.approx(42.0)
    assert max(loaded.manifest.metrics["parity"].values()) <= 1e-4


def test_the_files_name_their_shapes_and_match_their_checksums(
    exported: Path, network: DualPathNetwork
) -> None:
    manifest = json.loads((exported / "kinoscore.json").read_text())
    for graph in graphs(network):
        entry = manifest["models"][graph.name]
        file = exported / entry["name"] / "1" / "model.onnx"
        assert hashlib.sha256(file.read_bytes()).hexdigest() == entry["sha256"]
        session = _session(exported, graph.name)
        shapes = {value.name: value.shape[1:] for value in (*session.get_inputs(), *session.get_outputs())}
        assert shapes == {port.name: list(port.shape) for port in (*graph.inputs, *graph.outputs)}
        assert (exported / entry["name"] / "config.pbtxt").read_text() == config_text(graph, entry["name"])


def test_the_repository_stays_under_25_megabytes(exported: Path) -> None:
    assert sum(file.stat().st_size for file in exported.rglob("*") if file.is_file()) < 25e6


def test_the_configuration_of_a_model_declares_dimensions_without_the_batch(network: DualPathNetwork) -> None:
    text = config_text(graphs(network)[0], "frame_encoder_s0")
    assert 'name: "frame_encoder_s0"' in text
    assert 'name: "frames"\n  data_type: TYPE_UINT8\n  dims: [ 80, 128, 3 ]\n' in text
    assert 'name: "salience"\n  data_type: TYPE_FP32\n  dims: [ 1 ]\n  reshape: { shape: [ ] }\n' in text
    assert "max_batch_size: 64" in text


def test_the_space_follows_the_weights_that_are_exported_and_no_others() -> None:
    network = DualPathNetwork(NetworkConfig(themes=3, attributes=2))
    before = space_id(network)
    with torch.no_grad():
        network.labels.themes.weight.add_(1.0)
        network.video_decoder.layers[0].weight.add_(1.0)
    assert space_id(network) == before
    with torch.no_grad():
        network.fusion.layers[0].weight.add_(1e-3)
    assert space_id(network) != before
    assert len(before) == 13


def test_a_folder_with_something_else_in_it_is_left_alone(network: DualPathNetwork, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(FailedPrecondition, match="no model repository"):
        _export(network, tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_failed_parity_check_leaves_the_old_repository(
    exported: Path, network: DualPathNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (exported / "kinoscore.json").read_bytes()
    monkeypatch.setattr(repository_module, "write_onnx", lambda graph, path: path.write_bytes(b""))
    monkeypatch.setattr(repository_module, "measure_parity", lambda graph, path: 1e-3)
    with pytest.raises(InternalError, match="differ by"):
        _export(network, exported)
    assert (exported / "kinoscore.json").read_bytes() == before
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]
