"""Commands that are shown run when pasted: through a shell's quoting and through Hydra's."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import cli_driver
import pytest
from cli_driver import run, write
from omegaconf import OmegaConf

from ganrun.cli.compose import composer
from ganrun.ground import spell

inside = cli_driver.inside  # fixture

ODD = [
    "my runs (1)",
    "it's",
    'a "b"',
    "lr=1",
    "a,b",
    "[x]",
    "{y}",
    "Bilder für 漢字",
    "#1 & $HOME;",
    "-x",
    "~",
    "back\\slash\\",
    "a:b",
    "1.10",
    "a${b} \\${c} ${",
]


@pytest.mark.parametrize("text", [*ODD, "", "null", "TRUE", "1e-4", "2024_06_01", "nan", "plain/path_1.2"])
def test_hydra_reads_back_what_is_spelt_and_so_does_a_shell(text: str) -> None:
    with composer() as found:
        for spelling in (spell.value(text), spell.quoted(text)):
            (word,) = shlex.split(shlex.quote(f"key={spelling}"))
            assert OmegaConf.create({"key": found.parse(word).value()}).key == text
    echoed = subprocess.run(["bash", "-c", f"printf %s {shlex.quote(spell.value(text))}"], capture_output=True, check=True)
    assert echoed.stdout.decode() == spell.value(text)


def test_an_override_that_is_offered_is_quoted_for_the_shell_and_its_words_are_not() -> None:
    assert spell.pasted("model=mlp") == "model=mlp"
    assert spell.pasted("regularizer=[r1,r2]") == "'regularizer=[r1,r2]'"
    assert spell.pasted("loss=lsgan (or minimax)") == "loss=lsgan (or minimax)"
    assert spell.pasted("output=my (old) runs") == "'output=my (old) runs'"
    assert spell.override("resume", Path("my runs/a")) == "'resume=\"my runs/a\"'"
    assert spell.pasted(f"output={spell.value('my runs')}") == "'output=\"my runs\"'"


@pytest.mark.parametrize("name", ["it's [bold] (1)", "-x #漢 & = $(y) ;,"])
def test_the_command_in_the_closing_words_and_the_one_that_asks_for_plugins_run_as_printed(name: str, inside: Path) -> None:
    (inside / "own.py").touch()
    mine = write(inside, experiment__quick="# @package _global_\n# Quick.\nsteps: 1\nbatch_size: 4\n")
    line = ["-cd", mine, "experiment=quick", "metric=none", "device.threads=1", "plugins=[own]", "model.generator.width=4"]
    sys.modules.pop("own", None)
    answer = run("train", *line, f"output={spell.quoted(name)}")
    assert answer.code == 0, answer.err
    found = re.search(r"next:? +ganrun (.*?)\s*│?\n", answer.err) or re.search(
        r"next:? +\S+ (?:-m ganrun )?(.*?)\s*│?\n", answer.err
    )
    assert found is not None, answer.err
    assert run(*shlex.split(found[1]), "--num", "4").code == 0, found[1]
    (folder,) = (inside / name / "default").iterdir()
    for words in (["sample", str(folder)], ["train", f"resume={spell.value(str(folder))}"]):
        asked = run(*words)
        assert asked.code == 2
        assert run(*shlex.split(asked.err.partition("type it again: ")[2])[1:]).code == 0, asked.err
