"""A duel: one discriminator judging real and fake inputs. All that a loss or a regularizer ever sees."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ganrun.ground.spec import DiscriminatorOutput

Inputs = tuple[Tensor, ...]
Move = Callable[[Tensor], Tensor]


class Duel:
    """Real against fake before one discriminator.

    ``real`` and ``fake`` are tuples of inputs, each of the kind that ``kinds`` says ("data" or "code"). Targets are
    floats or tensors of shape (n,). The outputs are computed once, when first read; ``together`` allows one forward
    pass over both sides, which is exact wherever the discriminator treats samples of a batch independently.

    ``pack`` samples are judged as one (Lin et al. 2018, PacGAN): n samples (n, c, ...) become n / pack inputs
    (n / pack, pack * c, ...), their labels (n / pack, pack), when the duel is settled, which is after all changes to
    single samples and before the first output. ``main`` is False for the further duels of a phase that has several.
    ``choose`` leaves some of the judged samples and takes the others out.
    """

    def __init__(
        self,
        discriminator: Callable[..., DiscriminatorOutput],
        real: Inputs,
        fake: Inputs,
        *,
        kinds: tuple[str, ...] = ("data",),
        real_condition: Tensor | None = None,
        fake_condition: Tensor | None = None,
        together: bool = False,
        pack: int = 1,
        main: bool = True,
    ) -> None:
        self.discriminator = discriminator
        self.real, self.fake, self.kinds = real, fake, kinds
        self.real_condition, self.fake_condition = real_condition, fake_condition
        self.real_target: float | Tensor = 1.0
        self.fake_target: float | Tensor = 0.0
        self.fake_weight: float = 1.0
        self.together, self.pack, self.main = together, pack, main
        self._finalized = False
        self._outputs: dict[str, DiscriminatorOutput] = {}
        self._needs_grad: set[str] = set()
        self._origins: dict[str, Inputs] = {}
        self._whole: DiscriminatorOutput | None = None
        self._chosen_from: Inputs | None = None
        self.remake: Callable[[Move], Inputs] | None = None  # the fakes from latents that a function has moved; of main duels
        self.made: tuple[Inputs, Tensor | None] | None = None  # the fakes and labels as they were made, for who kept them

    def discriminate(self, inputs: Inputs, condition: Tensor | None) -> DiscriminatorOutput:
        """A further look at any inputs."""
        output = self.discriminator(*inputs) if condition is None else self.discriminator(*inputs, condition=condition)
        if output.score.dtype in (torch.bfloat16, torch.float16):  # losses are computed in full precision
            output.score = output.score.float()
        return output

    def discriminate_single(self, inputs: Inputs, labels: Tensor | None) -> DiscriminatorOutput:
        """A further look at samples with a label each, made into packs as the duel's own are."""
        if self.pack == 1:
            return self.discriminate(inputs, labels)
        return self.discriminate(tuple(packed(entry, self.pack) for entry in inputs), _packed_labels(labels, self.pack))

    @property
    def real_output(self) -> DiscriminatorOutput:
        """The discriminator's output on the real inputs, computed once."""
        return self._output("real")

    @property
    def fake_output(self) -> DiscriminatorOutput:
        """The discriminator's output on the fake inputs, computed once."""
        return self._output("fake")

    @property
    def whole_fake_output(self) -> DiscriminatorOutput:
        """The output on all fakes that there were, whatever was chosen of them."""
        return self._whole if self._whole is not None else self.fake_output

    def output_on(self, made: Inputs, labels: Tensor | None) -> DiscriminatorOutput:
        """On fakes as they were made: the main output where nothing has changed them since, else that of a further look."""
        seen = self.fake if self._chosen_from is None else self._chosen_from
        return self.whole_fake_output if seen[0] is made[0] else self.discriminate_single(made, labels)

    def choose(self, rows: Tensor) -> None:
        """Leave the fakes ``rows`` (of packs: the packs) alone in the duel, and of as many real samples those they met."""
        whole, fakes = self.fake_output, len(self.fake[0])
        if self._whole is None:
            self._whole, self._chosen_from = whole, self.fake
        paired = len(self.real[0]) == fakes
        for side in ("fake", "real") if paired else ("fake",):
            output = whole if side == "fake" else self._outputs.get("real")
            if output is not None:
                self._outputs[side] = output.rows(rows)
            setattr(self, side, tuple(entry[rows] for entry in self._inputs(side)))
            for name in (f"{side}_condition", f"{side}_target"):
                held = getattr(self, name)
                setattr(self, name, held[rows] if isinstance(held, Tensor) else held)

    def finalize_inputs(self) -> None:
        """Make packs and the leaves that slopes are taken at. Inputs and targets do not change afterwards."""
        if self._finalized:
            return
        self._finalized = True
        if self.pack > 1:
            self.real, self.fake = (tuple(packed(entry, self.pack) for entry in side) for side in (self.real, self.fake))
            self.real_condition = _packed_labels(self.real_condition, self.pack)
            self.fake_condition = _packed_labels(self.fake_condition, self.pack)
            self.real_target, self.fake_target = (
                target.view(-1, self.pack)[:, 0] if isinstance(target, Tensor) else target
                for target in (self.real_target, self.fake_target)
            )
        for side in self._needs_grad - set(self._origins):
            setattr(self, side, _leaves(self._inputs(side)))

    def against(self, fake: Inputs, condition: Tensor | None) -> Duel:
        """The same real inputs, with the output on them, against other fakes, which are as this duel's settled ones."""
        self.finalize_inputs()
        other = Duel(
            self.discriminator,
            self.real,
            fake,
            kinds=self.kinds,
            real_condition=self.real_condition,
            fake_condition=condition,
            main=False,
        )
        other.real_target, other.fake_target, other.fake_weight = self.real_target, self.fake_target, self.fake_weight
        other._finalized, other._outputs = True, {"real": self.real_output}
        return other

    def exchanged(self) -> Duel:
        """The same duel, with the same outputs, in which real and fake have changed sides."""
        self.finalize_inputs()
        other = Duel(
            self.discriminator,
            self.fake,
            self.real,
            kinds=self.kinds,
            real_condition=self.fake_condition,
            fake_condition=self.real_condition,
            main=False,
        )
        other.fake_weight = self.fake_weight
        other._finalized, other._outputs = True, {"real": self.fake_output, "fake": self.real_output}
        return other

    def forward_both(self) -> None:
        """Judge both sides now: in one forward pass where allowed.

        A watched side gets a pass of its own, so that its second derivatives do not run over the other side's rows.
        """
        self.finalize_inputs()
        if not self.together or self._needs_grad or self._outputs or self._shapes("real") != self._shapes("fake"):
            _ = self.real_output, self.fake_output
            return
        count = self.real[0].shape[0]
        inputs = tuple(torch.cat(pair) for pair in zip(self.real, self.fake, strict=True))
        condition = None
        if self.real_condition is not None and self.fake_condition is not None:
            condition = torch.cat((self.real_condition, self.fake_condition))
        both = self.discriminate(inputs, condition)
        self._outputs = {"real": both.rows(slice(None, count)), "fake": both.rows(slice(count, None))}

    def require_input_grad(self, side: str) -> None:
        """Ask, before the outputs, that ``grad_norm_sq`` of this side may be taken through the main output."""
        self._needs_grad.add(side)

    def watch_origin(self, side: str) -> None:
        """As ``require_input_grad``, for ``origin_slope``: at the inputs as they are now, before later changes of them."""
        self._needs_grad.add(side)
        if side not in self._origins:
            self._origins[side] = _leaves(self._inputs(side))
            setattr(self, side, self._origins[side])

    def grad_norm_sq(self, side: str) -> Tensor:
        """Squared norm of the score's gradient at each input of ``side``, as it is judged: shape (n,), differentiable.

        Uses the main output where the side is watched and full precision holds, a further look in float32 otherwise:
        second derivatives of a bfloat16 pass are too coarse to penalise.
        """
        self.finalize_inputs()
        inputs = self._inputs(side)
        if side in self._needs_grad and not self._is_coarse:
            return gradient_norm_squared(self._output(side).score, inputs)
        return self.grad_norm_sq_at(inputs, self._condition(side))

    def origin_slope(self, side: str) -> Tensor:
        """The same at the inputs that ``watch_origin`` was told of, through all that has changed them since: shape (n,).

        Of a pack it is that at all its samples together.
        """
        self.finalize_inputs()
        origins = self._origins[side]
        if not self._is_coarse:
            return gradient_norm_squared(self._output(side).score, origins, self.pack)
        with torch.autocast(origins[0].device.type, enabled=False):
            return gradient_norm_squared(self.discriminate(self._inputs(side), self._condition(side)).score, origins, self.pack)

    def grad_norm_sq_at(self, inputs: Inputs, condition: Tensor | None) -> Tensor:
        """Squared norm of the score's gradient at ``inputs``, by a further look in float32: shape (n,)."""
        inputs = tuple(entry.detach().requires_grad_() for entry in inputs)
        with torch.autocast(inputs[0].device.type, enabled=False):
            return gradient_norm_squared(self.discriminate(inputs, condition).score, inputs)

    @property
    def _is_coarse(self) -> bool:
        """Whether the main outputs are not in full precision."""
        return torch.is_autocast_enabled(self.real[0].device.type)

    def _condition(self, side: str) -> Tensor | None:
        return self.real_condition if side == "real" else self.fake_condition

    def _inputs(self, side: str) -> Inputs:
        return self.real if side == "real" else self.fake

    def _shapes(self, side: str) -> list[torch.Size]:
        return [entry.shape[1:] for entry in self._inputs(side)]

    def _output(self, side: str) -> DiscriminatorOutput:
        self.finalize_inputs()
        if side not in self._outputs:
            self._outputs[side] = self.discriminate(self._inputs(side), self._condition(side))
        return self._outputs[side]


def gradient_norm_squared(score: Tensor, inputs: Inputs, pack: int = 1) -> Tensor:
    """||d score_i / d inputs_i||^2 for each sample i, summed over all inputs and all but the first dimension.

    Scores are summed before differentiating: samples are independent, so each gets its own gradient. The score of a map of
    patches is their mean, as it is to the losses. ``pack``: so many rows of the inputs were judged as one.
    Returns shape (n / pack,), with a graph for second derivatives.
    """
    score = of_sample(score)
    gradients = torch.autograd.grad(score.sum(), inputs, create_graph=True)
    if pack > 1:
        gradients = tuple(packed(gradient, pack) for gradient in gradients)
    return torch.stack([gradient.flatten(1).square().sum(1) for gradient in gradients]).sum(0)


def of_sample(score: Tensor) -> Tensor:
    """One score a sample, (n,): of a map of patches, (n, 1, height, width), the mean."""
    return score if score.ndim == 1 else score.flatten(1).mean(1)


def _leaves(inputs: Inputs) -> Inputs:
    """The inputs as what slopes are taken at; what comes from a generator that learns stays its own."""
    return tuple(entry if entry.grad_fn is not None else entry.detach().requires_grad_() for entry in inputs)


def packed(x: Tensor, count: int) -> Tensor:
    """Each ``count`` samples in a row as one, along a sample's first dimension: (n, c, ...) to (n / count, count * c, ...)."""
    return x.unflatten(0, (-1, count)).flatten(1, 2)


def _packed_labels(labels: Tensor | None, count: int) -> Tensor | None:
    return None if labels is None else labels.view(-1, count)
