"""``python -m reproduce [NAME ...]``: runs targets, appends to results.jsonl, writes docs/reproductions.md.

--set cpu|mnist|long|gpu   all targets of a set          --list     what there is, with verdicts
--budget SECONDS           in place of the target's own  --seeds N  only the first N seeds
--root FOLDER              MNIST's and CIFAR-10's files  --twice    run twice, compare digests
--page                     write the page, run nothing   --output   where run folders go
"""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
from pathlib import Path

from reproduce import page, runner, target, verdicts


def main(words: list[str] | None = None) -> int:
    """0 where all went well, 1 where two runs of one command differ, 2 for a name that does not exist, 75 after SIGTERM."""
    parser = argparse.ArgumentParser(
        prog="python -m reproduce", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME")
    parser.add_argument("--set", choices=target.SETS)
    parser.add_argument("--budget", type=float)
    parser.add_argument("--seeds", type=int)
    parser.add_argument("--root", default=os.environ.get("ROOT") or None)
    parser.add_argument("--output", type=Path, default=runner.ROOT / "outputs" / "reproduce")
    parser.add_argument("--twice", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--page", action="store_true")
    said = parser.parse_args(words)
    targets = target.load()
    for name in said.names:
        if name not in targets:
            near = difflib.get_close_matches(name, targets, 1)
            print(f"no target {name}{f'; did you mean {near[0]}?' if near else ''} Valid: {', '.join(targets)}", file=sys.stderr)
            return 2
    chosen = [targets[name] for name in said.names] or [entry for entry in targets.values() if entry.set == said.set]
    if said.list:
        for entry in targets.values():
            found = verdicts.verdict(entry.checks, runner.table(entry, runner.load()))
            print(f"{entry.name:24} {entry.set:6} {found:13} {entry.claim}")
        return 0
    if not (chosen or said.page):
        parser.print_help()
        return 2
    run = runner.Runner(said.output.absolute(), root=str(Path(said.root).absolute()) if said.root else None)
    run.after = lambda: page.save(targets, runner.load())
    asked_to_end: list[int] = []

    def end(number: int, _frame: object) -> None:
        asked_to_end.append(number)
        run.stop()

    signal.signal(signal.SIGTERM, end)
    same = True
    for entry in chosen:
        if asked_to_end:
            return runner.STOPPED
        why = runner.missing(entry, said.root)
        if why:
            print(f"{entry.name}: NOT RUN: {why}")
        elif said.twice:
            same &= run.twice(entry)
        else:
            run.run(entry, budget=said.budget, seeds=said.seeds)
            run.draw(entry, page.PICTURES)
        page.save(targets, runner.load())
        print(f"{entry.name}: {verdicts.verdict(entry.checks, runner.table(entry, runner.load()))}")
    page.save(targets, runner.load())
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
