"""The same models for another target."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from kinoscore.inference.onnx import read_signature
from kinoscore.inference.repository import MANIFEST_FILE, ModelRepository
from kinoscore.inference.targets import TargetOptions, new_repository, write_model_files

__all__ = ["convert_repositories"]


def convert_repositories(
    repositories: Sequence[ModelRepository], destination: Path, options: TargetOptions
) -> None:
    """Writes the models of several repositories into one folder: one Triton then serves all their spaces.

    The space is part of each model's name, so they do not meet. The manifest there is that of the first.

    Raises:
        FailedPrecondition: the destination holds something other than a model repository.
        InvalidRepository: a graph cannot be read.
    """
    with new_repository(destination) as folder:
        shutil.copyfile(repositories[0].path / MANIFEST_FILE, folder / MANIFEST_FILE)
        for repository in repositories:
            _write_models(repository, folder, options)


def _write_models(repository: ModelRepository, folder: Path, options: TargetOptions) -> None:
    for short_name, entry in repository.manifest.models.items():
        source = repository.model_path(short_name)
        copy = folder / entry.name / str(entry.version) / source.name
        copy.parent.mkdir(parents=True)
        shutil.copyfile(source, copy)
        write_model_files(
            folder, entry.name, entry.version, read_signature(copy), entry.max_batch_size, options
        )
