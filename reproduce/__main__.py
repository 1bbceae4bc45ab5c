"""``python -m reproduce [NAME ...]``: runs targets, appends to results.jsonl, writes docs/reproductions.md.

--set cpu|mnist|long|gpu   all targets of a set          --quick     those that decide within 20 minutes together
--budget SECONDS           in place of the target's own  --looks N   only the first N looks
--root FOLDER              MNIST's and CIFAR-10's files  --output    where run folders go
--jobs N                   runs at a time, 2 unless said
--check                    train one run of five targets, or of those named, once more, and compare its digest with the row's
--tune NAME KEY=VALUE ...  try settings on --seeds 1000,1001 (none that judges), with --arm LABEL for some arms alone
--list                     what there is, with verdicts  --page      write the page, run nothing
"""

from __future__ import annotations

import argparse
import difflib
import os
import signal
import sys
from pathlib import Path

from reproduce import page, runner, target, verdicts

CHECKED = 5  # targets of which one run is repeated


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m reproduce", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME | KEY=VALUE")
    parser.add_argument("--set", choices=target.SETS)
    parser.add_argument("--budget", type=float)
    parser.add_argument("--looks", type=int)
    parser.add_argument("--seeds", default=str(target.TUNING))
    parser.add_argument("--arm", action="append", default=[])
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--root", default=os.environ.get("ROOT") or None)
    parser.add_argument("--output", type=Path, default=runner.ROOT / "outputs" / "reproduce")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--page", action="store_true")
    return parser


def main(words: list[str] | None = None) -> int:
    """0 where all went well, 1 where two runs of one command differ, 2 for a name that does not exist, 75 after SIGTERM."""
    parser = _parser()
    said = parser.parse_args(words)
    targets = target.load()
    typed = [word for word in said.names if "=" in word]
    said.names = [word for word in said.names if "=" not in word]
    if typed and not said.tune:
        print(f"{typed[0]}: settings are typed with --tune alone; those of a target are frozen", file=sys.stderr)
        return 2
    for name in said.names:
        if name not in targets:
            near = difflib.get_close_matches(name, targets, 1)
            print(f"no target {name}{f'; did you mean {near[0]}?' if near else ''} Valid: {', '.join(targets)}", file=sys.stderr)
            return 2
    results = runner.load()
    chosen = [targets[name] for name in said.names] or [
        entry for entry in targets.values() if entry.set == said.set or (said.quick and entry.quick)
    ]
    if said.list:
        for entry in targets.values():
            word = verdicts.verdict(entry, runner.table(entry, results))
            print(f"{entry.name:24} {entry.set:6} {word:13} {entry.claim}")
        return 0
    if said.check and not chosen:
        chosen = [entry for entry in targets.values() if entry.quick and runner.valid(entry, results)][:CHECKED]
    if not (chosen or said.page or said.check):
        parser.print_help()
        return 2
    root = str(Path(said.root).absolute()) if said.root else None
    run = runner.Runner(said.output.absolute(), root=root, parallel=max(said.jobs, 1))
    run.after = lambda: page.save(targets, runner.load())
    asked_to_end: list[int] = []

    def end(number: int, _frame: object) -> None:
        asked_to_end.append(number)
        run.stop()

    signal.signal(signal.SIGTERM, end)
    if said.tune:
        run.after = lambda: None
        try:
            for entry in chosen:
                run.tune(entry, typed, map(int, said.seeds.split(",")), said.arm)
        except ValueError as error:
            print(error, file=sys.stderr)
            return 2
        return 0
    same = True
    for entry in chosen:
        if asked_to_end:
            return runner.STOPPED
        why = runner.missing(entry, said.root)
        if why:
            print(f"{entry.name}: NOT RUN: {why}")
        elif said.check:
            same &= run.again(entry) is not False
        else:
            run.run(entry, budget=said.budget, looks=said.looks)
            run.draw(entry, page.PICTURES)
        page.save(targets, runner.load())
        print(f"{entry.name}: {verdicts.verdict(entry, runner.table(entry, runner.load()))}")
    page.save(targets, runner.load())
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
