"""Measuring many values in one job although any metric may hang or die: who broke a job is found and set apart."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

from suite.executors import Job, Outcome
from suite.measuring.jobs import Wanted, failed_value
from suite.measuring.rows import rows_of
from suite.metrics import Metric
from suite.spec.task import MOST_TIMEOUTS
from suite.store import StoredValue

_Who = tuple[str, str]  # task and metric


class Rounds:
    """Judges the outcomes of metric jobs, each a run's values, and says what is to be tried again.

    Args:
        metrics: by name.
        record: takes finished rows.
    """

    def __init__(self, metrics: Mapping[str, Metric], record: Callable[[list[StoredValue]], None]) -> None:
        self._metrics, self._record = metrics, record
        self._timeouts: Counter[_Who] = Counter()
        self._suspects: set[_Who] = set()

    def revise(self, job: Job) -> Job:
        """The job without values of metrics that were given up meanwhile; those are recorded as timeouts, not tried."""
        wanted: tuple[Wanted, ...] = job.arguments[0]
        dropped = [w for w in wanted if self._timeouts[job.group, w.metric] >= MOST_TIMEOUTS]
        if not dropped:
            return job
        reason = f"not tried: it took too long on {MOST_TIMEOUTS} values of this task"
        self._record([failed_value(w, self._metrics[w.metric], "timeout", reason, 0.0) for w in dropped])
        return replace(job, arguments=(tuple(w for w in wanted if w not in dropped), *job.arguments[1:]))

    def settle(self, outcome: Outcome) -> list[Job]:
        """Record what an outcome says; the jobs that are left of it.

        The value in whose time a worker died or hung is to blame. What else was in the job is measured again: metrics
        that never broke anything together, the others each alone.
        """
        wanted: tuple[Wanted, ...] = outcome.job.arguments[0]
        if outcome.status == "ok":
            try:
                self._record(rows_of(wanted, self._metrics, outcome.result))
                return []
            except ValueError as error:
                outcome = replace(outcome, status="failed", reason=f"its process sent what no metric returns: {error}")
        if outcome.status == "failed":  # not in a metric, or it would be a row: none of these could have done better
            self._record([self._lost(w, outcome) for w in wanted])
            return []
        if not wanted:
            return []
        guilty = min(round(outcome.fraction * len(wanted)), len(wanted) - 1)
        self._record([self._lost(wanted[guilty], outcome)])
        who = (outcome.job.group, wanted[guilty].metric)
        self._suspects.add(who)
        self._timeouts[who] += outcome.status == "timeout"
        return self._apart(outcome.job, wanted[:guilty] + wanted[guilty + 1 :])

    def _apart(self, job: Job, wanted: tuple[Wanted, ...]) -> list[Job]:
        calm = tuple(w for w in wanted if (job.group, w.metric) not in self._suspects)
        alone = [(w,) for w in wanted if w not in calm]
        return [replace(job, arguments=(part, *job.arguments[1:])) for part in [calm, *alone] if part]

    def _lost(self, want: Wanted, outcome: Outcome) -> StoredValue:
        return failed_value(want, self._metrics[want.metric], outcome.status, outcome.reason, outcome.seconds)
