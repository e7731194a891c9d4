"""Model inference behind one small interface; the engine is chosen by URL.

engine         the interface
onnx           ONNX Runtime in this process
triton         a Triton server; shared_memory hands it large inputs
repository     the models and their manifest; signature is what each takes and gives
targets        Triton's configurations; python_backend is the script of one of the targets
conversion     a repository for another target
checking       what is wrong with a repository
embeddings     the outputs of the head models, as arrays and messages
pipeline       inference over a stream of batches
"""

from kinoscore.errors import InvalidRequest
from kinoscore.inference.engine import BatchObserver, Inference, InferenceEngine, ignore_batch
from kinoscore.inference.repository import Manifest, ModelRepository, default_repository

__all__ = [
    "Inference",
    "InferenceEngine",
    "Manifest",
    "ModelRepository",
    "default_repository",
    "open_engine",
]


async def open_engine(
    url: str,
    repository: ModelRepository,
    *,
    threads: int = 1,
    queue_limit: int = 256,
    shared_memory: bool = False,
    observe_batch: BatchObserver = ignore_batch,
) -> InferenceEngine:
    """Opens the engine that the URL names, with its models loaded and warm.

    Loading them in this process blocks for up to a second: do it before serving.

    Args:
        url: `onnx:` for ONNX Runtime in this process; `triton://host:port` for a Triton server, `tritons://`
            for one that speaks TLS.
        repository: the models; of a Triton server it says which must be there.
        threads: threads that one model computes with in this process; 0 for as many as there are cores.
        queue_limit: calls that may wait for one model.
        shared_memory: hand large inputs to a Triton server on this host without sending them.
        observe_batch: told of each batch that runs here, or of each request to a Triton server.

    Raises:
        InvalidRequest: no engine has such a URL.
        InvalidRepository: a model cannot be loaded.
        Unavailable, SpaceMismatch, FailedPrecondition: as `TritonEngine.open`.
    """
    match url.partition(":")[0]:
        case "onnx":
            from kinoscore.inference.onnx import OnnxEngine

            return OnnxEngine(
                repository, threads=threads, queue_limit=queue_limit, observe_batch=observe_batch
            )
        case "triton" | "tritons":
            from kinoscore.inference.triton import TritonEngine

            return await TritonEngine.open(
                url,
                repository.manifest,
                queue_limit=queue_limit,
                shared_memory=shared_memory,
                observe_batch=observe_batch,
            )
    raise InvalidRequest(
        f"no inference engine has the URL {url!r}; use `onnx:` or `triton://host:port`", field="inference"
    )
