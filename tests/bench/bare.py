"""The yardstick: the decoding and model work of one recommendation, in a bare script written for speed.

No server, no upload, no worker process, no limits, no checks, no vector store. It shares no code with
kinoscore, only the model repository. The work is the same: two samples a second, frames that no sample needs
are skipped, as many threads for a model as there are cores, and an inner product over the same vectors.
"""

import json
from collections import Counter
from itertools import dropwhile
from pathlib import Path

import av
import numpy as np
import onnxruntime
from av.video.reformatter import VideoReformatter
from numpy.typing import NDArray

__all__ = ["SPIN_SECONDS", "BareRecommender"]

SPIN_SECONDS = 0.25
"""For about a tenth of a second after a run, ONNX Runtime's threads look for more work at full speed. Whoever
is measured next waits for longer, or pays for that."""

Floats = NDArray[np.float32]


class BareRecommender:
    """Ranks a library for clips that fit into one window.

    Args:
        repository: as `dualpath export` wrote it.
        vectors: float32 [tracks, passages, fused + content + emotion].
        threads: of each model. The decoder has four for each where it has more than one: its threads wait for
            one another, and that is the fastest.
    """

    def __init__(self, repository: Path, vectors: Floats, threads: int) -> None:
        self._manifest = json.loads((repository / "kinoscore.json").read_text())
        self._threads = threads
        self._decoder_threads = 4 * threads if threads > 1 else 1
        self._vectors = vectors
        self._models = {
            model: self._session(repository / entry["name"] / str(entry["version"]) / "model.onnx")
            for model, entry in self._manifest["models"].items()
            if model in ("frame_encoder", "clip_encoder", "fusion")
        }

    def recommend(self, clip: Path, weights: tuple[float, float, float], k: int) -> list[tuple[int, float]]:
        """The numbers of the k best tracks with their scores.

        Args:
            weights: of the fused, content and emotion similarity.
        """
        frames = self._run("frame_encoder", {"frames": self.decode(clip)})
        window = self._run("clip_encoder", self._window(frames["features"], frames["salience"]))
        fused = self._run("fusion", {"content": window["content"], "emotion": window["emotion"]})
        blocks = (fused["fused"][0], window["content"][0], window["emotion"][0])
        query = np.concatenate([weight * block for weight, block in zip(weights, blocks, strict=True)])
        scores = (self._vectors @ query).max(axis=1) / sum(weights)
        best = np.argsort(-scores)[:k]
        return [(int(number), float(scores[number])) for number in best]

    def _session(self, path: Path) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self._threads
        return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def _run(self, model: str, inputs: dict[str, NDArray[np.generic]]) -> dict[str, Floats]:
        session = self._models[model]
        names = [output.name for output in session.get_outputs()]
        return dict(zip(names, session.run(names, inputs), strict=True))

    def decode(self, clip: Path) -> NDArray[np.uint8]:
        """The sampled frames, uint8 [n, height, width, 3]."""
        video = self._manifest["video"]
        scaler = VideoReformatter()
        pictures: list[NDArray[np.uint8]] = []
        with av.open(str(clip)) as container:
            stream = container.streams.video[0]
            context = stream.codec_context
            context.thread_type, context.thread_count = "AUTO", self._decoder_threads
            # What comes before the first key frame cannot be decoded.
            packets = list(dropwhile(lambda packet: not packet.is_keyframe, container.demux(stream)))
            packets = [packet for packet in packets if packet.size]
            samples = _samples(packets, video["frames_per_second"])
            for packet in [*_needed(packets, samples), None]:
                context.skip_frame = "DEFAULT" if packet is None or samples[packet.pts] else "NONREF"
                for frame in context.decode(packet):
                    if samples[frame.pts]:
                        small = scaler.reformat(
                            frame,
                            video["frame_width"],
                            video["frame_height"],
                            "rgb24",
                            interpolation="AREA",
                            threads=1,
                        )
                        pictures += [small.to_ndarray()] * samples[frame.pts]
        return np.stack(pictures)

    def _window(self, features: Floats, salience: Floats) -> dict[str, Floats]:
        """The inputs of the clip encoder: all frames, and the most salient that lie apart."""
        video = self._manifest["video"]
        count, length = len(features), video["window_frames"]
        padded = np.zeros((1, length, features.shape[1]), np.float32)
        padded[0, :count] = features
        frame_mask = np.zeros((1, length), np.float32)
        frame_mask[0, :count] = 1
        apart = video["key_frame_separation_seconds"] * video["frames_per_second"]
        chosen: list[int] = []
        for number in np.argsort(-salience, kind="stable").tolist():
            if len(chosen) < video["key_frames"] and all(abs(number - other) >= apart for other in chosen):
                chosen.append(number)
        key_frame_mask = np.zeros((1, length), np.float32)
        key_frame_mask[0, chosen] = 1
        return {"features": padded, "frame_mask": frame_mask, "key_frame_mask": key_frame_mask}


def _needed(packets: list[av.Packet], samples: Counter[int]) -> list[av.Packet]:
    """Those that are sampled, or that a sampled one may refer to; groups of pictures are closed here."""
    needed: list[av.Packet] = []
    carries = False
    for packet in reversed(packets):
        carries = carries or samples[packet.pts] > 0
        if carries:
            needed.append(packet)
        carries = carries and not packet.is_keyframe
    return needed[::-1]


def _samples(packets: list[av.Packet], rate: float) -> Counter[int]:
    """How many samples each frame serves, by timestamp: sample i is the frame on the screen at i / rate.

    In a clip that was cut out of a longer one, packets may be marked as not to be shown.
    """
    durations = {packet.pts: packet.duration for packet in packets if not packet.is_discard}
    shown = np.sort(list(durations))
    base = float(packets[0].time_base)
    end = shown[-1] + durations[shown[-1]]
    count = max(1, int(np.ceil((end - shown[0]) * base * rate - 1e-6)))
    at = np.arange(count) / rate + 1e-6
    numbers = np.searchsorted((shown - shown[0]) * base, at, side="right") - 1
    return Counter(shown[numbers].tolist())
