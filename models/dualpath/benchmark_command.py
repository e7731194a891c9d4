"""`dualpath benchmark`: the command, with one subcommand for each kind of data."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kinoscore.errors import InvalidRequest

if TYPE_CHECKING:
    from dualpath.benchmark.results import Unit
    from dualpath.benchmark.tables import Row
    from dualpath.data.features.pairs import FeaturePairs

__all__ = ["benchmark"]

_FOLDER = click.Path(file_okay=False, path_type=Path)
_PAGE = click.Path(dir_okay=False, exists=True, path_type=Path)
Command = Callable[..., None]


@click.group()
def benchmark() -> None:
    """Trains every method on the same pairs under one budget, and prints one table.

    \b
      dualpath benchmark muvisync --data datasets/muvisync
      dualpath benchmark emomv --data datasets/emomv --methods standard,ablations --seeds 5
      dualpath benchmark world --data world --gallery 500

    What is done is kept in --out: run the same command again to go on. --out receives table.txt, table.csv,
    table.json (with every trial) and table.md. The difference is taken pair by pair against the best
    baseline, with a 95 % bootstrap interval, and so is what an idea brings: "*", ours, less the same without
    it. "baseline" is an existing method, "control" shows what something brings by itself.
    """


def _outputs(name: str) -> Callable[[Command], Command]:
    """Where the tables of a subcommand go."""

    def add(command: Command) -> Command:
        for option in (
            click.option("--threads", default=2, type=click.IntRange(1, 256), help="CPU threads."),
            click.option(
                "--marker",
                default=f"benchmark {name}",
                help="With --into: the table replaces what is between <!-- MARKER --> and <!-- end -->.",
            ),
            click.option("--into", type=_PAGE, help="A Markdown file that receives the table."),
            click.option("--out", type=_FOLDER, help=f"Results.  [default: benchmark-{name}]"),
        ):
            command = option(command)
        return command

    return add


def _folds(name: str) -> Callable[[Command], Command]:
    """Options of every layout of features."""

    def add(command: Command) -> Command:
        for option in (
            click.option(
                "--trials", default=4, type=click.IntRange(1, 100), help="Tuning trials of every method."
            ),
            click.option(
                "--methods",
                default="standard",
                help='By name, separated by commas; "standard" is all, "ablations" ours less one idea.',
            ),
            click.option(
                "--seeds",
                default=3,
                type=click.IntRange(1, 50),
                help="Repetitions, each with its own partition.",
            ),
            click.option("--folds", default=5, type=click.IntRange(2, 50), help="Parts of the k-fold."),
            click.option(
                "--split",
                type=click.Choice(["val", "test"]),
                help="Test this published split, train with those before it.  [default: k-fold of all]",
            ),
            click.option("--data", required=True, type=_FOLDER, help="Its folder."),
        ):
            command = option(command)
        return _outputs(name)(command)

    return add


@benchmark.command()
@_folds("muvisync")
@click.option(
    "--passage-seconds",
    default=0,
    type=click.IntRange(0),
    help="Retrieve passages of this length among those of all tracks.  [default: whole tracks]",
)
@click.option(
    "--trim",
    default=0,
    type=click.IntRange(0, 15),
    help="Left out at each end: tokens, of 32, or passages.",
)
def muvisync(trim: int, passage_seconds: int, **options: Any) -> None:
    """Retrieval among whole music videos, or passages of them, given as features at 1 Hz.

    On each fold every method gets the same number of tuning trials, scored on a fifth of the training rows;
    the best settings are trained once more on all of them, and the test rows are seen once.
    """
    from dualpath.data.features.muvisync import read_muvisync

    _on_features(
        "muvisync", read_muvisync(options.pop("data"), trim=trim, passage_seconds=passage_seconds), **options
    )


@benchmark.command()
@_folds("emomv")
@click.option("--more-music", is_flag=True, help="Also learn from the music-only sets.")
def emomv(more_music: bool, **options: Any) -> None:
    """Match or mismatch of segments of music videos, one vector each; see muvisync for the budget."""
    from dualpath.data.features.emomv import read_emomv

    _on_features("emomv", read_emomv(options.pop("data"), more_music=more_music), **options)


@benchmark.command()
@_folds("mgsv")
def mgsv(**options: Any) -> None:
    """Retrieval in the layout of MGSV-EC; see muvisync for the budget."""
    from dualpath.data.features.mgsv import read_mgsv

    _on_features("mgsv", read_mgsv(options.pop("data")), **options)


@benchmark.command()
@_folds("extracted")
def extracted(**options: Any) -> None:
    """Retrieval among one's own files, by features that `dualpath features` wrote; see muvisync."""
    from dualpath.data.features.extracted import read_extracted

    _on_features("extracted", read_extracted(options.pop("data")), **options)


@benchmark.command()
@click.option("--data", required=True, type=_FOLDER, help="The world.")
@click.option("--cache", type=_FOLDER, help="Decoded arrays and features; made once.  [default: DATA/cache]")
@click.option("--split", default="test", type=click.Choice(["validation", "test"]), help="What is measured.")
@click.option("--gallery", default=500, type=click.IntRange(2), help="Pairs a gallery; several are pooled.")
@click.option("--pairs", type=click.IntRange(128), help="Training pairs, from the first.  [default: all]")
@click.option("--epochs", default=16, type=click.IntRange(1), help="Passages of every method over them.")
@click.option(
    "--trials", default=4, type=click.IntRange(1, 100), help="Settings that a method on features may try."
)
@click.option("--seeds", default=1, type=click.IntRange(1, 50), help="Repetitions of every training.")
@click.option(
    "--methods",
    default="standard",
    help='By name, separated by commas; or "standard", "features", "end-to-end", "ablations", "none".',
)
@click.option(
    "--trained", multiple=True, type=_FOLDER, help="A run of `dualpath fit` to measure beside them."
)
@_outputs("world")
def world(**options: Any) -> None:
    """Retrieval on a generated world whose validation and test splits have styles that training never sees.

    Every method is trained on the same pairs and passes over them equally often; the table lists pairs,
    epochs, trials and minutes (of the processor on features, of the clock end to end). Methods on features
    get all fixed cues that the network computes of pictures and music, and --trials settings each; what is
    trained end to end has one, that of `dualpath fit`. Validation pairs choose settings and epochs.
    info-nce-end-to-end is the network of the dual path with every idea of it switched off. The row of a
    --trained run has the budget that it was made with: make sure that it never saw the measured split.
    """
    from dualpath.benchmark.results import Results
    from dualpath.benchmark.tasks import Retrieval
    from dualpath.benchmark.world import Budget, TrainedRun, World, run_world, world_rows
    from dualpath.benchmark.world_methods import choose_world_methods
    from dualpath.config import NetworkConfig
    from dualpath.data.cache import open_cache
    from dualpath.data.index import read_index
    from dualpath.training.loop import Split
    from dualpath.training.run_folder import RunFolder

    names = [name.strip() for name in options["methods"].split(",") if name.strip() not in ("", "none")]
    methods = [*choose_world_methods(names), *(TrainedRun(RunFolder(path)) for path in options["trained"])]
    if not methods:
        raise InvalidRequest("nothing to compare: name --methods or a --trained run", field="methods")
    cache, tested, threads = (
        options["cache"] or options["data"] / "cache",
        options["split"],
        options["threads"],
    )
    splits = {}
    for name in dict.fromkeys(("train", "validation", tested)):
        index = read_index(options["data"], name)
        click.echo(f"arrays of {name}", err=True)
        splits[name] = Split(index, open_cache(cache / name, index, NetworkConfig(), workers=threads))
    budget = Budget(
        min(options["pairs"] or len(splits["train"].index), len(splits["train"].index)),
        options["epochs"],
        options["trials"],
    )
    given = World(splits, tested, cache / "features")
    gallery = options["gallery"]
    facts = {
        "layout": "world",
        "data": given.digest(),
        "split": tested,
        "gallery": gallery,
        "pairs": budget.pairs,
        "epochs": budget.epochs,
        "trials": budget.trials,
    }
    seeds = range(1, options["seeds"] + 1)
    folder = options["out"] or Path("benchmark-world")
    units = run_world(
        given,
        methods,
        seeds,
        Retrieval(gallery),
        Results(folder, facts),
        budget,
        threads=threads,
        progress=lambda line: click.echo(line, err=True),
    )
    measured = len(units[0].rows)
    title = (
        f"world: {measured} {tested} pairs in galleries of {gallery}; trained on {budget.pairs} pairs, "
        f"{budget.epochs} epochs, {options['seeds']} seeds"
    )
    _publish(world_rows(units, methods, gallery), units, facts, seeds, title, folder, options)


def _on_features(layout: str, pairs: "FeaturePairs", **options: Any) -> None:
    """The k-fold or the published split, method by method, and its tables."""
    from dualpath.benchmark.folds import folds_of_split, repeated_folds
    from dualpath.benchmark.results import Results
    from dualpath.benchmark.run import run_benchmark
    from dualpath.benchmark.tables import match_rows, retrieval_rows
    from dualpath.benchmark.tasks import task_of
    from dualpath.methods.agreement import tells_emotion
    from dualpath.methods.by_name import choose_methods, without_emotion

    methods = choose_methods([name.strip() for name in options["methods"].split(",")])
    seeds = range(1, options["seeds"] + 1)
    split = options["split"]
    folds = folds_of_split(pairs, split, seeds) if split else repeated_folds(pairs, options["folds"], seeds)
    labelled = all(tells_emotion(pairs, fold.training) for fold in folds)
    if not labelled:
        methods, note = without_emotion(methods)
        if note:
            click.echo(note, err=True)
    task = task_of(pairs)
    folder = options["out"] or Path(f"benchmark-{layout}")
    facts = {
        "layout": layout,
        "data": pairs.digest(),
        "split": split or f"{options['folds']} folds",
        "trials": options["trials"],
        "emotion": labelled,
    }
    units = run_benchmark(
        pairs,
        folds,
        methods,
        task,
        Results(folder, facts),
        trials=options["trials"],
        threads=options["threads"],
        progress=lambda line: click.echo(line, err=True),
    )
    if task.name == "retrieval":
        groups = dict(zip(pairs.identifiers, pairs.groups.tolist(), strict=True))
        rows = retrieval_rows(units, methods, groups=groups)
    else:
        rows = match_rows(units, methods, pairs)
    title = (
        f"{layout}: {len(task.rows(pairs))} {'pairs' if task.name == 'retrieval' else 'rows'}, "
        f"{facts['split']}, {options['seeds']} repetitions, {options['trials']} trials a method and fold"
    )
    _publish(rows, units, facts, seeds, title, folder, options)


def _publish(
    rows: "list[Row]",
    units: "list[Unit]",
    facts: dict[str, Any],
    seeds: Sequence[int],
    title: str,
    folder: Path,
    options: dict[str, Any],
) -> None:
    """Writes the table in all forms and prints it."""
    from dualpath.benchmark.tables import as_csv, as_markdown, as_text

    shown = [row for row in rows if row.get("direction", "both") == "both"]
    record = {**facts, "seeds": list(seeds), "rows": rows, "trials of": _trials(units)}
    for name, content in (
        ("table.txt", f"{title}\n{as_text(rows)}"),
        ("table.csv", as_csv(rows)),
        ("table.json", json.dumps(record, indent=1)),
        ("table.md", f"{title}\n\n{as_markdown(shown)}"),
    ):
        (folder / name).write_text(content.rstrip("\n") + "\n", encoding="utf-8")
    if options["into"] is not None:
        _replace_between(options["into"], f"<!-- {options['marker']} -->", f"{title}\n\n{as_markdown(shown)}")
    click.echo(f"{title}\n{as_text(shown)}")


def _replace_between(path: Path, start: str, content: str) -> None:
    """Puts `content` between the line `start` and the next line `<!-- end -->`.

    Raises:
        InvalidRequest: the file has no such lines.
    """
    text = path.read_text(encoding="utf-8")
    head, found, rest = text.partition(f"{start}\n")
    _, closed, tail = rest.partition("<!-- end -->")
    if not found or not closed:
        raise InvalidRequest(f"{path} has no lines {start} and <!-- end -->: add them where the table goes")
    path.write_text(f"{head}{start}\n{content}\n<!-- end -->{tail}", encoding="utf-8")


def _trials(units: list[Any]) -> dict[str, list[dict[str, Any]]]:
    """Method -> every tuning trial of every fold."""
    trials: dict[str, list[dict[str, Any]]] = {}
    for unit in units:
        trials.setdefault(unit.method, []).append(
            {"seed": unit.seed, "fold": unit.fold, "best": unit.settings, "trials": unit.trials}
        )
    return trials
