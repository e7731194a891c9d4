"""The `dualpath` command: generate, fit, evaluate, export, benchmark. --help does not wait for torch."""

import datetime
import sys
from pathlib import Path
from typing import Any

import click

from dualpath.benchmark_command import benchmark
from dualpath.config import NetworkConfig, TrainingConfig
from kinoscore.errors import KinoscoreError

__all__ = ["main"]

_TRAINING = TrainingConfig()
_NETWORK = NetworkConfig()
_SPLITS = click.Choice(["train", "validation", "test"])
_FOLDER = click.Path(file_okay=False, path_type=Path)


def main() -> None:
    """Entry point: errors are one line on stderr, exit 1; Ctrl-C is exit 130."""
    try:
        commands(prog_name="dualpath", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except KinoscoreError as error:
        click.echo(f"dualpath: {error}", err=True)
        sys.exit(1)
    except (click.Abort, KeyboardInterrupt):
        click.echo("dualpath: interrupted; what was finished is kept (fit goes on with --resume)", err=True)
        sys.exit(130)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110, "show_default": True}
)
def commands() -> None:
    """Trains the dual-path network that matches video and music.

    \b
    From nothing to a model repository:
      dualpath generate world
      dualpath fit --data world --run runs/first
      dualpath evaluate runs/first --data world --split test --gallery 500
      dualpath export runs/first --repository models/repository
    Against existing methods, on real pairs given as features:
      dualpath benchmark muvisync --data datasets/muvisync
    """


commands.add_command(benchmark)


@commands.command()
@click.argument("world", type=_FOLDER)
@click.option("--train", default=3500, help="Training pairs.")
@click.option("--validation", default=400, help="Validation pairs; styles that training never sees.")
@click.option("--test", default=1000, help="Test pairs; styles that neither training nor validation sees.")
@click.option("--seed", default=1, help="Of the world; the same seed gives the same world.")
@click.option("--workers", default=2, help="Processes that render.")
def generate(world: Path, train: int, validation: int, test: int, seed: int, workers: int) -> None:
    """Renders a generated world of paired clips and music into the folder WORLD.

    Run it again to go on after an interruption: pairs that are there are kept. A split of 0 pairs is left
    out.
    """
    from kinoscore.world import write_world

    for split, count in (("train", train), ("validation", validation), ("test", test)):
        if count:
            with _Bar(f"rendering {split}") as bar:
                write_world(world, split, count, seed, workers=workers, progress=bar.update)


@commands.command()
@click.option("--data", required=True, type=_FOLDER, help="The world to train on.")
@click.option("--run", "run_path", required=True, type=_FOLDER, help="The run folder to write.")
@click.option("--cache", type=_FOLDER, help="Decoded arrays; they are made once.  [default: DATA/cache]")
@click.option("--resume", is_flag=True, help="Go on from the last whole epoch of this run.")
@click.option("--epochs", default=_TRAINING.epochs, help="Passes over the training pairs.")
@click.option(
    "--minutes", default=_TRAINING.minutes, help="Budget; the learning rate then ends with it. 0: none."
)
@click.option("--batch-size", default=_TRAINING.batch_size)
@click.option("--learning-rate", default=_TRAINING.learning_rate)
@click.option("--augmentation", default=_TRAINING.augmentation, help="Strength; 0 is none.")
@click.option(
    "--polarity-factor", default=_TRAINING.polarity_factor, help="Lambda of the metric losses; 0 is none."
)
@click.option("--patience", default=_TRAINING.patience, help="Epochs without a better validation score.")
@click.option("--threads", default=_TRAINING.threads, help="CPU threads, and processes that decode.")
@click.option("--seed", default=_TRAINING.seed)
@click.option("--frame-backbone", default=_NETWORK.frame_backbone, help="small, or torchvision:NAME.")
@click.option("--window-backbone", default=_NETWORK.window_backbone, help="small, or torchvision:NAME.")
@click.option(
    "--weights", default="", help="Of the frame backbone: a file, or the name of torchvision weights."
)
@click.option(
    "--shared-encoder/--separate-encoders", default=True, help="One content encoder for both modalities."
)
@click.option("--decoders/--no-decoders", default=True, help="Reconstruction loss.")
@click.option("--emotion-path/--no-emotion-path", default=True, help="Emotion in the fused space.")
@click.option("--key-frames/--all-frames", default=True, help="Which frames the emotion of a clip pools.")
@click.option("--channel-attention/--no-channel-attention", default=True, help="Over music features.")
@click.option("--distinguish/--no-distinguish", default=True, help="The emotion distinguish loss.")
@click.option("--fusion", type=click.Choice(["mlp", "sum"]), default=_NETWORK.fusion)
@click.option(
    "--world-labels/--no-world-labels", default=True, help="Also learn theme and attributes of the index."
)
def fit(**options: Any) -> None:
    """Trains the network on a world and keeps the epoch that validates best.

    Every epoch ends with a checkpoint; run the same command with --resume to go on. The switches at the end
    take single ideas of the method away, to see what each of them brings.
    """
    from dualpath.data.cache import open_cache
    from dualpath.data.index import read_index
    from dualpath.training.loop import Split, fit
    from dualpath.training.run_folder import RunFolder

    data, cache = options["data"], options["cache"] or options["data"] / "cache"
    indexes = {name: read_index(data, name) for name in ("train", "validation")}
    labelled = options["world_labels"]
    network = NetworkConfig(
        frame_backbone=options["frame_backbone"],
        window_backbone=options["window_backbone"],
        shared_encoder=options["shared_encoder"],
        decoders=options["decoders"],
        emotion_path=options["emotion_path"],
        key_frames=options["key_frames"],
        channel_attention=options["channel_attention"],
        fusion=options["fusion"],
        themes=len(indexes["train"].theme_names) if labelled else 0,
        attributes=len(indexes["train"].attribute_names) if labelled else 0,
    )
    training = TrainingConfig(
        distinguish_weight=_TRAINING.distinguish_weight if options["distinguish"] else 0.0,
        **{
            name: options[name]
            for name in (
                *("epochs", "minutes", "batch_size", "learning_rate", "augmentation"),
                *("polarity_factor", "patience", "threads", "seed"),
            )
        },
    )
    splits = {}
    for name, index in indexes.items():
        with _Bar(f"decoding {name}") as bar:
            arrays = open_cache(cache / name, index, network, workers=options["threads"], progress=bar.update)
        splits[name] = Split(index, arrays)
    summary = fit(
        RunFolder(options["run_path"]),
        splits["train"],
        splits["validation"],
        network,
        training,
        weights=options["weights"],
        resume=options["resume"],
        progress=click.echo,
    )
    click.echo(
        f"best epoch {summary['best_epoch']} of {summary['epochs']}, "
        f"validation {100 * summary['validation_score']:.2f}; ranking weights {summary['weights']}"
    )


@commands.command()
@click.argument("run", type=_FOLDER)
@click.option("--data", required=True, type=_FOLDER, help="The world to measure on.")
@click.option("--cache", type=_FOLDER, help="Decoded arrays.  [default: DATA/cache]")
@click.option("--split", type=_SPLITS, default="test")
@click.option("--gallery", default=500, help="Pairs a gallery; several galleries are averaged.")
@click.option("--threads", default=_TRAINING.threads, help="CPU threads, and processes that decode.")
def evaluate(run: Path, data: Path, cache: Path | None, split: str, gallery: int, threads: int) -> None:
    """Prints retrieval figures of the model in RUN, beside an oracle and a random order.

    The oracle sees the theme and the cues that each side renders, and knows how the world was drawn: the most
    that any model could reach. The figures are written to RUN/evaluation-SPLIT.json too.
    """
    import torch

    from dualpath.data.cache import open_cache
    from dualpath.data.index import emotion_labels, read_index
    from dualpath.evaluation.embeddings import embed, similarity
    from dualpath.evaluation.oracle import oracle_similarity, read_rendered_cues, theme_similarity
    from dualpath.evaluation.report import compare, emotion_figures, format_table
    from dualpath.training.run_folder import RunFolder

    torch.set_num_threads(threads)
    folder = RunFolder(run)
    network, weights = folder.load_best(), folder.read_json("summary")["weights"]
    index = read_index(data, split)
    with _Bar(f"decoding {split}") as bar:
        arrays = open_cache(
            (cache or data / "cache") / split, index, network.config, workers=threads, progress=bar.update
        )
    embeddings = embed(network, arrays, index)
    cues = read_rendered_cues(data / split / "index.csv")
    alone = {name: {**dict.fromkeys(("fused", "content", "emotion"), 0.0), name: 1.0} for name in weights}
    matrices = {
        "model": similarity(embeddings, weights),
        **{name: similarity(embeddings, one) for name, one in alone.items()},
        "theme": theme_similarity(cues, cues),
        "oracle": oracle_similarity(cues, cues),
    }
    rows = compare(matrices, gallery)
    click.echo(format_table(rows))
    labels = emotion_labels(index.valence_arousal)
    emotion = {
        side: emotion_figures(
            values.valence_arousal, index.valence_arousal, values.probabilities.argmax(axis=1), labels
        )
        for side, values in (("video", embeddings.video), ("music", embeddings.music))
    }
    for side, values in emotion.items():
        click.echo(
            f"{side}: " + ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in values.items())
        )
    folder.write_json(
        f"evaluation-{split}",
        {"retrieval": [row.as_dict() for row in rows], "emotion": emotion, "pairs": len(index)},
    )


@commands.command()
@click.argument("run", type=_FOLDER)
@click.option("--repository", required=True, type=_FOLDER, help="The model repository to write or replace.")
@click.option("--note", default="", help="What to say of the training data in the manifest.")
@click.option(
    "--target",
    type=click.Choice(["onnxruntime", "tensorrt", "python"]),
    default="onnxruntime",
    help="How Triton runs the models; `kinoscore models convert` changes it later and knows more options.",
)
def export(run: Path, repository: Path, note: str, target: str) -> None:
    """Writes the model repository that the services load: five ONNX models and kinoscore.json.

    Each model is compared with torch before the repository takes its place. A service runs the models
    in-process whatever the target.
    """
    from dualpath.export.repository import export_repository
    from dualpath.training.run_folder import RunFolder
    from kinoscore.inference.targets import Target, TargetOptions
    from kinoscore.world import WORLD_VERSION

    folder = RunFolder(run)
    network, summary, config = folder.load_best(), folder.read_json("summary"), folder.read_json("config")
    space = export_repository(
        network,
        repository,
        calibration=summary["calibration"],
        weights=summary["weights"],
        neutral_band=config["training"]["neutral_band"],
        training={
            "world_version": WORLD_VERSION,
            "data": note or f"generated world, {summary['training_pairs']} pairs",
            "command": "dualpath fit",
            "configuration": config["training"],
            "seed": config["training"]["seed"],
            "epochs": summary["epochs"],
            "seconds": summary["seconds"],
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        },
        metrics={
            "validation_score": summary["validation_score"],
            **{
                split: folder.read_json(f"evaluation-{split}")
                for split in ("validation", "test")
                if (run / f"evaluation-{split}.json").is_file()
            },
        },
        options=TargetOptions(Target(target)),
        progress=click.echo,
    )
    size = sum(file.stat().st_size for file in repository.rglob("*") if file.is_file())
    click.echo(f"{repository}: space {space}, {size / 1e6:.1f} MB")


class _Bar:
    """A progress bar on a terminal; silent elsewhere."""

    def __init__(self, label: str) -> None:
        self._bar = click.progressbar(length=1, label=label, file=sys.stderr)
        self._done = 0

    def __enter__(self) -> "_Bar":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(None, None, None)

    def update(self, done: int, total: int) -> None:
        """Moves the bar to `done` of `total`."""
        self._bar.length = total
        self._bar.update(done - self._done)
        self._done = done
