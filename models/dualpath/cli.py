"""The `dualpath` command: generate, fit, evaluate, export, benchmark. --help does not wait for torch."""

import datetime
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from dualpath.benchmark_command import benchmark
from dualpath.config import ACCELERATORS, PRECISIONS, TRAINING_OPTIONS, NetworkConfig, TrainingConfig
from dualpath.config_file import config_option, training_numbers
from dualpath.disk import is_full
from dualpath.evaluate_command import evaluate
from dualpath.feature_run_commands import export_feature_run, fit_on_features
from dualpath.features_command import features
from dualpath.opening import open_data
from dualpath.progress import Bar
from kinoscore.errors import KinoscoreError

__all__ = ["main"]

_TRAINING = TrainingConfig()
_NETWORK = NetworkConfig()
_FOLDER = click.Path(file_okay=False, path_type=Path)
_DATA = click.Path(path_type=Path)


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
        click.echo(f"dualpath: interrupted; {_how_to_go_on(sys.argv[1:])}", err=True)
        sys.exit(130)
    except OSError as error:
        if error.filename is None and not is_full(error):
            raise
        click.echo(f"dualpath: {_file_problem(error)}", err=True)
        sys.exit(1)


def _how_to_go_on(arguments: Sequence[str]) -> str:
    """What is true after an interruption of this command."""
    command = arguments[0] if arguments else ""
    if command == "fit" and not any(argument.startswith("--features") for argument in arguments):
        return "what was finished is kept: run it again with --resume to go on"
    if command in ("benchmark", "features", "generate"):
        return "what was finished is kept: run it again to go on"
    return "run it again"


def _file_problem(error: OSError) -> str:
    """A file that cannot be read or written, or a full disk, in one line."""
    if error.filename is None:
        return f"{error.strerror}: make room and run it again"
    return f"cannot read or write {error.filename}: {error.strerror or error}"


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
    On your own files, a CSV with the columns video and music:
      dualpath fit --data pairs.csv --run runs/mine
      dualpath features --data pairs.csv --out features
    Against existing methods, on real pairs given as features:
      dualpath benchmark muvisync --data datasets/muvisync
    """


commands.add_command(benchmark)
commands.add_command(evaluate)
commands.add_command(features)


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
            with Bar(f"rendering {split}") as bar:
                write_world(world, split, count, seed, workers=workers, progress=bar.update)


@commands.command()
@config_option
@click.option("--data", required=True, type=_DATA, help="A world, a CSV of files, or a folder of files.")
@click.option("--run", "run_path", required=True, type=_FOLDER, help="The run folder to write.")
@click.option(
    "--features",
    type=click.Choice(["muvisync", "emomv", "mgsv"]),
    help="DATA holds features in this layout, no media; `export` then writes heads on features.",
)
@click.option(
    "--cache", type=_FOLDER, help="Decoded arrays; made once.  [default: DATA/cache; NAME.cache beside a CSV]"
)
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
@click.option(
    "--accelerator",
    type=click.Choice(ACCELERATORS),
    default=_TRAINING.accelerator,
    help="auto: a GPU if any.",
)
@click.option("--devices", default=_TRAINING.devices, help="GPUs (or CPU processes) that share each batch.")
@click.option("--precision", type=click.Choice(PRECISIONS), default=_TRAINING.precision)
@click.option("--tensorboard", is_flag=True, help="Also write RUN/tensorboard; needs the extra tensorboard.")
@click.option(
    "--frame-backbone",
    default=_NETWORK.frame_backbone,
    help="none, small, torchvision:NAME, open_clip:NAME or transformers:NAME.",
)
@click.option(
    "--window-backbone",
    default=_NETWORK.window_backbone,
    help="Of log-mel music: none, small or torchvision:NAME.",
)
@click.option(
    "--weights", default="", help="Of the frame backbone: file:PATH, or the name of published ones."
)
@click.option("--window-weights", default="", help="Of the window backbone, likewise.")
@click.option("--freeze-backbones", is_flag=True, help="Those that have weights do not learn.")
@click.option(
    "--backbone-learning-rate",
    default=_TRAINING.backbone_learning_rate,
    help="Of the backbones; 0 is that of the rest.",
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
@click.pass_context
def fit(context: click.Context, **options: Any) -> None:
    """Trains the network on pairs of media files and keeps the epoch that validates best.

    \b
    DATA is one of
      a world          see dualpath generate
      a CSV            video,music[,split][,emotion][,valence,arousal][,video_start,music_start]
                       paths relative to the CSV; music may be empty or missing: the video's own sound
      a folder         videos/NAME.* and music/NAME.*; without music/, each video's own sound

    Where no split is listed, the content's digest chooses it: of ten contents eight are for training, one for
    validation, one for test. A longer video gives its middle 12 s. With it go the same 12 s of its own sound,
    or of music of the same length, else the middle of the music; video_start and music_start (the second of
    the music that sounds at the beginning of the video) say it otherwise. Emotions are joyful, tense, sad,
    calm, neutral, or numbers in -1..1; without any, the losses that need one are left out.

    Every epoch ends with a checkpoint; run the same command with --resume to go on. The switches at the end
    take single ideas of the method away, to see what each of them brings.
    """
    training = _training_config(options)
    if options["features"]:
        given = {
            name for name in options if context.get_parameter_source(name) is not ParameterSource.DEFAULT
        }
        fit_on_features(options, given)
        return

    from dualpath.data.cache import open_cache
    from dualpath.data.emotion import check_emotion
    from dualpath.training.devices import is_further_process
    from dualpath.training.loop import Split, fit
    from dualpath.training.origin import describe_origin
    from dualpath.training.run_folder import RunFolder

    run = RunFolder(options["run_path"])
    if not is_further_process():
        run.require_free(resume=options["resume"])
    source = open_data(options["data"], ("train", "validation"), options["cache"], options["threads"])
    indexes = source.splits
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
    note = check_emotion(indexes["train"], distinguish=training.distinguish_weight > 0)
    if note:
        click.echo(note, err=True)
    splits = {}
    for name, index in indexes.items():
        with Bar(f"decoding {name}") as bar:
            arrays = open_cache(
                source.cache / name, index, network, workers=options["threads"], progress=bar.update
            )
        splits[name] = Split(index, arrays)
    fit(
        run,
        splits["train"],
        splits["validation"],
        network,
        training,
        weights=options["weights"],
        window_weights=options["window_weights"],
        resume=options["resume"],
        tensorboard=options["tensorboard"],
        origin=describe_origin(sys.argv[1:]),
        data={
            "kind": source.kind,
            "name": options["data"].resolve().name,
            "digests": source.digests,
            "notes": list(source.notes),
        },
        progress=click.echo,
    )


def _training_config(options: dict[str, Any]) -> TrainingConfig:
    """What the options and the file say.

    Raises:
        InvalidRequest: a number is out of its range.
    """
    numbers: dict[str, Any] = training_numbers()
    if not options["distinguish"]:
        numbers = {**numbers, "distinguish_weight": 0.0}
    return TrainingConfig(**numbers, **{name: options[name] for name in TRAINING_OPTIONS})


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

    The figures of `dualpath evaluate` go into kinoscore.json, each with the data that it was measured on.

    Each model is compared with torch before the repository takes its place. A service runs the models
    in-process whatever the target. Of a run of `fit --features`, the two heads are written and the manifest
    names the features that they need; the services refuse such a repository.
    """
    from dualpath.export.repository import export_repository
    from dualpath.training.data_facts import data_of_run, name_data, read_evaluations
    from dualpath.training.files import require_writable
    from dualpath.training.origin import manifest_origin
    from dualpath.training.run_folder import RunFolder
    from kinoscore.inference.targets import Target, TargetOptions
    from kinoscore.world import WORLD_VERSION

    require_writable(repository)
    folder = RunFolder(run)
    if folder.heads.is_file():
        export_feature_run(run, repository, note, target)
        return
    network, summary, config = folder.load_best(), folder.read_json("summary"), folder.read_json("config")
    pairs = summary["training_pairs"]
    trained = data_of_run(folder)
    data = {"world_version": WORLD_VERSION, "data": note or f"generated world, {pairs} pairs"}
    if trained.get("kind") == "files":
        data = {"data": note or f"media files of {trained['name']}, {pairs} pairs"}
    evaluations = read_evaluations(folder)
    evaluations.pop("train", None)
    for split, evaluation in evaluations.items():
        if evaluation.get("other_data"):
            measured = name_data(evaluation["data"], split)
            click.echo(f"the figures of {split} are of other data than the training's: {measured}", err=True)
    space = export_repository(
        network,
        repository,
        calibration=summary["calibration"],
        weights=summary["weights"],
        neutral_band=config["training"]["neutral_band"],
        training={
            **data,
            **manifest_origin(config),
            "configuration": config["training"],
            "seed": config["training"]["seed"],
            "epochs": summary["epochs"],
            "seconds": summary["seconds"],
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        },
        metrics={
            "validation_score": summary["validation_score"],
            **evaluations,
        },
        options=TargetOptions(Target(target)),
        progress=click.echo,
    )
    size = sum(file.stat().st_size for file in repository.rglob("*") if file.is_file())
    click.echo(f"{repository}: space {space}, {size / 1e6:.1f} MB")
