"""The registry: ``(group, name) -> callable``.

A component is a class or function that registers itself under a name in one of the groups below::

    @register("loss", "hinge")
    class Hinge(Loss): ...

Looking a name up imports the module of that name in the group's package (or, failing that, every module of the
package), so there is no list to edit and nothing is imported that is not used. Options are checked against the
callable's signature before it is called. A parameter whose annotation is a dataclass takes a nested mapping.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
import os
import pkgutil
import re
import sys
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from ganrun.ground.errors import BadInput, suggestion
from ganrun.ground.spell import pasted

PACKAGES = {
    "model": "ganrun.networks",
    "game": "ganrun.games",
    "condition": "ganrun.games.conditions",
    "loss": "ganrun.losses",
    "regularizer": "ganrun.regularizers",
    "dataset": "ganrun.data",
    "metric": "ganrun.metrics",
    "extractor": "ganrun.metrics",
    "optimizer": "ganrun.optimizers",
    "schedule": "ganrun.optimizers",
    "sign": "ganrun.signs",
    "disease": "ganrun.diseases",
    "tracker": "ganrun.trackers",
}

ENTRY_POINTS = "ganrun.plugins"
REMEDY = re.compile(r"Try ((\w+)=\S+)")

_components: dict[tuple[str, str], Callable[..., Any]] = {}
_swept: set[str] = set()


def register(group: str, name: str) -> Callable[[Any], Any]:
    """Enter the decorated class or function under ``name`` in ``group``.

    Raises ``ValueError`` for an unknown group or for a name that another object already holds.
    """
    if group not in PACKAGES:
        raise ValueError(f"there is no group {group!r}; groups: {', '.join(PACKAGES)}")

    def enter(component: Any) -> Any:
        held = _components.get((group, name))
        if held is not None and _identity(held) != _identity(component):
            raise ValueError(f"{group}={name} is taken by {_identity(held)}")
        _components[group, name] = component
        return component

    return enter


def lookup(group: str, name: str) -> Callable[..., Any]:
    """The component ``name`` of ``group``; ``BadInput`` with the nearest names if there is none."""
    if (group, name) not in _components:
        _import_module(PACKAGES[group], name)
    if (group, name) not in _components:
        discover(group)
    if (group, name) not in _components:
        raise BadInput(f"{group}={name}: there is no such {group}. {suggestion(name, names(group))}")
    return _components[group, name]


def names(group: str) -> list[str]:
    """All registered names of ``group``, sorted, after discovery."""
    discover(group)
    return sorted(name for held_group, name in _components if held_group == group)


def discover(group: str) -> None:
    """Import every module of the group's package, once."""
    package = PACKAGES[group]
    if package in _swept:
        return
    _swept.add(package)
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        importlib.import_module(f"{package}.{module.name}")


def load_plugins(modules: Iterable[str]) -> dict[str, str]:
    """Import a user's own modules, named on the command line, and the installed entry points ``ganrun.plugins``.

    Returns ``{module: version}`` of the modules that were named. The current folder is on the path while importing.
    """
    for entry in _entry_points(tuple(sys.path)):
        try:
            entry.load()
        except Exception as error:
            held = entry.dist
            name = f"{held.name} {held.version}" if held else entry.value
            raise BadInput(
                f"the installed plug-in {name} (entry point {ENTRY_POINTS}) cannot be imported: {type(error).__name__}: {error}. "
                "Repair or uninstall it"
            ) from error
    versions = {}
    for module in modules:
        here = os.getcwd()
        sys.path.insert(0, here)
        try:
            loaded = importlib.import_module(module)
        except ImportError as error:
            raise BadInput(
                f"plugins={module}: cannot be imported ({error}). It must lie in the current folder or be installed."
            ) from error
        finally:
            sys.path.remove(here)
        versions[module] = str(getattr(loaded, "__version__", "unknown"))
    return versions


@functools.lru_cache(maxsize=8)
def _entry_points(path: tuple[str, ...]) -> tuple[importlib.metadata.EntryPoint, ...]:
    """The entry points of what is installed on ``path``, read once: every installed package is opened for it."""
    return tuple(importlib.metadata.entry_points(group=ENTRY_POINTS))


def installed_plugins() -> dict[str, str]:
    """``{distribution: version}`` of the plug-ins that are joined by the entry point; nothing is imported."""
    found = [entry.dist for entry in _entry_points(tuple(sys.path))]
    return {str(held.name): str(held.version) for held in found if held is not None}


def options(component: Callable[..., Any]) -> dict[str, Any]:
    """The options a component takes with their defaults: its keyword-only parameters, nested for dataclasses.

    A constructor that hands ``**options`` on to its base takes the base's options too. A parameter without a default maps
    to ``inspect.Parameter.empty``.
    """
    found: dict[str, Any] = {}
    for name, parameter, _ in _parameters(component):
        default = parameter.default
        found[name] = (
            dataclasses.asdict(default) if dataclasses.is_dataclass(default) and not isinstance(default, type) else default
        )
    return found


def _parameters(component: Callable[..., Any]) -> Iterator[tuple[str, inspect.Parameter, Any]]:
    """(name, parameter, type hint) of the keyword-only parameters, those of a base that gets ``**options`` before the own."""
    if not inspect.isclass(component):
        yield from _keyword_only(component)
        return
    constructors = []
    for owner in component.__mro__:
        if "__init__" in vars(owner):
            constructors.append(vars(owner)["__init__"])
            kinds = {entry.kind for entry in inspect.signature(constructors[-1]).parameters.values()}
            if inspect.Parameter.VAR_KEYWORD not in kinds:
                break
    for constructor in reversed(constructors):
        yield from _keyword_only(constructor)


def _keyword_only(function: Callable[..., Any]) -> Iterator[tuple[str, inspect.Parameter, Any]]:
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
            yield name, parameter, hints.get(name)


def asked(config: Mapping[str, Any], told: Mapping[str, Any]) -> list[Any]:
    """Those of ``told`` that the data set of ``config`` takes by position, in its order."""
    parameters = inspect.signature(lookup("dataset", str(config["name"]))).parameters.values()
    return [told[entry.name] for entry in parameters if entry.kind is not inspect.Parameter.KEYWORD_ONLY and entry.name in told]


def build(group: str, config: Mapping[str, Any], *arguments: Any) -> Any:
    """Call the component ``config["name"]`` of ``group`` with the other entries of ``config`` as its options.

    ``arguments`` go first, by position. Unknown options are refused with the nearest valid names; a ``ValueError``
    or ``TypeError`` from the constructor becomes ``BadInput`` naming the component, and a ``BadInput`` that begins with
    an option gets the place of that option in the config.
    """
    name = str(config["name"])
    component = lookup(group, name)
    given = {str(key): value for key, value in config.items() if key != "name"}
    where = f"{group}.{name}" if group in ("regularizer", "metric", "tracker") else group
    chosen = _convert(component, given, where)
    try:
        return component(*arguments, **chosen)
    except BadInput as error:
        raise _placed(error, where, chosen) from None
    except (ValueError, TypeError) as error:
        raise BadInput(_complete(f"{group}={name}: {error}", where, chosen)) from error


def _convert(component: Callable[..., Any], given: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Check ``given`` against the signature and turn nested mappings into the dataclasses that it asks for."""
    valid = options(component)
    hints = {name: hint for name, _, hint in _parameters(component)}
    chosen: dict[str, Any] = {}
    for key, value in given.items():
        if key not in valid:
            raise BadInput(f"{where}.{key}={value}: there is no such option. {suggestion(key, valid)}")
        hint = hints.get(key)
        if inspect.isclass(hint) and dataclasses.is_dataclass(hint) and isinstance(value, Mapping):
            fields = {field.name for field in dataclasses.fields(hint)}
            for inner in value:
                if inner not in fields:
                    raise BadInput(
                        f"{where}.{key}.{inner}={value[inner]}: there is no such option. {suggestion(str(inner), fields)}"
                    )
            try:
                value = hint(**{str(inner): entry for inner, entry in value.items()})
            except BadInput as error:
                raise _placed(error, f"{where}.{key}", fields) from None
            except (ValueError, TypeError) as error:
                raise BadInput(_complete(f"{where}.{key}: {error}", f"{where}.{key}", fields)) from error
        chosen[key] = value
    return chosen


def _placed(error: BadInput, where: str, keys: Iterable[str]) -> BadInput:
    """The same, with ``where`` in front if it is about one of ``keys``: "model.generator.activation=relux: ..."."""
    if str(error).partition("=")[0] not in keys:
        return error
    return BadInput(_complete(f"{where}.{error}", where, keys))


def _complete(text: str, where: str, keys: Iterable[str]) -> str:
    """``text`` with the remedy in it, "Try index=null", as a shell takes it whole: "Try regularizer.mine.index=null"."""
    valid = set(keys)
    return REMEDY.sub(lambda found: f"Try {pasted(f'{where}.{found[1]}')}" if found[2] in valid else found[0], text)


def _import_module(package: str, name: str) -> None:
    """Import the module ``name`` of ``package`` if there is one; an ImportError from inside it is not hidden."""
    if name in {module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)}:
        importlib.import_module(f"{package}.{name}")


def _identity(component: Any) -> str:
    return f"{component.__module__}.{component.__qualname__}"
