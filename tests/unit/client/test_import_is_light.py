import subprocess
import sys

HEAVY = ("grpc", "onnxruntime", "pymilvus", "av", "numpy", "pydantic", "redis", "rich", "prometheus_client")
LOADED = "print([name for name in {heavy!r} if name in sys.modules])"


def loaded_by(code: str) -> str:
    script = f"import sys\n{code}\n" + LOADED.format(heavy=HEAVY)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()[-1]


def test_importing_the_package_loads_no_engine() -> None:
    assert loaded_by("import kinoscore") == "[]"


def test_the_help_of_the_command_loads_no_engine() -> None:
    code = "from kinoscore.cli import main\nmain(['--help'], standalone_mode=False)"
    assert set(eval(loaded_by(code))) <= {"rich"}


def test_the_client_loads_neither_models_nor_stores() -> None:
    assert set(eval(loaded_by("import kinoscore\nkinoscore.Client"))) <= {"grpc"}
