"""The machines of a cluster: how many workers they have room for, and which are dismissed after what went wrong there.

What goes wrong on one machine is to cost the run that machine at most.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from suite.errors import SuiteError
from suite.executors.job import Needs

_MOST_FAULTS = 3
"""How often, one after another, something goes wrong on a machine before it is dismissed."""


class Machines:
    """Those that are there, of which more may come.

    Args:
        needs: of one worker.
        listed: as `ray.nodes` lists them.
    """

    def __init__(self, needs: Needs, listed: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        self._needs, self._listed = needs, listed
        self._unbegun, self._faults = Counter[str](), Counter[str]()  # one after another
        self._dismissed: dict[str, str] = {}
        self.troubled = False
        """Whether anything went wrong: from then on workers are placed, so that it is known where it does."""

    def there(self) -> dict[str, int]:
        """How many workers fit on each machine that is there and not dismissed, if any do, whoever else uses it."""
        needs = {"CPU": self._needs.cpus, "GPU": self._needs.gpus, "memory": self._needs.memory or 0}
        found = {
            node["NodeID"]: min(int(node["Resources"].get(what, 0) / need) for what, need in needs.items() if need)
            for node in self._listed()
            if node["Alive"] and node["NodeID"] not in self._dismissed
        }
        return {machine: room for machine, room in found.items() if room}

    def room(self) -> int:
        """How many workers fit on all of them."""
        return sum(self.there().values())

    def share(self) -> int | None:
        """The least memory that a worker's cores come with, in bytes; None where it is not known."""
        there = self.there()
        found = [node["Resources"] for node in self._listed() if node["NodeID"] in there]
        each = [r["memory"] * self._needs.cpus / r["CPU"] for r in found if r.get("memory") and r.get("CPU")]
        return int(min(each)) if each else None

    def best(self, taken: Mapping[str | None, int]) -> str | None:
        """The machine with most room beside what is taken of it; None where all is taken."""
        free = {machine: room - taken.get(machine, 0) for machine, room in self.there().items()}
        found = max(free, key=lambda machine: free[machine], default=None)
        return found if found is not None and free[found] > 0 else None

    def has_dismissed(self, machine: str | None) -> bool:
        """Whether nothing is to be done there any more."""
        return machine in self._dismissed

    def dismiss(self, machine: str, why: str) -> None:
        """Give it no more work."""
        self.troubled = True
        self._dismissed[machine] = why

    def began(self, machine: str) -> None:
        """A worker began there."""
        del self._unbegun[machine]

    def did(self, machine: str | None) -> None:
        """A job was done there, whatever its outcome."""
        if machine is not None:
            del self._faults[machine]

    def began_none(self, machine: str | None, why: str) -> None:
        """A worker could not begin, on a machine if that is known."""
        self.troubled = True
        if machine is None:
            return
        self._unbegun[machine] += 1
        if self._unbegun[machine] >= _MOST_FAULTS:
            self.dismiss(machine, f"tried {self._unbegun[machine]} times: {why}")

    def lost_a_job(self, machine: str | None, why: str) -> None:
        """It could not hold what a job needs. The last machine is kept: jobs are lost there so often and no more."""
        self.troubled = True
        if machine is None:
            return
        self._faults[machine] += 1
        if self._faults[machine] >= _MOST_FAULTS and self.there().keys() - {machine}:
            self.dismiss(machine, f"{self._faults[machine]} jobs were lost there: {why}")

    def refuse_none_left(self) -> None:
        """To be asked where there is no worker.

        Raises:
            SuiteError: every machine that had room for one is dismissed.
        """
        if self._dismissed and not self.there():
            reasons = "; ".join(dict.fromkeys(self._dismissed.values()))
            raise SuiteError(f"no machine of the Ray cluster is left that a worker can be begun on: {reasons}")
