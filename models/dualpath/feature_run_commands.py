"""`dualpath fit --features`, and `dualpath evaluate` and `dualpath export` of such a run."""

import datetime
import sys
from pathlib import Path
from typing import Any

import click

from dualpath.config_file import training_numbers
from kinoscore.errors import InvalidRequest

__all__ = ["evaluate_feature_run", "export_feature_run", "fit_on_features"]

_TRIALS = 4
_SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}
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


def evaluate_feature_run(run: Path, data: Path, split: str, threads: int) -> None:
    """Prints the figures of a run on features, on one split of the same layout, and keeps them in the run.

    Raises:
        InvalidRequest: the split has no rows, or the features are others than the run's.
    """
    import numpy as np
    import torch

    from dualpath.benchmark.feature_run import load_feature_model, measure_features
    from dualpath.benchmark.tables import as_text
    from dualpath.data.features.layouts import layout_named
    from dualpath.training.run_folder import RunFolder

    torch.set_num_threads(threads)
    folder = RunFolder(run)
    model = load_feature_model(folder)
    pairs = layout_named(model.layout).read(data)
    chosen = np.flatnonzero(np.array(pairs.splits) == _SPLIT_NAMES[split])
    if not len(chosen):
        there = " or ".join(name for name, short in _SPLIT_NAMES.items() if short in pairs.splits)
        raise InvalidRequest(f"no rows are of the split {split}: use --split {there}", field="split")
    measured = {"name": data.resolve().name, "digest": pairs.digest()}
    is_same = folder.read_json("config")["data"].get("digest") == measured["digest"]
    rows = measure_features(model, pairs.rows(chosen))
    click.echo(f"{measured['name']}, {split}, {len(chosen)} rows")
    if split != "test" and is_same:
        click.echo("the run was trained with these rows: the figures flatter it")
    click.echo(as_text(rows))
    folder.write_json(f"evaluation-{split}", {"data": measured, "rows": rows})


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
