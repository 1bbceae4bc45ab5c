"""A comparison of runs as it goes into a paper or another program: CSV, JSON, LaTeX (booktabs) and Markdown."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from ganrun.disk.run_folder import now
from ganrun.engine.compare import Column, Comparison, rule, verdict
from ganrun.engine.decide import LEVEL, Difference, Estimate

LATEX = {
    **{"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"},
    **{"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"},
    **{character: f"\\{character}" for character in "{}$&#%_"},
    **{"[": "{[}", "]": "{]}", "*": "{*}"},  # after the end of a row these would be its options
}
POWER_OF_TEN = re.compile(r"e([+-]?\d+)")
MARKDOWN = "\\`*_[]<>|&~$"


def as_json(found: Comparison) -> str:
    """Everything in full precision, with the cards."""
    settings = [
        {
            "number": place + 1,
            "name": name,
            "keys": dict(keys),
            "runs": [{"run": str(entry.target), "seed": entry.seed, "step": entry.step} for entry in entries],
        }
        for place, (name, keys, entries) in enumerate(zip(found.names, found.keys, found.settings, strict=True))
    ]
    columns = [
        {
            "name": column.name,
            "score": column.score,
            "higher_is_better": column.higher,
            "card": column.card,
            "results": [_result(found, column, place) for place, name in enumerate(found.names) if name in column.values],
        }
        for column in found.columns.values()
    ]
    held = {"level": LEVEL, "reference": found.reference + 1, "settings": settings, "scores": columns, "notes": found.notes}
    return json.dumps({**held, "made": now()}, indent=2, ensure_ascii=False, allow_nan=False)


def _result(found: Comparison, column: Column, place: int) -> dict[str, Any]:
    """What is known of one setting by one column, as plain values."""
    name = found.names[place]
    mean, gap = found.means[column.name][name], found.differences.get(column.name, {}).get(name)
    values = {str(seed): value for seed, value in sorted(column.values[name].items())}
    result = {"setting": place + 1, "mean": mean.mean, "half_width": mean.half, "seeds": mean.count, "values": values}
    return {
        **result,
        "best": found.best.get(column.name) == name,
        "difference": None if gap is None else _gap(gap, column.higher),
    }


def _gap(gap: Difference, higher: bool | None) -> dict[str, Any]:
    known: dict[str, Any] = {"mean": gap.mean, "half_width": gap.half, "seeds": gap.count, "seeds_of_reference": gap.other}
    known |= {"how": gap.how, "p": gap.p, "adjusted_p": gap.adjusted, "decided": gap.decided and higher is not None}
    return {**known, "verdict": verdict(gap, higher), "more_seeds": gap.further if higher is not None else None}


def as_csv(found: Comparison) -> str:
    """A line for each setting and column: the keys that differ, then the numbers in full precision."""
    keys = list(found.keys[0])
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    of_mean = ["score", "higher_is_better", "mean", "half_width", "seeds", "best"]
    of_gap = ["mean", "half_width", "seeds", "seeds_of_reference", "how", "p", "adjusted_p", "decided", "verdict", "more_seeds"]
    writer.writerow(["setting", *keys, *of_mean, *(f"difference.{name}" for name in of_gap)])
    for column in found.columns.values():
        for place, name in enumerate(found.names):
            if name not in column.values:
                continue
            result = {**_result(found, column, place), "score": column.name, "higher_is_better": column.higher}
            gap = result["difference"] or {}
            cells = [place + 1, *(text(found.keys[place][key]) for key in keys), *(result[key] for key in of_mean)]
            writer.writerow(["" if cell is None else cell for cell in [*cells, *(gap.get(key) for key in of_gap)]])
    return file.getvalue()


def as_markdown(found: Comparison) -> str:
    """Two tables, means and differences, and the sentences to read them by."""
    lines = []
    for head, rows in _tables(found, _markdown, lambda cell: f"**{cell}**", {True: "↑", False: "↓"}, "±"):
        lines += [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}", *(f"| {' | '.join(row)} |" for row in rows), ""]
    return "\n".join([*lines, *(_markdown(sentence) for sentence in _sentences(found))]) + "\n"


def as_latex(found: Comparison) -> str:
    """Two ``tabular`` with booktabs, means and differences; what is to be known of them stands in comments."""
    lines = [r"% ganrun compare; in the preamble: \usepackage{booktabs}"]
    arrows: dict[bool | None, str] = {True: r"$\uparrow$", False: r"$\downarrow$"}
    for head, rows in _tables(found, latex, lambda cell: rf"\textbf{{\boldmath {cell}}}", arrows, r"\pm", latex_number):
        kinds = "l" * len(_first(found, latex)) + "r" * (len(head) - len(_first(found, latex)))
        lines += [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", f"{' & '.join(head)} \\\\", r"\midrule"]
        lines += [*(f"{' & '.join(row)} \\\\" for row in rows), r"\bottomrule", r"\end{tabular}"]
    return "\n".join([*lines, *(f"% {_one_line(sentence)}" for sentence in _sentences(found))]) + "\n"


Table = tuple[list[str], list[list[str]]]


def _tables(
    found: Comparison,
    escape: Callable[[str], str],
    bold: Callable[[str], str],
    arrows: Mapping[bool | None, str],
    sign: str,
    number: Callable[[str], str] = str,
) -> list[Table]:
    """(head, rows) of the means, and of the differences where there are any."""
    columns = list(found.columns.values())
    first = _first(found, escape)
    head = [*first, *(f"{escape(column.name)} {arrows.get(column.higher, '')}".strip() for column in columns)]
    means, gaps = [], []
    for place, name in enumerate(found.names):
        keys = [escape(text(value)) for value in found.keys[place].values()] or [escape(name)]
        counts = {column.name: len(column.values.get(name, {})) for column in columns}
        most = max(counts.values(), default=0)
        cells = []
        for column in columns:
            cell = number(rounded(found.means[column.name].get(name), sign))
            cell = bold(cell) if found.best.get(column.name) == name else cell
            fewer = f" (n={counts[column.name]})" if 0 < counts[column.name] < most else ""
            cells.append(cell + fewer)
        means.append([*keys, str(most), *cells])
        if place != found.reference:
            held = [(found.differences.get(column.name, {}).get(name), column.higher) for column in columns]
            count = max((gap.count for gap, _ in held if gap is not None), default=0)
            words = [
                f"{number(rounded(gap, sign, signed=True))} {escape(_in_brackets(verdict(gap, up)))}".strip() for gap, up in held
            ]
            gaps.append([*keys, str(count), *words])
    tables = [(head, means)]
    if any(found.differences.values()):
        tables.append(
            ([*first, *(f"$\\Delta$ {part}" if number is not str else f"Δ {part}" for part in head[len(first) :])], gaps)
        )
    return tables


def _first(found: Comparison, escape: Callable[[str], str]) -> list[str]:
    """The heads of the columns that say which setting it is."""
    return [*(escape(key) for key in found.keys[0]), "seeds"] if found.keys[0] else ["setting", "seeds"]


def _in_brackets(words: str) -> str:
    return f"({words})" if words else ""


def _sentences(found: Comparison) -> list[str]:
    base = f"Differences (Δ) are from: {found.names[found.reference]}." if any(found.differences.values()) else ""
    return [entry for entry in (f"{rule(found)}.", base, *found.notes) if entry]


def rounded(found: Estimate | None, sign: str, *, signed: bool = False) -> str:
    """A mean and half its interval, to the second digit of the latter: ``12.94 ± 0.31``; without one, to four digits."""
    if found is None:
        return "-"
    plus = "+" if signed else ""
    if not found.half:
        return f"{found.mean:{plus}.4g}"
    decimals = max(0, 1 - math.floor(math.log10(found.half)))
    if decimals > 8 or abs(found.mean) >= 1e7:
        return f"{found.mean:{plus}.4g} {sign} {found.half:.2g}"
    return f"{found.mean:{plus}.{decimals}f} {sign} {found.half:.{decimals}f}"


def text(value: Any) -> str:
    """A value of a key as it is typed, without the brackets of a list."""
    if isinstance(value, list):
        return ", ".join(map(text, value)) or "none"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def latex(words: str) -> str:
    """Text that LaTeX sets as it stands, in a cell of a table too."""
    return "".join(LATEX.get(character, character) for character in _one_line(words))


def latex_number(words: str) -> str:
    """A number, with its interval, in mathematics; the e of a power of ten becomes one."""
    if words == "-":
        return "--"
    mantissa = POWER_OF_TEN.sub(lambda power: rf"\times 10^{{{int(power[1])}}}", words)
    return f"${mantissa}$"


def _markdown(words: str) -> str:
    return "".join(f"\\{character}" if character in MARKDOWN else character for character in _one_line(words))


def _one_line(words: str) -> str:
    return " ".join(words.split())
