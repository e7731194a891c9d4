"""Models of torchaudio that read waveforms, for features of music: one vector a window."""

from urllib.error import URLError

import torch
from torch import Tensor, nn

from kinoscore.errors import InvalidRequest

__all__ = ["SoundTower", "open_sound_tower"]


class SoundTower(nn.Module):
    """Waveforms [n, samples] in -1..1 -> [n, dimension]: the mean of the last layer over time.

    Args:
        network: with torchaudio's `extract_features`.
        sample_rate: of the waveforms, in Hz.
    """

    def __init__(self, network: nn.Module, sample_rate: int) -> None:
        super().__init__()
        self.network, self.sample_rate = network, sample_rate
        self.eval()
        with torch.no_grad():
            self.dimension = int(self(torch.zeros(1, sample_rate)).shape[1])

    def forward(self, samples: Tensor) -> Tensor:
        layers, _ = self.network.extract_features(samples)
        return layers[-1].mean(dim=1)


def open_sound_tower(bundle: str) -> SoundTower:
    """A bundle of `torchaudio.pipelines`, such as "HUBERT_BASE", with its own weights, downloaded once.

    Raises:
        InvalidRequest: torchaudio is missing, has no such bundle, or cannot download it.
    """
    try:
        import torchaudio.pipelines  # takes a second, and most runs do without it
    except (ImportError, OSError) as error:
        raise InvalidRequest(f"torchaudio:{bundle} needs torchaudio: {error}", field="backbone") from error
    found = getattr(torchaudio.pipelines, bundle, None)
    # Others separate voices, or speak: they have no features to give.
    if not isinstance(found, torchaudio.pipelines.Wav2Vec2Bundle):
        raise InvalidRequest(
            f"torchaudio has no bundle {bundle!r} that gives features: name one, as torchaudio:HUBERT_BASE",
            field="backbone",
        )
    try:
        return SoundTower(found.get_model(), int(found.sample_rate))
    except (URLError, OSError, RuntimeError) as error:
        raise InvalidRequest(
            f"the weights of torchaudio's {bundle!r} cannot be had: {error}; put the file that it downloads "
            "into torch's cache (TORCH_HOME/hub/checkpoints)",
            field="backbone",
        ) from error
