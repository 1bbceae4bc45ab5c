"""The families of energies and of residual blocks without normalization; and what holds for every family."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from conftest import compose_config, make_trainer
from torch import Tensor, nn
from torch.nn import functional

from ganrun.disk import checkpoint
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Port
from ganrun.networks import modern
from ganrun.networks.modern import Block, DiscriminatorOptions, Resize

SCORE, CODE = Port("score", ()), Port("code", (3,))
IMAGE, POINT = (1, 8, 8), (2,)
CASES = [
    ("mlp", IMAGE),
    ("mlp", POINT),
    ("dcgan", IMAGE),
    ("resnet", IMAGE),
    ("autoencoder", IMAGE),
    ("autoencoder", POINT),
    ("conv_autoencoder", IMAGE),
    ("modern", IMAGE),
]
ENERGIES = [case for case in CASES if "autoencoder" in case[0]]


def make(name: str, **options: Any) -> Any:
    """A family of small networks without batch normalization; ``generator`` and ``discriminator`` add options."""
    small = {"width": 6} | ({} if name == "modern" else {"norm": "none"})
    given = {key: {**small, **options.pop(key, {})} for key in ("generator", "discriminator")}
    if "autoencoder" in name:
        given["discriminator"] = {"code": 4, **given["discriminator"]}
    return registry.build("model", {"name": name, "latent": 3, **given, **options})


def players(family: Any, shape: tuple[int, ...]) -> tuple[Any, Any]:
    torch.manual_seed(0)
    data = Port("data", shape)
    made = family.make("generator", inputs=(CODE,), outputs=(data,))
    return made, family.make("discriminator", inputs=(data,), outputs=(SCORE,))


def count(network: nn.Module) -> int:
    return sum(entry.numel() for entry in network.parameters())


# every family


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_family_works_in_double_precision_on_what_it_is_for(name: str, shape: tuple[int, ...], float64: None) -> None:
    generator, judge = players(make(name), shape)
    x = generator(torch.randn(4, 3))
    assert x.shape == (4, *shape)
    assert x.dtype == torch.float64
    output = judge(x)
    assert output.score.shape == (4,)
    assert output.features.shape == (4, judge.num_features)
    encoded = make(name).make("encoder", inputs=(Port("data", shape),), outputs=(CODE,))(x)
    assert encoded.shape == (4, 3)
    assert encoded.dtype == torch.float64


@pytest.mark.parametrize(("name", "shape"), CASES)
def test_a_penalty_on_the_slope_can_be_trained(name: str, shape: tuple[int, ...], float64: None) -> None:
    _, judge = players(make(name), shape)
    for entry in judge.parameters():  # away from the kinks and from what starts at nearly zero
        entry.data.add_(0.2 * torch.randn(entry.shape))
    x = torch.randn(3, *shape)

    def penalty() -> Tensor:
        leaf = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(judge(leaf).score.sum(), leaf, create_graph=True)
        return slope.square().sum()

    weights = [entry for entry in judge.parameters() if entry.ndim > 1]
    for entry, slope in zip(weights, torch.autograd.grad(penalty(), weights), strict=True):
        direction = torch.randn(entry.shape)
        values = []
        for step in (1e-6, -2e-6):
            entry.data.add_(step * direction)
            values.append(penalty().detach())
        entry.data.add_(1e-6 * direction)
        torch.testing.assert_close((slope * direction).sum(), (values[0] - values[1]) / 2e-6, rtol=2e-3, atol=1e-5)


@pytest.mark.parametrize("name", ["conv_autoencoder", "modern"])
def test_images_only(name: str) -> None:
    assert set(make(name).needs) == {"dataset.image"}
    for shape in (POINT, (1, 12, 12), (1, 4, 4)):
        with pytest.raises(BadInput, match="Try"):
            players(make(name), shape)
    assert make(name).legal_size(28) == 32


@pytest.mark.parametrize("name", ["autoencoder", "conv_autoencoder", "modern"])
@pytest.mark.parametrize("size", [8, 16, 64])
def test_images_of_every_size(name: str, size: int) -> None:
    generator, judge = players(make(name), (3, size, size))
    x = generator(torch.randn(2, 3))
    assert x.shape == (2, 3, size, size)
    assert judge(x).score.shape == (2,)


@pytest.mark.parametrize("name", ["autoencoder", "conv_autoencoder", "modern"])
def test_pairs_of_an_image_and_a_code_are_judged_by_both(name: str) -> None:
    x, z = torch.randn(4, 2, 8, 8), torch.randn(4, 3)
    judge = make(name).make("discriminator", inputs=(Port("data", (2, 8, 8)), CODE), outputs=(SCORE,))
    score = judge(x, z).score
    assert score.shape == (4,)
    assert (judge(x, z + 1).score != score).all()
    assert (judge(x.roll(1, 0), z).score != score).all()


@pytest.mark.parametrize("name", ["autoencoder", "conv_autoencoder"])
@pytest.mark.parametrize("norm", ["none", "layer", "batch"])
def test_energies_are_coupled_exactly_where_batch_norm_is(name: str, norm: str) -> None:
    family = make(name, discriminator={"norm": norm, **({"depth": 1} if name == "autoencoder" else {})})
    _, judge = players(family, IMAGE)
    x = torch.randn(4, *IMAGE, requires_grad=True)
    (slope,) = torch.autograd.grad(judge(x).score[0], x)
    assert bool(slope[0].any())
    assert bool(slope[1:].any()) == ("discriminator.batch_coupled" in family.traits) == (norm == "batch")
    assert {"energy", "discriminator.features"} <= set(family.traits)


# energies


@pytest.mark.parametrize(("name", "shape"), ENERGIES)
@pytest.mark.parametrize("error", ["mean", "norm"])
def test_the_score_is_minus_the_error_of_the_reconstruction(name: str, shape: tuple[int, ...], error: str) -> None:
    _, judge = players(make(name, discriminator={"error": error}), shape)
    x = torch.randn(5, *shape)
    output = judge(x)
    given = x if name == "conv_autoencoder" else x.flatten(1)
    torch.testing.assert_close(output.features, judge.encoder(given))
    assert judge.num_features == output.features.shape[1] == 4
    apart = (judge.decoder(output.features) - given).flatten(1)
    wanted = functional.mse_loss(apart, 0 * apart, reduction="none").mean(1) if error == "mean" else apart.norm(dim=1)
    torch.testing.assert_close(output.score, -wanted)
    assert float(output.score.detach().max()) < 0


@pytest.mark.parametrize(("name", "shape"), ENERGIES)
def test_the_two_errors_are_one_up_to_root_and_size(name: str, shape: tuple[int, ...], float64: None) -> None:
    mean, norm = (players(make(name, discriminator={"error": error}), shape)[1] for error in ("mean", "norm"))
    x = torch.randn(5, *shape)
    torch.testing.assert_close(norm(x).score.square(), -mean(x).score * math.prod(shape))


@pytest.mark.parametrize(("name", "shape"), ENERGIES)
@pytest.mark.parametrize("error", ["mean", "norm"])
def test_the_gradient_of_the_energy_runs_through_x_in_both_places(
    name: str, shape: tuple[int, ...], error: str, float64: None
) -> None:
    _, judge = players(make(name, discriminator={"error": error}), shape)
    x = torch.randn(2, *shape, requires_grad=True)
    (slope,) = torch.autograd.grad(judge(x).score.sum(), x)
    direction = torch.randn(x.shape)
    ahead, behind = (judge(x.detach() + step * direction).score.sum() for step in (1e-6, -1e-6))
    torch.testing.assert_close((slope * direction).sum(), (ahead - behind) / 2e-6, rtol=1e-4, atol=1e-7)
    given = x if name == "conv_autoencoder" else x.flatten(1)
    places = [(given, given.detach()), (given.detach(), given)]  # what the encoder reads, what it is compared with
    halves = []
    for read, compared in places:
        apart = (judge.decoder(judge.encoder(read)) - compared).flatten(1)
        energy = apart.square().mean(1) if error == "mean" else apart.norm(dim=1)
        halves.append(torch.autograd.grad(-energy.sum(), x)[0])
    torch.testing.assert_close(slope, halves[0] + halves[1])
    assert all(bool(half.any()) for half in halves)


@pytest.mark.parametrize(("name", "shape"), ENERGIES)
def test_an_autoencoder_that_says_nothing_has_the_energy_of_the_sample(name: str, shape: tuple[int, ...], float64: None) -> None:
    _, judge = players(make(name), shape)
    for entry in judge.decoder.parameters():
        nn.init.zeros_(entry)
    x = torch.randn(3, *shape, requires_grad=True)
    score = judge(x).score
    torch.testing.assert_close(score, -x.flatten(1).square().mean(1))
    torch.testing.assert_close(torch.autograd.grad(score.sum(), x)[0], -2 * x / math.prod(shape))


def test_a_perfect_reconstruction_has_no_energy_and_finite_slopes(float64: None) -> None:
    family = make("autoencoder", discriminator={"error": "norm", "depth": 1, "width": 4, "code": 4, "activation": "leaky_relu"})
    _, judge = players(family, POINT)
    signs = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [0.0, -1.0]])
    layers = (judge.encoder[0], judge.encoder[-1], judge.decoder[0], judge.decoder[-1])
    values = (signs, signs @ signs.T / 1.2, torch.eye(4), signs.T / 1.2)  # leaky relu(t) - leaky relu(-t) = 1.2 t
    with torch.no_grad():
        for layer, value in zip(layers, values, strict=True):
            layer.bias.zero_()
            layer.weight.copy_(value)
    x = torch.randn(6, 2, requires_grad=True)
    score = judge(x).score
    assert float(score.detach().abs().max()) < 1e-5
    (slope,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(slope.square().sum(), judge.decoder[-1].weight)
    assert bool(slope.isfinite().all())
    assert bool(second.isfinite().all())


def test_autoencoders_have_the_parameters_of_their_closed_forms() -> None:
    _, judge = players(make("autoencoder", discriminator={"width": 5, "depth": 2, "code": 3}), POINT)
    half = (2 * 5 + 5) + (5 * 5 + 5) + (5 * 3 + 3)
    assert count(judge) == half + (3 * 5 + 5) + (5 * 5 + 5) + (5 * 2 + 2)
    _, judge = players(make("conv_autoencoder", discriminator={"width": 5, "code": 7}), (3, 16, 16))
    encoder = (16 * 3 * 5 + 5) + (16 * 5 * 10 + 10) + (16 * 10 * 7 + 7)
    assert count(judge) == encoder + (16 * 7 * 10 + 10) + (16 * 10 * 5 + 5) + (16 * 5 * 3 + 3)


def test_a_convolutional_reconstruction_is_not_bounded() -> None:
    _, judge = players(make("conv_autoencoder"), IMAGE)
    last = [layer for layer in judge.decoder.layers if isinstance(layer, nn.ConvTranspose2d)][-1]
    nn.init.constant_(last.bias, 3)
    assert float(judge.decoder(torch.randn(2, 4)).detach().mean()) == pytest.approx(3, abs=0.1)
    assert judge(torch.full((2, 1, 8, 8), 3.0)).score.detach().min() > -0.1


@pytest.mark.parametrize("name", ["autoencoder", "conv_autoencoder"])
def test_impossible_codes_and_errors_are_refused(name: str) -> None:
    with pytest.raises(BadInput, match="code=0"):
        make(name, discriminator={"code": 0})
    with pytest.raises(BadInput, match="'norm'"):
        make(name, discriminator={"error": "nrm"})
    with pytest.raises(BadInput, match="'batch'"):
        make(name, discriminator={"norm": "batsch"})


def test_generators_before_autoencoders_are_those_of_the_plain_families() -> None:
    for name, plain in (("autoencoder", "mlp"), ("conv_autoencoder", "dcgan")):
        one, other = (registry.build("model", {"name": entry}) for entry in (name, plain))
        assert one.of_generator == other.of_generator
        assert one.latent == other.latent


def test_an_autoencoder_learns_to_give_its_data_less_energy_than_others() -> None:
    _, judge = players(make("autoencoder", discriminator={"code": 1, "width": 32}), POINT)
    generator = torch.Generator().manual_seed(0)
    t = torch.rand(256, 1, generator=generator) * 2 - 1
    line, off = torch.cat((t, t), 1), torch.cat((t, -t), 1)
    optimizer = torch.optim.Adam(judge.parameters(), 1e-2)
    for _ in range(100):
        optimizer.zero_grad()
        (-judge(line).score.mean()).backward()
        optimizer.step()
    energies = [-float(judge(x).score.mean().detach()) for x in (line, off)]
    assert energies[0] < 0.02
    assert energies[1] > 0.2


# resizing


@pytest.mark.parametrize("size", [6, 8])
def test_maps_are_resized_bilinearly(size: int, float64: None) -> None:
    x = torch.randn(2, 3, size, size)
    up, down = Resize("up")(x), Resize("down")(x)
    wanted = functional.interpolate(x, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(up[:, :, 1:-1, 1:-1], wanted[:, :, 1:-1, 1:-1])
    wanted = functional.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True)
    torch.testing.assert_close(down[:, :, 1:-1, 1:-1], wanted[:, :, 1:-1, 1:-1])
    assert up.shape == (2, 3, 2 * size, 2 * size)
    y = torch.randn(2, 3, 2 * size, 2 * size)
    torch.testing.assert_close((up * y).sum(), 4 * (x * Resize("down")(y)).sum())  # each is the other's transpose


# residual players without normalization


@pytest.mark.parametrize(("size", "widths"), [(8, [6, 6]), (32, [6] * 4), (128, [6, 6, 6, 6, 3, 1])])
def test_modern_players_have_the_parameters_of_their_closed_forms(size: int, widths: list[int]) -> None:
    options = {"width": 6, "blocks": 3, "group": 4}
    family = make("modern", generator=options, discriminator=options)
    generator, judge = players(family, (2, size, size))

    def block(width: int) -> int:
        hidden = 2 * width
        return width * hidden + hidden + hidden * math.gcd(hidden, 4) * 9 + hidden + hidden * width

    stages = 3 * sum(block(width) for width in widths)
    joints = sum(one * other for one, other in zip(widths, widths[1:], strict=False) if one != other)
    ends = 16 * widths[0] + widths[-1] * 2
    assert count(generator) == 3 * widths[0] + ends + stages + joints
    assert count(judge) == widths[0] + ends + stages + joints
    assert family.of_generator.channels(size) == widths[-1]


def test_the_published_size_has_its_cardinality() -> None:
    with torch.device("meta"):
        judge = modern.Discriminator(3, 32, DiscriminatorOptions(width=768))
    blocks = [module for module in judge.modules() if isinstance(module, Block)]
    assert len(blocks) == 8
    assert {block.mix.groups for block in blocks} == {96}
    assert {(block.mix.in_channels, block.mix.out_channels) for block in blocks} == {(1536, 1536)}
    one = 768 * 1536 * 2 + 1536 * 2 + 1536 * 16 * 9
    assert count(judge) == 8 * one + 3 * 768 + 16 * 768 + 768


def test_maps_double_and_halve_between_four_pixels_and_the_image() -> None:
    generator, judge = players(make("modern", generator={"blocks": 1}, discriminator={"blocks": 1}), (1, 32, 32))
    sizes: list[int] = []
    for network in (generator, judge):
        for layer in network.modules():
            if isinstance(layer, Block):
                layer.register_forward_hook(lambda layer, inputs, output: sizes.append(output.shape[-1]))
    judge(generator(torch.randn(2, 3)))
    assert sizes == [4, 8, 16, 32, 32, 16, 8, 4]


def test_a_block_is_its_formula(float64: None) -> None:
    torch.manual_seed(0)
    block, x = Block(6, 4, 1), torch.randn(2, 6, 5, 5)
    nn.init.normal_(block.narrow.weight)
    nn.init.normal_(block.widen.bias)
    nn.init.normal_(block.mix.bias)
    hidden = functional.leaky_relu(functional.conv2d(x, block.widen.weight, block.widen.bias), 0.2)
    parts = []
    for index in range(3):  # twelve hidden channels, four at a time
        own = slice(4 * index, 4 * index + 4)
        parts.append(functional.conv2d(hidden[:, own], block.mix.weight[own], block.mix.bias[own], padding=1))
    wanted = x + functional.conv2d(functional.leaky_relu(torch.cat(parts, 1), 0.2), block.narrow.weight)
    torch.testing.assert_close(block(x), wanted)


def test_blocks_start_as_almost_the_identity_and_yet_no_matrix_is_zero() -> None:
    torch.manual_seed(0)
    block, x = Block(64, 16, 8), torch.randn(4, 64, 8, 8)
    moved = (block(x) - x).detach()
    assert 0 < float(moved.abs().max()) < 1e-3
    gain = math.sqrt(2 / 1.04) * 8 ** (-1 / 4)
    assert float(block.widen.weight.detach().std()) == pytest.approx(gain / math.sqrt(64), rel=0.05)
    assert float(block.mix.weight.detach().std()) == pytest.approx(gain / math.sqrt(16 * 9), rel=0.05)
    for weight in (block.widen.weight, block.mix.weight, block.narrow.weight):
        assert float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2)) > 1e-6


@pytest.mark.parametrize("blocks", [1, 4])
def test_depth_does_not_set_the_first_scale(blocks: int) -> None:
    options = {"width": 64, "blocks": blocks}
    _, judge = players(make("modern", generator=options, discriminator=options), (3, 32, 32))
    network = make("modern", generator=options, latent=64).make(
        "generator", inputs=(Port("code", (64,)),), outputs=(Port("data", (3, 32, 32)),)
    )
    x = network(torch.randn(16, 64)).detach()
    assert 0.3 < float(x.std()) < 1.5
    assert 0.05 < float(judge(torch.randn(16, 3, 32, 32)).score.detach().std()) < 1.5


def test_impossible_stages_are_refused() -> None:
    for options in ({"width": 0}, {"blocks": 0}, {"group": 0}, {"width": 10, "group": 16}):
        key = list(options)[-1]
        with pytest.raises(BadInput, match=f"{key}={options[key]}"):
            make("modern", generator=options)
    assert make("modern", generator={"width": 4, "group": 16})  # one group where there are fewer channels


# in a run


def trained(config: dict[str, Any]) -> Any:
    """Three steps, the third also from the state after the second: the same bits."""
    first, second = make_trainer(config).trainer, make_trainer(config).trainer
    first.advance()
    first.advance()
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for trainer in (first, second):
        trainer.advance()
        trainer.check()
        trainer.check_weights()
    assert checkpoint.digest(first.state_dict()) == checkpoint.digest(second.state_dict())
    return first


def small(model: str, data: str, *overrides: str) -> dict[str, Any]:
    widths = ("model.generator.width=8", "model.discriminator.width=8", "model.latent=3")
    config = compose_config(f"model={model}", *widths, "batch_size=8", "steps=20", *overrides)
    return {**config, "dataset": {"name": data}}


@pytest.mark.parametrize(
    ("model", "data"), [("autoencoder", "toy_points"), ("autoencoder", "toy_images"), ("conv_autoencoder", "toy_images")]
)
@pytest.mark.parametrize("more", [(), ("condition=concat", "regularizer=spectral_norm"), ("condition=acgan",)])
def test_energies_train_with_their_loss(model: str, data: str, more: tuple[str, ...]) -> None:
    trainer = trained(small(model, data, "loss=energy", *more))
    assert float(trainer.terms["generator/loss"]) > 0  # an energy


@pytest.mark.parametrize("more", [(), ("condition=projection", "regularizer=spectral_norm"), ("condition=concat", "pack=2")])
def test_modern_players_train(more: tuple[str, ...]) -> None:
    trained(small("modern", "toy_images", "loss=hinge", *more))


def test_the_recipe_is_that_of_r3gan() -> None:
    config = compose_config("model=r3gan")
    assert config["loss"]["name"] == "rpgan"
    assert set(config["regularizer"]) == {"r1", "r2"}
    assert config["optimizer"]["betas"] == [0.0, 0.99]
    assert config["n_critic"] == 1
    plain = compose_config("model=modern")
    assert {**config["model"], "name": "modern"} == plain["model"]
    assert plain["loss"]["name"] == "nonsaturating"
    terms = trained(small("r3gan", "toy_images")).terms
    assert {"discriminator/r1", "discriminator/r2", "discriminator/loss", "generator/loss"} <= set(terms)
