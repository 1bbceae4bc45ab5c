"""Augmentations against counting by hand; DiffAugment, ADA's controller and consistency against closed forms."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import compose_config
from torch import Tensor, nn

from ganrun.data.torchvision_sets import CIFAR, FASHION, MNIST
from ganrun.disk import checkpoint
from ganrun.ground import registry, traits
from ganrun.ground.duel import Duel, packed
from ganrun.ground.errors import BadInput
from ganrun.ground.spec import DiscriminatorOutput, Latent, Port
from ganrun.ground.turn import Turn
from ganrun.regularizers import augmentations as aug

AUGMENTING = ("ada", "consistency", "diffaugment")
EVERYTHING = ("flip", "color", "translation", "cutout")
OPERATIONS = [entry for group in aug.IMAGES.values() for entry in group.values()]
COLORS = [entry[0] for entry in aug.IMAGES["color"].values()]


def make(name: str, **options: Any) -> Any:
    return registry.build("regularizer", {"name": name, **options})


def turn(count: int, step: int = 0, update: int = 0, micro_batch: tuple[int, int] = (0, 1), phase: str = "discriminator") -> Turn:
    return Turn(0, step, phase, 0, count, Latent(2), torch.device("cpu"), update=update, micro_batch=micro_batch)


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def uniform(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def full(value: float, count: int = 3) -> Tensor:
    return torch.full((count,), value)


# the operations


def test_half_of_the_draws_mirror_a_picture_left_to_right() -> None:
    x = draw(2, 3, 4, 5)
    found = aug.flip(x, torch.tensor([0.49, 0.5]))
    for column in range(5):
        assert torch.equal(found[0, :, :, column], x[0, :, :, 4 - column])
    assert torch.equal(found[1], x[1])


def test_brightness_adds_one_number_to_a_sample_and_keeps_differences() -> None:
    x, u = draw(3, 3, 4, 4), torch.tensor([0.0, 0.5, 0.75])
    for index, change in enumerate((-0.5, 0.0, 0.25)):
        torch.testing.assert_close(aug.brightness(x, u)[index], x[index] + change)


def test_saturation_scales_the_distance_from_grey_at_each_place() -> None:
    x, u = draw(3, 3, 4, 4), torch.tensor([0.0, 0.5, 1.0])
    found, grey = aug.saturation(x, u), x.mean(1, keepdim=True)
    torch.testing.assert_close(found[0], grey[0].expand(3, 4, 4))  # no color left
    torch.testing.assert_close(found[1], x[1])
    torch.testing.assert_close(found[2] - grey[2], 2 * (x[2] - grey[2]))
    torch.testing.assert_close(found.mean(1, keepdim=True), grey)


def test_contrast_scales_the_distance_from_the_mean_of_the_picture() -> None:
    x, u = draw(3, 3, 4, 4), torch.tensor([0.0, 0.5, 1.0])
    found = aug.contrast(x, u)
    for index, factor in enumerate((0.5, 1.0, 1.5)):
        torch.testing.assert_close(found[index].mean(), x[index].mean())
        torch.testing.assert_close(found[index].std(), factor * x[index].std())
        torch.testing.assert_close(found[index] - found[index].mean(), factor * (x[index] - x[index].mean()))


@pytest.mark.parametrize("operation", COLORS)
def test_several_pictures_as_channels_change_as_each_would_alone(operation: Callable[..., Tensor]) -> None:
    u = uniform(2)
    for count, colors in ((3, 3), (2, 1), (5, 1), (1, 1)):
        pictures = [draw(2, colors, 4, 4, seed=seed) for seed in range(count)]
        wanted = torch.cat([operation(picture, u) for picture in pictures], 1)
        torch.testing.assert_close(operation(torch.cat(pictures, 1), u), wanted)


def test_grey_pictures_have_no_saturation() -> None:
    for channels in (1, 2):
        x = draw(3, channels, 4, 4)
        assert torch.equal(aug.saturation(x, uniform(3)), x)


@pytest.mark.parametrize(("height", "width"), [(32, 32), (8, 20), (16, 5)])
def test_translation_moves_the_content_and_brings_in_zeros(height: int, width: int) -> None:
    rows, columns = int(height / 8 + 0.5), int(width / 8 + 0.5)
    x = draw(2 * (2 * rows + 1), 2, height, width)
    u = torch.arange(2 * rows + 1).repeat_interleave(2).add(0.5) / (2 * rows + 1)
    v = torch.tensor([0.0, 0.999]).repeat(2 * rows + 1)
    found = aug.translation(x, u, v)
    for index in range(len(x)):
        down, right = index // 2 - rows, columns if index % 2 else -columns
        wanted = torch.zeros_like(x[index])
        for row in range(height):
            for column in range(width):
                if 0 <= row - down < height and 0 <= column - right < width:
                    wanted[:, row, column] = x[index, :, row - down, column - right]
        assert torch.equal(found[index], wanted)


def test_every_shift_is_equally_likely_and_the_middle_draw_moves_nothing() -> None:
    x = draw(3, 1, 32, 32)
    assert torch.equal(aug.translation(x, full(0.5), full(0.5)), x)
    shifts = Counter((aug._pick(torch.linspace(0, 1, 9001)[:-1], 9) - 4).tolist())
    assert set(shifts) == set(range(-4, 5))
    assert max(shifts.values()) - min(shifts.values()) <= 2
    largest = torch.tensor(1 - 2**-24)  # of all draws in float32
    assert all(int(aug._pick(largest, count)) == count - 1 for count in range(1, 600))


def test_cutout_zeroes_a_window_of_half_of_each_side() -> None:
    x = draw(3, 2, 32, 32).abs() + 1
    u, v = torch.tensor([0.5, 0.0, 0.999]), torch.tensor([0.5, 0.5, 0.0])
    found = aug.cutout(x, u, v)
    assert [(found[index] == 0).sum().item() for index in range(3)] == [2 * 16 * 16, 2 * 8 * 16, 2 * 8 * 8]
    assert (found[0, :, 8:24, 8:24] == 0).all()
    assert (found[1, :, :8, 8:24] == 0).all()
    assert (found[2, :, 24:, :8] == 0).all()  # the corner: all but a quarter hangs over
    assert torch.equal(found[found != 0], x[found != 0])


def test_every_place_is_as_often_in_a_window_as_counting_says() -> None:
    size = 9  # an odd side has a window of 5 around each of 9 centres
    centres = (torch.arange(size) + 0.5) / size
    window = aug._window(size, centres)
    for centre in range(size):
        assert window[centre].nonzero().squeeze(1).tolist() == [p for p in range(size) if abs(p - centre) <= 2]
    assert aug._window(8, (torch.arange(9) + 0.5) / 9).sum(1).tolist() == [2, 3, 4, 4, 4, 4, 4, 3, 2]


@pytest.mark.parametrize(("operation", "count"), OPERATIONS)
def test_every_operation_takes_every_size_and_number_of_channels(operation: Callable[..., Tensor], count: int) -> None:
    for channels in (1, 2, 3, 4, 9):
        for height, width in ((1, 1), (3, 8), (12, 7)):
            x = draw(2, channels, height, width).float()
            found = operation(x, *(uniform(2, seed=seed).float() for seed in range(count)))
            assert found.shape == x.shape
            assert found.dtype == x.dtype
            assert found.is_contiguous()


@pytest.mark.parametrize(("operation", "count"), OPERATIONS)
def test_every_operation_has_the_derivatives_of_finite_differences(operation: Callable[..., Tensor], count: int) -> None:
    x, us = draw(2, 3, 4, 4).requires_grad_(), [uniform(2, seed=seed) for seed in range(count)]
    assert torch.autograd.gradcheck(lambda x: operation(x, *us), (x,))
    assert torch.autograd.gradgradcheck(lambda x: operation(x, *us).pow(3), (x,))


def test_points_are_moved_by_up_to_an_eighth() -> None:
    x, u = draw(3, 2), torch.tensor([[0.0, 1.0], [0.5, 0.5], [0.25, 0.5]], dtype=torch.float64)
    wanted = torch.tensor([[-1 / 8, 1 / 8], [0, 0], [-1 / 16, 0]], dtype=torch.float64)
    torch.testing.assert_close(aug.jitter(x, u) - x, wanted)


# their application


def test_each_sample_input_side_and_step_has_draws_of_its_own_and_each_pair_the_same() -> None:
    image = draw(1, 3, 8, 8).expand(6, 3, 8, 8)
    found = []
    for purpose, step in (("one", 0), ("two", 0), ("one", 1)):
        source, made = aug.augment((image, image), ("data", "data"), EVERYTHING, turn(6, step), purpose)
        assert torch.equal(source, made)  # a pair stays a pair
        found += list(source)
    assert len({tuple(entry.flatten().tolist()) for entry in found}) == 18


def test_an_image_and_its_larger_source_are_mirrored_alike() -> None:
    small = draw(40, 1, 8, 8)
    inputs = (small, small.repeat_interleave(2, 2).repeat_interleave(2, 3))
    found = aug.augment(inputs, ("data", "data"), ("flip",), turn(40), "here")
    assert torch.equal(found[0].repeat_interleave(2, 2).repeat_interleave(2, 3), found[1])
    assert 8 < int((found[0] != small).flatten(1).any(1).sum()) < 32


def test_codes_are_left_alone() -> None:
    x, code = draw(4, 2), draw(4, 2, seed=1)
    moved, same = aug.augment((x, code), ("data", "code"), EVERYTHING, turn(4), "here")
    assert same is code
    assert not torch.equal(moved, x)


def test_points_are_moved_in_every_coordinate_and_by_translation_alone() -> None:
    x = torch.zeros(4000, 2, dtype=torch.float64)
    (moved,) = aug.augment((x,), ("data",), EVERYTHING, turn(4000), "here")
    assert float(moved.abs().max()) <= 1 / 8
    torch.testing.assert_close(moved.var(0), torch.full((2,), (1 / 4) ** 2 / 12, dtype=torch.float64), rtol=0.05, atol=0)
    assert abs(float(torch.corrcoef(moved.T)[0, 1])) < 0.06
    (same,) = aug.augment((x,), ("data",), ("flip", "color", "cutout"), turn(4000), "here")
    assert same is x


@pytest.mark.parametrize("shape", [(3, 8, 8), (2,)])
@pytest.mark.parametrize("chance", [None, 0.5])
def test_micro_batches_get_their_part_of_the_draws_of_the_batch(shape: tuple[int, ...], chance: float | None) -> None:
    x, p = draw(6, *shape), None if chance is None else torch.tensor(chance)
    (whole,) = aug.augment((x,), ("data",), EVERYTHING, turn(6), "here", p)
    parts = [
        aug.augment((x[2 * i : 2 * i + 2],), ("data",), EVERYTHING, turn(6, micro_batch=(i, 3)), "here", p)[0] for i in range(3)
    ]
    torch.testing.assert_close(torch.cat(parts), whole, atol=0, rtol=0)


@pytest.mark.parametrize("chance", [0.0, 0.3, 1.0])
def test_each_operation_acts_on_each_sample_with_the_chance(chance: float) -> None:
    x = draw(3000, 1, 2, 2)
    (found,) = aug.augment((x,), ("data",), ("color",), turn(3000), "here", torch.tensor(chance))
    touched = (found != x).flatten(1).any(1).double()
    wanted = 1 - (1 - chance) ** 2  # by brightness or contrast; a grey picture has no saturation
    assert abs(float(touched.mean()) - wanted) <= 4 * math.sqrt(wanted * (1 - wanted) / 3000)
    if chance == 1:
        assert torch.equal(found, aug.augment((x,), ("data",), ("color",), turn(3000), "here")[0])
    change = found.mean((1, 2, 3)) - x.mean((1, 2, 3))
    brighter = change.abs() > 1e-9
    assert abs(float(brighter.double().mean()) - chance) <= 4 * math.sqrt(chance * (1 - chance) / 3000)
    if chance:  # whether a sample is changed says nothing of how
        torch.testing.assert_close(change[brighter].mean(), torch.zeros((), dtype=torch.float64), atol=0.05, rtol=0)
        torch.testing.assert_close(change[brighter].std(), torch.tensor(12**-0.5, dtype=torch.float64), atol=0.03, rtol=0)


def test_the_two_directions_of_a_shift_are_independent() -> None:
    x = torch.zeros(4000, 1, 8, 8)
    x[:, :, 4, 4] = 1
    (moved,) = aug.augment((x,), ("data",), ("translation",), turn(4000), "here")
    counts = moved.sum((0, 1))[3:6, 3:6]  # one pixel of eight either way
    assert int(counts.sum()) == 4000
    assert float((counts - 4000 / 9).square().sum() / (4000 / 9)) < 26.1  # chi-square with 8 degrees of freedom at 0.001


@pytest.mark.parametrize("name", AUGMENTING)
def test_an_unknown_or_idle_policy_is_refused(name: str) -> None:
    with pytest.raises(BadInput, match="translation"):
        make(name, policy=["translatoin"])
    for policy in ([], ["flip", "flip"]):
        with pytest.raises(BadInput, match="policy="):
            make(name, policy=policy)
    idle = make(name, policy=["color", "cutout", "flip"])
    idle.allocate((Port("code", (2,)), Port("data", (1, 8, 8))))
    with pytest.raises(BadInput, match=rf"Try 'regularizer\.{name}\.policy=\[translation\]'"):
        idle.allocate((Port("data", (2,)), Port("code", (3,))))
    make(name).allocate((Port("data", (2,)),))


@pytest.mark.parametrize("name", AUGMENTING)
def test_tokens_are_refused_with_what_may_be_used_instead(name: str) -> None:
    tokens = SimpleNamespace(traits=frozenset({"dataset.tokens"}))
    found = traits.conflicts({"dataset=x": tokens, f"regularizer={name}": make(name)})
    assert [rule.override for _, rule in found] == ["regularizer=instance_noise"]
    assert traits.conflicts({"dataset=x": tokens, "regularizer=instance_noise": make("instance_noise")}) == []
    assert traits.conflicts({f"regularizer={name}": make(name)}) == []


# DiffAugment


def test_diffaugment_changes_both_sides_apart_and_the_generator_learns_through_it() -> None:
    x = draw(1, 3, 8, 8).expand(5, 3, 8, 8)
    fake = x.clone().requires_grad_()
    duel = Duel(lambda x: DiscriminatorOutput(x.flatten(1).sum(1)), (x,), (fake,))
    make("diffaugment", policy=["color", "translation"]).before(duel, turn(5, phase="generator"))
    assert not torch.equal(duel.real[0], duel.fake[0])
    assert not (duel.real[0] == x).all()
    duel.fake_output.score.sum().backward()
    assert fake.grad is not None
    assert (fake.grad.flatten(1).norm(dim=1) > 0).all()


@pytest.mark.parametrize("data", ["toy_images", "toy_points"])
def test_diffaugment_acts_in_both_phases(data: str, toy: Callable[..., Any]) -> None:
    plain, changed = (toy("mlp", data, "optimizer.lr=0", *more) for more in ((), ("regularizer=diffaugment",)))
    plain.trainer.advance()
    changed.trainer.advance()
    for name in ("discriminator/loss", "generator/loss"):
        assert float(plain.trainer.terms[name]) != float(changed.trainer.terms[name])


def test_packs_are_made_of_samples_augmented_one_by_one() -> None:
    x = draw(6, 1, 8, 8)
    duel, alone = (Duel(lambda x: DiscriminatorOutput(x.flatten(1).sum(1)), (x,), (x,), pack=pack) for pack in (3, 1))
    for each in (duel, alone):
        make("diffaugment").before(each, turn(6))
        each.finalize_inputs()
    assert duel.real[0].shape == (2, 3, 8, 8)
    assert torch.equal(duel.real[0], packed(alone.real[0], 3))


# ADA


def controlled(ada: Any, update: int, real: Tensor, fake: Tensor | None = None, count: int = 64) -> None:
    """One update of the discriminator in which it gave these scores."""
    fake = -real if fake is None else fake
    player = nn.Identity()
    duel = Duel(player, (real,), (fake,))
    duel._outputs = {"real": DiscriminatorOutput(real), "fake": DiscriminatorOutput(fake)}
    ada.after_step({"discriminator": player}, duel, turn(count, update=update))


def test_p_rises_from_zero_to_one_in_the_asked_number_of_images_and_stops_there() -> None:
    ada = make("ada", images=6400, interval=4)
    for update in range(100):
        controlled(ada, update, torch.ones(8))
        seen = (update + 1) // 4 * 4 * 64
        assert float(ada.p) == pytest.approx(seen / 6400, abs=1e-6)
    for update in range(100, 108):
        controlled(ada, update, torch.ones(8))
    assert float(ada.p) == 1
    for update in range(108, 112):  # and falls as fast
        controlled(ada, update, -torch.ones(8))
    assert float(ada.p) == pytest.approx(1 - 4 * 64 / 6400)


def test_p_stays_at_zero_while_real_samples_score_low() -> None:
    ada = make("ada", images=1000)
    for update in range(20):
        controlled(ada, update, torch.tensor([-1.0, -1.0, 5.0]))  # the sign counts, not the score
    assert float(ada.p) == 0


def test_the_mean_over_an_interval_is_compared_with_the_target() -> None:
    for target, wanted in ((0.45, 0.2), (0.55, 0.0)):
        ada = make("ada", images=640, interval=2, target=target)
        controlled(ada, 0, torch.tensor([1.0]))
        assert float(ada.p) == 0
        controlled(ada, 1, torch.tensor([2.0, -2.0]))  # mean of 1 and 0
        assert float(ada.p) == pytest.approx(wanted)
        assert float(ada.signs) == 0


def test_the_loop_settles_where_the_signs_have_the_target_mean() -> None:
    ada, change = make("ada", images=20_000, interval=4), 4 * 64 / 20_000
    source = torch.Generator().manual_seed(0)
    for update in range(1000):  # a discriminator that is sure of every sample that is not augmented and of no other
        augmented = torch.rand(2000, generator=source) < float(ada.p)
        guess = torch.rand(2000, generator=source) < 0.5
        controlled(ada, update, torch.where(augmented & guess, -1.0, 1.0))
        if update > 500:
            assert float(ada.p) == pytest.approx(0.4, abs=4 * change)  # E sgn = 1 - p


def test_only_updates_of_the_discriminator_steer() -> None:
    ada, player, judge = make("ada", images=64, interval=1), nn.Linear(1, 1), nn.Linear(1, 1)
    duel = Duel(judge, (torch.ones(3, 1),), (torch.ones(3, 1),))
    duel._outputs = {"real": DiscriminatorOutput(torch.ones(3)), "fake": DiscriminatorOutput(torch.ones(3))}
    ada.after_step({"generator": player}, duel, turn(64))
    assert float(ada.p) == 0
    ada.after_step({"discriminator": judge}, duel, turn(64))
    assert float(ada.p) == 1


def test_the_middle_of_real_and_fake_is_a_zero_for_scores_without_one() -> None:
    real, fake = torch.tensor([1.0, 2.0, 3.0, 10.0, -1.0]), torch.tensor([-2.0, -3.0, -4.0])  # means 3 and -3
    signs = []
    for shift in (0.0, 1000.0, -1000.0):
        ada = make("ada", around="middle")
        controlled(ada, 0, real + shift, fake + shift)
        signs.append(float(ada.signs))
    assert signs == [pytest.approx(0.6)] * 3
    shifted = make("ada")
    controlled(shifted, 0, real - 1000, fake - 1000)
    assert float(shifted.signs) == -1


def test_scores_whose_sign_says_nothing_are_refused_unless_taken_against_the_middle() -> None:
    for trait in ("energy", "loss.signless"):
        other = SimpleNamespace(traits=frozenset({trait}))
        found = traits.conflicts({"loss=x": other, "regularizer=ada": make("ada")})
        assert [rule.override for _, rule in found] == ["regularizer.ada.around=middle"]
        assert traits.conflicts({"loss=x": other, "regularizer=ada": make("ada", around="middle")}) == []


@pytest.mark.parametrize("data", ["toy_images", "toy_points"])
def test_at_p_zero_ada_is_bit_identical_to_no_technique(data: str, toy: Callable[..., Any]) -> None:
    plain, ada = toy("mlp", data), toy("mlp", data, "regularizer=ada", "regularizer.ada.interval=100")
    digests = []
    for made in (plain, ada):
        for _ in range(3):
            made.trainer.advance()
        state = made.trainer.state_dict()
        digests.append(checkpoint.digest({path: value for path, value in state.items() if not path.startswith("regularizers")}))
    assert digests[0] == digests[1]
    assert float(ada.trainer.game.regularizers["ada"].signs) != 0


def test_at_p_one_ada_augments_both_sides_of_both_phases(toy: Callable[..., Any]) -> None:
    plain, ada = (toy("mlp", "toy_images", "optimizer.lr=0", *more) for more in ((), ("regularizer=ada",)))
    ada.trainer.game.regularizers["ada"].p.fill_(1.0)
    plain.trainer.advance()
    ada.trainer.advance()
    for name in ("discriminator/loss", "generator/loss"):
        assert float(plain.trainer.terms[name]) != float(ada.trainer.terms[name])
    x = draw(6, 1, 8, 8)
    duel = Duel(DiscriminatorOutput, (x,), (x,))
    ada.trainer.game.regularizers["ada"].before(duel, turn(6))
    policy = ("color", "translation", "cutout")
    assert torch.equal(duel.real[0], aug.augment((x,), ("data",), policy, turn(6), "ada/real")[0])
    assert torch.equal(duel.fake[0], aug.augment((x,), ("data",), policy, turn(6), "ada/fake")[0])
    assert not torch.equal(duel.real[0], duel.fake[0])


def test_a_controlled_run_is_resumed_exactly_between_two_moves_of_p(toy: Callable[..., Any]) -> None:
    options = ("regularizer=ada", "regularizer.ada.interval=4", "regularizer.ada.images=40", "regularizer.ada.target=-0.9")
    first, second = toy("mlp", "toy_points", *options), toy("mlp", "toy_points", *options)
    for _ in range(2):
        first.trainer.advance()
    second.trainer.load_state_dict(copy.deepcopy(first.trainer.state_dict()))
    held = [made.trainer.game.regularizers["ada"].signs for made in (first, second)]
    assert float(held[0]) == float(held[1]) != 0
    for made in (first, second):
        for _ in range(4):
            made.trainer.advance()
    assert float(held[0]) == float(held[1])
    assert checkpoint.digest(first.trainer.state_dict()) == checkpoint.digest(second.trainer.state_dict())
    assert float(first.trainer.game.regularizers["ada"].p) > 0


@pytest.mark.parametrize("option", [{"target": 1.0}, {"target": -1.0}, {"images": 0}, {"interval": 0}, {"around": "midle"}])
def test_a_senseless_controller_is_refused(option: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(option))}="):
        make("ada", **option)


# consistency


class Seen:
    """A critic that remembers what it was shown."""

    def __init__(self, score: Callable[[Tensor], Tensor]) -> None:
        self.score, self.shown, self.conditions = score, [], []  # type: ignore[var-annotated]

    def __call__(self, x: Tensor, condition: Tensor | None = None) -> DiscriminatorOutput:
        self.shown.append(x.detach())
        self.conditions.append(condition)
        return DiscriminatorOutput(self.score(x))


def consistency_of(critic: Any, x: Tensor, fake: Tensor | None = None, at: Turn | None = None, **options: Any) -> Tensor:
    duel = Duel(critic, (x,), (x if fake is None else fake,))
    duel.forward_both()
    regularizer = make("consistency", **options)
    return regularizer.weight * regularizer.term(duel, {}, at or turn(len(x)))  # type: ignore[no-any-return]


def test_consistency_is_the_mean_squared_change_of_the_score() -> None:
    w = draw(2, seed=1)
    for fakes in (False, True):
        critic = Seen(lambda x: x @ w + 3)
        real, fake = draw(50, 2), draw(50, 2, seed=2)
        found = consistency_of(critic, real, fake, weight=7.0, fakes=fakes)
        assert len(critic.shown) == 3 + fakes
        wanted = 7 * ((critic.shown[2] - real) @ w).square().mean()
        if fakes:
            wanted = wanted + 7 * ((critic.shown[3] - fake) @ w).square().mean()
            assert not torch.allclose(critic.shown[3] - fake, critic.shown[2] - real)
            assert float((critic.shown[3] - fake).abs().max()) <= 1 / 8
        assert 0 < float((critic.shown[2] - real).abs().max()) <= 1 / 8
        torch.testing.assert_close(found, wanted)


def test_a_linear_critic_pays_its_squared_slope_times_the_variance_of_the_jitter() -> None:
    w = draw(3, seed=1)
    found = consistency_of(Seen(lambda x: x @ w), draw(20_000, 3), weight=1.0)
    torch.testing.assert_close(found, w.square().sum() * (1 / 4) ** 2 / 12, rtol=0.03, atol=0)


def test_a_critic_that_does_not_see_the_augmentation_pays_nothing() -> None:
    x = draw(6, 3, 8, 8)
    total = consistency_of(Seen(lambda x: x.flatten(1).sum(1)), x, policy=["flip"], fakes=True)
    torch.testing.assert_close(total, torch.zeros((), dtype=torch.float64))
    half = consistency_of(Seen(lambda x: x[..., :4].flatten(1).sum(1)), x, policy=["flip"])
    assert float(half) > 1
    still = turn(6)
    still.uniform = lambda purpose, like=None: torch.full((6,), 0.5)  # type: ignore[method-assign]
    assert float(consistency_of(Seen(lambda x: x[..., :4].flatten(1).sum(1)), x, at=still)) == 0


def test_a_map_of_patches_counts_by_its_mean() -> None:
    x = draw(6, 1, 8, 8)
    assert float(consistency_of(Seen(lambda x: x), x, policy=["flip"])) == pytest.approx(0.0, abs=1e-12)
    found = consistency_of(Seen(lambda x: x), x, policy=["cutout"], weight=1.0)
    critic = Seen(lambda x: x)
    consistency_of(critic, x, policy=["cutout"])
    torch.testing.assert_close(found, (critic.shown[2] - x).mean((1, 2, 3)).square().mean())


def test_the_gradient_of_consistency_runs_through_both_looks() -> None:
    torch.manual_seed(3)
    network = nn.Sequential(nn.Linear(2, 4), nn.Tanh(), nn.Linear(4, 1)).double()
    real, fake = draw(5, 2), draw(5, 2, seed=2)

    def objective() -> Tensor:
        return consistency_of(lambda x: DiscriminatorOutput(network(x).squeeze(1)), real, fake, weight=3.0, fakes=True)

    objective().backward()
    for name, weight in network.named_parameters():
        flat = weight.data.view(-1)
        for index in range(flat.numel()):
            here, values = float(flat[index]), []
            for offset in (1e-5, -1e-5):
                flat[index] = here + offset
                values.append(float(objective().detach()))
            flat[index] = here
            assert weight.grad is not None
            wanted = (values[0] - values[1]) / 2e-5
            assert float(weight.grad.view(-1)[index]) == pytest.approx(wanted, abs=1e-8, rel=1e-5), name


def test_the_samples_of_a_pack_are_augmented_one_by_one_and_keep_their_labels() -> None:
    x, labels = draw(6, 3, 8, 8), torch.arange(6)
    critic = Seen(lambda x: x.flatten(1).sum(1))
    duel = Duel(critic, (x,), (x,), pack=3, real_condition=labels, fake_condition=labels)
    duel.forward_both()
    make("consistency", policy=list(EVERYTHING)).term(duel, {}, turn(6))
    (alone,) = aug.augment((x,), ("data",), EVERYTHING, turn(6), "consistency/real")
    assert torch.equal(critic.shown[2], packed(alone, 3))
    assert torch.equal(critic.conditions[2], labels.view(2, 3))


@pytest.mark.parametrize("option", [{"weight": -1.0}, {"every": 0}])
def test_senseless_weights_and_rhythms_are_refused(option: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=f"{next(iter(option))}="):
        make("consistency", **option)


# all of them together


@pytest.mark.parametrize(("model", "data"), [("dcgan", "toy_images"), ("mlp", "toy_points")])
def test_all_input_techniques_stack_and_train(model: str, data: str, toy: Callable[..., Any]) -> None:
    names = "ada,consistency,diffaugment,instance_noise,label_flip,label_smoothing,replay,r1"
    extra = ("model.discriminator.norm=none", "regularizer.consistency.fakes=true", "accumulate=2", "game.pack=2")
    made = toy(model, data, "batch_size=8", f"regularizer=[{names}]", "game.condition=concat", *extra)
    for _ in range(3):
        made.trainer.advance()
    made.trainer.check()
    made.trainer.check_weights()
    assert {"discriminator/consistency", "discriminator/r1"} <= set(made.trainer.terms)
    assert int(made.trainer.game.regularizers["replay"].pool.filled) == 24


# mirrors


CHIRAL = ("digits", "stacked_digits", "paired_digits", "unpaired_digits")


def test_no_default_mirrors_data() -> None:
    for name in AUGMENTING:
        assert "flip" not in make(name).policy
        assert "flip" not in compose_config(f"regularizer={name}")["regularizer"][name]["policy"]


@pytest.mark.parametrize("name", CHIRAL)
def test_data_whose_mirror_images_are_none_say_so_in_every_form(name: str) -> None:
    options = {"num": 20} if name == "stacked_digits" else {}
    dataset = registry.build("dataset", {"name": name, **options})
    held = dataset.held_out()
    for found in (
        dataset,
        dataset.fitted(16),
        held,
        registry.build("dataset", {"name": "digits", "size": 16, "classes": [3, 1]}),
    ):
        assert "dataset.achiral" not in found.traits
    assert MNIST.chiral
    assert not FASHION.chiral
    assert not CIFAR.chiral
    assert "dataset.achiral" in registry.build("dataset", {"name": "shapes", "num": 20}).traits


@pytest.mark.parametrize("name", AUGMENTING)
@pytest.mark.parametrize("policy", [["flip"], ["flip", "translation"]])
def test_a_mirror_is_warned_of_where_it_makes_other_classes(name: str, policy: list[str]) -> None:
    digits, shapes = (registry.build("dataset", {"name": data}) for data in ("digits", "shapes"))
    mirroring = {f"regularizer={name}": make(name, policy=policy, **({"around": "middle"} if name == "ada" else {}))}
    assert traits.verify({**mirroring, "dataset=shapes": shapes}) == []
    (line,) = traits.verify({**mirroring, "dataset=digits": digits})
    assert "mirrors samples" in line
    (mirror,) = mirroring.values()
    override = mirror.advises["dataset.achiral"].override
    assert override in line
    key, _, value = override.partition("=")
    assert key == f"regularizer.{name}.policy"
    cured = {f"regularizer={name}": make(name, policy=yaml.safe_load(value))}
    assert traits.verify({**cured, "dataset=digits": digits}) == []
