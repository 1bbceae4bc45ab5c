"""Parts of the machinery: steps that argmax hides, a score that sees classes alone, the power iteration."""

from __future__ import annotations

import math

import torch
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn.functional import one_hot

from ganrun.ground.spec import DiscriminatorOutput
from ganrun.metrics.inception_score import inception_scores
from ganrun.theory.base import Row, Rows, experiment
from ganrun.theory.tools import generator, judged, loss, regularizer


@experiment("argmax")
def argmax(figure: Figure) -> Rows:
    """argmax passes no gradient.

    A token chosen by argmax does not change under small steps of the generator, so the derivative of D's output is zero
    almost everywhere: at ties it does not exist. That is a statement about the derivative, not about large steps, which do
    change tokens. The softmax row in its place does pass one, but shows D something that no real text looks like.

    Formula:
        d argmax(l) / d l = 0 wherever the largest logit is alone
    """
    source = generator(11)
    logits = torch.randn(64, 10, generator=source, dtype=torch.float64)
    table, real = torch.randn(2, 10, generator=source, dtype=torch.float64), logits.new_zeros(64, 10)
    direction = torch.randn(64, 10, generator=source, dtype=torch.float64)
    judge, shipped = (lambda rows: DiscriminatorOutput(rows @ table[0])), loss("nonsaturating").g

    def hard(values: Tensor) -> Tensor:
        return judged(shipped, judge, real, one_hot(values.argmax(1), 10).double())[0]

    def soft(values: Tensor) -> Tensor:
        return judged(shipped, judge, real, values.softmax(1))[0]

    moves = torch.linspace(-1, 1, 201, dtype=torch.float64).tolist()
    curves = [[f(logits + move * direction).item() for move in moves] for f in (hard, soft)]
    h = 1e-6
    by_steps = [((f(logits + h * direction) - f(logits - h * direction)) / (2 * h)).item() for f in (hard, soft)]
    free = logits.clone().requires_grad_()
    (slope,) = torch.autograd.grad(soft(free), free)
    changed = ((logits + 0.5 * direction).argmax(1) != logits.argmax(1)).double().mean().item()
    axes = figure.add_subplot()
    axes.plot(moves, curves[0], drawstyle="steps-mid", label="argmax: flat steps")
    axes.plot(moves, curves[1], label="softmax")
    axes.set(xlabel="step along one direction of 64 x 10 logits", ylabel="generator's loss")
    axes.legend()
    return [
        Row("argmax: derivative by differences", 0.0, by_steps[0]),
        Row("argmax: autograd has a gradient (1 = yes)", 0, int(hard(free).requires_grad)),
        Row("softmax: derivative by differences, against autograd", (slope * direction).sum().item(), by_steps[1], 1e-7),
        Row("softmax: size of its gradient", 0.0, slope.norm().item(), relation="above"),
        Row("a step of 0.5 does change some tokens: share", 0.05, changed, relation="above"),
    ]


@experiment("inception_score")
def inception_score(figure: Figure) -> Rows:
    """The inception score is fooled by one image a class.

    The score sees predicted classes alone. One image for each of K classes, predicted with certainty and repeated without
    end, has the score K, the highest there is, as a perfectly diverse generator would; noise that the classifier names at
    random but with certainty has it, too. One class alone has 1, however diverse. And it never looks at real data.

    Formula:
        IS = exp E KL(p(y|x), p(y)),  1 <= IS <= K
    """
    classes = 10
    sure = 60 * torch.eye(classes, dtype=torch.float64)
    source = generator(12)
    names = torch.randint(classes, (5000,), generator=source)
    cases = {
        "one image a class, 500 copies each": (sure.repeat(500, 1), float(classes), 1e-9),
        "one class only": (sure[:1].repeat(5000, 1), 1.0, 1e-9),
        "half of the classes": (sure[:5].repeat(1000, 1), 5.0, 1e-9),
        "noise, named at random but surely": (sure[names], float(classes), 0.05),
        "predictions all alike": (torch.zeros(5000, classes, dtype=torch.float64), 1.0, 1e-9),
    }
    rows = [
        Row(label, expected, inception_scores(logits).item(), tolerance) for label, (logits, expected, tolerance) in cases.items()
    ]
    hand = torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [0.5, 0.5]], dtype=torch.float64).clamp_min(1e-300).log()
    axes = figure.add_subplot()
    axes.barh(list(cases), [row.measured for row in rows])
    axes.invert_yaxis()
    axes.set(xlabel="inception score of 5000 samples, 10 classes", ylabel="generator")
    return [*rows, Row("(1 0), (0 1), (.5 .5), (.5 .5): root of 2", math.sqrt(2), inception_scores(hand).item(), 1e-9)]


@experiment("spectral_norm")
def spectral_norm(figure: Figure) -> Rows:
    """Power iteration finds the largest singular value.

    Dividing by sigma makes the weight's top singular value 1. One iteration an update is enough because weights change
    slowly; at the first it is wrong, and how fast it nears depends on the ratio of the two largest singular values. For a
    convolution what becomes 1 is the reshaped matrix: the operator itself can be larger by up to the root of the kernel's
    size.

    Formula:
        W -> W / sigma(W);  error of v falls by (sigma_2 / sigma_1)^2 an iteration, that of sigma by its square
        |f(x) - f(y)| <= |x - y| layer by layer
    """
    torch.manual_seed(13)
    layer = nn.Linear(40, 30).double()
    original = layer.weight.detach().clone()
    exact = torch.linalg.svdvals(original)
    technique = regularizer("spectral_norm")
    technique.prepare({"discriminator": layer})
    duel = judged(
        loss("hinge").d, lambda x: DiscriminatorOutput(layer(x)[:, 0]), torch.zeros(1, 40).double(), torch.ones(1, 40).double()
    )[1]
    tops, here = [], None
    with torch.no_grad():
        for _ in range(300):
            tops.append(torch.linalg.svdvals(layer.weight)[0].item())
            technique.after_step({"discriminator": layer}, duel, here)
        top = torch.linalg.svdvals(layer.weight)[0].item()
        sigma = (original / layer.weight).flatten()[0].item()
        x, y = torch.randn(2, 500, 40, dtype=torch.float64)
        stretch = ((layer(x) - layer(y)).norm(dim=1) / (x - y).norm(dim=1)).max().item()
        layer.parametrizations.weight.original.mul_(7)  # type: ignore[union-attr, operator, index]
        scaled = (layer.weight - original / exact[0]).abs().max().item()
    axes = figure.add_subplot()
    axes.semilogy([abs(value - 1) + 1e-16 for value in tops], label="|top singular value - 1|")
    rate = (exact[1] / exact[0]).item()
    axes.semilogy([abs(tops[0] - 1) * rate ** (4 * step) + 1e-16 for step in range(300)], ":", label="(sigma_2 / sigma_1)^(4 k)")
    axes.set(xlabel="updates k", ylabel="distance from the exact value")
    axes.legend()
    return [
        Row("top singular value after 300 updates", 1.0, top, 1e-9),
        Row("sigma found, against the SVD", exact[0].item(), sigma, 1e-7),
        Row("before the first update it is off by more than", 1e-6, abs(tops[0] - 1), relation="above"),
        Row("its error's factor an update, (sigma_2 / sigma_1)^4", rate**4, ((tops[80] - 1) / (tops[40] - 1)) ** (1 / 40), 0.01),
        Row("greatest stretch of 500 pairs", 1 + 1e-9, stretch, relation="below"),
        Row("W and 7 W give the same layer", 0.0, scaled, 1e-9),
    ]
