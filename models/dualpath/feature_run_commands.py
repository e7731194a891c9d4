"""`dualpath fit --features` and `dualpath export` of such a run."""

import datetime
import sys
from pathlib import Path
from typing import Any

import click

from dualpath.config_file import training_numbers
from kinoscore.errors import InvalidRequest

__all__ = ["export_feature_run", "fit_on_features"]

_TRIALS = 4
_SWITCHES = ("shared_encoder", "decoders", "emotion_path", "key_frames", "channel_attention", "fusion")
_USED = {"data", "run_path", "features", "seed", "threads", "distinguish", "polarity_factor", *_SWITCHES}


def fit_on_features(options: dict[str, Any], given: set[str]) -> None:
    """Trains the dual path on a layout of features and writes the run.

    Args:
        options: of `dualpath fit`. given: which of them the caller wrote, as flags or in `--config`.

    Raises:
        FailedPrecondition: the run folder holds a run, or another process trains there.
        InvalidRequest: an option was given that has no effect here.
    """
    import torch

    from dualpath.benchmark.feature_run import fit_features
    from dualpath.data.features.layouts import layout_named
    from dualpath.methods.dual_path import DualPath
    from dualpath.methods.method import Kind
    from dualpath.networks.feature_paths import FeaturePathsConfig
    from dualpath.training.origin import describe_origin
    from dualpath.training.run_folder import RunFolder

    run = RunFolder(options["run_path"])
    run.require_free(resume=False, on_features=True)
    idle = sorted({*given, *training_numbers()} - _USED)
    if idle:
        raise InvalidRequest(
            f"--{idle[0].replace('_', '-')} has no effect with --features: leave it out, of --config too",
            field=idle[0],
        )
    if "polarity_factor" in given and not options["emotion_path"]:
        raise InvalidRequest(
            "--polarity-factor has no effect with --no-emotion-path: leave one of them out",
            field="polarity_factor",
        )
    if not 0.0 <= options["polarity_factor"] < float("inf"):
        raise InvalidRequest(
            f"--polarity-factor is 0 or more, not {options['polarity_factor']}", field="polarity_factor"
        )
    torch.set_num_threads(options["threads"])
    method = DualPath(
        "dual-path",
        Kind.OURS,
        FeaturePathsConfig(**{name: options[name] for name in _SWITCHES}),
        distinguish=options["distinguish"],
        factor=options["polarity_factor"],
    )
    summary = fit_features(
        run,
        options["features"],
        layout_named(options["features"]).read(options["data"]),
        method,
        trials=_TRIALS,
        seed=options["seed"],
        data=options["data"].resolve().name,
        origin=describe_origin(sys.argv[1:]),
        progress=click.echo,
    )
    click.echo(
        f"validation {100 * summary['validation_score']:.2f} ({summary['task']}), "
        f"trained on {summary['training_pairs']} pairs"
    )


def export_feature_run(run: Path, repository: Path, note: str, target: str) -> None:
    """Writes the heads of a run on features as a repository whose manifest names the features."""
    from dualpath.benchmark.feature_run import load_feature_model
    from dualpath.export.features import export_features
    from dualpath.training.origin import manifest_origin
    from dualpath.training.run_folder import RunFolder
    from kinoscore.inference.targets import Target, TargetOptions

    folder = RunFolder(run)
    model = load_feature_model(folder)
    summary, config = folder.read_json("summary"), folder.read_json("config")
    space = export_features(
        model,
        repository,
        training={
            "data": note or f"features in the layout of {model.layout}, {summary['training_pairs']} pairs",
            **manifest_origin(config),
            "configuration": summary["settings"],
            "seed": config["seed"],
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        },
        metrics={"validation_score": summary["validation_score"]},
        options=TargetOptions(Target(target)),
        progress=click.echo,
    )
    click.echo(f"{repository}: space {space}, heads on features")
