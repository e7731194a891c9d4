"""Which data a run was trained with and an evaluation measured: by name, and by the digest of each split.

Both are kept as {"name": ..., "digests": {split: digest}}, the first in data.json (with what else is known of
the data there), the second as `data` in evaluation-SPLIT.json.
"""

from collections.abc import Mapping
from typing import Any

from dualpath.training.run_folder import RunFolder
from kinoscore.errors import InvalidRequest

__all__ = ["data_of_run", "is_other_data", "name_data", "read_evaluations", "require_same_data"]

_SPLITS = ("validation", "test", "train")


def data_of_run(run: RunFolder) -> dict[str, Any]:
    """data.json, or nothing where the run has none."""
    return run.read_json("data") if (run.path / "data.json").is_file() else {}


def read_evaluations(run: RunFolder) -> dict[str, dict[str, Any]]:
    """Split -> evaluation-SPLIT.json, where there is one; `other_data` is true in those of other data."""
    trained, found = data_of_run(run), {}
    for split in _SPLITS:
        if (run.path / f"evaluation-{split}.json").is_file():
            found[split] = run.read_json(f"evaluation-{split}")
            if is_other_data(trained, found[split].get("data", {}), split):
                found[split]["other_data"] = True
    return found


def is_other_data(trained: Mapping[str, Any], measured: Mapping[str, Any], split: str) -> bool:
    """Whether this split was measured on other data than that of the training.

    A split that came to the data after the training is judged by the others. A run or an evaluation that
    holds no digests, being older than they are, is taken at its word.
    """
    theirs, ours = trained.get("digests"), measured.get("digests")
    if not theirs or not ours:
        return False
    if split in theirs:
        return bool(theirs[split] != ours.get(split))
    common = set(theirs) & set(ours)
    return not common or any(theirs[name] != ours[name] for name in common)


def require_same_data(run: RunFolder, data: Mapping[str, Any]) -> None:
    """Raises InvalidRequest: the run was begun on other pairs, for training or validation, than `data`."""
    begun_on = data_of_run(run)
    for split in ("train", "validation"):
        if is_other_data(begun_on, data, split):
            raise InvalidRequest(
                f"the run was started on {name_data(begun_on, split)}, not {name_data(data, split)}: resume "
                "with the same data, or use another --run"
            )


def name_data(data: Mapping[str, Any], split: str) -> str:
    """`pairs.csv (test 0123456789ab)`; "" where nothing is known."""
    digest = data.get("digests", {}).get(split)
    return f"{data.get('name', '')} ({split} {digest})" if digest else str(data.get("name", ""))
