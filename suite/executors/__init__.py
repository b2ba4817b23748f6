"""Where jobs run. One small interface: `map` takes jobs and yields each outcome as it comes, whatever became of it.

Jobs are pure: a function of a module and plain arguments in, a picklable result out. A job that raises, exits, hangs
past its limit or dies is an outcome like any other and touches nothing else. One file an engine.
"""

from suite.executors.job import UNUSABLE_DEVICE, UNUSABLE_PROCESS, Executor, Job, Needs, Outcome, Progress
from suite.executors.local import LocalExecutor
from suite.executors.orphans import children

__all__ = [
    "UNUSABLE_DEVICE",
    "UNUSABLE_PROCESS",
    "Executor",
    "Job",
    "LocalExecutor",
    "Needs",
    "Outcome",
    "Progress",
    "children",
]
