"""`dualpath benchmark`: the command."""

import json
from pathlib import Path
from typing import Any

import click

from kinoscore.errors import InvalidRequest

__all__ = ["benchmark"]

_LAYOUTS = click.Choice(["muvisync", "emomv", "mgsv"])
_TRIALS = 4


@click.command()
@click.argument("layout", type=_LAYOUTS)
@click.option("--data", required=True, type=click.Path(file_okay=False, path_type=Path), help="Its folder.")
@click.option(
    "--split",
    type=click.Choice(["val", "test"]),
    help="Test this published split, train with those before it.  [default: k-fold over all rows]",
)
@click.option("--folds", default=5, type=click.IntRange(2, 50), help="Parts of the k-fold.")
@click.option(
    "--seeds", default=3, type=click.IntRange(1, 50), help="Repetitions, each with its own partition."
)
@click.option(
    "--methods",
    default="standard",
    help='By name, separated by commas; "standard" is all methods, "ablations" the dual path less one idea.',
)
@click.option("--trials", default=_TRIALS, type=click.IntRange(1, 100), help="Tuning trials of every method.")
@click.option(
    "--trim", default=0, type=click.IntRange(0, 15), help="muvisync: tokens left out at each end, of 32."
)
@click.option("--more-music", is_flag=True, help="emomv: also learn from the music-only sets.")
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Results.  [default: benchmark-LAYOUT]"
)
@click.option(
    "--into",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    help="A Markdown file: the table replaces what is between <!-- benchmark LAYOUT --> and <!-- end -->.",
)
@click.option("--threads", default=2, type=click.IntRange(1, 256), help="CPU threads.")
def benchmark(layout: str, data: Path, out: Path | None, into: Path | None, **options: Any) -> None:
    """Trains every method on the same real pairs under one budget, and prints one table.

    \b
      dualpath benchmark muvisync --data datasets/muvisync
      dualpath benchmark emomv --data datasets/emomv --methods standard,ablations --seeds 5

    LAYOUT is how the features lie in --data. On each fold every method gets the same number of tuning trials,
    scored on a fifth of the training rows; the best settings are trained once more on all of them, and the
    test rows are seen once. What is done is kept in --out: run the same command again to go on.

    --out receives table.txt, table.csv, table.json (with every trial) and table.md. The difference is taken
    pair by pair against the best baseline, with a 95 % bootstrap interval. "baseline" is an existing method,
    "control" what our features bring without a network, "*" ours.
    """
    from dualpath.benchmark.folds import folds_of_split, repeated_folds
    from dualpath.benchmark.methods import choose_methods
    from dualpath.benchmark.results import Results
    from dualpath.benchmark.run import run_benchmark
    from dualpath.benchmark.tables import as_csv, as_markdown, as_text, match_rows, retrieval_rows
    from dualpath.benchmark.tasks import task_of
    from dualpath.data.features.emomv import read_emomv
    from dualpath.data.features.mgsv import read_mgsv
    from dualpath.data.features.muvisync import read_muvisync

    methods = choose_methods([name.strip() for name in options["methods"].split(",")])
    pairs = {
        "muvisync": lambda: read_muvisync(data, trim=options["trim"]),
        "emomv": lambda: read_emomv(data, more_music=options["more_music"]),
        "mgsv": lambda: read_mgsv(data),
    }[layout]()
    seeds = range(1, options["seeds"] + 1)
    split = options["split"]
    folds = folds_of_split(pairs, split, seeds) if split else repeated_folds(pairs, options["folds"], seeds)
    task = task_of(pairs)
    folder = out or Path(f"benchmark-{layout}")
    facts = {
        "layout": layout,
        "data": pairs.digest(),
        "split": split or f"{options['folds']} folds",
        "trials": options["trials"],
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
    rows = retrieval_rows(units, methods) if task.name == "retrieval" else match_rows(units, methods, pairs)
    shown = [row for row in rows if row.get("direction", "both") == "both"]
    title = (
        f"{layout}: {len(task.rows(pairs))} {'pairs' if task.name == 'retrieval' else 'rows'}, "
        f"{facts['split']}, {options['seeds']} repetitions, {options['trials']} trials a method and fold"
    )
    text = f"{title}\n{as_text(rows)}"
    record = {**facts, "seeds": list(seeds), "rows": rows, "trials of": _trials(units)}
    for name, content in (
        ("table.txt", text),
        ("table.csv", as_csv(rows)),
        ("table.json", json.dumps(record, indent=1)),
        ("table.md", f"{title}\n\n{as_markdown(shown)}"),
    ):
        (folder / name).write_text(content.rstrip("\n") + "\n", encoding="utf-8")
    if into is not None:
        _replace_between(into, f"<!-- benchmark {layout} -->", f"{title}\n\n{as_markdown(shown)}")
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
