"""Conditions: how a label enters, against formulas on paper; and packs, in which several samples are judged as one."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest
import torch
from staged import Judge, Rows, gradient, staged, turn_of
from torch import Tensor, nn
from torch.nn.functional import batch_norm, one_hot, softplus

from ganrun.disk import checkpoint
from ganrun.games.conditions.base import Concatenated, label_code
from ganrun.games.conditions.matching_aware import wrong_labels
from ganrun.games.conditions.per_class import Routed
from ganrun.games.conditions.projection import Conditioned, Projected, conditional_norms
from ganrun.games.conditions.reacgan import NEAR, TEMPERATURE, WEIGHT, data_to_data
from ganrun.games.conditions.shared import Shared
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import DiscriminatorOutput, Port, Spec
from ganrun.networks.mlp import MLP, DiscriminatorOptions, GeneratorOptions

CODE, POINT, SCORE = Port("code", (8,)), Port("data", (2,)), Port("score", ())
SPEC = Spec("points", (2,), 3)


def made(condition: str, role: str, *, norm: str = "batch", depth: int = 3, pack: int = 1, classes: int = 3) -> Any:
    family = MLP(
        latent=8, generator=GeneratorOptions(width=6, depth=depth, norm=norm), discriminator=DiscriminatorOptions(width=6)
    )
    torch.manual_seed(3)
    found = registry.lookup("condition", condition)()
    data = Port("data", (2 * pack,)) if role == "discriminator" else CODE
    spec = Spec("points", (2,), classes)
    return found.make(family, role, spec, inputs=(data,), outputs=(SCORE if role == "discriminator" else POINT,), pack=pack)


def points(count: int, size: int = 2) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(0))


# reacgan


def unit(*shape: int, seed: int = 0) -> Tensor:
    rows = torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return rows / rows.norm(dim=1, keepdim=True)


def test_the_cross_entropy_between_samples_is_the_sum_over_other_classes() -> None:
    f, v, labels = unit(7, 3), unit(4, 3, seed=1), torch.tensor([0, 1, 2, 3, 0, 1, 1])
    total = 0.0
    for i in range(7):
        own = math.exp(min(float(f[i] @ v[labels[i]]) - NEAR, 0) / TEMPERATURE)
        others = [max(float(f[i] @ f[j]) - (1 - NEAR), 0) / TEMPERATURE for j in range(7) if labels[j] != labels[i]]
        total -= math.log(own / (own + sum(map(math.exp, others)))) / 7
    assert float(data_to_data(f, f @ v.T, labels)) == pytest.approx(total)


def test_samples_at_their_proxies_at_right_angles_to_others_have_no_gradient_and_one_class_costs_nothing() -> None:
    f = torch.eye(3, dtype=torch.float64)[[0, 1, 1]].requires_grad_()
    labels = torch.tensor([0, 1, 1])
    value = data_to_data(f, f @ torch.eye(3, dtype=torch.float64).T, labels)
    assert value.item() == pytest.approx((math.log(3) + 2 * math.log(2)) / 3)  # the first has two others, they have one
    assert not torch.autograd.grad(value, f)[0].any()
    assert float(data_to_data(unit(3, 3), unit(3, 3, seed=1), torch.zeros(3, dtype=torch.int64))) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(("weight", "temperature", "margin"), [(WEIGHT, TEMPERATURE, NEAR), (2.0, 0.25, 0.6)])
def test_reacgan_pulls_the_right_side_to_its_own_classes(toy: Any, weight: float, temperature: float, margin: float) -> None:
    judge, x, labels = made("reacgan", "discriminator"), points(4), torch.tensor([0, 1, 2, 0])
    output = judge(x, condition=labels)
    torch.testing.assert_close(output.heads["embedding"].norm(dim=1), torch.ones(4))
    torch.testing.assert_close(judge(x, condition=labels.flip(0)).score, output.score)
    assert float(output.heads["classes"].detach().abs().max()) <= 1 / TEMPERATURE
    options = [f"condition.weight={weight}", f"condition.temperature={temperature}", f"condition.margin={margin}"]
    run = toy("mlp", "toy_points", "condition=reacgan", *options, "model.generator.norm=batch")
    original, seen = run.parts.game.compute_terms, {}

    def compute_terms(duel: Any, at: Any, side: str, **said: Any) -> Any:
        terms = original(duel, at, side, **said)
        output = duel.real_output if side == "discriminator" else duel.fake_output
        heads = output.heads
        cosines = heads["classes"] * temperature
        value = data_to_data(heads["embedding"], cosines, duel.real_condition, temperature, margin)
        seen[side] = weight * value.detach()
        return terms

    run.parts.game.compute_terms = compute_terms
    run.trainer.advance()
    for side, value in seen.items():
        torch.testing.assert_close(run.trainer.terms[f"{side}/classes"], value)
    assert any(isinstance(module, Conditioned) for module in run.parts.game.players["generator"].modules())


# concat


def test_the_concatenated_label_is_one_hot_beside_a_vector_and_constant_channels_beside_an_image() -> None:
    class Seen(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x

    labels = torch.tensor([2, 0])
    network = Concatenated(Seen(), 3)
    assert network(points(2), condition=labels)[:, 2:].tolist() == [[0, 0, 1], [1, 0, 0]]
    image = network(torch.zeros(2, 1, 4, 4), condition=labels)
    assert image.shape == (2, 4, 4, 4)
    assert torch.equal(image[:, 1:], one_hot(labels, 3).float()[:, :, None, None].expand(2, 3, 4, 4))
    rows = network(torch.zeros(2, 5, 4), condition=labels)
    assert torch.equal(rows[:, :, 4:], one_hot(labels, 3).float()[:, None].expand(2, 5, 3))


# projection


def test_a_zero_embedding_is_independent_of_the_label() -> None:
    judge, x = made("projection", "discriminator"), points(5)
    labels, others = torch.tensor([0, 1, 2, 0, 1]), torch.tensor([1, 2, 0, 2, 0])
    assert not torch.allclose(judge(x, condition=labels).score, judge(x, condition=others).score)
    nn.init.zeros_(judge.embedding.weight)
    assert torch.equal(judge(x, condition=labels).score, judge(x, condition=others).score)
    assert torch.equal(judge(x, condition=labels).score, judge.network(x).score)


def test_projection_on_two_classes_is_two_heads(float64: None) -> None:
    judge, x = made("projection", "discriminator", classes=2), points(6)
    plain = judge.network(x)
    for label in (0, 1):
        wanted = plain.score + plain.features @ judge.embedding.weight[:, label]
        assert torch.allclose(judge(x, condition=torch.full((6,), label)).score, wanted)


def test_a_map_of_patches_gains_the_product_at_every_place() -> None:
    class Patches(nn.Module):
        num_features = 2

        def forward(self, x: Tensor) -> DiscriminatorOutput:
            return DiscriminatorOutput(torch.zeros(len(x), 1, 2, 2), x)

    judge, x = Projected(Patches(), 2, 1), points(3)
    labels = torch.tensor([0, 1, 1])
    wanted = (judge.embedding.weight.T[labels] * x).sum(1)
    assert torch.allclose(judge(x, condition=labels).score, wanted.view(3, 1, 1, 1).expand(3, 1, 2, 2))


def test_a_conditional_norm_is_the_norm_with_each_classs_own_scale_and_shift(float64: None) -> None:
    generator = made("projection", "generator")
    assert isinstance(generator, Conditioned)
    norm, x = conditional_norms(generator)[0], points(5, 6)
    labels = torch.tensor([0, 1, 2, 0, 1])
    norm.code = label_code(labels, 3)
    normal = batch_norm(x, None, None, training=True)
    for row, label in enumerate(labels.tolist()):
        wanted = normal[row] * (1 + norm.gain.weight[:, label]) + norm.shift.weight[:, label]
        assert torch.allclose(norm(x)[row], wanted)
    assert float(norm.gain.weight.detach().abs().max()) < 0.1  # gains start near one


def test_every_normalization_of_the_generator_is_conditional_or_the_label_joins_z(toy: Any) -> None:
    network = toy("resnet", "toy_images", "condition=projection").trainer.game.players["generator"]
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(conditional_norms(network)) == len(norms) > 2
    assert all(module.weight is None for module in norms)
    z = points(4, 3)
    assert not torch.allclose(network(z, condition=torch.tensor([0, 1, 2, 0])), network(z, condition=torch.tensor([1, 1, 2, 0])))
    assert isinstance(made("projection", "generator", norm="none"), Concatenated)
    assert isinstance(made("shared", "generator", norm="none"), Concatenated)


@pytest.mark.parametrize("condition", ["projection", "shared"])
def test_a_generator_can_be_copied_in_the_midst_of_training(condition: str) -> None:
    generator, z, labels = made(condition, "generator"), points(4, 8), torch.tensor([0, 1, 2, 0])
    generator(z, condition=labels).sum().backward()
    assert torch.equal(copy.deepcopy(generator)(z, condition=labels), generator(z, condition=labels))


# shared embedding, hierarchical z


@pytest.mark.parametrize("depth", [1, 2, 3, 5])
def test_every_part_of_z_reaches_a_stage_of_its_own(depth: int, float64: None) -> None:
    generator = made("shared", "generator", depth=depth)
    assert isinstance(generator, Shared)
    stages, parts = conditional_norms(generator), min(4, depth + 1)
    assert len(stages) == depth
    part = 8 // parts
    assert (generator.part, generator.parts) == (part, parts)
    first = 8 - (parts - 1) * part
    assert generator.network.hidden[0].in_features == first
    z, labels = points(4, 8).requires_grad_(), torch.tensor([0, 1, 2, 0])
    (slope,) = torch.autograd.grad(generator(z, condition=labels).square().sum(), z)
    assert (slope.abs().sum(0) > 0).all()  # no number of z is idle

    codes: dict[int, list[Tensor]] = {}
    for index, norm in enumerate(stages):
        norm.register_forward_pre_hook(lambda norm, _, index=index: codes.setdefault(index, []).append(norm.code.detach()))
    generator(z, condition=labels)
    for number in range(8):
        codes.clear()
        moved = z.detach().clone()
        moved[:, number] += 1
        generator(z, condition=labels)
        generator(moved, condition=labels)
        touched = {index for index, (one, other) in codes.items() if not torch.equal(one, other)}
        stage = (number - first) // part if number >= first else None
        assert touched == {index for index in codes if index * (parts - 1) // depth == stage}


def test_the_embedding_is_one_for_all_stages_and_scales_begin_near_one() -> None:
    generator, z = made("shared", "generator"), points(300, 8)
    seen = []
    for norm in conditional_norms(generator):
        norm.register_forward_pre_hook(lambda norm, _: seen.append((norm.code.detach(), norm.factor(norm.code).detach())))
    labels = torch.arange(300) % 3
    generator(z, condition=labels)
    embedded = generator.embedding.weight.T[labels]
    for code, scale in seen:
        assert torch.allclose(code[:, :128], embedded)
        assert float(scale.mean()) == pytest.approx(1, abs=0.05)


# auxiliary classifier


class Classes(nn.Module):
    """Scores and class logits that do not depend on anything but which atom x is."""

    def __init__(self, score: Tensor, logits: Tensor) -> None:
        super().__init__()
        self.score, self.logits = nn.Parameter(score), nn.Parameter(logits)

    def forward(self, x: Tensor, condition: Tensor) -> DiscriminatorOutput:
        atom = x.argmax(1)
        return DiscriminatorOutput(self.score[atom], x, {"classes": self.logits[atom]})


@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_the_cross_entropies_of_the_auxiliary_classifier(float64: None, weight: float) -> None:
    score, logits = torch.tensor([0.4, -0.7, 0.2]), torch.tensor([[2.0, 0.0, 0.5], [0.1, 1.0, -1.0], [0.3, 0.2, 0.9]])
    fake, real = torch.eye(3)[[1, 1, 2]], torch.eye(3)[[0, 1, 2]]

    class Generator(nn.Module):
        def forward(self, z: Tensor, condition: Tensor) -> Tensor:
            return fake

    players, condition = {"generator": Generator(), "discriminator": Classes(score, logits)}, {"name": "acgan", "weight": weight}
    game = staged("adversarial", players, size=3, classes=3, condition=condition)
    y = torch.tensor([0, 2, 2])
    turn = turn_of(game, "discriminator", real, y)
    of_d, of_g = game.discriminator_loss(turn), game.generator_loss(turn_of(game, "generator", real, y))

    def nats(atoms: list[int]) -> float:
        return (
            -sum(
                math.log(logits[atom].exp()[label] / logits[atom].exp().sum())
                for atom, label in zip(atoms, [0, 2, 2], strict=True)
            )
            / 3
        )

    assert set(of_d) == set(of_g) == {"loss", "classes"}
    assert of_d["classes"].item() == pytest.approx(weight * (nats([0, 1, 2]) + nats([1, 1, 2])))  # of the fakes too
    assert of_g["classes"].item() == pytest.approx(weight * nats([1, 1, 2]))
    assert of_g["loss"].item() == pytest.approx(float(softplus(-score[[1, 1, 2]]).mean()))


def test_the_auxiliary_classifiers_score_does_not_see_the_label() -> None:
    judge, x = made("acgan", "discriminator"), points(4)
    one, other = (judge(x, condition=torch.full((4,), label)) for label in (0, 2))
    assert torch.equal(one.score, other.score)
    assert one.heads["classes"].shape == (4, 3)
    assert torch.allclose(one.heads["classes"], judge.heads["classes"](one.features))
    assert isinstance(made("acgan", "generator"), Concatenated)


# matching-aware


def test_wrong_labels_are_never_right_and_every_other_is_equally_likely() -> None:
    labels = torch.arange(5).repeat(2000)
    uniform = torch.rand(len(labels), generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    wrong = wrong_labels(labels, uniform, 5)
    table = torch.zeros(5, 5).index_put_((labels, wrong), torch.ones(()), accumulate=True)
    assert float(table.diagonal().sum()) == 0
    others = table[~torch.eye(5, dtype=torch.bool)]
    assert float((others / 500 - 1).abs().max()) < 0.2
    edges = wrong_labels(torch.tensor([4, 4]), torch.tensor([0.0, 1 - 2**-53], dtype=torch.float64), 5)
    assert edges.tolist() == [0, 3]
    assert wrong_labels(torch.tensor([0, 1]), torch.tensor([0.3, 0.9]), 2).tolist() == [1, 0]


def test_the_best_matching_aware_discriminator_is_two_thirds_on_matched_pairs(float64: None) -> None:
    """Disjoint classes, one atom each, and a generator that is perfect."""

    class Perfect(nn.Module):
        def forward(self, z: Tensor, condition: Tensor) -> Tensor:
            return torch.eye(3)[condition]

    class Pairs(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Parameter(torch.zeros(3, 3))

        def forward(self, x: Tensor, condition: Tensor) -> DiscriminatorOutput:
            return DiscriminatorOutput(self.table[x.argmax(1), condition])

    y = torch.arange(30) % 3
    judge = Pairs()
    game = staged("adversarial", {"generator": Perfect(), "discriminator": judge}, size=3, classes=3, condition="matching_aware")
    game.condition.check_batch(30, game.spec)
    optimizer = torch.optim.SGD(judge.parameters(), lr=8.0)
    for step in range(300):
        optimizer.zero_grad()
        loss = game.discriminator_loss(turn_of(game, "discriminator", torch.eye(3)[y], y, step=step))["loss"]
        loss.backward()
        optimizer.step()
    matched = torch.sigmoid(judge.table.detach().diagonal())
    assert torch.allclose(matched, torch.full((3,), 2 / 3), atol=1e-3)
    assert float(judge.table.detach()[~torch.eye(3, dtype=torch.bool)].max()) < -4
    assert loss.item() == pytest.approx(-math.log(2 / 3) - math.log(1 / 3) / 2, abs=0.01)  # 0.9548
    assert list(game.generator_loss(turn_of(game, "generator", torch.eye(3)[y], y))) == ["loss"]


def test_a_wrong_label_needs_another_class(toy: Any) -> None:
    condition = registry.lookup("condition", "matching_aware")()
    with pytest.raises(BadInput, match="two classes"):
        condition.check_batch(4, Spec("points", (2,), 1))


def test_smoothed_targets_fit_more_fakes_than_real_samples(toy: Any) -> None:
    overrides = ("condition=matching_aware", "game=madgan", "regularizer=label_flip", "loss=ragan")
    toy("mlp", "toy_points", *overrides).trainer.advance()


# one GAN a class


def per_class() -> Any:
    class Constant(nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.value = nn.Parameter(torch.tensor([value]))

        def forward(self, z: Tensor) -> Tensor:
            return self.value + 0 * z

    judges = [Judge(lambda x, w: x[:, 0] * w[0], torch.tensor([float(label + 1)])) for label in range(3)]
    players = {"generator": Routed([Constant(10.0 * label) for label in range(3)]), "discriminator": Routed(judges)}
    return staged("adversarial", players, classes=3, condition="per_class", loss="wasserstein")


def test_a_network_of_a_class_meets_its_own_samples_alone() -> None:
    game = per_class()
    labels = torch.tensor([2, 0, 1, 2, 0])
    fake = game.generate(points(5, 1), labels)
    assert fake[:, 0].tolist() == [20.0, 0.0, 10.0, 20.0, 0.0]  # rows in their places
    assert game.players["discriminator"](torch.ones(5, 1), condition=labels).score.tolist() == [3.0, 1.0, 2.0, 3.0, 1.0]
    for label in range(3):
        only = torch.full((4,), label)
        score = game.players["discriminator"](game.generate(points(4, 1), only), condition=only).score.sum()
        grads = gradient(score, *game.players["generator"].networks)
        assert [bool(entry.any()) for entry in grads] == [place == label for place in range(3)]


def test_samples_of_all_classes_are_a_mixture_with_the_labels_given() -> None:
    game = per_class()
    labels = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    found = game.sample(10, turn_of(game, "sample", torch.zeros(10, 1)), labels)
    assert found[:, 0].tolist() == [0.0] * 5 + [10.0] * 3 + [20.0] * 2
    game = per_class()
    assert {entry: game.generate(points(1, 1), torch.tensor([entry])).item() for entry in range(3)} == {0: 0.0, 1: 10.0, 2: 20.0}


def test_each_class_has_a_supply_of_its_own_and_equally_many_a_batch(toy: Any) -> None:
    run = toy("mlp", "toy_points", "condition=per_class", "batch_size=6")
    game = run.parts.game
    streams = game.streams(run.dataset)
    for label in range(3):
        assert (run.dataset.labels[streams[f"class_{label}"].indices] == label).all()
    assert sum(len(streams[f"class_{label}"]) for label in range(3)) == len(run.dataset)
    seen: list[Tensor] = []
    original = game.duel
    game.duel = lambda turn: seen.append(original(turn)) or seen[-1]
    run.trainer.advance()
    centres = torch.tensor([[1.0, 0.0], [-1.0, 1.0], [0.0, -1.0]])
    for duel in seen:
        assert duel.real_condition.tolist() == [0, 0, 1, 1, 2, 2]
        assert torch.equal(torch.cdist(duel.real[0].float(), centres).argmin(1), duel.real_condition)
    with pytest.raises(BadInput, match="batch_size=6"):
        toy("mlp", "toy_points", "condition=per_class", "batch_size=4")


# packs


@pytest.mark.parametrize(("model", "data"), [("mlp", "toy_points"), ("dcgan", "toy_images")])
@pytest.mark.parametrize("condition", ["none", "concat"])
def test_the_first_layer_is_as_wide_as_a_pack_and_its_labels(model: str, data: str, condition: str, toy: Any) -> None:
    widths = {}
    for pack in (1, 2, 4):
        network = toy(model, data, f"condition={condition}", f"pack={pack}").trainer.game.players["discriminator"]
        inner = network if condition == "none" else network.network
        widths[pack] = next(module.weight for module in inner.modules() if isinstance(module, nn.Linear | nn.Conv2d)).shape[1]
    channels = (2 if model == "mlp" else 1) + (3 if condition == "concat" else 0)
    assert widths == {1: channels, 2: 2 * channels, 4: 4 * channels}


def test_a_pack_of_one_is_no_pack(toy: Any) -> None:
    digests = []
    for overrides in ((), ("pack=1",)):
        trainer = toy("dcgan", "toy_images", "condition=projection", *overrides).trainer
        for _ in range(2):
            trainer.advance()
        digests.append(checkpoint.digest(trainer.state_dict()))
    assert digests[0] == digests[1]


def test_a_pack_is_samples_in_a_row_with_all_their_labels() -> None:
    seen: dict[str, Any] = {}

    class Watching(nn.Module):
        def forward(self, *inputs: Tensor, condition: Tensor) -> DiscriminatorOutput:
            seen.update(x=inputs[0], condition=condition)
            return DiscriminatorOutput(inputs[0].sum(1))

    class Generator(nn.Module):
        def forward(self, z: Tensor, condition: Tensor) -> Tensor:
            return torch.cat((z, condition[:, None].float()), 1)

    game = staged("adversarial", {"generator": Generator(), "discriminator": Watching()}, classes=4, condition="concat", pack=2)
    x, y = points(4), torch.tensor([3, 1, 0, 2])
    turn = turn_of(game, "discriminator", x, y)
    duel = game.duel(turn)
    game.compute_terms(duel, turn, "discriminator")
    assert torch.equal(duel.real[0], x.reshape(2, 4))
    assert torch.equal(duel.fake[0], torch.cat((turn.latent(4), y[:, None].float()), 1).reshape(2, 4))  # two latents a pack
    assert duel.real_condition.tolist() == duel.fake_condition.tolist() == [[3, 1], [0, 2]]
    assert seen["condition"].tolist() == [[3, 1], [0, 2]]
    assert label_code(seen["condition"], 4)[0].tolist() == [0, 0, 0, 1, 0, 1, 0, 0]
    assert duel.real_output.score.shape == (2,)


def test_penalties_are_taken_a_pack(float64: None) -> None:
    judge = Judge(lambda x, w: x @ w, torch.tensor([1.0, 2.0, 2.0, 4.0]))
    penalty = registry.build("regularizer", {"name": "gradient_penalty", "weight": 1.0})
    game = staged(
        "adversarial", {"generator": Rows(points(6)), "discriminator": judge}, pack=2, regularizers={"gradient_penalty": penalty}
    )
    terms = game.discriminator_loss(turn_of(game, "discriminator", points(6)))
    assert terms["gradient_penalty"].item() == pytest.approx((5 - 1) ** 2)  # the slope of a pack is (1, 2, 2, 4)


def test_a_pack_must_divide_the_batch(toy: Any) -> None:
    with pytest.raises(BadInput, match="pack=3"):
        toy("mlp", "toy_points", "pack=3")
    for condition in ("acgan", "per_class"):
        with pytest.raises(BadInput, match=r"several labels.*Try pack=1"):
            toy("mlp", "toy_points", "pack=2", f"condition={condition}", "batch_size=6")


def test_the_embedding_of_a_pack_reads_the_labels_of_all_its_samples(float64: None) -> None:
    judge, x = made("projection", "discriminator", pack=2), points(3, 4)
    labels = torch.tensor([[0, 1], [2, 2], [1, 0]])
    plain = judge.network(x)
    weight = judge.embedding.weight.T
    wanted = plain.score + ((weight[labels[:, 0]] + weight[3 + labels[:, 1]]) * plain.features).sum(1)
    assert torch.allclose(judge(x, condition=labels).score, wanted)
