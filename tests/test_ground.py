"""The words of the game: random numbers, duels, turns, traits, and the registry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ganrun.ground import registry, rng, traits
from ganrun.ground.duel import Duel, gradient_norm_squared
from ganrun.ground.errors import BadInput, nearest, suggestion
from ganrun.ground.spec import Batch, DiscriminatorOutput, Latent, Port
from ganrun.ground.traits import Rule
from ganrun.ground.turn import Stream, Turn

# random numbers


def test_a_derived_seed_is_fixed_for_all_time() -> None:
    # a change of this number would change every run's results: then it needs another format of checkpoints
    assert rng.derive(0, 7, "generator", 0, "latent") == 2414702467531099682
    assert 0 <= rng.derive("any") < 2**63


def test_keys_that_differ_in_anything_give_unrelated_seeds() -> None:
    keys = [(0, 1), (1, 0), (0, "1"), ("0", 1), (0, 1, ""), ((0, 1),), (0, 11)]
    assert len({rng.derive(*key) for key in keys}) == len(set(keys))


def test_a_generator_gives_the_same_numbers_whenever_it_is_asked_for() -> None:
    first = torch.rand(5, generator=rng.generator(3, "noise"))
    torch.manual_seed(99)
    torch.rand(7)
    assert torch.equal(torch.rand(5, generator=rng.generator(3, "noise")), first)
    assert not torch.equal(torch.rand(5, generator=rng.generator(4, "noise")), first)


def test_drawing_leaves_the_global_generator_alone() -> None:
    before = torch.random.get_rng_state()
    rng.order(1, "data", 0, 30, 7)
    torch.rand(3, generator=rng.generator(1))
    assert torch.equal(torch.random.get_rng_state(), before)


def test_every_epoch_is_a_permutation_and_no_two_are_alike() -> None:
    drawn = rng.order(1, "data", 0, 5 * 23, 23).view(5, 23)
    assert torch.equal(drawn.sort(1).values, torch.arange(23).expand(5, 23))
    assert len(drawn.unique(dim=0)) == 5


def test_batches_run_across_the_end_of_an_epoch_and_over_many_epochs() -> None:
    whole = rng.order(1, "data", 0, 200, 7)
    assert torch.equal(torch.cat([rng.order(1, "data", start, 8, 7) for start in range(0, 200, 8)]), whole)
    assert torch.equal(rng.order(1, "data", 13, 50, 7), whole[13:63])
    assert not torch.equal(rng.order(2, "data", 0, 200, 7), whole)
    assert not torch.equal(rng.order(1, "other", 0, 200, 7), whole)


@pytest.mark.parametrize("prior", ["normal", "uniform"])
def test_latents_follow_their_law(prior: str) -> None:
    z = Latent(5, prior).draw(4000, rng.generator(0))
    assert z.shape == (4000, 5)
    assert float(z.mean()) == pytest.approx(0, abs=0.03)
    assert float(z.var()) == pytest.approx(1 if prior == "normal" else 1 / 3, rel=0.03)
    assert (float(z.abs().max()) <= 1) == (prior == "uniform")
    assert (z < 0).any()


def test_an_unknown_law_is_refused_with_the_nearest() -> None:
    with pytest.raises(BadInput, match="'uniform'"):
        Latent(5, "uniforn")


# turns


class Counted:
    """A stream of the numbers 0 .. length - 1 that counts its reads."""

    def __init__(self, length: int) -> None:
        self.reads: list[Tensor] = []
        self.stream = Stream(length, self.read)

    def read(self, indices: Tensor) -> Batch:
        self.reads.append(indices)
        return Batch(indices.float()[:, None])


def turn(source: Counted | None = None, **where: Any) -> Turn:
    place = {"seed": 0, "step": 3, "phase": "generator", "repeat": 0, "batch_size": 12, **where}
    streams = {} if source is None else {"data": source.stream}
    return Turn(latent_law=Latent(2), device=torch.device("cpu"), streams=streams, **place)


def test_draws_follow_from_where_the_turn_stands_and_nothing_else() -> None:
    first = turn().latent()
    assert torch.equal(turn().latent(), first)
    for where in ({"seed": 1}, {"step": 4}, {"phase": "discriminator"}, {"repeat": 1}):
        assert not torch.equal(turn(**where).latent(), first)
    assert torch.equal(turn(batch_index=9, update=9).latent(), first)
    assert not torch.equal(turn().uniform("one"), turn().uniform("another"))


@pytest.mark.parametrize("count", [2, 3, 4])
def test_the_shares_of_a_batch_are_the_batch_cut_up(count: int) -> None:
    source = Counted(50)
    whole = turn(source)
    for draw in (lambda at: at.latent(), lambda at: at.uniform("mix"), lambda at: at.real().x):
        shares = [draw(turn(source, micro_batch=(index, count))) for index in range(count)]
        assert [len(share) for share in shares] == [12 // count] * count
        assert torch.equal(torch.cat(shares), draw(whole))


def test_a_slot_is_a_place_in_the_order_of_the_data() -> None:
    source = Counted(50)
    drawn = torch.cat([turn(source, batch_index=batch_index).real().x[:, 0] for batch_index in range(5)]).long()
    assert torch.equal(drawn, rng.order(0, "data", 0, 60, 50))


def test_a_batch_that_lies_on_the_shelf_is_not_read_again() -> None:
    source, batch_cache = Counted(50), {}
    one = turn(source, batch_index=2, batch_cache=batch_cache, phase="discriminator").real()
    assert turn(source, batch_index=2, batch_cache=batch_cache).real() is one
    assert len(source.reads) == 1
    assert turn(source, batch_index=3, batch_cache=batch_cache).real() is not one
    turn(source, batch_index=2, batch_cache=batch_cache, micro_batch=(0, 2)).real()
    assert [len(read) for read in source.reads] == [12, 12, 6]


# duels


def critic(x: Tensor, condition: Tensor | None = None) -> DiscriminatorOutput:
    score = x.flatten(1).square().sum(1) + x.flatten(1)[:, 0]
    if condition is not None:
        score = score + 10 * condition
    return DiscriminatorOutput(score, x.flatten(1), {"doubled": 2 * x.flatten(1)})


@pytest.mark.parametrize("conditional", [False, True])
def test_one_look_at_both_sides_gives_what_two_looks_give(conditional: bool) -> None:
    real, fake = torch.randn(3, 4), torch.randn(5, 4)
    conditions: dict[str, Any] = {}
    if conditional:
        conditions = {"real_condition": torch.tensor([1, 2, 3]), "fake_condition": torch.tensor([5, 4, 3, 2, 1])}
    looks = []

    def counted(x: Tensor, condition: Tensor | None = None) -> DiscriminatorOutput:
        looks.append(len(x))
        return critic(x, condition)

    apart, joined = (Duel(counted, (real,), (fake,), together=together, **conditions) for together in (False, True))
    apart.forward_both()
    joined.forward_both()
    assert looks == [3, 5, 8]
    for side, inputs in (("real_output", real), ("fake_output", fake)):
        mine, theirs = getattr(joined, side), getattr(apart, side)
        torch.testing.assert_close(mine.score, theirs.score)
        torch.testing.assert_close(mine.features, inputs)
        torch.testing.assert_close(mine.heads["doubled"], 2 * inputs)
    assert looks == [3, 5, 8]  # verdicts are given once


def test_sides_of_unlike_shapes_are_judged_apart() -> None:
    duel = Duel(critic, (torch.randn(3, 4),), (torch.randn(3, 5),), together=True)
    duel.forward_both()
    assert duel.real_output.score.shape == duel.fake_output.score.shape == (3,)


def test_pairs_of_inputs_are_judged_together() -> None:
    def pairs(x: Tensor, code: Tensor) -> DiscriminatorOutput:
        return DiscriminatorOutput((x * code).sum(1))

    real, fake = (torch.randn(3, 2), torch.randn(3, 2)), (torch.randn(4, 2), torch.randn(4, 2))
    duel = Duel(pairs, real, fake, kinds=("data", "code"), together=True)
    duel.forward_both()
    torch.testing.assert_close(duel.real_output.score, (real[0] * real[1]).sum(1))
    torch.testing.assert_close(duel.fake_output.score, (fake[0] * fake[1]).sum(1))


@pytest.mark.parametrize("side", ["real", "fake"])
def test_the_slope_of_a_side_is_exact_watched_or_not(side: str) -> None:
    real, fake = torch.randn(3, 2, 2), torch.randn(3, 2, 2)
    wanted = {"real": real, "fake": fake}[side].flatten(1) * 2
    wanted[:, 0] += 1
    plain, watched = Duel(critic, (real,), (fake,)), Duel(critic, (real,), (fake,), together=True)
    watched.require_input_grad(side)
    watched.forward_both()
    for duel in (plain, watched):
        torch.testing.assert_close(duel.grad_norm_sq(side), wanted.square().sum(1))
    assert watched.grad_norm_sq(side).requires_grad


def test_the_slope_of_a_map_of_patches_is_that_of_their_mean() -> None:
    x = torch.randn(3, 1, 4, 4).requires_grad_()
    weight = torch.randn(1, 1, 2, 2)
    score = nn.functional.conv2d(x, weight)
    wanted = torch.stack(
        [torch.autograd.grad(score[index].mean(), x, retain_graph=True)[0][index].square().sum() for index in range(3)]
    )
    torch.testing.assert_close(gradient_norm_squared(nn.functional.conv2d(x, weight), (x,)), wanted)


def test_a_score_in_half_precision_is_judged_in_full() -> None:
    duel = Duel(lambda x: DiscriminatorOutput(x.bfloat16()), (torch.ones(2),), (torch.ones(2),))
    assert duel.real_output.score.dtype == torch.float32


def test_a_slope_is_taken_in_float32_under_autocast() -> None:
    layer = nn.Linear(4, 1, bias=False)
    seen = []

    def watched(x: Tensor) -> DiscriminatorOutput:
        seen.append(torch.is_autocast_enabled("cpu"))
        return DiscriminatorOutput(layer(x).squeeze(1))

    duel = Duel(watched, (torch.randn(3, 4),), (torch.randn(3, 4),))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        duel.require_input_grad("real")
        duel.forward_both()
        slope = duel.grad_norm_sq("real")
    assert seen == [True, True, False]
    torch.testing.assert_close(slope, layer.weight.square().sum().expand(3))


# traits


class Part:
    def __init__(self, **held: Any) -> None:
        for name, value in held.items():
            setattr(self, name, value)


RULE = Rule("because", "other=one")


def test_needs_refuse_what_is_absent_and_refusals_what_is_present() -> None:
    needing, refusing = Part(needs={"round": RULE}), Part(refuses={"round": RULE})
    having = Part(traits={"round"})
    assert traits.conflicts({"a=b": needing, "c=d": having}) == []
    assert traits.conflicts({"a=b": needing}) == [("a=b", RULE)]
    assert traits.conflicts({"a=b": refusing, "c=d": having}) == [("a=b", RULE)]
    assert traits.conflicts({"a=b": refusing}) == []


def test_a_refusal_names_every_conflict_with_its_remedy() -> None:
    with pytest.raises(BadInput) as caught:
        traits.verify({"a=b": Part(needs={"round": RULE}), "c=d": Part(needs={"square": Rule("not so", "shape=square")})})
    assert str(caught.value).splitlines() == ["a=b: because. Try other=one", "c=d: not so. Try shape=square"]


def test_advice_is_a_warning_and_no_refusal() -> None:
    advised = Part(advises={"round": RULE})
    assert traits.verify({"a=b": advised}) == ["a=b: because. Try other=one"]
    assert traits.verify({"a=b": advised, "c=d": Part(traits={"round"})}) == []


def test_wasserstein_without_any_lipschitz_constraint_is_warned_of_with_remedies_that_help() -> None:
    loss = registry.build("loss", {"name": "wasserstein"})
    (sentence,) = traits.verify({"loss=wasserstein": loss})
    for name in ("gradient_penalty", "weight_clip", "spectral_norm"):
        assert name in sentence
        remedy = registry.build("regularizer", {"name": name})
        assert traits.verify({"loss=wasserstein": loss, name: remedy}) == []
    generator_only = registry.build("regularizer", {"name": "spectral_norm", "sides": ["generator"]})
    assert traits.verify({"loss=wasserstein": loss, "regularizer=spectral_norm": generator_only})


# the registry


@dataclass(frozen=True)
class Inner:
    depth: int = 2

    def __post_init__(self) -> None:
        if self.depth < 0:
            raise ValueError(f"depth={self.depth} must not be negative")


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    for group in registry.PACKAGES:  # what is first imported in a test would be lost with it
        registry.discover(group)
    held = dict(registry._components)
    yield
    registry._components.clear()
    registry._components.update(held)


@pytest.fixture
def box() -> None:
    @registry.register("loss", "box")
    class Box:
        def __init__(self, *arguments: Any, width: int = 1, inner: Inner = Inner()) -> None:
            if width < 0:
                raise ValueError(f"width={width} must not be negative")
            self.arguments, self.width, self.inner = arguments, width, inner


def test_a_component_is_built_with_its_options_and_dataclasses(box: None) -> None:
    made = registry.build("loss", {"name": "box", "width": 3, "inner": {"depth": 5}}, "first")
    assert (made.arguments, made.width, made.inner) == (("first",), 3, Inner(5))
    assert registry.build("loss", {"name": "box"}).inner == Inner()
    assert registry.options(registry.lookup("loss", "box")) == {"width": 1, "inner": {"depth": 2}}


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"name": "boxx"}, ["loss=boxx", "'box'"]),
        ({"name": "box", "widht": 3}, ["loss.widht=3", "'width'"]),
        ({"name": "box", "inner": {"dept": 3}}, ["loss.inner.dept=3", "'depth'"]),
        ({"name": "box", "width": -1}, ["loss=box", "width=-1"]),
        ({"name": "box", "inner": {"depth": -1}}, ["loss.inner", "depth=-1"]),
    ],
)
def test_mistakes_are_answered_with_the_key_the_value_and_the_nearest(
    box: None, config: dict[str, Any], words: list[str]
) -> None:
    with pytest.raises(BadInput) as caught:
        registry.build("loss", config)
    for word in words:
        assert word in str(caught.value)


def test_options_of_stacked_groups_are_named_by_their_component() -> None:
    with pytest.raises(BadInput, match=r"regularizer\.r1\.weigth=2.*'weight'"):
        registry.build("regularizer", {"name": "r1", "weigth": 2})


def test_a_taken_name_and_an_unknown_group_are_refused(box: None) -> None:
    with pytest.raises(ValueError, match="is taken by"):
        registry.register("loss", "box")(Inner)
    with pytest.raises(ValueError, match="no group 'looss'"):
        registry.register("looss", "box")
    registry.register("loss", "box")(registry.lookup("loss", "box"))  # the same once more is no conflict


def test_a_missing_component_of_a_strange_name_imports_nothing() -> None:
    for name in ("../../x", "os", "base.Loss", ""):
        with pytest.raises(BadInput, match="there is no such loss"):
            registry.lookup("loss", name)


def test_the_users_own_modules_join_under_the_names_they_register(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = [
        "from ganrun import register",
        "from ganrun.losses.hinge import Hinge",
        "__version__ = '1.2'",
        "@register('loss', 'mine')",
        "class Mine(Hinge):",
        "    pass",
    ]
    (tmp_path / "my_own_losses.py").write_text("\n".join(lines))
    monkeypatch.chdir(tmp_path)
    assert registry.load_plugins(["my_own_losses"]) == {"my_own_losses": "1.2"}
    assert type(registry.build("loss", {"name": "mine"})).__name__ == "Mine"
    with pytest.raises(BadInput, match="plugins=my_own_lossez"):
        registry.load_plugins(["my_own_lossez"])


def test_the_nearest_names_come_first_and_all_names_where_none_is_near() -> None:
    assert nearest("wassersten", ["hinge", "wasserstein"]) == ["wasserstein"]
    assert suggestion("wassersten", ["hinge", "wasserstein"]) == "Did you mean 'wasserstein'?"
    assert suggestion("zzz", ["hinge", "r1"]) == "Valid: hinge, r1."
    assert suggestion("zzz", []) == "There are none."


def test_ports_of_three_numbers_are_images() -> None:
    assert Port("data", (1, 8, 8)).is_image
    assert not Port("data", (2,)).is_image


@pytest.mark.parametrize(
    ("group", "config", "said"),
    [
        ("model", {"name": "mlp", "generator": {"activation": "relux"}}, "model.generator.activation=relux: "),
        ("game", {"name": "madgan", "variant": "simila"}, "game.variant=simila: "),
        ("regularizer", {"name": "ada", "around": "zeros"}, "regularizer.ada.around=zeros: "),
    ],
)
def test_a_refused_option_is_named_by_its_place(group: str, config: dict[str, Any], said: str) -> None:
    with pytest.raises(BadInput) as caught:
        registry.build(group, config)
    assert str(caught.value).startswith(said)
