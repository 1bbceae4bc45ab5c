"""Games whose discriminator tells more than real from fake: several generators (MAD-GAN), K + 1 classes (semi-supervised)."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest
import torch
from staged import Judge, Rows, gradient, staged, turn_of
from torch import Tensor, nn
from torch.nn.functional import cosine_similarity, cross_entropy, one_hot, softplus

from ganrun.data.base import Subset
from ganrun.engine import assemble
from ganrun.games.madgan import GeneratorClassifier, GeneratorMixture, mean_cosine
from ganrun.games.semi_supervised import Classifier, stratified
from ganrun.ground import registry
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import Batch, DiscriminatorOutput

# MAD-GAN on atoms: one-hot samples, so that a linear discriminator is a table


class Table(nn.Module):
    """A score and features (the atom itself) for each atom."""

    def __init__(self, atoms: int) -> None:
        super().__init__()
        self.num_features, self.score = atoms, nn.Linear(atoms, 1, bias=False)

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput(self.score(x).squeeze(1), x)


REAL = [4, 2, 1, 1]  # of eight
MADE = [[4, 4, 0, 0], [1, 0, 3, 4], [2, 2, 2, 2]]


def rows(counts: list[int]) -> Tensor:
    return one_hot(torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)), len(counts)).to(torch.get_default_dtype())


def madgan(made: list[list[int]], **options: Any) -> Any:
    torch.manual_seed(0)
    judge = GeneratorClassifier(Table(4), {"makers": len(made)})
    players = {"generator": GeneratorMixture([Rows(rows(entry)) for entry in made]), "discriminator": judge}
    return staged("madgan", players, size=4, generators=len(made), **{"loss": "minimax", **options})


def best(game: Any, x: Tensor) -> dict[str, float]:
    """The discriminator's terms at its optimum."""
    judge = game.players["discriminator"]
    optimizer = torch.optim.LBFGS(judge.parameters(), max_iter=300, line_search_fn="strong_wolfe", tolerance_grad=1e-12)

    def closure() -> Tensor:
        optimizer.zero_grad()
        total: Tensor = sum(game.discriminator_loss(turn_of(game, "discriminator", x)).values())
        total.backward()
        return total.detach()

    for _ in range(3):
        optimizer.step(closure)
    return {name: float(term.detach()) for name, term in game.discriminator_loss(turn_of(game, "discriminator", x)).items()}


def test_the_best_discriminator_names_every_maker_by_its_share(float64: None) -> None:
    game = madgan(MADE)
    best(game, rows(REAL))
    output = game.players["discriminator"](torch.eye(4))
    p, q = torch.tensor(REAL) / 8, torch.tensor(MADE) / 8
    total = p + q.sum(0)
    real = torch.sigmoid(output.score)
    assert torch.allclose(real, p / total, atol=1e-3)
    makers = output.heads["makers"].softmax(1) * (1 - real)[:, None]
    assert torch.allclose(makers, (q / total).T, atol=1e-3)


@pytest.mark.parametrize("k", [1, 3])
def test_the_value_at_the_optimum_is_the_papers(k: int, float64: None) -> None:
    mixture = [[6, 2, 0, 0], [4, 2, 2, 0], [2, 2, 1, 3]] if k == 3 else [REAL]  # whose mean is p
    game = madgan(mixture)
    assert (torch.tensor(mixture).double().mean(0) == torch.tensor(REAL)).all()
    terms = best(game, rows(REAL))
    wanted = -(k + 1) * math.log(k + 1) + k * math.log(k)
    assert -terms["loss"] == pytest.approx(wanted, abs=1e-4)  # E log D_real + sum_i E log(1 - D_real)
    loss = game.generator_loss(turn_of(game, "generator", rows(REAL)))["loss"]  # sum_i E log(1 - D_real), at D_real = 1 / (k + 1)
    assert loss.item() == pytest.approx(k * math.log(k / (k + 1)), abs=1e-4)


def test_with_one_maker_it_is_a_softmax_of_two(float64: None) -> None:
    game = madgan([[4, 4, 0, 0]])
    terms = game.discriminator_loss(turn_of(game, "discriminator", rows(REAL)))
    judge = game.players["discriminator"]

    def logits(x: Tensor) -> Tensor:
        return torch.cat((judge.network.score(x), judge.heads["makers"](x)), 1)

    x, made = rows(REAL), rows([4, 4, 0, 0])
    real, fake = torch.zeros(8, dtype=torch.int64), torch.ones(8, dtype=torch.int64)
    assert terms["makers"].item() == 0.0
    assert terms["loss"].item() == pytest.approx(float(cross_entropy(logits(x), real) + cross_entropy(logits(made), fake)))


def test_all_terms_together_are_the_cross_entropy_of_k_plus_one_classes(float64: None) -> None:
    game = madgan(MADE)
    total = sum(game.discriminator_loss(turn_of(game, "discriminator", rows(REAL))).values()).item()
    judge = game.players["discriminator"]

    def nats(x: Tensor, label: int) -> float:
        logits = torch.cat((judge.network.score(x), judge.heads["makers"](x)), 1)
        return float(cross_entropy(logits, torch.full((len(x),), label)))

    assert total == pytest.approx(nats(rows(REAL), 0) + sum(nats(rows(entry), 1 + i) for i, entry in enumerate(MADE)))


# similarity


def test_cosines_of_equal_orthogonal_and_opposite_features(float64: None) -> None:
    one, other = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 3.0]])
    assert float(mean_cosine(torch.stack((one, 5 * one, one)))) == pytest.approx(1.0)
    assert float(mean_cosine(torch.stack((one, other)))) == pytest.approx(0.0)
    assert float(mean_cosine(torch.stack((one, -other, -one)))) == pytest.approx(-1 / 3)
    assert mean_cosine(torch.zeros(3, 2, 4, requires_grad=True)).isfinite()


def test_the_mean_cosine_is_the_mean_over_all_pairs(float64: None) -> None:
    x = torch.randn(4, 5, 3, generator=torch.Generator().manual_seed(0))
    pairs = [cosine_similarity(x[i], x[j], dim=1).mean() for i, j in itertools.combinations(range(4), 2)]
    assert float(mean_cosine(x)) == pytest.approx(float(torch.stack(pairs).mean()))


def similar(shifts: list[float], **options: Any) -> Any:
    class Shifted(nn.Module):
        def __init__(self, shift: float) -> None:
            super().__init__()
            self.shift = nn.Parameter(torch.tensor([1.0, shift]))

        def forward(self, z: Tensor) -> Tensor:
            return z + self.shift

    judge = Judge(lambda x, w: x @ w, torch.tensor([0.5, -0.2]))
    players = {"generator": GeneratorMixture([Shifted(entry) for entry in shifts]), "discriminator": judge}
    return staged("madgan", players, generators=len(shifts), variant="similarity", size=2, latent=2, **options)


def test_similarity_costs_the_generators_and_parts_them() -> None:
    x = torch.randn(6, 2, generator=torch.Generator().manual_seed(0))
    alike = similar([1.0, 1.0, 1.0], weight=2.0)
    terms = alike.generator_loss(turn_of(alike, "generator", x))
    assert terms["similarity"].item() == pytest.approx(2.0)
    apart = similar([0.5, -0.5], weight=2.0)
    turn = turn_of(apart, "generator", x)
    term, z = apart.generator_loss(turn)["similarity"], turn.latent(6)
    wanted = 2 * cosine_similarity(z + torch.tensor([1.0, 0.5]), z + torch.tensor([1.0, -0.5]), dim=1).mean()
    assert term.item() == pytest.approx(float(wanted), rel=1e-5)  # of the same z
    of_first, of_second = gradient(term, apart.players["generator"])
    assert float(of_first[1]) < 0 < float(of_second[1])  # descending moves them further apart
    assert list(apart.discriminator_loss(turn_of(apart, "discriminator", x))) == ["loss"]
    assert apart.duel(turn).fake_weight == 1.0


# sampling and casting


def test_a_sample_comes_from_makers_drawn_uniformly_row_by_row() -> None:
    class Named(nn.Module):
        def __init__(self, name: float) -> None:
            super().__init__()
            self.name = name

        def forward(self, z: Tensor, condition: Tensor) -> Tensor:
            return torch.cat((torch.full_like(z, self.name), z, condition[:, None].float()), 1)

    game = staged("madgan", {"generator": GeneratorMixture([Named(i) for i in range(3)])}, size=3, classes=9, condition="concat")
    turn, labels = turn_of(game, "sample", torch.zeros(3000, 1)), torch.arange(3000) % 9
    found = game.sample(3000, turn, labels)
    assert torch.equal(found[:, 1:2], turn.latent(3000))
    assert torch.equal(found[:, 2].long(), labels)
    assert found[:, 0].long().bincount(minlength=3).sub(1000).abs().max() < 120
    assert torch.equal(found, game.sample(3000, turn, labels))


def test_each_maker_has_weights_of_its_own_and_fakes_keep_labels_and_packs(toy: Any) -> None:
    made = toy("mlp", "toy_points", "game=madgan", "condition=concat", "pack=2", "game.generators=3")
    game = made.parts.game
    first, second, third = (
        torch.cat([entry.flatten() for entry in net.parameters()]) for net in game.players["generator"].networks
    )
    assert not torch.equal(first, second)
    assert not torch.equal(second, third)
    turn = turn_of(game, "discriminator", torch.zeros(4, 2), torch.tensor([0, 2, 1, 1]))
    duel = game.duel(turn)
    assert duel.fake[0].shape == (12, 2)
    assert torch.equal(duel.fake_condition, torch.tensor([0, 2, 1, 1] * 3))
    assert duel.fake_weight == 3.0
    assert game.discriminator_loss(turn)["makers"].isfinite()


# K + 1 classes


def judged(logits: Tensor, own: float = 0.0) -> Any:
    """A semi-supervised game whose class logits are always ``logits``, all of them plus the network's own score."""
    network = Judge(lambda x, w: w[0] + 0 * x[:, 0], torch.tensor([own]))
    network.num_features = 1
    judge = Classifier(network, {"classes": len(logits)})
    with torch.no_grad():
        judge.heads["classes"].weight.zero_()
        judge.heads["classes"].bias.copy_(logits)
    players = {"generator": Rows(torch.ones(4, 1)), "discriminator": judge}
    return staged("semi_supervised", players, classes=len(logits), labels=len(logits))


def labelled(game: Any, y: list[int]) -> Any:
    known = Batch(torch.ones(len(y), 1), torch.tensor(y))
    return turn_of(game, "discriminator", torch.ones(4, 1), labelled=known)


@pytest.mark.parametrize("own", [0.0, 0.7])
def test_logits_of_minus_log_k_are_one_half(own: float, float64: None) -> None:
    game = judged(torch.full((5,), -math.log(5) - own), own)
    score = game.players["discriminator"](torch.ones(1, 1)).score
    assert score.item() == pytest.approx(0.0, abs=1e-12)
    terms = game.discriminator_loss(labelled(game, [0, 3]))
    assert terms["loss"].item() == pytest.approx(math.log(2))  # half of 2 log 2
    assert terms["classes"].item() == pytest.approx(math.log(5))


def test_the_terms_are_those_of_the_authors_code(float64: None) -> None:
    logits = torch.tensor([0.3, -1.2, 0.8])
    game = judged(logits - 0.4, 0.4)
    terms, lse, y = game.discriminator_loss(labelled(game, [2, 0, 2])), logits.logsumexp(0), torch.tensor([2, 0, 2])
    assert terms["loss"].item() == pytest.approx(float(-0.5 * (lse - softplus(lse)) + 0.5 * softplus(lse)))
    assert terms["classes"].item() == pytest.approx(float((-logits[y] + lse).mean()))
    probabilities = torch.cat((logits, torch.zeros(1))).softmax(0)  # the fake class's logit is zero
    assert torch.sigmoid(lse).item() == pytest.approx(float(probabilities[:3].sum()))


def test_a_constant_on_all_logits_is_not_free(float64: None) -> None:
    low, high = (judged(torch.tensor([0.3, -1.2]) + shift) for shift in (0.0, 2.0))
    first, second = (game.discriminator_loss(labelled(game, [0])) for game in (low, high))
    assert first["classes"].item() == pytest.approx(second["classes"].item())
    assert abs(first["loss"].item() - second["loss"].item()) > 0.1


def test_one_class_is_the_binary_game(float64: None) -> None:
    game = judged(torch.tensor([0.9]))
    terms = game.discriminator_loss(labelled(game, [0, 0]))
    wanted = nn.functional.binary_cross_entropy_with_logits(torch.tensor([0.9, 0.9]), torch.tensor([1.0, 0.0]))
    assert terms["classes"].item() == 0.0
    assert terms["loss"].item() == pytest.approx(float(wanted))  # the mean of both sides is half their sum


def test_the_labelled_samples_are_stratified_and_always_the_same() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 3)
    found = stratified(labels, 3, 11)
    assert labels[found].bincount().tolist() == [4, 4, 3]
    assert torch.equal(found, stratified(labels, 3, 11))
    assert len(found.unique()) == 11
    assert labels[stratified(labels, 3, 30)].bincount().tolist() == [10, 10, 3]  # all there are
    with pytest.raises(BadInput, match=r"game\.labels=2"):
        stratified(labels, 3, 2)
    with pytest.raises(BadInput, match="class 3"):
        stratified(labels, 4, 8)


def test_no_other_label_is_ever_looked_at(toy: Any) -> None:
    made = toy("mlp", "toy_points", "game=semi_supervised", "game.labels=6")
    streams = made.parts.game.streams(made.dataset)
    assert set(streams) == {"data", "labelled"}
    assert isinstance(streams["labelled"], Subset)
    rows = streams["labelled"].indices
    assert made.dataset.labels[rows].bincount().tolist() == [2, 2, 2]
    digests = []
    for spoil in (False, True):
        other = toy("mlp", "toy_points", "game=semi_supervised", "game.labels=6")
        if spoil:
            keep = torch.zeros(len(made.dataset), dtype=torch.bool).index_fill_(0, rows, True)
            other.dataset.labels = torch.where(keep, other.dataset.labels, (other.dataset.labels + 1) % 3)
        for _ in range(3):
            other.trainer.advance()
        digests.append(torch.cat([entry.flatten() for entry in other.trainer.game.players["discriminator"].parameters()]))
    assert torch.equal(digests[0], digests[1])


@pytest.mark.parametrize("loss", ["nonsaturating", "feature_matching"])
def test_six_labels_are_enough_to_classify_the_toy_points(loss: str, toy: Any) -> None:
    overrides = ("game=semi_supervised", "game.labels=6", f"loss={loss}", "optimizer.lr=0.01", "model.discriminator.width=16")
    made = toy("mlp", "toy_points", *overrides)
    for _ in range(60):
        made.trainer.advance()
    with torch.no_grad():
        output = made.trainer.game.players["discriminator"](made.dataset.x.float())
    assert (output.heads["classes"].argmax(1) == made.dataset.labels).float().mean() > 0.95


@pytest.mark.parametrize(
    ("data", "overrides", "words"),
    [
        ("toy_unlabelled", (), r"learns a classifier.*Try game=adversarial"),
        ("toy_points", ("condition=concat",), r"cannot be told it. Try condition=none"),
        ("toy_points", ("pack=2",), r"several labels.*Try pack=1"),
    ],
)
def test_what_the_game_refuses(data: str, overrides: tuple[str, ...], words: str, toy: Any) -> None:
    with pytest.raises(BadInput, match=words):
        toy("mlp", data, "game=semi_supervised", *overrides)


@pytest.mark.parametrize("game", ["semi_supervised", "madgan"])
def test_logits_are_no_energy(game: str, compose: Any) -> None:
    config = compose(f"game={game}", "model=autoencoder", "loss=energy")
    parts = assemble.build(config, with_metrics=False)
    assert parts.game.refuses["energy"].override == "game=adversarial"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"name": "madgan", "generators": 0}, "generators=0"),
        ({"name": "madgan", "generators": 1, "variant": "similarity"}, "generators=1"),
        ({"name": "madgan", "variant": "maker"}, "'makers'"),
        ({"name": "madgan", "weight": -1.0}, "weight=-1"),
        ({"name": "semi_supervised", "labels": 0}, "labels=0"),
        ({"name": "semi_supervised", "unsupervised": 0.0}, "unsupervised=0"),
    ],
)
def test_bounds(options: dict[str, Any], words: str) -> None:
    with pytest.raises(BadInput, match=words):
        registry.build("game", options)
