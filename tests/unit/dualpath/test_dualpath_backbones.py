"""Backbones by name, their weights, and how they learn. Foreign libraries are stand-ins."""

import sys
import urllib.error
from types import ModuleType, SimpleNamespace

import pytest
import torch
from torch import nn

from dualpath.config import NetworkConfig, TrainingConfig
from dualpath.export.graphs import graphs
from dualpath.networks.backbones import open_backbone
from dualpath.networks.dual_path import DualPathNetwork
from dualpath.training.loop import fit
from dualpath.training.run_folder import RunFolder
from kinoscore.errors import InvalidRequest

STRIDES = ((2, 2), (2, 2), (1, 1))
SHUFFLE_NET = "torchvision:shufflenet_v2_x0_5"


class Tower(nn.Module):
    """An image model of 16 x 16 pictures; what it saw last is kept."""

    image_size = 16

    def __init__(self, named: bool) -> None:
        super().__init__()
        self.layer, self.named = nn.Linear(3 * 16 * 16, 5), named

    def forward(self, pictures: torch.Tensor) -> object:
        self.seen = pictures
        vectors = self.layer(pictures.flatten(1))
        return SimpleNamespace(pooler_output=vectors) if self.named else vectors


@pytest.fixture
def libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand-ins for open_clip and transformers."""
    open_clip, transformers = ModuleType("open_clip"), ModuleType("transformers")

    def create_model(name: str, pretrained: str | None) -> object:
        if name != "ViT-Tiny":
            raise RuntimeError(f"Model config for {name} not found.\nMany more lines")
        return SimpleNamespace(visual=Tower(named=False))

    def from_pretrained(name: str) -> nn.Module:
        if name != "some/vit":
            raise OSError("We couldn't connect to the hub")
        network = Tower(named=True)
        network.config = SimpleNamespace(image_size=16)
        return network

    open_clip.create_model = create_model
    transformers.AutoModel = SimpleNamespace(from_pretrained=from_pretrained)
    transformers.AutoImageProcessor = SimpleNamespace(
        from_pretrained=lambda name: SimpleNamespace(image_mean=[0.5] * 3, image_std=[0.25] * 3)
    )
    monkeypatch.setitem(sys.modules, "open_clip", open_clip)
    monkeypatch.setitem(sys.modules, "transformers", transformers)


@pytest.mark.parametrize("name", ["open_clip:ViT-Tiny", "transformers:some/vit"])
def test_an_image_tower_gives_one_vector_a_picture(name: str, libraries: None) -> None:
    backbone = open_backbone(name, 3, STRIDES)
    assert (backbone.dimension, backbone.picture_size) == (5, (16, 16))
    assert backbone(torch.rand(2, 3, 40, 64)).shape == (2, 5, 1, 1)


def test_an_image_tower_sees_the_range_that_its_processor_tells(libraries: None) -> None:
    backbone = open_backbone("transformers:some/vit", 3, STRIDES)
    backbone(torch.ones(1, 3, 40, 64))
    torch.testing.assert_close(backbone.network.seen, torch.full((1, 3, 16, 16), 2.0))


def test_a_network_with_an_image_tower_can_be_exported(libraries: None) -> None:
    network = DualPathNetwork(NetworkConfig(frame_backbone="open_clip:ViT-Tiny")).eval()
    frames = graphs(network)[0]
    with torch.no_grad():
        features = frames.module(*frames.example(2, torch.Generator().manual_seed(0)))[0]
    assert torch.isfinite(features).all()


@pytest.mark.parametrize(("family", "extra"), [("open_clip", "open-clip"), ("transformers", "transformers")])
def test_a_missing_library_names_the_extra(family: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, family, None)
    with pytest.raises(InvalidRequest, match=rf"kinoscore\[{extra}\]") as caught:
        open_backbone(f"{family}:anything", 3, STRIDES)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["open_clip:nothing", "transformers:nothing"])
def test_an_unknown_image_model_is_one_line(name: str, libraries: None) -> None:
    with pytest.raises(InvalidRequest, match="nothing") as caught:
        open_backbone(name, 3, STRIDES)
    assert "\n" not in str(caught.value)


def test_music_takes_no_image_tower(libraries: None) -> None:
    with pytest.raises(InvalidRequest, match="colour pictures"):
        open_backbone("open_clip:ViT-Tiny", 1, STRIDES)


def test_without_a_backbone_the_fixed_cues_remain(made_up_split, tmp_path) -> None:
    network = NetworkConfig(frame_backbone="none", window_backbone="none", themes=3, attributes=2)
    run = RunFolder(tmp_path)
    training = TrainingConfig(epochs=1, batch_size=4, threads=1)
    fit(run, made_up_split(8), made_up_split(4, seed=1), network, training)
    assert not list(run.load_best().backbones[0].parameters())


def test_a_published_file_of_the_whole_network_is_read(tmp_path) -> None:
    torchvision = pytest.importorskip("torchvision")
    donor = torchvision.models.get_model("shufflenet_v2_x0_5")
    torch.save(donor.state_dict(), tmp_path / "published.pth")
    heir = open_backbone(SHUFFLE_NET, 3, STRIDES, f"file:{tmp_path / 'published.pth'}")
    torch.testing.assert_close(heir.layers[0][0].weight, donor.conv1[0].weight)
    torch.save(heir.state_dict(), tmp_path / "own.pth")
    again = open_backbone(SHUFFLE_NET, 3, STRIDES, str(tmp_path / "own.pth"))
    torch.testing.assert_close(again.layers[0][0].weight, donor.conv1[0].weight)


def test_weights_that_cannot_be_downloaded_say_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    torchvision = pytest.importorskip("torchvision")

    def refuse(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torchvision.models, "get_model", refuse)
    with pytest.raises(InvalidRequest, match="file:PATH"):
        open_backbone(SHUFFLE_NET, 3, STRIDES, "IMAGENET1K_V1")
    with pytest.raises(InvalidRequest, match=r"no file none\.pth"):
        open_backbone(SHUFFLE_NET, 3, STRIDES, "file:none.pth")


@pytest.fixture
def weights(tmp_path) -> str:
    """Of the small frame backbone."""
    torch.manual_seed(7)
    torch.save(open_backbone("small", 3, STRIDES).state_dict(), tmp_path / "small.pt")
    return f"file:{tmp_path / 'small.pt'}"


def test_a_frozen_backbone_keeps_its_weights_and_statistics(weights: str, made_up_split, tmp_path) -> None:
    training = TrainingConfig(epochs=1, batch_size=4, threads=1, freeze_backbones=True)
    network = NetworkConfig(themes=3, attributes=2)
    run = RunFolder(tmp_path / "run")
    fit(run, made_up_split(8), made_up_split(4, seed=1), network, training, weights=weights)
    learnt, begun = run.load(run.last)["weights"], torch.load(weights.removeprefix("file:"))
    for name, values in begun.items():
        torch.testing.assert_close(learnt[f"frame_encoder.backbone.{name}"], values, rtol=0, atol=0)
    window = DualPathNetwork(network).window_encoder.backbone.state_dict()
    assert any(
        not torch.equal(learnt[f"window_encoder.backbone.{name}"], values) for name, values in window.items()
    )


def test_to_freeze_needs_weights(made_up_split, tmp_path) -> None:
    training = TrainingConfig(epochs=1, batch_size=4, threads=1, freeze_backbones=True)
    with pytest.raises(InvalidRequest, match="--weights"):
        fit(RunFolder(tmp_path), made_up_split(8), made_up_split(4, seed=1), NetworkConfig(), training)


def test_backbones_learn_at_their_own_rate(weights: str, made_up_split, tmp_path) -> None:
    network = NetworkConfig(themes=3, attributes=2)
    begun = torch.load(weights.removeprefix("file:"))["layers.0.weight"]
    moved = {}
    for rate in (1e-9, 0.0):
        training = TrainingConfig(epochs=1, batch_size=4, threads=1, backbone_learning_rate=rate)
        run = RunFolder(tmp_path / f"run{rate}")
        fit(run, made_up_split(8), made_up_split(4, seed=1), network, training, weights=weights)
        learnt = run.load(run.last)["weights"]["frame_encoder.backbone.layers.0.weight"]
        moved[rate] = float((learnt - begun).abs().max())
    assert moved[1e-9] < 1e-6 < moved[0.0]
