"""The families: shapes, ranges, parameter counts, folded convolutions, and what couples the samples of a batch."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ganrun.games.conditions.concat import Concatenation
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Port, Spec
from ganrun.networks.base import NORMS, Family, norm1d, power_of_two
from ganrun.networks.parts.resampling import DownConv, UpConv
from ganrun.networks.resnet import Block

FAMILIES = ["dcgan", "mlp", "resnet", "sngan", "wgan"]
IMAGE_FAMILIES = [name for name in FAMILIES if name != "mlp"]
SCORE = Port("score", ())


def make(name: str, *, norm: str = "none", width: int = 4, latent: int = 3, **more: Any) -> Family:
    player = {"norm": norm, "width": width, **more}
    family = registry.build("model", {"name": name, "latent": latent, "generator": player, "discriminator": player})
    assert isinstance(family, Family)
    return family


def players(family: Family, shape: tuple[int, ...]) -> tuple[nn.Module, nn.Module]:
    torch.manual_seed(0)
    data, code = Port("data", shape), Port("code", (family.latent.size,))
    generator = family.make("generator", inputs=(code,), outputs=(data,))
    return generator, family.make("discriminator", inputs=(data,), outputs=(SCORE,))


def count(network: nn.Module) -> int:
    return sum(entry.numel() for entry in network.parameters())


def norms_of(name: str) -> tuple[str, ...]:
    return tuple(norm for norm in NORMS if name != "mlp" or norm != "instance")


CASES = [(name, norm) for name in FAMILIES for norm in norms_of(name)]


# shapes and ranges


@pytest.mark.parametrize(("name", "norm"), CASES)
@pytest.mark.parametrize("size", [8, 16, 32, 64])
def test_players_fit_the_data_at_every_size(name: str, norm: str, size: int) -> None:
    channels = 1 if size in (8, 32) else 3
    generator, discriminator = players(make(name, norm=norm), (channels, size, size))
    fake = generator(torch.randn(2, 3)).detach()
    assert fake.shape == (2, channels, size, size)
    assert float(fake.abs().max()) <= 1
    output = discriminator(fake)
    assert output.score.shape == (2,)
    assert output.features.shape[0] == 2
    assert output.features.ndim == 2


@pytest.mark.parametrize("name", FAMILIES)
def test_the_generators_range_is_that_of_images_however_large_its_weights(name: str) -> None:
    generator, _ = players(make(name), (1, 8, 8))
    with torch.no_grad():
        for entry in generator.parameters():
            entry.mul_(50)
    fake = generator(torch.randn(16, 3)).detach()
    assert 0.9 < float(fake.abs().max()) <= 1


def test_points_have_no_range() -> None:
    generator, discriminator = players(make("mlp"), (2,))
    with torch.no_grad():
        generator.output.bias.fill_(7)
    fake = generator(torch.randn(5, 3)).detach()
    assert fake.shape == (5, 2)
    assert float(fake.min()) > 1
    assert discriminator(fake).score.shape == (5,)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_score_is_raw(name: str) -> None:
    _, discriminator = players(make(name), (1, 8, 8))
    with torch.no_grad():
        for entry in discriminator.output.parameters():
            entry.fill_(-9)
    x = torch.ones(2, 1, 8, 8)
    output = discriminator(x)
    weight, bias = discriminator.output.weight.flatten(), discriminator.output.bias
    torch.testing.assert_close(output.score, output.features @ weight + bias)  # affine in the features
    assert float(output.score[0].detach()) < -5


@pytest.mark.parametrize(
    ("size", "ladder"),
    [(8, [2, 4, 8, 4, 2]), (16, [4, 8, 16, 8, 4]), (64, [4, 8, 16, 32, 64, 32, 16, 8, 4])],
)
def test_dcgan_doubles_and_halves_its_maps(size: int, ladder: list[int]) -> None:
    generator, discriminator = players(make("dcgan"), (3, size, size))
    sizes: list[int] = []
    for network in (generator.layers, discriminator.layers):
        for layer in network:
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                layer.register_forward_hook(lambda layer, inputs, output: sizes.append(output.shape[-1]))
    discriminator(generator(torch.randn(2, 3)))
    assert sizes == ladder


@pytest.mark.parametrize("name", IMAGE_FAMILIES)
@pytest.mark.parametrize("shape", [(1, 12, 12), (1, 4, 4), (1, 8, 16), (2,)])
def test_impossible_shapes_are_refused_with_a_way_out(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="Try"):
        players(make(name), shape)


def test_legal_sizes_are_powers_of_two_from_eight() -> None:
    assert [power_of_two(size) for size in (1, 7, 8, 9, 28, 32, 33, 64, 65)] == [8, 8, 8, 16, 32, 32, 64, 64, 128]
    assert make("dcgan").legal_size(28) == 32
    assert make("mlp").legal_size(28) == 28


@pytest.mark.parametrize("name", FAMILIES)
def test_unknown_norms_and_impossible_widths_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="'batch'"):
        make(name, norm="batsch")
    with pytest.raises(BadInput, match="width=0"):
        make(name, width=0)
    with pytest.raises(BadInput, match="latent=0"):
        make(name, latent=0)


def test_vectors_have_no_instance_norm_and_no_unknown_activation() -> None:
    with pytest.raises(BadInput, match="norm=layer"):
        make("mlp", norm="instance")
    with pytest.raises(BadInput, match="'relu'"):
        make("mlp", activation="rellu")


@pytest.mark.parametrize("width", [1, 4, 6, 8, 12, 16, 40, 128])
def test_group_norm_of_a_vector_leaves_something_of_it(width: int) -> None:
    layer = norm1d("group", width)
    assert isinstance(layer, nn.GroupNorm)
    assert width // layer.num_groups >= 4 or layer.num_groups == 1  # a group of one is always zero
    assert layer.num_groups == (8 if width >= 32 else layer.num_groups)


# parameter counts, in closed form


@pytest.mark.parametrize("size", [8, 16, 64])
@pytest.mark.parametrize("norm", ["batch", "none"])
def test_dcgan_has_the_parameters_of_its_closed_form(size: int, norm: str) -> None:
    latent, channels, width = 7, 3, 5
    generator, discriminator = players(make("dcgan", norm=norm, width=width, latent=latent), (channels, size, size))
    widths = {8: [5, 10], 16: [5, 10], 64: [5, 10, 20, 40]}[size]
    area = 4 if size == 8 else 16  # of the smallest map
    last, pairs = widths[-1], list(zip(widths, widths[1:], strict=False))
    extra = 2 if norm == "batch" else 1  # scale and shift, or the bias in their place
    steps = sum(16 * one * other for one, other in pairs)
    assert count(generator) == area * latent * last + extra * sum(widths) + steps + 16 * width * channels + channels
    assert count(discriminator) == 16 * channels * width + width + steps + extra * sum(widths[1:]) + area * last + 1


def test_dcgan_64_has_the_published_size() -> None:
    family = registry.build("model", {"name": "dcgan"})
    generator, discriminator = players(family, (3, 64, 64))
    assert count(generator) == 3_576_704 + 3  # the widely used port, plus biases next to the image
    assert count(discriminator) == 2_765_568 + 64 + 1


def test_the_residual_players_for_32_pixels_have_the_published_size() -> None:
    generator, discriminator = players(registry.build("model", {"name": "resnet"}), (3, 32, 32))
    up = 2 * (256 * 256 * 9 + 256) + (256 * 256 + 256) + 2 * 512
    assert count(generator) == 128 * 4096 + 4096 + 3 * up + 512 + 256 * 3 * 9 + 3 == 4_276_739
    convolution, shortcut = 128 * 128 * 9 + 128, 128 * 128 + 128
    first = (3 * 128 * 9 + 128) + convolution + (3 * 128 + 128)
    assert count(discriminator) == first + 2 * convolution + shortcut + 4 * convolution + 128 + 1


def test_mlp_has_the_parameters_of_its_closed_form() -> None:
    generator, discriminator = players(make("mlp", width=5, depth=3, latent=7), (2,))
    assert count(generator) == (7 * 5 + 5) + 2 * (5 * 5 + 5) + (5 * 2 + 2)
    assert count(discriminator) == (2 * 5 + 5) + 2 * (5 * 5 + 5) + (5 + 1)


@pytest.mark.parametrize("player", [0, 1])
def test_dcgan_weights_start_at_a_fiftieth(player: int) -> None:
    network = players(make("dcgan", norm="batch", width=16, latent=32), (3, 32, 32))[player]
    weights = torch.cat([entry.flatten() for name, entry in network.named_parameters() if entry.ndim == 4])
    assert float(weights.detach().std()) == pytest.approx(0.02, rel=0.05)
    scales = torch.cat([module.weight for module in network.modules() if isinstance(module, nn.BatchNorm2d)]).detach()
    assert float(scales.mean()) == pytest.approx(1, abs=0.01)
    assert float(scales.std()) == pytest.approx(0.02, rel=0.35)


# residual blocks


def assert_same_with_gradients(found: Tensor, wanted: Tensor, inputs: list[Tensor]) -> None:
    torch.testing.assert_close(found, wanted, atol=1e-12, rtol=1e-12)
    direction = torch.randn(found.shape, generator=torch.Generator().manual_seed(9), dtype=found.dtype)
    for mine, theirs in zip(
        torch.autograd.grad((found * direction).sum(), inputs),
        torch.autograd.grad((wanted * direction).sum(), inputs),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("size", [4, 6])
def test_the_folded_upsampling_convolution_is_upsampling_then_convolving(size: int, float64: None) -> None:
    torch.manual_seed(1)
    layer, x = UpConv(3, 5, 3, padding=1), torch.randn(2, 3, size, size).requires_grad_()
    wanted = functional.conv2d(functional.interpolate(x, scale_factor=2), layer.weight, layer.bias, padding=1)
    assert_same_with_gradients(layer(x), wanted, [x, layer.weight, layer.bias])


@pytest.mark.parametrize("size", [4, 6])
def test_the_folded_downsampling_convolution_is_convolving_then_averaging(size: int, float64: None) -> None:
    torch.manual_seed(1)
    layer, x = DownConv(3, 5, 3, padding=1), torch.randn(2, 3, size, size).requires_grad_()
    wanted = functional.avg_pool2d(functional.conv2d(x, layer.weight, layer.bias, padding=1), 2)
    assert_same_with_gradients(layer(x), wanted, [x, layer.weight, layer.bias])


@pytest.mark.parametrize(("resize", "first"), [("up", False), ("down", False), ("down", True), ("none", False)])
def test_a_block_is_the_textbook_block(resize: str, first: bool, float64: None) -> None:
    torch.manual_seed(2)
    block, x = Block(3, 3 if resize == "none" else 5, "layer", resize, first=first), torch.randn(2, 3, 6, 6).requires_grad_()

    def resized(maps: Tensor, how: str) -> Tensor:
        if how == "up" and resize == "up":
            return functional.interpolate(maps, scale_factor=2)
        return functional.avg_pool2d(maps, 2) if how == "down" and resize == "down" else maps

    hidden = x if first else functional.relu(block.norm_in(x))
    one, two = block.convolution_in, block.convolution_out
    hidden = functional.relu(block.norm_out(functional.conv2d(resized(hidden, "up"), one.weight, one.bias, padding=1)))
    hidden = resized(functional.conv2d(hidden, two.weight, two.bias, padding=1), "down")
    wanted = hidden + resized(block.shortcut(resized(x, "up")), "down")  # the 1x1 shortcut after or before: the same
    assert_same_with_gradients(block(x), wanted, [x, *block.parameters()])


def test_the_features_of_the_residual_discriminator_are_sums_over_positions() -> None:
    _, discriminator = players(make("resnet"), (1, 16, 16))
    x = torch.randn(2, 1, 16, 16)
    torch.testing.assert_close(discriminator(x).features, functional.relu(discriminator.blocks(x)).sum((2, 3)))
    assert discriminator.blocks(x).shape[-1] == 8


# what couples the samples of a batch


def is_coupled(discriminator: nn.Module, x: Tensor) -> bool:
    x = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(discriminator(x).score[0], x)
    assert bool(slope[0].any())
    return bool(slope[1:].any())


@pytest.mark.parametrize(("name", "norm"), CASES)
@pytest.mark.parametrize("size", [8, 16])
def test_a_family_says_that_its_scores_are_coupled_exactly_where_they_are(name: str, norm: str, size: int) -> None:
    family = make(name, norm=norm)
    _, discriminator = players(family, (1, size, size))
    assert is_coupled(discriminator, torch.randn(4, 1, size, size)) == ("discriminator.batch_coupled" in family.traits)
    assert ("discriminator.batch_norm" in family.traits) == any(
        isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d) for module in discriminator.modules()
    )


def test_one_layer_has_no_normalization_to_couple_its_scores() -> None:
    family = make("mlp", norm="batch", depth=1)
    _, discriminator = players(family, (2,))
    assert not is_coupled(discriminator, torch.randn(4, 2))
    assert "discriminator.batch_coupled" not in family.traits


@pytest.mark.parametrize("name", FAMILIES)
def test_the_generators_norm_couples_no_scores(name: str) -> None:
    player = {"norm": "none", "width": 4}
    family = registry.build("model", {"name": name, "generator": {**player, "norm": "batch"}, "discriminator": player})
    assert "discriminator.batch_coupled" not in family.traits


@pytest.mark.parametrize(("name", "norm"), [case for case in CASES if case[1] != "none"])
def test_each_norm_is_really_in_both_players(name: str, norm: str) -> None:
    kinds = {
        "batch": (nn.BatchNorm1d, nn.BatchNorm2d),
        "layer": (nn.GroupNorm, nn.LayerNorm),
        "instance": (nn.InstanceNorm2d,),
        "group": (nn.GroupNorm,),
    }[norm]
    for network in players(make(name, norm=norm, width=16), (1, 16, 16)):
        found = [module for module in network.modules() if isinstance(module, kinds)]
        assert found
        groups = {module.num_groups for module in found if isinstance(module, nn.GroupNorm)}
        wanted = {"layer": set() if name == "mlp" else {1}, "group": {4} if name == "mlp" else {8}}
        assert groups == wanted.get(norm, set())


@pytest.mark.parametrize("name", ["dcgan", "wgan"])
def test_there_is_no_norm_next_to_the_image(name: str) -> None:
    generator, discriminator = players(make(name, norm="batch"), (1, 16, 16))
    assert [type(layer) for layer in generator.layers][-2:] == [nn.ConvTranspose2d, nn.Tanh]
    assert isinstance(discriminator.layers[1], nn.LeakyReLU)


# conditions


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("shape", [(3, 8, 8), (2,)])
def test_the_label_is_concatenated_and_heard_by_both_players(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) == 1 and name != "mlp":
        pytest.skip("this family makes images only")
    family = make(name, width=32)
    spec, condition = Spec("image" if len(shape) == 3 else "points", shape, 5), Concatenation()
    torch.manual_seed(0)
    code, data = Port("code", (3,)), Port("data", shape)
    generator = condition.make(family, "generator", spec, inputs=(code,), outputs=(data,))
    discriminator = condition.make(family, "discriminator", spec, inputs=(data,), outputs=(SCORE,))
    with torch.no_grad():
        for entry in (*generator.parameters(), *discriminator.parameters()):
            entry.add_(0.1 * torch.randn(entry.shape))
    z, labels, others = torch.randn(1, 3).expand(5, -1), torch.arange(5), torch.tensor([0, 2, 2, 2, 4])
    fake = generator(z, condition=labels)
    assert fake.shape == (5, *shape)
    assert len(fake.flatten(1).unique(dim=0)) == 5  # one latent, five labels, five samples
    seen: list[Tensor] = []
    discriminator.network.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.randn(1, *shape).expand(5, *shape)
    scores, other_scores = (discriminator(x, condition=entry).score for entry in (labels, others))
    assert scores.shape == (5,)
    assert (scores != other_scores).tolist() == [False, True, False, True, False]
    code_part = seen[0][:, shape[0] :]
    one_hot = functional.one_hot(labels, 5).float().view(5, 5, *[1] * (len(shape) - 1)).expand(5, 5, *shape[1:])
    assert torch.equal(code_part, one_hot)
    assert torch.equal(seen[0][:, : shape[0]], x)


@pytest.mark.parametrize("name", FAMILIES)
def test_options_of_players_are_dataclasses_that_cannot_change(name: str) -> None:
    for player in ("of_generator", "of_discriminator"):
        options = getattr(make(name), player)
        with pytest.raises(dataclasses.FrozenInstanceError):
            options.width = 7


def test_a_role_that_a_family_cannot_play_is_refused() -> None:
    class GeneratorsOnly(Family):
        def generator(self, inputs: Any, outputs: Any) -> nn.Module:
            return nn.Identity()

    assert isinstance(GeneratorsOnly().make("generator", inputs=(SCORE,), outputs=(Port("data", (2,)),)), nn.Identity)
    with pytest.raises(BadInput, match="makes no reconstructor"):
        GeneratorsOnly().make("reconstructor", inputs=(SCORE,), outputs=(Port("code", (3,)),))


@pytest.mark.parametrize("name", FAMILIES)
def test_encoders_and_discriminators_take_pairs_of_an_image_and_a_code(name: str) -> None:
    data, code = Port("data", (2, 8, 8)), Port("code", (3,))
    x, z = torch.randn(4, 2, 8, 8), torch.randn(4, 3)
    family = make(name)
    encoded = family.make("encoder", inputs=(data,), outputs=(code,))(x)
    assert encoded.shape == (4, 3)
    judge = family.make("discriminator", inputs=(data, code), outputs=(SCORE,)).eval()
    output = judge(x, z)
    assert output.score.shape == (4,)
    assert output.features.shape == (4, judge.num_features)
    assert (judge(x, z + 1).score != output.score).any()
    assert (judge(x.roll(1, 0), z).score != output.score).any()
