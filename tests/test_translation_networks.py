"""The U-Net and its discriminator of patches: receptive fields by gradient, any image size, noise that stays on, skips."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import conv2d

from ganrun.ground import registry
from ganrun.ground.duel import Duel
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import DiscriminatorOutput, Port
from ganrun.networks.base import NORMS
from ganrun.networks.parts.dropout import Dropout
from ganrun.networks.unet import UNet, receptive_field

SCORE = Port("score", ())


def family(noise: str = "none", generator: dict[str, Any] | None = None, discriminator: dict[str, Any] | None = None) -> UNet:
    made = registry.build(
        "model",
        {
            "name": "unet",
            "latent": 3,
            "noise": noise,
            "generator": {"width": 4, "norm": "none", **(generator or {})},
            "discriminator": {"width": 2, "norm": "none", **(discriminator or {})},
        },
    )
    assert isinstance(made, UNet)
    return made


def generator(size: tuple[int, int], *, channels: int = 1, outputs: int = 1, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    made = family(**options)
    inputs = (Port("data", (channels, *size)), *([Port("code", (3,))] if made.noisy else []))
    return made.make("generator", inputs=inputs, outputs=(Port("data", (outputs, *size)),))


def discriminator(size: int, layers: int | None, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    ports = (Port("data", (1, size, size)), Port("data", (2, size, size)))
    return family(discriminator={"layers": layers, **options}).make("discriminator", inputs=ports, outputs=(SCORE,))


def images(size: int, seed: int = 1) -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(seed)
    draw = torch.rand(2, 3, size, size, generator=source, dtype=torch.get_default_dtype()) * 2 - 1
    return draw[:, :1], draw[:, 1:]


# patches


@pytest.mark.parametrize(("layers", "side", "size"), [(0, 1, 8), (1, 16, 32), (2, 34, 64), (3, 70, 128), (4, 142, 256)])
@pytest.mark.usefixtures("float64")
def test_one_score_sees_exactly_its_patch(layers: int, side: int, size: int) -> None:
    network = discriminator(size, layers)
    assert network.receptive_field == side
    x = images(size)[1].requires_grad_()
    score = network(x[:, :1].detach(), x).score
    middle = score.shape[-1] // 2
    (gradient,) = torch.autograd.grad(score[:, 0, middle, middle].sum(), x)
    for axis in (2, 3):
        seen = torch.nonzero(gradient.abs().amax(dim=[entry for entry in range(4) if entry != axis])).flatten()
        assert len(seen) == side
        assert int(seen[-1] - seen[0]) == side - 1


def test_three_layers_make_a_map_of_30x30_of_256_pixels_as_published() -> None:
    network = discriminator(256, 3)
    assert network(*images(256)).score.shape == (2, 1, 30, 30)
    assert network.notes == ("judges patches of 70x70 pixels: a map of 30x30 scores",)
    assert receptive_field([(4, 2)] * 4 + [(4, 1)]) == 94  # an implementation without the second stride-1 layer


@pytest.mark.usefixtures("float64")
def test_the_map_moves_with_the_image() -> None:
    network = discriminator(128, 2)
    large = torch.rand(1, 3, 136, 136)
    one, other = (large[..., shift : shift + 128, shift : shift + 128] for shift in (0, 4))
    here, there = (network(x[:, :1], x[:, 1:]).score for x in (one, other))
    assert torch.allclose(here[..., 10:20, 10:20], there[..., 9:19, 9:19], atol=1e-12)
    assert not torch.allclose(here[..., 10:20, 10:20], there[..., 10:20, 10:20], atol=1e-6)


@pytest.mark.parametrize(("size", "layers"), [(2, 0), (8, 1), (16, 1), (33, 1), (34, 2), (69, 2), (70, 3), (256, 3)])
def test_as_many_layers_as_keep_the_patch_inside_the_image_and_no_more_than_three(size: int, layers: int) -> None:
    assert discriminator(size, None).receptive_field == {0: 1, 1: 16, 2: 34, 3: 70}[layers]
    with pytest.raises(BadInput, match="room for"):
        discriminator(size, 7)


def test_features_are_the_means_of_the_last_map_and_the_order_of_the_inputs_counts() -> None:
    network = discriminator(32, 2, norm="instance")
    one, two = images(32)
    output = network(one, two)
    maps = network.layers(torch.cat((one, two), 1))
    assert torch.equal(output.features, maps.mean((2, 3)))
    assert output.features.shape == (2, network.num_features)
    assert torch.equal(output.score, network.output(maps))
    assert not torch.allclose(network.layers(torch.cat((two, one), 1)), maps)


@pytest.mark.parametrize("name", registry.names("loss"))
def test_the_loss_of_a_constant_map_is_that_of_one_score(name: str) -> None:
    loss = registry.build("loss", {"name": name})
    scores = {"real": torch.tensor([-1.3, -0.2]), "fake": torch.tensor([-0.7, -2.1])}
    features = torch.tensor([[0.3, 1.0], [2.0, -1.0]])
    found = []
    for shape in ((2,), (2, 1, 3, 3)):

        def judge(x: Tensor, shape: tuple[int, ...] = shape) -> DiscriminatorOutput:
            return DiscriminatorOutput(x.view(2, *[1] * (len(shape) - 1)).expand(shape), features * x[:, None])

        duel = Duel(judge, (scores["real"],), (scores["fake"],))
        duel.real_target = torch.tensor([0.9, 0.8]) if "targets" in loss.reads else 1.0
        found.append(torch.stack([loss.d(duel), loss.g(duel)]))
    assert torch.allclose(found[0], found[1], atol=1e-6)


# the hourglass


@pytest.mark.parametrize("size", [(2, 2), (3, 3), (7, 7), (8, 8), (12, 20), (17, 17), (21, 13), (31, 31), (33, 33)])
@pytest.mark.parametrize("skips", [True, False])
def test_any_size_comes_out_as_it_went_in(size: tuple[int, int], skips: bool) -> None:
    network = generator(size, channels=3, generator={"norm": "instance", "skips": skips})
    assert network(torch.rand(2, 3, *size)).shape == (2, 1, *size)
    assert network(torch.rand(2, 3, *size) * 9).abs().max() <= 1


@pytest.mark.parametrize("size", [7, 8, 9, 16])
@pytest.mark.usefixtures("float64")
def test_without_skips_every_pixel_still_reaches_the_far_corner_through_the_1x1_map(size: int) -> None:
    network = generator((size, size), generator={"skips": False, "width": 16})
    x = torch.rand(1, 1, size, size).requires_grad_()
    (gradient,) = torch.autograd.grad(network(x)[0, 0, -1, -1], x)
    assert (gradient != 0).all()


@pytest.mark.parametrize("skips", [True, False])
def test_skips_carry_what_the_bottleneck_does_not(skips: bool) -> None:
    network = generator((16, 16), generator={"skips": skips})
    nn.init.zeros_(network.down[-1][1].weight)
    one, other = network(torch.zeros(1, 1, 16, 16)), network(torch.ones(1, 1, 16, 16))
    assert torch.equal(one, other) is not skips


@pytest.mark.parametrize("norm", [norm for norm in NORMS if norm != "none"])
@pytest.mark.parametrize("size", [8, 9, 16])
def test_no_normalization_meets_a_1x1_map_nor_the_image(norm: str, size: int) -> None:
    network, seen = generator((size, size), generator={"norm": norm}), []
    plain = (nn.Conv2d, nn.ConvTranspose2d, nn.LeakyReLU, nn.ReLU, nn.Tanh, nn.Identity, Dropout)
    for module in [*network.down, *network.up]:
        for layer in module:
            if not isinstance(layer, plain):
                layer.register_forward_hook(lambda layer, inputs, output: seen.append(inputs[0].shape))
    network.train()(torch.rand(1, 1, size, size))  # one image alone: what batch normalization cannot take of 1x1 maps
    assert len(seen) == 2 * (size.bit_length() - 1) - 3
    assert all(shape[2] * shape[3] > 1 for shape in seen)
    bottom = torch.rand(1, 1, size, size)
    for block in network.down:
        bottom = block(bottom)
    assert bottom.shape[2:] == (1, 1)
    assert bottom.abs().min() > 0


def test_the_depth_is_a_choice_within_what_the_image_allows() -> None:
    assert len(generator((32, 32), generator={"depth": 3}).down) == 3
    assert len(generator((512, 512), generator={"width": 1}).down) == 8
    with pytest.raises(BadInput, match="halved 4 times"):
        generator((31, 31), generator={"depth": 5})


# noise


def test_dropout_stays_on_in_evaluation_and_sits_in_the_first_three_blocks_up() -> None:
    network = generator((32, 32), noise="dropout").eval()
    x = torch.rand(1, 1, 32, 32)
    assert not torch.equal(network(x), network(x))
    assert [any(isinstance(layer, Dropout) for layer in block) for block in network.up] == [False, False, True, True, True]
    shallow = generator((8, 8), noise="dropout")
    assert [any(isinstance(layer, Dropout) for layer in block) for block in shallow.up] == [False, True, True]
    torch.manual_seed(5)
    one = network(x)
    torch.manual_seed(5)
    assert torch.equal(one, network(x))


def test_without_noise_a_source_has_one_translation() -> None:
    network = generator((16, 16), noise="none").eval()
    x = torch.rand(1, 1, 16, 16)
    assert torch.equal(network(x), network(x))


def test_noise_at_the_input_changes_the_output() -> None:
    network = generator((16, 16), noise="input", generator={"norm": "instance"})
    x = torch.rand(1, 1, 16, 16)
    one, other = network(x, torch.zeros(1, 3)), network(x, torch.ones(1, 3))
    assert torch.equal(one, network(x, torch.zeros(1, 3)))
    assert (one - other).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"noise": "dropot"}, "'dropout'"),
        ({"dropout": 1.0}, "below 1"),
        ({"generator": {"depth": 0}}, "generator.depth=0"),
        ({"generator": {"norm": "virtual"}}, "virtual"),
        ({"discriminator": {"layers": -1}}, "discriminator.layers=-1"),
        ({"discriminator": {"width": 0}}, "discriminator.width=0"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], match: str) -> None:
    with pytest.raises(BadInput, match=match):
        registry.build("model", {"name": "unet", **options})


def test_images_of_several_sizes_are_no_one_image() -> None:
    ports = (Port("data", (1, 8, 8)), Port("data", (1, 16, 16)))
    with pytest.raises(BadInput, match="one size"):
        family().make("discriminator", inputs=ports, outputs=(SCORE,))
    with pytest.raises(BadInput, match="source's size"):
        family().make("generator", inputs=ports[:1], outputs=ports[1:])
    with pytest.raises(BadInput, match="no encoder"):
        family().make("encoder", inputs=ports[:1], outputs=(Port("code", (3,)),))


# the residual translator


def translator(size: int = 8, channels: int = 3, **options: Any) -> nn.Module:
    made = registry.build("model", {"name": "translator", "generator": options})
    port = Port("data", (channels, size, size))
    return made.make("generator", inputs=(port,), outputs=(port,))


def test_the_translator_has_the_published_number_of_parameters() -> None:
    """11.378 M with 9 blocks, as the authors' program prints; their instance normalization learns nothing and biases stay."""
    with torch.device("meta"):
        assert count(translator(256, norm="none")) == 11_378_179
        assert count(translator(128, norm="none")) == 11_378_179 - 3 * (2 * (256 * 256 * 9 + 256))


def count(network: nn.Module) -> int:
    return sum(entry.numel() for entry in network.parameters())


@pytest.mark.usefixtures("float64")
def test_the_translator_is_convolutions_on_mirrored_images_around_residual_blocks() -> None:
    """The same from functions alone: mirrored by indexing, a transposed convolution as one of an image with zeros between."""
    torch.manual_seed(0)
    network = translator(8, channels=2, width=3, blocks=2, norm="none")
    weights = [entry.detach() for entry in network.parameters()]
    kernels, biases = weights[::2], weights[1::2]
    for kernel in kernels:
        kernel.mul_(10)  # they start small, and tanh would be a line

    def mirrored(x: Tensor, by: int) -> Tensor:
        side = x.shape[-1]
        places = [abs(place) if place < side else 2 * (side - 1) - place for place in range(-by, side + by)]
        return x[:, :, places][:, :, :, places]

    def spread(x: Tensor) -> Tensor:
        wide = x.new_zeros(*x.shape[:2], 2 * x.shape[2] + 2, 2 * x.shape[3] + 2)  # a 3x3 kernel with output padding 1
        wide[:, :, 1:-1:2, 1:-1:2] = x
        return wide

    x = torch.rand(2, 2, 8, 8) * 2 - 1
    hidden = conv2d(mirrored(x, 3), kernels[0], biases[0]).relu()
    for place in (1, 2):
        hidden = conv2d(torch.nn.functional.pad(hidden, (1, 1, 1, 1)), kernels[place], biases[place], stride=2).relu()
    for place in (3, 5):
        inner = conv2d(mirrored(hidden, 1), kernels[place], biases[place]).relu()
        hidden = hidden + conv2d(mirrored(inner, 1), kernels[place + 1], biases[place + 1])
    for place in (7, 8):
        hidden = conv2d(spread(hidden), kernels[place].transpose(0, 1).flip(2, 3), biases[place]).relu()
    expected = conv2d(mirrored(hidden, 3), kernels[9], biases[9]).tanh()
    found = network(x)
    assert found.shape == x.shape
    assert torch.allclose(found, expected, atol=1e-12)


def test_the_translators_dropout_stays_on_and_what_cannot_be_is_refused() -> None:
    port = Port("data", (1, 8, 8))
    dropped = registry.build("model", {"name": "translator", "dropout": 0.5, "generator": {"width": 2, "blocks": 1}})
    network = dropped.make("generator", inputs=(port,), outputs=(port,)).eval()
    x = images(8)[0]
    assert not torch.equal(network(x), network(x))
    assert [dropped.legal_size(size) for size in (1, 8, 9, 64)] == [8, 8, 12, 64]
    for options, match in (
        ({"dropout": 1.0}, "below 1"),
        ({"generator": {"blocks": -1}}, "generator.blocks=-1"),
        ({"generator": {"width": 0}}, "generator.width=0"),
    ):
        with pytest.raises(BadInput, match=match):
            registry.build("model", {"name": "translator", **options})
    with pytest.raises(BadInput, match="multiples of 4"):
        translator(10)
