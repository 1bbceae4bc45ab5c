"""A command outlives whoever reads it: nothing that happens to its streams stops it or changes its exit code."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from cli_driver import REPOSITORY, inside, start  # noqa: F401

from ganrun.engine import progress

GONE = {
    "a full disk": "({} >/dev/full 2>/dev/full; echo $? >code)",
    "closed output": "({} >&- 2>&-; echo $? >code)",
    "all closed": "({} <&- >&- 2>&-; echo $? >code)",
    "a reader who is gone": "({} 2>&1; echo $? >code) | true",
    "a reader who is gone, unbuffered": "(PYTHONUNBUFFERED=1 {} 2>&1 >/dev/full; echo $? >code) | true",
}


def shell(folder: Path, line: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a line of bash whose ``python`` is this one."""
    return subprocess.run(
        ["bash", "-c", f'python() {{ "{sys.executable}" "$@"; }}\n{line}'],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


TALK = """
import os, sys, warnings
from ganrun.ground import terminal
terminal.install()
from rich.console import Console
for turn in range(3):
    print("out", turn, flush=True)
    warnings.warn("a warning")
    sys.stderr.write("x" * 100_000 + chr(10))
    Console(stderr=True, force_terminal=True).print("[bold]rich[/bold]")
handle = os.open("data", os.O_WRONLY | os.O_CREAT)
os.write(handle, b"mine")
print("unflushed", end="")
open("end", "w").write(str(handle))
sys.exit(75)
"""


@pytest.mark.parametrize("redirected", GONE.values(), ids=GONE)
def test_no_loss_of_a_reader_is_an_error_nor_changes_the_exit_code(redirected: str, tmp_path: Path) -> None:
    (tmp_path / "talk.py").write_text(TALK)
    found = shell(tmp_path, redirected.format("python talk.py"))
    assert (tmp_path / "code").read_text() == "75\n", found.stderr
    assert int((tmp_path / "end").read_text()) > 2  # a file never gets the number of a stream that was closed
    assert (tmp_path / "data").read_text() == "mine"
    assert found.stderr == ""


def test_what_is_read_arrives_whole_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "talk.py").write_text(TALK)
    found = shell(tmp_path, "python talk.py")
    assert found.returncode == 75
    assert found.stdout == "out 0\nout 1\nout 2\nunflushed"
    assert found.stderr.count("x" * 100_000) == 3


def test_lines_come_back_when_a_full_disk_has_room_again(tmp_path: Path) -> None:
    code = (
        "import os, sys; from ganrun.ground import terminal; terminal.install()\n"
        "full = os.open('/dev/full', os.O_WRONLY); log = os.dup(1)\n"
        "os.dup2(full, 1); print('lost', flush=True)\n"
        "os.dup2(log, 1); print('kept', flush=True)\n"
    )
    assert shell(tmp_path, f'python -c "{code}"').stdout == "kept\n"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_any_name_of_a_file_can_be_shown_in_any_locale(encoding: str, tmp_path: Path) -> None:
    code = (
        "import os; from ganrun.ground import terminal as t; t.install(); print(os.fsdecode(bytes([255])), chr(23383), chr(177))"
    )
    found = shell(tmp_path, f'python -c "{code}" >out', PYTHONIOENCODING=encoding, PYTHONUTF8="0", LC_ALL="C.UTF-8")
    assert (found.returncode, found.stderr) == (0, "")


def test_a_sweep_and_a_listing_end_as_if_they_were_read(inside: Path) -> None:  # noqa: F811
    start(inside, "--version").communicate()  # lays the stand-in engine there
    path = f"{inside / '.stand_in'}:{REPOSITORY}"
    line = "(python -m ganrun train -m seed=1,13,2 2>&1; echo $? >code) | head -1; (python -m ganrun list; echo $? >>code) | true"
    found = shell(inside, line, PYTHONPATH=path)
    assert (inside / "code").read_text() == "1\n0\n", found.stderr
    assert len(list(inside.rglob("config.yaml"))) == 2
    assert found.stderr == ""


def test_a_terminal_that_is_gone_lets_the_run_save(inside: Path) -> None:  # noqa: F811
    start(inside, "--version").communicate()
    ours, theirs = pty.openpty()
    code = "import os, signal, sys; signal.signal(signal.SIGHUP, signal.SIG_DFL); os.login_tty(int(sys.argv[1]))"
    code += "; os.execv(sys.executable, [sys.executable, '-m', 'ganrun', *sys.argv[2:]])"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(theirs), "train", "steps=99", "seed=5"],
        cwd=inside,
        env={**os.environ, "PYTHONPATH": f"{inside / '.stand_in'}:{REPOSITORY}"},
        pass_fds=[theirs],
    )
    os.close(theirs)
    said = b""
    while b"TRAINS 5" not in said:
        said += os.read(ours, 1000)
    os.close(ours)
    assert process.wait(timeout=60) == 75


@pytest.mark.parametrize(
    ("steps", "said"), [(1000, ["the 989 steps that are left take about 8 min 14 s, at 2 a second"]), (100, [])]
)
def test_how_long_a_run_takes_is_said_once_without_its_slow_first_step(
    steps: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    moment, heard = 0.0, list[str]()
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: moment))
    monkeypatch.setattr(progress, "say", heard.append)
    display = progress.Display(steps)
    display.start(0)
    moment = 30.0
    for step in range(1, 40):
        display.advance(step)
        moment += 0.5
    assert [line.partition(";")[0] for line in heard] == said
