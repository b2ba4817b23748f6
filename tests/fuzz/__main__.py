"""`python -m tests.fuzz --seed N --count M`: M damaged task files, 0.3 M results, 0.3 M metric files."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz import campaign
from tests.fuzz.campaign import COUNTS, Case, Done


def main() -> int:
    """Run a campaign, or leave the files of one case to look at."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--count", type=int, default=COUNTS["specs"], help="of task files; of the others 3 for each 10")
    parser.add_argument("--subject", choices=list(COUNTS), action="append", help="these, and no others")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument(
        "--show", nargs=4, metavar=("SUBJECT", "DAMAGE", "SEED", "FOLDER"), help="leave the files of a case in a folder"
    )
    given = parser.parse_args()
    if given.show:
        campaign.kept(Case(*given.show[:3]), Path(given.show[3]))
        return 0
    counts = {name: round(given.count * COUNTS[name] / COUNTS["specs"]) for name in given.subject or COUNTS}
    found = campaign.campaign(given.seed, counts, _Told(sum(counts.values())))
    if given.json:
        given.json.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    for subject, figures in found.items():
        _print(subject, figures)
    return int(any(figures["wrong"] for figures in found.values()))


class _Told:
    """How far it is, on standard error; what is wrong, at once."""

    def __init__(self, count: int) -> None:
        self.count, self.done, self.start = count, 0, time.monotonic()

    def __call__(self, done: Done) -> None:
        self.done += 1
        for line in done.wrong:
            print(f"{done.case.subject} «{done.case.damage}» {done.case.seed}: {line}", file=sys.stderr)
        if not self.done % 20:
            seconds = time.monotonic() - self.start
            print(f"{self.done} of {self.count}, {seconds:.0f} s", file=sys.stderr, flush=True)


def _print(subject: str, figures: dict[str, Any]) -> None:
    words = ("cases", "accepted", "refused", "wrong")
    print(f"\n{subject}: {figures['cases']} cases, {figures['calls']} calls of the command, {figures['seconds']:g} s")
    statuses = ", ".join(f"{status}: {count}" for status, count in figures["statuses"].items())
    print(f"exit statuses: {statuses}\n")
    print(f"{'damage':44} {' '.join(f'{word:>8}' for word in words)}")
    for kind, counts in {**figures["damage"], "all": figures}.items():
        print(f"{kind:44} {' '.join(f'{counts[word]:8}' for word in words)}")
    print("\nslowest calls:")
    for one in figures["slowest"]:
        print(f"  {one['seconds']:6.2f} s  {one['words']}  ({one['damage']})")
    for line in figures["failures"]:
        print(f"WRONG {line}")


if __name__ == "__main__":
    sys.exit(main())
