"""One writer makes every configuration: valid for Triton, true to the graph, and bounded."""

from pathlib import Path

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from support.repository import write_tiny_repository
from tritonclient.grpc import model_config_pb2

from kinoscore.errors import FailedPrecondition, InvalidRequest
from kinoscore.inference import ModelRepository
from kinoscore.inference.conversion import convert_repositories
from kinoscore.inference.onnx import OnnxEngine
from kinoscore.inference.signature import Port, Signature
from kinoscore.inference.targets import Device, Target, TargetOptions, config_text

FRAMES = Port("frames", np.dtype(np.uint8), (80, 128, 3))
SALIENCE = Port("salience", np.dtype(np.float32), ())
SIGNATURE = Signature((FRAMES,), (SALIENCE,))


def configuration(
    options: TargetOptions | None = None, largest: int = 64, signature: Signature = SIGNATURE
) -> model_config_pb2.ModelConfig:
    text = config_text("frame_encoder_s0", signature, largest, options)
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def tiny(folder: Path) -> ModelRepository:
    return ModelRepository.load(write_tiny_repository(folder))


def test_sizes_exclude_the_batch_and_a_single_number_is_reshaped() -> None:
    config = configuration()
    assert (config.name, config.max_batch_size) == ("frame_encoder_s0", 64)
    frames, salience = config.input[0], config.output[0]
    assert (frames.name, frames.data_type, list(frames.dims)) == (
        "frames",
        model_config_pb2.TYPE_UINT8,
        [80, 128, 3],
    )
    assert list(salience.dims) == [1]
    assert salience.HasField("reshape")
    assert list(salience.reshape.shape) == []


@settings(max_examples=30, deadline=None)
@given(largest=st.integers(1, 300))
def test_every_preferred_batch_size_is_warmed_up_and_none_is_above_the_largest(largest: int) -> None:
    config = configuration(largest=largest)
    preferred = list(config.dynamic_batching.preferred_batch_size)
    assert preferred == sorted(set(preferred))
    assert preferred[-1] == largest
    assert {warm_up.batch_size for warm_up in config.model_warmup} == {1, *preferred}
    assert len(config.model_warmup) == len({1, *preferred})
    for warm_up in config.model_warmup:
        assert list(warm_up.inputs["frames"].dims) == [80, 128, 3]


def test_a_queue_is_bounded_and_takes_the_time_limit_of_a_request() -> None:
    policy = configuration().dynamic_batching.default_queue_policy
    assert policy.max_queue_size > 0
    assert policy.allow_timeout_override
    # Triton lets a request lower this limit, never raise it; 0 would let none.
    assert policy.default_timeout_microseconds > 0
    assert policy.timeout_action == model_config_pb2.ModelQueuePolicy.REJECT


@pytest.mark.parametrize(
    ("options", "backend", "kind"),
    [
        (TargetOptions(), "onnxruntime", "KIND_AUTO"),
        (TargetOptions(device=Device.CPU, instances=2), "onnxruntime", "KIND_CPU"),
        (TargetOptions(device=Device.GPU), "onnxruntime", "KIND_GPU"),
        (TargetOptions(Target.TENSORRT), "onnxruntime", "KIND_GPU"),
        (TargetOptions(Target.PYTHON), "python", "KIND_AUTO"),
    ],
)
def test_the_options_choose_backend_and_instances(options: TargetOptions, backend: str, kind: str) -> None:
    config = configuration(options)
    (group,) = config.instance_group
    assert config.backend == backend
    assert group.count == options.instances
    assert model_config_pb2.ModelInstanceGroup.Kind.Name(group.kind) == kind


@pytest.mark.parametrize(("half", "precision"), [(False, "FP32"), (True, "FP16")])
def test_tensorrt_is_an_accelerator_of_the_same_backend(half: bool, precision: str) -> None:
    config = configuration(TargetOptions(Target.TENSORRT, half_precision=half))
    (accelerator,) = config.optimization.execution_accelerators.gpu_execution_accelerator
    assert accelerator.name == "tensorrt"
    assert accelerator.parameters["precision_mode"] == precision
    assert not configuration().optimization.HasField("execution_accelerators")


@pytest.mark.parametrize(
    ("field", "options"),
    [
        ("fp16", {"half_precision": True}),
        ("device", {"target": Target.TENSORRT, "device": Device.CPU}),
        ("instances", {"instances": 0}),
    ],
)
def test_options_that_contradict_each_other_are_refused(field: str, options: dict[str, object]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        TargetOptions(**options)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("target", list(Target))
async def test_a_converted_repository_has_the_same_models_and_runs_in_process(
    tmp_path: Path, target: Target
) -> None:
    source = tiny(tmp_path / "source")
    convert_repositories([source], tmp_path / "converted", TargetOptions(target))
    converted = ModelRepository.load(tmp_path / "converted")
    assert converted.manifest == source.manifest
    scripts = sorted(tmp_path.glob("converted/*/1/model.py"))
    assert len(scripts) == (5 if target is Target.PYTHON else 0)
    engine = OnnxEngine(converted, threads=1)
    await engine.check()
    await engine.close()


def test_a_conversion_replaces_a_repository_and_nothing_else(tmp_path: Path) -> None:
    source = tiny(tmp_path / "source")
    convert_repositories([source], source.path, TargetOptions(Target.PYTHON))
    assert len(list(source.path.glob("*/1/model.py"))) == 5
    convert_repositories([source], source.path, TargetOptions())
    assert not list(source.path.glob("*/1/model.py"))
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "text").write_text("years of work")
    with pytest.raises(FailedPrecondition, match="no model repository"):
        convert_repositories([source], tmp_path / "thesis", TargetOptions())
    assert (tmp_path / "thesis" / "text").read_text() == "years of work"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "thesis"]
