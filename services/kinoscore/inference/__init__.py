"""Model inference behind one small interface; the engine is chosen by URL."""

from kinoscore.errors import InvalidRequest
from kinoscore.inference.engine import Inference, InferenceEngine
from kinoscore.inference.repository import Manifest, ModelRepository, default_repository

__all__ = [
    "Inference",
    "InferenceEngine",
    "Manifest",
    "ModelRepository",
    "default_repository",
    "open_engine",
]


def open_engine(
    url: str, repository: ModelRepository, *, threads: int = 0, queue_limit: int = 256
) -> InferenceEngine:
    """Opens the engine that the URL names, with its models loaded and warm.

    It blocks for up to a second: do it before serving.

    Args:
        url: `onnx:` for ONNX Runtime in this process.
        repository: the models.
        threads: threads that one model computes with; 0 for as many as there are cores.
        queue_limit: calls that may wait for one model.

    Raises:
        InvalidRequest: no engine has such a URL.
        InvalidRepository: a model cannot be loaded.
    """
    scheme = url.partition(":")[0]
    if scheme != "onnx":
        raise InvalidRequest(f"no inference engine has the URL {url!r}; use `onnx:`", field="inference")
    from kinoscore.inference.onnx import OnnxEngine

    return OnnxEngine(repository, threads=threads, queue_limit=queue_limit)
