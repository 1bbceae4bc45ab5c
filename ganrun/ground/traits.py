"""Which components may stand together: traits, what needs them, what refuses them. The only place of refusal.

A trait is a word that follows from options alone, such as ``discriminator.batch_coupled``. A component may have

- ``traits``: the words it contributes;
- ``needs``: ``{trait: Rule}``, refused where the trait is absent;
- ``refuses``: ``{trait: Rule}``, refused where the trait is present;
- ``advises``: ``{trait: Rule}``, a warning where the trait is absent.

Each rule ends with an override that makes the run legal; a test applies it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ganrun.ground.errors import BadInput
from ganrun.ground.spell import pasted


@dataclass(frozen=True)
class Rule:
    """Why two components cannot stand together, and the override that makes the run legal."""

    why: str
    override: str


# shared by losses, regularizers and games, which do not know each other
FEATURES_NEEDED = {
    "discriminator.features": Rule(
        "it reads the discriminator's features, and this family's discriminator gives no vector of them", "model=mlp"
    ),
}


def gather(components: Mapping[str, object]) -> set[str]:
    """The union of all traits."""
    return set().union(*(getattr(component, "traits", ()) for component in components.values()))


def conflicts(components: Mapping[str, object]) -> list[tuple[str, Rule]]:
    """All refusals as ``(component, rule)``; ``components`` maps what a person typed (``loss=hinge``) to the object."""
    traits = gather(components)
    found = []
    for typed, component in components.items():
        found += [(typed, rule) for trait, rule in getattr(component, "needs", {}).items() if trait not in traits]
        found += [(typed, rule) for trait, rule in getattr(component, "refuses", {}).items() if trait in traits]
    return found


def verify(components: Mapping[str, object]) -> list[str]:
    """Raise ``BadInput`` naming every conflict with its remedy; return the warnings."""
    refused = conflicts(components)
    if refused:
        raise BadInput("\n".join(f"{typed}: {rule.why}. Try {pasted(rule.override)}" for typed, rule in refused))
    traits = gather(components)
    return [
        f"{typed}: {rule.why}. Try {pasted(rule.override)}"
        for typed, component in components.items()
        for trait, rule in getattr(component, "advises", {}).items()
        if trait not in traits
    ]
