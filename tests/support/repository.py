"""A tiny model repository for tests: five models with the real names, shapes and numbers, little arithmetic.

Outputs are deterministic and depend on every input. They mean nothing.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

LABELS = ("joyful", "tense", "sad", "calm", "neutral")
FRAME_FEATURES = 16
WINDOW_FEATURES = 12
CONTENT, EMOTION, FUSED = 128, 64, 256
WINDOW_SAMPLES = 66150
# 126 steps of 525 samples make a window.
ONSETS = 126
ONSET_RATE = 42.0
BATCH = 16

AFFECT_OUTPUTS = f"float[n,2] valence_arousal, float[n,{len(LABELS)}] emotion_probabilities"
VECTOR_OUTPUTS = f"float[n,{CONTENT}] content, float[n,{EMOTION}] emotion"


def _affect(features: str) -> str:
    return f"""
        affect_raw = MatMul({features}, to_affect)
        valence_arousal = Tanh(affect_raw)
        logits = MatMul({features}, to_labels)
        emotion_probabilities = Softmax<axis=-1>(logits)
    """


def _unit_length(raw: str, name: str) -> str:
    return f"""
        {name}_length = ReduceL2<axes=[1], keepdims=1>({raw})
        {name}_nonzero = Max({name}_length, tiny)
        {name} = Div({raw}, {name}_nonzero)
    """


def _masked_mean(features: str, mask: str, name: str) -> str:
    return f"""
        {name}_column = Unsqueeze({mask}, axis_2)
        {name}_real = Mul({features}, {name}_column)
        {name}_sum = ReduceSum<keepdims=0>({name}_real, axis_1)
        {name}_count = ReduceSum<keepdims=1>({mask}, axis_1)
        {name} = Div({name}_sum, {name}_count)
    """


FRAME_ENCODER = f"""
    frame_encoder (uint8[n,80,128,3] frames)
    => (float[n,{FRAME_FEATURES}] features, {AFFECT_OUTPUTS}, float[n] salience) {{
        real = Cast<to=1>(frames)
        scaled = Div(real, white)
        centred = Sub(scaled, half)
        channels_first = Transpose<perm=[0,3,1,2]>(centred)
        grid = AveragePool<kernel_shape=[20,32], strides=[20,32]>(channels_first)
        cells = Flatten<axis=1>(grid)
        features = MatMul(cells, to_features)
        {_affect("features")}
        strength = ReduceL2<axes=[1], keepdims=0>(valence_arousal)
        confidence = ReduceMax<axes=[1], keepdims=0>(emotion_probabilities)
        weighted = Mul(strength, confidence)
        salience = Clip(weighted, zero, one)
    }}
"""

CLIP_ENCODER = f"""
    clip_encoder
    (float[n,24,{FRAME_FEATURES}] features, float[n,24] frame_mask, float[n,24] key_frame_mask)
    => ({VECTOR_OUTPUTS}, {AFFECT_OUTPUTS}) {{
        {_masked_mean("features", "frame_mask", "all_frames")}
        {_masked_mean("features", "key_frame_mask", "key_frames")}
        content_raw = MatMul(all_frames, to_content)
        emotion_raw = MatMul(key_frames, to_emotion)
        {_unit_length("content_raw", "content")}
        {_unit_length("emotion_raw", "emotion")}
        {_affect("key_frames")}
    }}
"""

WINDOW_ENCODER = f"""
    window_encoder (float[n,{WINDOW_SAMPLES}] samples, float[n] valid)
    => (float[n,{WINDOW_FEATURES}] features, {AFFECT_OUTPUTS}, float[n,{ONSETS}] onset_strength) {{
        steps = Reshape(samples, steps_shape)
        squared = Mul(steps, steps)
        energy = ReduceMean<axes=[2], keepdims=0>(squared)
        loud = Add(energy, tiny)
        level = Log(loud)
        before = MatMul(level, to_previous)
        rise = Sub(level, before)
        onset_strength = Relu(rise)
        spectrum = MatMul(loud, to_features)
        valid_column = Unsqueeze(valid, axis_1)
        features = Div(spectrum, valid_column)
        {_affect("features")}
    }}
"""

TRACK_ENCODER = f"""
    track_encoder (float[n,4,{WINDOW_FEATURES}] features, float[n,4] window_mask)
    => ({VECTOR_OUTPUTS}, {AFFECT_OUTPUTS}) {{
        {_masked_mean("features", "window_mask", "all_windows")}
        content_raw = MatMul(all_windows, to_content)
        emotion_raw = MatMul(all_windows, to_emotion)
        {_unit_length("content_raw", "content")}
        {_unit_length("emotion_raw", "emotion")}
        {_affect("all_windows")}
    }}
"""

FUSION = f"""
    fusion (float[n,{CONTENT}] content, float[n,{EMOTION}] emotion) => (float[n,{FUSED}] fused) {{
        both = Concat<axis=1>(content, emotion)
        fused_raw = MatMul(both, to_fused)
        {_unit_length("fused_raw", "fused")}
    }}
"""


def write_tiny_repository(folder: Path, *, seed: int = 0) -> Path:
    """Writes the repository into `folder` and returns it; another seed is another embedding space."""
    models = _models(np.random.default_rng(seed))
    digest = hashlib.sha256(b"".join(model.SerializeToString() for model in models.values()))
    space = "s" + digest.hexdigest()[:12]
    entries = {}
    for name, model in models.items():
        home = folder / f"{name}_{space}"
        (home / "1").mkdir(parents=True)
        content = model.SerializeToString()
        (home / "1" / "model.onnx").write_bytes(content)
        (home / "config.pbtxt").write_text(
            f'name: "{home.name}"\nbackend: "onnxruntime"\nmax_batch_size: {BATCH}\ndynamic_batching {{ }}\n'
        )
        entries[name] = {
            "name": home.name,
            "version": 1,
            "sha256": hashlib.sha256(content).hexdigest(),
            "max_batch_size": BATCH,
        }
    (folder / "kinoscore.json").write_text(json.dumps(tiny_manifest(space, entries), indent=2))
    return folder


def tiny_manifest(space: str, models: Mapping[str, object]) -> dict[str, Any]:
    """The content of kinoscore.json."""
    calibration = {
        "valence_mean": 0.0,
        "arousal_mean": 0.0,
        "valence_deviation": 0.5,
        "arousal_deviation": 0.5,
        "valence_error": 0.25,
        "arousal_error": 0.125,
    }
    return {
        "format": 1,
        "space": space,
        "models": dict(models),
        "video": {
            "frame_width": 128,
            "frame_height": 80,
            "frames_per_second": 2.0,
            "window_frames": 24,
            "key_frames": 6,
            "key_frame_separation_seconds": 1.0,
            "feature_dimension": FRAME_FEATURES,
        },
        "music": {
            "sample_rate": 22050,
            "window_samples": WINDOW_SAMPLES,
            "passage_windows": 4,
            "passage_hop_windows": 2,
            "feature_dimension": WINDOW_FEATURES,
            "onset_rate": ONSET_RATE,
        },
        "dimensions": {"content": CONTENT, "emotion": EMOTION, "fused": FUSED},
        "emotion_labels": list(LABELS),
        "calibration": {"video": calibration, "music": calibration, "neutral_band": 0.1},
        "weights": {"fused": 1.0, "content": 0.5, "emotion": 0.5},
        "training": {"data": "none: made for tests"},
        "metrics": {},
    }


def _models(random: np.random.Generator) -> dict[str, onnx.ModelProto]:
    def matrix(rows: int, columns: int, scale: float = 1.0) -> np.ndarray:
        return (random.normal(size=(rows, columns)) * scale).astype(np.float32)

    def heads(features: int) -> dict[str, np.ndarray]:
        return {
            "to_affect": matrix(features, 2, 0.5),
            "to_labels": matrix(features, len(LABELS)),
            "to_content": matrix(features, CONTENT),
            "to_emotion": matrix(features, EMOTION),
        }

    constants = {
        "tiny": np.float32(1e-6),
        "zero": np.float32(0),
        "half": np.float32(0.5),
        "one": np.float32(1),
        "white": np.float32(255),
        "axis_1": np.array([1]),
        "axis_2": np.array([2]),
        "steps_shape": np.array([0, ONSETS, -1]),
        # Each step's predecessor; the first is its own.
        "to_previous": np.eye(ONSETS, k=1, dtype=np.float32)
        + np.diag(np.eye(1, ONSETS, dtype=np.float32)[0]),
    }
    weights = {
        FRAME_ENCODER: {**heads(FRAME_FEATURES), "to_features": matrix(48, FRAME_FEATURES)},
        CLIP_ENCODER: heads(FRAME_FEATURES),
        WINDOW_ENCODER: {**heads(WINDOW_FEATURES), "to_features": matrix(ONSETS, WINDOW_FEATURES)},
        TRACK_ENCODER: heads(WINDOW_FEATURES),
        FUSION: {"to_fused": matrix(CONTENT + EMOTION, FUSED)},
    }
    models = [_model(text, {**constants, **own}) for text, own in weights.items()]
    return {model.graph.name: model for model in models}


def _model(text: str, values: Mapping[str, Any]) -> onnx.ModelProto:
    model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> {text}')
    used = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(value), name) for name, value in values.items() if name in used
    )
    onnx.checker.check_model(model)
    return model
