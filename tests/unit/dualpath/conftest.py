"""Made-up pairs for the trainer: small, seeded, no media files."""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="the trainer needs torch: install kinoscore[train]")

from dualpath import cli
from dualpath.config import NetworkConfig
from dualpath.data.cache import PairArrays
from dualpath.data.features.pairs import FeaturePairs
from dualpath.data.index import PairIndex
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.networks.music_reading import READ_CUES
from dualpath.networks.music_statistics import WindowStatistics
from dualpath.networks.picture_texture import PictureTexture
from dualpath.training.loop import Split
from dualpath.training.reading import fit_reading


@pytest.fixture
def made_up_split() -> Callable[[int], Split]:
    """Pairs whose brightness and loudness follow valence and arousal."""

    def make(count: int, seed: int = 0) -> Split:
        random = np.random.default_rng(seed)
        mood = random.uniform(-1, 1, (count, 2)).astype(np.float32)
        level = (mood[:, 0] * 80 + 128)[:, None, None, None, None]
        pictures = np.clip(level + random.normal(0, 20, (count, 24, 3, 40, 64)), 0, 255).astype(np.uint8)
        mel = random.normal(-2, 0.3, (count, 4, 126, 64)) + mood[:, 1, None, None, None] * np.linspace(
            -1, 1, 64
        )
        pitch = random.uniform(0, 0.3, (count, 4, 30, 84))
        index = PairIndex(
            identifiers=tuple(f"{number:06d}" for number in range(count)),
            videos=tuple(Path(f"{number:06d}.mp4") for number in range(count)),
            tracks=tuple(Path(f"{number:06d}.ogg") for number in range(count)),
            offsets=np.zeros(count),
            valence_arousal=mood,
            themes=random.integers(0, 3, count),
            theme_names=("dance", "rain", "sunrise"),
            attribute_names=("smoothness", "trend"),
            video_attributes=random.normal(size=(count, 2)).astype(np.float32),
            music_attributes=random.normal(size=(count, 2)).astype(np.float32),
        )
        arrays = PairArrays(
            pictures=pictures,
            texture=random.normal(size=(count, 24, PictureTexture.TEXTURE)).astype(np.float16),
            frame_count=np.full(count, 24, np.int32),
            mel=mel.astype(np.float16),
            pitch=pitch.astype(np.float16),
            loudness=np.full((count, 4), -20, np.float32),
            statistics=random.normal(size=(count, 4, WindowStatistics.WIDTH)).astype(np.float16),
            valid=np.ones((count, 4), np.float32),
            done=np.ones(count, np.uint8),
        )
        return Split(index, arrays)

    return make


@pytest.fixture(scope="session")
def network() -> DualPathNetwork:
    """An untrained network in evaluation mode, whose reading of music is fitted to noise."""
    import torch

    torch.manual_seed(0)
    network = DualPathNetwork(NetworkConfig(themes=3, attributes=2)).eval()
    random = np.random.default_rng(0)
    cues, mood = random.normal(size=(60, len(READ_CUES))), random.uniform(-1, 1, (60, 2))
    fit_reading(network.reading, cues.astype(np.float32), mood.astype(np.float32), np.arange(60) % 5)
    return network


@pytest.fixture
def made_up_features() -> Callable[..., FeaturePairs]:
    """Pairs of tokens that share a common factor, its course over time, and an emotion."""

    def make(count: int, *, seed: int = 0, video_width: int = 12, labelled: bool = False) -> FeaturePairs:
        random = np.random.default_rng(seed)
        whole, course = random.normal(size=(count, 1, 3)), random.normal(size=(count, 10, 3))
        sides = []
        for width in (video_width, 7):
            mixing = np.random.default_rng(width).normal(size=(3, width))
            noise = random.normal(size=(count, 10, width))
            sides.append(((whole + course) @ mixing + 0.5 * noise).astype(np.float32))
        emotion = np.eye(3, dtype=np.float32)[whole[:, 0].argmax(axis=1)]
        match = np.ones(count, bool)
        if labelled:
            match[1::2] = False
            sides[1][1::2] = np.roll(sides[1][1::2], 1, axis=0)
        return FeaturePairs(
            identifiers=tuple(f"pair{number}" for number in range(count)),
            splits=("train",) * count,
            video=sides[0],
            music=sides[1],
            video_blocks=(video_width,),
            groups=np.arange(count),
            match=match,
            emotion_names=("exciting", "sad", "neutral"),
            video_emotion=emotion if labelled else whole[:, 0].astype(np.float32),
            music_emotion=emotion if labelled else None,
            emotion_is_score=not labelled,
        )

    return make


@pytest.fixture
def dualpath(monkeypatch: pytest.MonkeyPatch, capsys) -> Callable[..., tuple[int, str, str]]:
    """The command: exit status, stdout, stderr."""

    def run(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["dualpath", *map(str, arguments)])
        status = 0
        try:
            cli.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def mgsv_folder(tmp_path: Path) -> Callable[[int], Path]:
    """Features of random pairs in the layout of MGSV-EC."""

    def make(pairs: int) -> Path:
        random = np.random.default_rng(0)
        for name in ("vit_feature1", "ast_feature2p5"):
            (tmp_path / name).mkdir()
        rows = ["video_id,music_id,music_start,music_end"]
        for number in range(pairs):
            np.save(tmp_path / "vit_feature1" / f"v{number}.npy", random.normal(size=(9, 6)))
            np.save(tmp_path / "ast_feature2p5" / f"m{number}.npy", random.normal(size=(9, 5)))
            rows.append(f"v{number},m{number},0,20")
        (tmp_path / "train_data.csv").write_text("\n".join(rows) + "\n")
        return tmp_path

    return make
