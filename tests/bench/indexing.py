"""How many seconds of music kinoscore indexes in a second, and where the time goes.

First the whole command: `kinoscore index` in a process of its own over a fresh data folder, from its start to
its end, and once more when nothing has changed. Then track after track through `kinoscore up`, by the three
calls that indexing makes (to the music, fusion and ranking services), to see the share of each stage.
"""

import subprocess
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from harness import arguments, command_line, conditions, environment, progress, running_server, show
from material import track_upload, write_tracks

from kinoscore.media.decoding import probe
from kinoscore.v1 import (
    common_pb2,
    fusion_pb2,
    fusion_pb2_grpc,
    music_pb2_grpc,
    ranking_pb2,
    ranking_pb2_grpc,
)

SUFFIXES = {".flac", ".m4a", ".mp3", ".ogg", ".wav"}


@dataclass(frozen=True, slots=True)
class Stages:
    """Seconds of one track: of the three calls, and of what the music service tells of its own work."""

    encoding: float
    decoding: float
    inference: float
    fusing: float
    storing: float


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--tracks", type=Path, help="a folder of audio files; some are made when not given")
    parser.add_argument("--count", type=int, default=16, help="tracks to make (default: 16)")
    parser.add_argument("--seconds", type=float, default=120.0, help="the length of each (default: 120)")
    options = parser.parse_args()
    found = conditions()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.tracks
        if folder is None:
            progress("writing tracks")
            folder = Path(temporary, "tracks")
            folder.mkdir()
            write_tracks(folder, count=options.count, seconds=options.seconds)
        paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
        if not paths:
            raise SystemExit(f"there are no audio files in {folder}")
        music_seconds = sum(probe(path).duration_seconds for path in paths)
        progress("the whole command")
        data = Path(temporary, "data")
        command_seconds = run_command(folder, data, options.repository)
        again_seconds = run_command(folder, data, options.repository)
        progress("stage by stage")
        stages = measure_stages(paths, options.repository)

    seconds = {name: sum(getattr(one, name) for one in stages) for name in Stages.__slots__}
    total = seconds["encoding"] + seconds["fusing"] + seconds["storing"]
    parts = {
        "decoding": seconds["decoding"],
        "inference": seconds["inference"],
        "fusing": seconds["fusing"],
        "storing": seconds["storing"],
        "rest": seconds["encoding"] - max(seconds["decoding"], seconds["inference"]),
    }
    rows = [
        ("music", f"{music_seconds:.0f} s in {len(paths)} files"),
        ("kinoscore index", speed(music_seconds, command_seconds)),
        ("again, nothing changed", f"{again_seconds:.2f} s"),
        ("one track at a time", speed(music_seconds, total)),
        *((f"  {name}", f"{part:.2f} s, {part / total:.0%}") for name, part in parts.items()),
        ("", "decoding and inference overlap; the rest is upload, spooling, waiting"),
    ]
    facts = {
        "conditions": found,
        "files": len(paths),
        "music_seconds": music_seconds,
        "command_seconds": command_seconds,
        "music_seconds_per_second": music_seconds / command_seconds,
        "command_again_seconds": again_seconds,
        "one_at_a_time_seconds": total,
        "stage_seconds": parts,
    }
    show(options, "indexing: seconds of music a second", rows, facts)


def speed(music_seconds: float, seconds: float) -> str:
    return f"{seconds:.2f} s: {music_seconds / seconds:.1f} s of music a second"


def run_command(folder: Path, data: Path, repository: Path | None) -> float:
    """The seconds that `kinoscore index` takes for a folder, from its start to its end."""
    started = time.perf_counter()
    run = subprocess.run(
        command_line("index", folder, "--data", data),
        env=environment(repository),
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - started
    progress(run.stderr.strip())
    # 1 tells of files that could not be used; the figures are of all others.
    if run.returncode not in (0, 1):
        raise SystemExit(f"`kinoscore index` ended with {run.returncode}")
    return seconds


def measure_stages(paths: Sequence[Path], repository: Path | None) -> list[Stages]:
    """Indexes track after track, after one that is not counted."""
    with (
        running_server(repository) as server,
        grpc.insecure_channel(server.address, options=[("grpc.enable_http_proxy", 0)]) as channel,
    ):
        indexer = StagedIndexer(channel)
        indexer.index(paths[0])
        return [indexer.index(path) for path in paths]


class StagedIndexer:
    """Indexes as the front door does, with a clock around each call."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._music = music_pb2_grpc.MusicEncoderServiceStub(channel)
        self._fusion = fusion_pb2_grpc.FusionServiceStub(channel)
        self._ranking = ranking_pb2_grpc.RankingServiceStub(channel)

    def index(self, path: Path) -> Stages:
        started = time.perf_counter()
        sound = self._music.EncodeTrack(track_upload(path))
        encoded = time.perf_counter()
        request = fusion_pb2.FuseRequest(space=sound.space, embeddings=[sound.track, *sound.passages])
        whole, *passages = self._fusion.Fuse(request).embeddings
        fused = time.perf_counter()
        self._ranking.UpsertTrack(
            ranking_pb2.UpsertTrackRequest(
                space=sound.space,
                metadata=common_pb2.TrackMetadata(
                    track_id=sound.digest[:32],
                    title=path.stem,
                    digest=sound.digest,
                    duration_seconds=sound.duration_seconds,
                ),
                track=whole,
                passages=passages,
            )
        )
        stored = time.perf_counter()
        return Stages(
            encoding=encoded - started,
            decoding=sound.timings.decode_seconds,
            inference=sound.timings.inference_seconds,
            fusing=fused - encoded,
            storing=stored - fused,
        )


if __name__ == "__main__":
    main()
