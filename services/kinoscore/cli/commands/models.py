"""`kinoscore models`: model repositories."""

from pathlib import Path

import click

from kinoscore.cli.running import message, run

__all__ = ["command"]


@click.group(name="models")
def command() -> None:
    """Check a model repository, or write one for another target.

    REPOSITORY is a folder, or the word `shipped` for the one that came with kinoscore.
    """


@command.command(name="check")
@click.argument("repository", default="shipped", type=click.Path(path_type=Path))
def check(repository: Path) -> None:
    """Compare the manifest, the model files and Triton's configurations, and say what to do.

    The exit status is 1 when something is wrong.
    """

    async def work() -> int:
        from kinoscore.inference import default_repository
        from kinoscore.inference.checking import check_repository
        from kinoscore.inference.repository import SHIPPED

        path = default_repository() if repository == SHIPPED else repository
        flaws = check_repository(path)
        for flaw in flaws:
            click.echo(f"{flaw.place}: {flaw.text} -> {flaw.remedy}")
        if not flaws:
            click.echo(f"{path}: nothing is wrong")
        return 1 if flaws else 0

    run(work())


@command.command(name="convert")
@click.argument("repository")
@click.argument("destination", type=click.Path(file_okay=False, path_type=Path))
@click.option(
    "--target",
    required=True,
    type=click.Choice(["onnxruntime", "tensorrt", "python"]),
    help="Triton's ONNX Runtime backend; the same with TensorRT; or a script for its Python backend.",
)
@click.option(
    "--device",
    type=click.Choice(["auto", "cpu", "gpu"]),
    default="auto",
    show_default=True,
    help="Where the models live; auto takes a GPU where Triton sees one.",
)
@click.option(
    "--instances", type=click.IntRange(min=1), default=1, show_default=True, help="Instances a device."
)
@click.option("--fp16", is_flag=True, help="Let TensorRT compute with 16 bits.")
def convert(repository: str, destination: Path, target: str, device: str, instances: int, fp16: bool) -> None:
    """Write the models of REPOSITORY to DESTINATION with the configurations for a target.

    Several repositories, with `:` between them, are written into one folder, for one Triton that serves
    their embedding spaces side by side.

    Models, manifest and embedding space stay the same, so an index stays valid. A repository at DESTINATION
    is replaced.
    """

    async def work() -> None:
        from kinoscore.inference.conversion import convert_repositories
        from kinoscore.inference.repository import SHIPPED, load_repositories
        from kinoscore.inference.targets import Device, Target, TargetOptions
        from kinoscore.runtime.settings import split_paths

        options = TargetOptions(Target(target), Device(device), instances, half_precision=fp16)
        convert_repositories(load_repositories(split_paths(repository) or (SHIPPED,)), destination, options)
        message(f"{destination} is for the target {target}")

    run(work())
