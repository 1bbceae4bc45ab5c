"""A flag that there is not: the flag or the override that was meant."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from typer.core import TyperCommand

from ganrun.cli import complete
from ganrun.cli.schema import catalog
from ganrun.ground import spell
from ganrun.ground.errors import GanrunError, nearest


class Command(TyperCommand):
    """A command that, asked for ``--stpes 100``, offers ``steps=100``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        typed = list(args)
        try:
            return super().parse_args(ctx, args)
        except Exception as error:  # of click, which Typer may carry within itself
            if type(error).__name__ != "NoSuchOption":
                raise
            said: Any = error
            word = next((word for word in typed if word.startswith(said.option_name)), said.option_name)
            after = typed[typed.index(word) + 1 :] if word in typed else []
            said.message = f"No such option: {word.partition('=')[0]}"
            said.possibilities = list(self._meant(word, after, said.possibilities or []))[:3]
            raise

    def _meant(self, word: str, after: Sequence[str], flags: Sequence[str]) -> Iterator[str]:
        name, equals, value = word.lstrip("-").partition("=")
        yield from (flag for flag in flags if flag != "--help")
        if any(parameter.name == "overrides" for parameter in self.params):
            if not equals and after and not after[0].startswith("-") and "=" not in after[0]:
                value = after[0]
            for key in nearest(name, keys := _keys(str(self.name)), count=1):
                yield spell.pasted(f"{keys[key]}={value or 'VALUE'}")


def _keys(command: str) -> dict[str, str]:
    """Keys that this command takes, by themselves and by their last part."""
    allowed = complete.ALLOWED.get(command)
    try:
        found: list[Any] = [*catalog.groups(folders := catalog.places(None)), *(key for key, _ in complete.keys([], folders))]
    except GanrunError:
        return {}
    found = [key for key in found if allowed is None or complete.is_allowed(key, allowed)]
    return {key.rpartition(".")[2]: key for key in reversed(found)} | {key: key for key in found}
