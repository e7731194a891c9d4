"""model-card.md: what a run folder holds, in words. Made from its JSON files alone."""

from collections.abc import Mapping
from typing import Any

from dualpath.config import TrainingConfig
from dualpath.evaluation.report import markdown_table
from dualpath.training.data_facts import data_of_run, name_data, read_evaluations
from dualpath.training.files import write_text_whole
from dualpath.training.run_folder import RunFolder

__all__ = ["write_model_card"]

_SWITCHES = {
    "shared encoder": lambda network, training: network["shared_encoder"],
    "decoders (reconstruction)": lambda network, training: network["decoders"],
    "emotion path": lambda network, training: network["emotion_path"],
    "emotion key frames": lambda network, training: network["key_frames"],
    "channel attention": lambda network, training: network["channel_attention"],
    "distinguish loss": lambda network, training: training["distinguish_weight"] > 0,
    "polarity factor (lambda)": lambda network, training: training["polarity_factor"],
    "fusion": lambda network, training: network["fusion"],
    "frame backbone": lambda network, training: network["frame_backbone"],
    "window backbone": lambda network, training: network["window_backbone"],
}


def write_model_card(run: RunFolder) -> None:
    """Writes it anew, with the evaluations that are there.

    Raises:
        NotFound: the run is not finished.
    """
    config, summary, trained = run.read_json("config"), run.read_json("summary"), data_of_run(run)
    # A setting that the run does not know yet had its default.
    config["training"] = TrainingConfig.from_dict(config["training"]).as_dict()
    sections = {
        "Data": _data(config, summary, trained),
        "Sizes": _sizes(config["network"], summary),
        "Switches": _switches(config),
        "Figures": _figures(summary, read_evaluations(run)),
        "Calibration": _calibration(config, summary),
        "Limits": _LIMITS,
        "How to reproduce": _reproduction(config),
    }
    text = f"# Model card: {run.path.resolve().name}\n\n{_INTRODUCTION}\n"
    text += "".join(f"\n## {title}\n\n{body}\n" for title, body in sections.items())
    write_text_whole(run.path / "model-card.md", text)


_INTRODUCTION = (
    "A dual-path network that matches video with music: content and emotion of each modality, fused into "
    "one space\n(Gu, Shen and Lv, Sensors 2023, 23(2), 805). `dualpath fit` and `dualpath evaluate` write "
    "this page."
)
_LIMITS = """\
- The figures hold for galleries of the size that they name, and for pairs drawn as those of the split.
- The emotions are those of the training data. Rankings by valence and arousal carry over to other material
  better than their values do; a service centres both on its catalogue.
- A clip is judged by its pictures: speech, lyrics, culture and the rights of a track are not known.
- A run on one CPU thread in float32 repeats exactly on the same versions. With more threads the last digits
  may differ; on GPUs, or with a budget of minutes, it does not repeat exactly."""


def _data(config: Mapping[str, Any], summary: Mapping[str, Any], trained: Mapping[str, Any]) -> str:
    network = config["network"]
    return (
        (f"{name_data(trained, 'train')}: " if trained else "")
        + f"{summary['training_pairs']} pairs for training, {summary['validation_pairs']} for validation, "
        "which chose the epoch and the ranking weights.\nBeside valence and arousal, the data named "
        f"{network['themes']} themes and {network['attributes']} attributes of content."
    )


def _sizes(network: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    video, music, dimensions = network["video"], network["music"], network["dimensions"]
    seconds = music["window_samples"] / music["sample_rate"]
    return "\n".join(
        (
            f"- {summary.get('parameters', 'unknown')} parameters, those used in training only included",
            f"- clips: {video['window_frames']} frames of {video['frame_width']} x {video['frame_height']} "
            f"at {video['frames_per_second']:g} a second, {video['key_frames']} of them key frames",
            f"- music: passages of {music['passage_windows']} windows of {seconds:g} s at "
            f"{music['sample_rate']} Hz",
            f"- embeddings: content {dimensions['content']}, emotion {dimensions['emotion']}, fused "
            f"{dimensions['fused']}",
        )
    )


def _switches(config: Mapping[str, Any]) -> str:
    lines = ["| idea | this run |", "| --- | --- |"]
    for name, value in _SWITCHES.items():
        state = value(config["network"], config["training"])
        lines.append(f"| {name} | {('on' if state else 'off') if isinstance(state, bool) else state} |")
    return "\n".join(lines)


def _figures(summary: Mapping[str, Any], evaluations: Mapping[str, Mapping[str, Any]]) -> str:
    parts = [
        f"Epoch {summary['best_epoch']} of {summary['epochs']} validated best: "
        f"{100 * summary['validation_score']:.2f}, the mean of R@1 and R@10 of both\ndirections among all "
        f"{summary['validation_pairs']} validation pairs (see curves.png)."
    ]
    for split, evaluation in evaluations.items():
        of = f" of {name_data(evaluation['data'], split)}" if "data" in evaluation else ""
        if evaluation.get("other_data"):
            of += ", **other data than the run was trained with**"
        parts.append(
            f"**{split}**, {evaluation['pairs']} pairs{of}. {evaluation.get('duplicates', '')}\n\n"
            + markdown_table(evaluation["retrieval"])
        )
        parts.append(
            "\n".join(
                f"- {side}: "
                + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in one.items())
                for side, one in evaluation["emotion"].items()
            )
        )
    if not evaluations:
        parts.append("Not evaluated yet: `dualpath evaluate` adds its figures here.")
    return "\n\n".join(parts)


def _calibration(config: Mapping[str, Any], summary: Mapping[str, Any]) -> str:
    names = list(next(iter(summary["calibration"].values())))
    lines = [
        f"Ranking weights {_numbers(summary['weights'])}; neutral band "
        f"{config['training']['neutral_band']:g}. Mean and deviation are of\npredictions on the training "
        "pairs, the error (RMS) is on the validation pairs.",
        "",
        "| side | " + " | ".join(name.replace("_", " ") for name in names) + " |",
        "| --- |" + " --- |" * len(names),
    ]
    for side, values in summary["calibration"].items():
        lines.append(f"| {side} | " + " | ".join(f"{values[name]:.3f}" for name in names) + " |")
    return "\n".join(lines)


def _reproduction(config: Mapping[str, Any]) -> str:
    origins = config.get("origins", [])
    training = config["training"]
    lines = ["```sh", *(origin["command"] for origin in origins), "```", ""] if origins else []
    if origins:
        named = ("git_revision", "kinoscore", "torch", "python", "date")
        facts = (f"{name.replace('_', ' ')} {origins[-1][name]}" for name in named if name in origins[-1])
        lines.append(f"With {', '.join(facts)}.")
    lines.append(
        f"Seed {training['seed']}, {training['threads']} threads, {training['devices']} device(s) "
        f"({training['accelerator']}), precision {training['precision']}; config.json has every setting."
    )
    return "\n".join(lines)


def _numbers(values: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in values.items())
