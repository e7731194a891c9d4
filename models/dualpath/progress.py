"""A progress bar on a terminal; silent elsewhere."""

import sys

import click

__all__ = ["Bar"]


class Bar:
    """Use it in `with`; the label says what is done."""

    def __init__(self, label: str) -> None:
        self._bar = click.progressbar(length=1, label=label, file=sys.stderr)
        self._done = 0

    def __enter__(self) -> "Bar":
        self._bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.__exit__(None, None, None)

    def update(self, done: int, total: int) -> None:
        """Moves the bar to `done` of `total`."""
        self._bar.length = total
        self._bar.update(done - self._done)
        self._done = done
