"""Generates the Python stubs of protos/ into services/: `python protos/generate.py`. Builds call it."""

import subprocess
import sys
from importlib.resources import files
from pathlib import Path

PROTOS = Path(__file__).parent
DESTINATION = PROTOS.parent / "services"


def generate() -> list[Path]:
    """Writes `kinoscore/v1/*_pb2.py`, their type stubs and the gRPC stubs; returns the files written.

    Raises:
        SystemExit: protoc refused a file; its message is on stderr.
    """
    sources = sorted(PROTOS.glob("kinoscore/v1/*.proto"))
    package = DESTINATION / "kinoscore" / "v1"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text('"""Messages and stubs generated from protos/kinoscore/v1."""\n')
    well_known = files("grpc_tools") / "_proto"
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={PROTOS}",
        f"--proto_path={well_known}",
        f"--python_out={DESTINATION}",
        f"--pyi_out={DESTINATION}",
        f"--grpc_python_out={DESTINATION}",
        *(str(source) for source in sources),
    ]
    if subprocess.run(command, check=False).returncode != 0:
        raise SystemExit("protoc failed; the stubs were not generated")
    return sorted(package.glob("*.py*"))


if __name__ == "__main__":
    for path in generate():
        print(path.relative_to(PROTOS.parent))
