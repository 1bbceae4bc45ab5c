"""Parts that families offer as options: each against its formula, and in the networks and runs that use it."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from conftest import make_trainer, toy_config
from torch import Tensor, nn
from torch.nn import functional

from ganrun.disk import checkpoint
from ganrun.engine import sampling
from ganrun.games.conditions.concat import Concatenation
from ganrun.games.conditions.projection import Projection
from ganrun.games.conditions.shared import SharedEmbedding
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.runtime import resolve
from ganrun.ground.spec import Latent, Port, Spec
from ganrun.networks.parts import minibatch, virtual_norm
from ganrun.networks.parts.attention import SelfAttention
from ganrun.networks.parts.dropout import Dropout
from ganrun.networks.parts.minibatch import DIMENSIONS, KERNELS, closeness, deviation
from ganrun.networks.parts.resampling import ShuffleConv, UpConv, upsampling
from ganrun.networks.parts.virtual_norm import REFERENCE, Referenced, VirtualNorm
from ganrun.networks.parts.weights import INITS, initialise
from ganrun.regularizers.base import PER_SAMPLE

SCORE = Port("score", ())


def make(name: str, **options: Any) -> Any:
    """A family of the smallest networks without normalization; ``generator`` and ``discriminator`` add options."""
    small = {"width": 4, "norm": "none"}
    given = {key: {**small, **options.pop(key, {})} for key in ("generator", "discriminator")}
    return registry.build("model", {"name": name, "latent": 3, **given, **options})


def generator(name: str, shape: tuple[int, ...] = (1, 8, 8), **options: Any) -> nn.Module:
    torch.manual_seed(0)
    network = make(name, generator=options).make("generator", inputs=(Port("code", (3,)),), outputs=(Port("data", shape),))
    assert isinstance(network, nn.Module)
    return network


def discriminator(name: str, shape: tuple[int, ...] = (1, 8, 8), **options: Any) -> nn.Module:
    torch.manual_seed(0)
    network = make(name, discriminator=options).make("discriminator", inputs=(Port("data", shape),), outputs=(SCORE,))
    assert isinstance(network, nn.Module)
    return network


def count(network: nn.Module) -> int:
    return sum(entry.numel() for entry in network.parameters())


def found(network: nn.Module, kind: type[nn.Module]) -> list[nn.Module]:
    return [module for module in network.modules() if isinstance(module, kind)]


# minibatch discrimination


def test_closeness_is_the_sum_over_all_rows_itself_included() -> None:
    rows = torch.randn(5, 3, 2, dtype=torch.float64)
    for i in range(5):
        for b in range(3):
            wanted = sum(math.exp(-sum(abs(rows[i, b, c].item() - rows[j, b, c].item()) for c in range(2))) for j in range(5))
            assert closeness(rows)[i, b].item() == pytest.approx(wanted, abs=1e-12)


def test_equal_rows_are_as_close_as_they_are_many_and_far_ones_alone() -> None:
    assert torch.equal(closeness(torch.ones(6, 2, 4)), torch.full((6, 2), 6.0))
    torch.testing.assert_close(closeness(1000 * torch.arange(6.0)[:, None, None].expand(-1, 2, 4)), torch.ones(6, 2))
    apart = torch.tensor([[[0.0, 0.0]], [[math.log(2) / 2, -math.log(2) / 2]]])  # an L1 distance of log 2
    torch.testing.assert_close(closeness(apart), torch.full((2, 1), 1.5))
    rows, order = torch.randn(7, 3, 2), torch.randperm(7)
    torch.testing.assert_close(closeness(rows[order]), closeness(rows)[order])


# minibatch standard deviation


def test_the_deviation_of_equal_samples_is_the_root_of_its_epsilon_and_of_plus_minus_a_is_a() -> None:
    torch.testing.assert_close(deviation(torch.ones(8, 5)), torch.full((8, 1), 1e-4))
    pair = torch.tensor([[3.0, -2.0], [-3.0, 2.0]], dtype=torch.float64)
    torch.testing.assert_close(deviation(pair), torch.full((2, 1), 2.5, dtype=torch.float64), atol=1e-8, rtol=0)


@pytest.mark.parametrize(("batch", "size"), [(8, 4), (4, 4), (12, 4), (6, 3), (9, 3), (10, 2), (7, 7), (11, 11), (1, 1)])
def test_groups_are_of_four_or_the_next_smaller_that_divides_the_batch_or_all_of_it(batch: int, size: int) -> None:
    x = torch.randn(batch, 6, dtype=torch.float64)
    groups = batch // size
    for i in range(batch):
        members = x[[j for j in range(batch) if j % groups == i % groups]]
        assert len(members) == size
        wanted = (((members - members.mean(0)) ** 2).sum(0) / size + 1e-8).sqrt().mean()
        torch.testing.assert_close(deviation(x)[i, 0], wanted)


# both in the networks


@pytest.mark.parametrize("kind", ["discrimination", "stddev"])
@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet"])
def test_the_statistics_join_the_features_before_a_linear_score(name: str, kind: str) -> None:
    with_part, x = discriminator(name, minibatch=kind), torch.randn(8, 1, 8, 8)
    output, beside = with_part(x), with_part.beside
    assert output.features.shape == (8, with_part.num_features)  # those before the part
    if kind == "discrimination":
        numbers = closeness((output.features @ beside.statistics.kernels.weight.T).view(8, KERNELS, DIMENSIONS))
        extra = with_part.num_features * KERNELS * DIMENSIONS + KERNELS
    else:
        numbers, extra = deviation(output.features), 1
    joined = torch.cat((output.features, numbers), 1)
    weight = torch.cat((with_part.output.weight.flatten(), beside.output.weight.flatten()))
    torch.testing.assert_close(output.score, joined @ weight + with_part.output.bias)
    assert count(with_part) == count(discriminator(name)) + extra


@pytest.mark.parametrize("kind", minibatch.KINDS)
@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet"])
def test_a_family_says_where_its_scores_know_the_batch_and_penalties_hear_it(name: str, kind: str) -> None:
    family = make(name, discriminator={"minibatch": kind})
    x = torch.randn(4, 1, 8, 8, requires_grad=True)
    (slope,) = torch.autograd.grad(discriminator(name, minibatch=kind)(x).score[0], x)
    coupled = [trait for trait in family.traits if trait.endswith("batch_coupled")]
    assert bool(slope[1:].any()) == bool(coupled) == (kind != "none")
    for trait in coupled:
        key, _, value = PER_SAMPLE[trait].override.partition("=")
        assert key == "model.discriminator.minibatch"
        assert not set(make(name, discriminator={"minibatch": value}).traits) & set(PER_SAMPLE)
    code = Port("code", (3,))
    encoder = family.make("encoder", inputs=(Port("data", (1, 8, 8)),), outputs=(code,))
    assert encoder(torch.randn(2, 1, 8, 8)).shape == (2, 3)


@pytest.mark.parametrize("kind", ["discrimination", "stddev"])
def test_a_collapsed_batch_is_told_from_a_diverse_one_of_the_same_samples(kind: str) -> None:
    network, x = discriminator("mlp", (2,), minibatch=kind), torch.randn(8, 2)
    diverse, alike = network(x).score[0], network(x[:1].expand(8, -1)).score[0]
    assert abs(float((diverse - alike).detach())) > 1e-3
    assert torch.equal(discriminator("mlp", (2,))(x).score[:1], discriminator("mlp", (2,))(x[:1].expand(8, -1)).score[:1])


def test_an_unknown_part_is_refused() -> None:
    with pytest.raises(BadInput, match="'stddev'"):
        make("mlp", discriminator={"minibatch": "stdev"})


# self-attention


def test_attention_starts_as_the_identity() -> None:
    layer, x = SelfAttention(16), torch.randn(3, 16, 4, 4)
    assert torch.equal(layer(x), x)
    grads = torch.autograd.grad(layer(x).square().sum(), [layer.gamma, layer.v.weight])
    assert float(grads[0]) != 0  # and can leave it
    assert not bool(grads[1].any())


def test_attention_is_its_formula(float64: None) -> None:
    layer, x = SelfAttention(16), torch.randn(2, 16, 3, 2)
    nn.init.constant_(layer.gamma, 0.7)
    y = layer(x)
    assert layer.f.out_channels == 2
    for n in range(2):
        positions = x[n].flatten(1).T

        def at(convolution: nn.Conv2d, value: Tensor) -> Tensor:
            return convolution.weight[:, :, 0, 0] @ value + convolution.bias

        for j in range(6):
            closeness_to = torch.stack([at(layer.f, positions[i]) @ at(layer.g, positions[j]) for i in range(6)])
            taken = sum(share * at(layer.h, positions[i]) for i, share in enumerate(closeness_to.softmax(0)))
            torch.testing.assert_close(y[n].flatten(1)[:, j], positions[j] + 0.7 * at(layer.v, taken))


def test_attention_sees_every_position_and_no_order_of_them(float64: None) -> None:
    layer, x = SelfAttention(8), torch.randn(1, 8, 4, 4, requires_grad=True)
    nn.init.constant_(layer.gamma, 1.0)
    (slope,) = torch.autograd.grad(layer(x)[0, :, 0, 0].sum(), x)
    assert bool((slope.abs().sum(1) > 0).all())
    order = torch.randperm(16)
    shuffled = x.flatten(2)[:, :, order].view_as(x)
    torch.testing.assert_close(layer(shuffled), layer(x).flatten(2)[:, :, order].view_as(x))


def test_attention_has_second_derivatives(float64: None) -> None:
    layer, x = SelfAttention(3), torch.randn(1, 3, 2, 2, requires_grad=True)
    nn.init.constant_(layer.gamma, 0.5)
    assert torch.autograd.gradcheck(layer, x)
    assert torch.autograd.gradgradcheck(layer, x)


@pytest.mark.parametrize("name", ["dcgan", "resnet"])
@pytest.mark.parametrize("at", [4, 8, 16])
def test_attention_stands_at_the_map_of_the_size_asked_for(name: str, at: int) -> None:
    seen: list[torch.Size] = []
    networks = [generator(name, (1, 32, 32), attention=at)]
    if (name, at) != ("resnet", 4):  # its discriminator ends at 8
        networks.append(discriminator(name, (1, 32, 32), attention=at))
    inputs = (torch.randn(2, 3), torch.randn(2, 1, 32, 32))
    for network, given in zip(networks, inputs, strict=False):
        assert len(found(network, SelfAttention)) == 1
        found(network, SelfAttention)[0].register_forward_hook(lambda layer, taken, y: seen.append(y.shape))
        network(given)
    assert {tuple(shape[2:]) for shape in seen} == {(at, at)}
    assert len(seen) == len(networks)


def test_attention_at_a_map_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadInput, match=r"model\.generator\.attention=5: its hidden maps are 4, 8, 16"):
        generator("dcgan", (1, 32, 32), attention=5)
    with pytest.raises(BadInput, match=r"model\.discriminator\.attention=32: its hidden maps are 8, 16"):
        discriminator("resnet", (1, 32, 32), attention=32)
    with pytest.raises(BadInput, match="attention=-1"):
        make("dcgan", generator={"attention": -1})


# virtual batch normalization


def by_hand(x: Tensor) -> Tensor:
    """Salimans et al. in means and mean squares, one sample at a time."""
    positions = tuple(range(1, x.ndim - 1))
    reference = x[:REFERENCE]
    mean, square = reference.transpose(0, 1).flatten(1).mean(1), reference.square().transpose(0, 1).flatten(1).mean(1)
    rows = []
    for index, row in enumerate(x):
        flat = row.flatten(1) if positions else row[:, None]
        m, s = mean, square
        if index >= REFERENCE:
            m = (REFERENCE * mean + flat.mean(1)) / (REFERENCE + 1)
            s = (REFERENCE * square + flat.square().mean(1)) / (REFERENCE + 1)
        rows.append(((flat - m[:, None]) / (s - m**2 + 1e-5).sqrt()[:, None]).view_as(row))
    return torch.stack(rows)


@pytest.mark.parametrize("shape", [(5,), (5, 3, 2)])
def test_virtual_norm_is_its_formula(shape: tuple[int, ...], float64: None) -> None:
    layer, x = VirtualNorm(5), 3 + 2 * torch.randn(REFERENCE + 4, *shape)
    torch.testing.assert_close(layer(x), by_hand(x))
    nn.init.uniform_(layer.weight)
    nn.init.uniform_(layer.bias)
    scale, shift = (entry.view(-1, *[1] * (len(shape) - 1)) for entry in (layer.weight, layer.bias))
    torch.testing.assert_close(layer(x), by_hand(x) * scale + shift)
    plain = functional.batch_norm(x[:REFERENCE], None, None, layer.weight, layer.bias, training=True)
    torch.testing.assert_close(layer(x)[:REFERENCE], plain)  # the reference batch alone: batch normalization


def test_virtual_norm_keeps_its_precision_far_from_zero() -> None:
    x = torch.randn(REFERENCE + 2, 3, 4, 4, dtype=torch.float64)
    far = VirtualNorm(3)((x + 1000).float())
    torch.testing.assert_close(far.double(), by_hand(x), atol=2e-3, rtol=0)


VIRTUAL = [("mlp", (2,)), ("mlp", (1, 8, 8)), ("dcgan", (1, 8, 8)), ("resnet", (1, 8, 8))]


@pytest.mark.parametrize(("name", "shape"), VIRTUAL)
def test_a_sample_does_not_depend_on_the_rest_of_its_batch(name: str, shape: tuple[int, ...], float64: None) -> None:
    network = generator(name, shape, norm="virtual", width=8)
    assert isinstance(network, Referenced)
    z = torch.randn(5, 3, requires_grad=True)
    x = network(z)
    assert x.shape == (5, *shape)
    torch.testing.assert_close(network(z[2:3])[0], x[2])
    (slope,) = torch.autograd.grad(x[2].square().sum(), z)
    assert bool(slope[2].any())
    assert not bool(slope[[0, 1, 3, 4]].any())
    torch.testing.assert_close(network.eval()(z), x)  # nothing is different at sampling


@pytest.mark.parametrize(("name", "shape"), VIRTUAL)
def test_the_gradient_of_virtual_norm_runs_through_the_reference_batch(name: str, shape: tuple[int, ...], float64: None) -> None:
    network, z = generator(name, shape, norm="virtual"), torch.randn(2, 3)
    first = next(network.parameters())
    (slope,) = torch.autograd.grad(network(z).square().sum(), first)
    place = tuple(0 for _ in first.shape)
    values = []
    for step in (1e-5, -1e-5):
        with torch.no_grad():
            first[place] += step
            values.append(network(z).square().sum())
            first[place] -= step
    torch.testing.assert_close(slope[place], (values[0] - values[1]) / 2e-5, rtol=1e-4, atol=1e-6)
    network.reference.mul_(2)
    (other,) = torch.autograd.grad(network(z).square().sum(), first)
    assert not torch.allclose(slope, other)  # it matters what the reference is


def test_the_reference_batch_is_drawn_from_the_latents_law_and_lasts() -> None:
    torch.manual_seed(3)
    uniform = virtual_norm.reference_batch(5, Latent(5, "uniform"))
    assert uniform.shape == (REFERENCE, 5)
    assert float(uniform.abs().max()) <= 1 < float(virtual_norm.reference_batch(5, Latent(5)).abs().max())
    network = generator("mlp", (2,), norm="virtual")
    assert "reference" in network.state_dict()
    before = network.reference.clone()
    network(torch.randn(4, 3)).sum().backward()
    assert torch.equal(network.reference, before)
    assert "reference" not in generator("mlp", (2,)).state_dict()


@pytest.mark.parametrize("condition", [Concatenation(), Projection(), SharedEmbedding()])
@pytest.mark.parametrize("name", ["mlp", "dcgan"])
def test_with_a_condition_the_reference_batch_takes_the_classes_in_turn(condition: Any, name: str, float64: None) -> None:
    torch.manual_seed(1)
    family, shape = make(name, generator={"norm": "virtual"}), (1, 8, 8)
    inputs, outputs = (Port("code", (3,)),), (Port("data", shape),)
    network = condition.make(family, "generator", Spec("image", shape, 4), inputs=inputs, outputs=outputs)
    (held,) = found(network, Referenced)
    assert held.reference.shape == (REFERENCE, 7)
    assert torch.equal(held.reference[:, 3:], functional.one_hot(torch.arange(REFERENCE) % 4, 4).to(torch.float64))
    z, labels = torch.randn(4, 3), torch.tensor([0, 1, 2, 2])
    x = network(z, condition=labels)
    assert x.shape == (4, *shape)
    torch.testing.assert_close(network(z[1:2], condition=labels[1:2])[0], x[1])
    assert not torch.allclose(network(z, condition=labels.roll(1)), x)


def test_virtual_norm_is_for_generators_that_read_latents() -> None:
    for name in ("mlp", "dcgan", "resnet"):
        with pytest.raises(BadInput, match="norm=virtual: a discriminator has no reference batch"):
            make(name, discriminator={"norm": "virtual"})
    with pytest.raises(BadInput, match=r"reads images. Try model\.generator\.norm=batch"):
        make("mlp", generator={"norm": "virtual"}).make(
            "generator", inputs=(Port("data", (1, 8, 8)),), outputs=(Port("data", (1, 8, 8)),)
        )


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet", "autoencoder", "conv_autoencoder"])
def test_virtual_norm_refuses_translation_with_a_remedy(name: str) -> None:
    options = {"name": name, "generator": {"norm": "virtual", "width": 4}}
    rule = registry.build("model", options).refuses["game.translates"]
    key, _, value = rule.override.partition("=")
    assert key == "model.generator.norm"
    assert "game.translates" not in registry.build("model", {**options, "generator": {"norm": value}}).refuses


# dropout


def test_dropout_zeroes_its_share_and_scales_the_rest() -> None:
    torch.manual_seed(0)
    x = torch.ones(400, 100)
    dropped = Dropout(0.3, always=False)(x)
    assert float((dropped == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    torch.testing.assert_close(dropped[dropped != 0].unique(), torch.tensor([1 / 0.7]))
    assert torch.equal(Dropout(0.3, always=False).eval()(x), x)
    assert not torch.equal(Dropout(0.3, always=True).eval()(x), x)


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet"])
def test_dropout_is_a_noise_of_the_generator_in_training_and_at_sampling_if_always(name: str) -> None:
    z = torch.randn(2, 3)
    for always in (False, True):
        network = generator(name, dropout=0.5, dropout_always=always, width=32)
        hidden = {"mlp": 2, "dcgan": 2, "resnet": 1}[name]  # of every hidden layer, or inside every block
        assert len(found(network, Dropout)) == hidden
        assert not torch.equal(network(z), network(z))
        network.eval()
        assert torch.equal(network(z), network(z)) != always
    assert not found(generator(name), Dropout)
    assert not found(discriminator(name), Dropout)


def test_impossible_dropouts_are_refused() -> None:
    for name in ("mlp", "dcgan"):
        with pytest.raises(BadInput, match="dropout=1"):
            make(name, generator={"dropout": 1.0})
        with pytest.raises(BadInput, match=r"dropout_always=true.*Try model.generator.dropout"):
            make(name, generator={"dropout_always": True})


# upsampling


def test_pixel_shuffle_lays_four_channels_out_as_a_square() -> None:
    layer, x = upsampling("pixel_shuffle", 3, 2), torch.randn(2, 3, 4, 5)
    y, wide = layer(x), functional.conv2d(x, layer.weight, layer.bias, padding=1)
    assert y.shape == (2, 2, 8, 10)
    for channel in range(2):
        for row in range(2):
            for column in range(2):
                torch.testing.assert_close(y[:, channel, row::2, column::2], wide[:, 4 * channel + 2 * row + column])


@pytest.mark.parametrize("kind", ["transposed", "nearest", "pixel_shuffle"])
@pytest.mark.parametrize("name", ["dcgan", "resnet"])
def test_every_upsampling_fits_and_has_the_parameters_of_its_closed_form(name: str, kind: str) -> None:
    network = generator(name, (3, 16, 16), upsample=kind, width=4)
    assert network(torch.randn(2, 3)).shape == (2, 3, 16, 16)
    kinds = {"transposed": nn.ConvTranspose2d, "nearest": UpConv, "pixel_shuffle": ShuffleConv}

    def step(inputs: int, outputs: int) -> int:
        kernel, wider = (16, 1) if kind == "transposed" else (9, 4 if kind == "pixel_shuffle" else 1)
        return inputs * outputs * kernel * wider + outputs * wider

    if name == "dcgan":
        assert count(network) == 3 * 8 * 16 + 8 + step(8, 4) + step(4, 3)
        assert [type(layer) for layer in network.layers if isinstance(layer, kinds[kind])][-2:] == [kinds[kind]] * 2
    else:
        block = step(4, 4) + (9 * 16 + 4) + (16 + 4)
        assert count(network) == 3 * 64 + 64 + 2 * block + 9 * 4 * 3 + 3
        assert len(found(network, kinds[kind])) == 2


def test_an_unknown_upsampling_is_refused() -> None:
    with pytest.raises(BadInput, match="'nearest'"):
        make("resnet", generator={"upsample": "neares"})


# first weights


@pytest.mark.parametrize(
    "layer",
    [nn.Linear(7, 5), nn.Linear(5, 7), nn.Conv2d(3, 8, 3), nn.ConvTranspose2d(3, 8, 4), nn.ConvTranspose2d(40, 2, 1)],
    ids=str,
)
def test_orthogonal_weights_are_orthonormal_as_a_matrix_of_outputs(layer: nn.Module, float64: None) -> None:
    layer.to(torch.float64)
    initialise(layer, "orthogonal", lambda module: 1.5)
    weight: Any = layer.weight
    matrix = (weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else weight).flatten(1)
    product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
    torch.testing.assert_close(product, 1.5**2 * torch.eye(len(product)))


@pytest.mark.parametrize("name", ["mlp", "dcgan", "resnet"])
@pytest.mark.parametrize("init", INITS)
def test_every_first_weight_is_of_the_law_asked_for(name: str, init: str) -> None:
    options: dict[str, Any] = {"init": init, "width": 32, "norm": "layer"}
    for network in (generator(name, (3, 16, 16), **options), discriminator(name, (3, 16, 16), **options)):
        for path, layer in network.named_modules():
            if not isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d) or layer.weight.numel() < 500:
                continue
            residual = name == "resnet" and path.startswith("blocks.") and not path.endswith("shortcut")
            gain = math.sqrt(2) if residual else 1.0
            inputs, outputs = nn.init._calculate_fan_in_and_fan_out(layer.weight)
            wanted = {
                "normal": 0.02,
                "xavier": gain * math.sqrt(2 / (inputs + outputs)),
                "uniform": 1 / math.sqrt(3 * inputs),
            }.get(init)
            if wanted is not None:
                assert float(layer.weight.detach().std()) == pytest.approx(wanted, rel=0.12)
            else:
                matrix = (layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight).flatten(1)
                product = matrix @ matrix.T if matrix.shape[0] <= matrix.shape[1] else matrix.T @ matrix
                torch.testing.assert_close(product, gain**2 * torch.eye(len(product)), atol=1e-5, rtol=0)
            if layer.bias is not None:
                assert bool(layer.bias.any()) == (init == "uniform")


def test_an_unknown_init_is_refused() -> None:
    with pytest.raises(BadInput, match="'orthogonal'"):
        make("mlp", generator={"init": "ortogonal"})


# in a run


RUNS: list[tuple[str, ...]] = [
    ("mlp", "model.generator.norm=virtual", "model.generator.dropout=0.5", "model.discriminator.minibatch=discrimination"),
    ("mlp", "model.generator.norm=virtual", "condition=projection", "loss=hinge", "model.discriminator.minibatch=stddev"),
    (
        "dcgan",
        "model.generator.norm=virtual",
        "model.generator.attention=4",
        "model.discriminator.attention=4",
        "model.generator.upsample=pixel_shuffle",
        "regularizer=spectral_norm",
        "regularizer.spectral_norm.sides=[discriminator,generator]",
        "model.discriminator.minibatch=discrimination",
        "model.generator.init=orthogonal",
    ),
    (
        "resnet",
        "model.generator.norm=virtual",
        "model.generator.upsample=transposed",
        "model.generator.dropout=0.2",
        "model.generator.dropout_always=true",
        "model.discriminator.attention=4",
        "regularizer=[gradient_penalty,r1]",
        "accumulate=2",
        "condition=concat",
    ),
]


@pytest.mark.parametrize("run", RUNS, ids=lambda run: f"{run[0]}-{len(run)}")
def test_runs_with_parts_train_and_resume_bit_for_bit(run: tuple[str, ...]) -> None:
    config = toy_config(run[0], "toy_images", *run[1:])
    first, second = make_trainer(config).trainer, make_trainer(config).trainer
    first.advance()
    first.advance()
    checkpoint.check_types(first.state_dict())
    second.load_state_dict(copy.deepcopy(first.state_dict()))
    for trainer in (first, second):
        trainer.advance()
        trainer.check()
        trainer.check_weights()
    assert checkpoint.digest(first.state_dict()) == checkpoint.digest(second.state_dict())


def test_attention_leaves_the_identity_in_training_and_the_reference_batch_stays() -> None:
    made = make_trainer(toy_config("dcgan", "toy_images", *RUNS[2][1:]))
    (layer,) = found(made.trainer.game.players["generator"], SelfAttention)
    (held,) = found(made.trainer.game.players["generator"], Referenced)
    before = held.reference.clone()
    for _ in range(2):
        made.trainer.advance()
    assert float(layer.gamma.detach()) != 0
    assert torch.equal(held.reference, before)
    assert torch.equal(made.trainer.averages["generator"].network.get_buffer("reference"), before)


def test_real_and_fake_samples_are_judged_in_batches_of_their_own() -> None:
    seen: list[int] = []
    for kind in ("none", "stddev"):
        made = make_trainer(toy_config("mlp", "toy_points", f"model.discriminator.minibatch={kind}"))
        made.trainer.game.players["discriminator"].register_forward_pre_hook(lambda module, x: seen.append(len(x[0])))
        made.trainer.advance()
    assert seen == [8, 4, 4, 4, 4]  # both sides at once, then fakes alone; with the part real, fake and fake


def test_samples_with_dropout_always_on_are_noisy_and_yet_functions_of_the_seed() -> None:
    options = ("model.generator.dropout=0.5", "model.generator.dropout_always=true")
    made = make_trainer(toy_config("mlp", "toy_points", *options))

    def sample(number: int, seed: int) -> Tensor:
        runtime = resolve(made.config["device"])
        return sampling.generate(made.trainer.game, number, seed=seed, runtime=runtime, averages={})

    assert torch.equal(sample(5, 1), sample(9, 1)[:5])
    assert not torch.equal(sample(5, 1), sample(5, 2))
