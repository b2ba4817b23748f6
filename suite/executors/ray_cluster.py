"""Workers on the machines of a Ray cluster (https://docs.ray.io), an agent for each.

An agent is an actor that holds one worker process as `LocalExecutor` does, so that a job which raises, hangs or dies is
the same outcome here as on one machine. Ray itself is asked for three things: where there is room, to carry jobs and
results there and back, and to say which agents are gone. Nothing is shared between machines but what jobs carry.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import itertools
import signal
import socket
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from suite import __version__
from suite.errors import BadInput, SuiteError, first_line
from suite.executors.agent import Agent, Answer, forget_main, outcome_of
from suite.executors.job import Job, Needs, Outcome
from suite.executors.machines import Machines
from suite.executors.parcel import Missing, NamedFile, Parcel

_LOOK_SECONDS = 0.2
_GROW_SECONDS = 5.0
_PATIENCE = 120.0
"""Seconds without any agent, while nothing runs, after which a cluster is said to have no room."""
_ANSWER_SECONDS = 10.0
_CLOSE_SECONDS = 5.0
"""Within these an agent ends its worker and removes its files, or leaves them behind."""
_MOST_LOSSES = 3
"""How often a job is begun again whose worker was lost."""
_MOST_SENDS = 4
"""How often a job is sent until its files are there: once without them, once with them, and they may change."""
_THREADS = 2
"""Of an agent: one does a job, one says how far it is."""


class RayExecutor:
    """Workers on a Ray cluster that is there already; more of them as machines join it.

    Args:
        address: as of `ray.init`: `auto`, `HOST:PORT` or `ray://HOST:PORT`.
        workers: at most so many at a time; None: as many as there is room for.
        environment: variables set in the workers before they import anything.
        needs: of one worker.

    Raises:
        BadInput: Ray is not installed, or there is no such cluster.
    """

    def __init__(
        self, address: str, workers: int | None, environment: Mapping[str, str], needs: Needs | None = None
    ) -> None:
        if importlib.util.find_spec("ray") is None:
            raise BadInput("--executor ray: Ray is not installed here: pip install -c constraints.txt -e '.[ray]'")
        ray: Any = importlib.import_module("ray")
        self._ray, self._most, self._needs = ray, workers, needs or Needs()
        self._machines = Machines(self._needs, ray.nodes)
        self._places: Any = importlib.import_module("ray.util.scheduling_strategies")
        self._errors: Any = importlib.import_module("ray.exceptions")
        self._environment = dict(environment)
        self._own = not ray.is_initialized()
        ended_by = signal.getsignal(signal.SIGTERM)
        try:
            _answers_at(address)
            ray.init(
                address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="error", namespace="suite"
            )
        except (OSError, RuntimeError, ValueError) as error:
            raise BadInput(
                f"--address {address}: no Ray cluster answers there ({str(error).splitlines()[0]}); "
                "`ray start --head` begins one; one that asks for a token needs RAY_AUTH_MODE=token here too"
            ) from None
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, ended_by)  # Ray puts its own in place, which aborts the process
        self._agents: dict[Any, _Hired] = {}  # by what says that they are ready
        self._grown = 0.0

    @property
    def workers(self) -> int:
        """As many as there is room for now."""
        room = self._machines.room()
        return max(1, min(room, self._most or room))

    @property
    def memory(self) -> int | None:
        """What was asked for; else the smallest share of a machine."""
        return self._needs.memory if self._needs.memory is not None else self._machines.share()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.renew()
        if self._own:
            self._ray.shutdown()

    def renew(self) -> None:
        """End the workers: the next job starts new ones, in which nothing is left of what ran before."""
        begun, _ = self._wait(list(self._agents), 0)
        for reference in begun:
            self._agents[reference].begun = True
        self._end(list(self._agents.values()))
        self._agents.clear()
        self._grown = 0.0

    def map(
        self,
        jobs: Sequence[Job],
        tick: Callable[[list[float]], None] | None = None,
        revise: Callable[[Job], Job] = lambda job: job,
    ) -> Iterator[Outcome]:
        """As `Executor.map`. A job whose machine is lost, or cannot hold it, is begun elsewhere, three times at most.

        Raises:
            SuiteError: there is no room for a worker, or no machine is left on which one can be begun.
        """
        waiting, fractions = deque(enumerate(jobs)), [0.0] * len(jobs)
        running: dict[Any, _Sent] = {}
        unsent: list[tuple[_Sent, Any]] = []
        losses, lost_on = Counter[int](), defaultdict[int, set[str | None]](set)
        idle_since = time.monotonic()
        while waiting or running or unsent:
            self._grow(len(waiting) + len(running))
            for hired in self._free(running) if waiting else ():
                if (place := self._place(waiting, hired, lost_on)) is not None:
                    number, job = waiting[place]
                    del waiting[place]
                    unsent += self._send(_Sent(number, revise(job), hired), running)
            idle_since = self._patient(idle_since, bool(running))
            told, unsent = unsent, []
            for sent, answer in itertools.chain(told, self._answers(running)):
                if isinstance(answer, Missing):
                    unsent += self._send(replace(sent, sends=sent.sends + 1), running, answer.files)
                elif isinstance(answer, _Lost) and losses[sent.number] < _MOST_LOSSES:
                    losses[sent.number] += 1
                    lost_on[sent.number] |= {sent.agent.machine} if answer.by_machine else set()
                    waiting.appendleft((sent.number, sent.job))
                else:
                    fractions[sent.number] = 1.0
                    yield outcome_of(sent.job, answer.answer() if isinstance(answer, _Lost) else answer)
            if tick:
                self._look(running, fractions)
                tick(fractions)

    def _place(
        self, waiting: Sequence[tuple[int, Job]], hired: _Hired, lost_on: Mapping[int, set[str | None]]
    ) -> int | None:
        """Where the next job for an agent is: none that its machine has lost, if other machines are ready."""
        ready = {one.machine for one in self._agents.values() if one.ready}
        for place, (number, _) in enumerate(waiting):
            lost = lost_on.get(number, set())
            if hired.machine not in lost or not ready - lost:
                return place
        return None

    def _send(self, sent: _Sent, running: dict[Any, _Sent], asked: Sequence[NamedFile] = ()) -> list[tuple[_Sent, Any]]:
        """Send a job, with those of its files that were asked for; what became of it, where it cannot be sent."""
        if sent.sends > _MOST_SENDS:
            return [(sent, _failed(f"{asked[0].path}: it is not the same from one moment to the next"))]
        try:
            parcel = Parcel.of(sent.job)
            contents = {file: Path(file.path).read_bytes() for file in parcel.files if file in asked}
            running[sent.agent.actor.do.remote(parcel, contents)] = sent
        except self._errors.RayError as error:
            self._dismiss(sent.agent)
            return [(sent, _Lost(first_line(error)))]
        except Exception as error:  # noqa: BLE001 - whatever pickling it raises; a file of it is gone
            return [(sent, _failed(first_line(error)))]
        return []

    def _answers(self, running: dict[Any, _Sent]) -> Iterator[tuple[_Sent, Any]]:
        """What has come by now. An agent that is gone, or of which something went wrong, is gone for us too."""
        if not running:
            time.sleep(_LOOK_SECONDS)
            return
        done, _ = self._wait(list(running), 0)
        if not done:
            done, _ = self._ray.wait(list(running), num_returns=1, timeout=_LOOK_SECONDS)
        for reference in done:
            sent = running.pop(reference)
            try:
                answer = self._ray.get(reference)
            except self._errors.RayTaskError as error:  # in the agent itself
                answer = self._own_error(error.cause, sent.agent.machine)
                self._dismiss(sent.agent)
            except self._errors.RayError as error:
                answer = _Lost(first_line(error))
                self._dismiss(sent.agent)
            else:
                self._machines.did(sent.agent.machine)
            yield sent, answer

    def _own_error(self, cause: Exception, machine: str | None) -> _Lost | Answer:
        """What an agent raised: its machine is to blame where the disk is full, say, or no process can be begun."""
        why = first_line(cause)
        if not isinstance(cause, OSError | SuiteError):
            return _failed(why)
        self._machines.lost_a_job(machine, why)
        return _Lost(why, by_machine=True)

    def _wait(self, references: list[Any], seconds: float) -> tuple[list[Any], list[Any]]:
        """Which have come within that time, and which have not."""
        if not references:
            return [], []
        came, others = self._ray.wait(references, num_returns=len(references), timeout=seconds)
        return came, others

    def _look(self, running: dict[Any, _Sent], fractions: list[float]) -> None:
        """Ask how far jobs are; who does not answer at once is asked again next time."""
        asked = {sent.agent.actor.fraction.remote(): sent for sent in running.values() if sent.agent.asks_again()}
        answered, _ = self._wait(list(asked), _LOOK_SECONDS)
        for reference in answered:
            try:
                fractions[asked[reference].number] = self._ray.get(reference)
            except self._errors.RayError:  # its end is told by its job
                continue

    def _free(self, running: dict[Any, _Sent]) -> list[_Hired]:
        busy = {id(sent.agent) for sent in running.values()}
        waiting = [reference for reference, hired in self._agents.items() if not hired.ready]
        ready, _ = self._wait(waiting, 0)
        for reference in ready:
            self._greet(reference)
        free = [hired for hired in self._agents.values() if hired.ready and id(hired) not in busy]
        for hired in free:
            if self._machines.has_dismissed(hired.machine):
                self._dismiss(hired)
        return [hired for hired in free if not self._machines.has_dismissed(hired.machine)]

    def _greet(self, reference: Any) -> None:
        """An agent that is there now, of our version; another one is ended."""
        hired = self._agents[reference]
        try:
            version, hired.machine = self._ray.get(reference)
        except self._errors.RayError as error:
            self._end([self._agents.pop(reference)])
            self._machines.began_none(hired.machine, str(error).strip().splitlines()[-1])
            return
        hired.begun = True
        if version == __version__:
            hired.ready = True
            self._machines.began(hired.machine)
        else:
            self._end([self._agents.pop(reference)])
            self._machines.dismiss(hired.machine, f"it has suite {version}, here is {__version__}: install the same")

    def _grow(self, jobs: int) -> None:
        """Hire agents for which there is room: where Ray likes, or once something went wrong, where nothing did.

        Raises:
            SuiteError: there are none, and no machine is left that one could be on.
        """
        if not self._agents:
            self._machines.refuse_none_left()
        if (self._agents or self._machines.troubled) and time.monotonic() - self._grown < _GROW_SECONDS:
            return
        self._grown = time.monotonic()
        wanted = min(jobs, self.workers) - len(self._agents)
        taken = Counter(hired.machine for hired in self._agents.values())
        for _ in range(wanted):
            machine = self._machines.best(taken) if self._machines.troubled else None
            if machine is None and self._machines.troubled:
                return
            taken[machine] += 1
            actor = self._kind(machine).remote(self._environment)
            self._agents[actor.greeting.remote()] = _Hired(actor, machine)

    def _kind(self, machine: str | None) -> Any:
        """What hires an agent, on a machine if that is said."""
        options: dict[str, Any] = {"num_cpus": self._needs.cpus, "num_gpus": self._needs.gpus}
        if self._needs.memory is not None:
            options["memory"] = self._needs.memory
        if machine is not None:
            options["scheduling_strategy"] = self._places.NodeAffinitySchedulingStrategy(machine, soft=False)
        return self._ray.remote(_RayAgent).options(max_restarts=0, max_concurrency=_THREADS, **options)

    def _dismiss(self, gone: _Hired) -> None:
        self._agents = {reference: hired for reference, hired in self._agents.items() if hired is not gone}
        self._end([gone])
        self._grown = 0.0

    def _end(self, agents: Sequence[_Hired]) -> None:
        """Let agents end their workers and remove their files, as far as they still answer, and then end them."""
        closing = []
        for hired in agents:
            with contextlib.suppress(self._errors.RayError):
                closing += [hired.actor.close.remote()] if hired.begun else []
        self._wait(closing, _CLOSE_SECONDS)
        for hired in agents:
            self._ray.kill(hired.actor)

    def _patient(self, since: float, at_work: bool) -> float:
        """When there last was an agent, or work was under way.

        Raises:
            SuiteError: it is too long ago.
        """
        now = time.monotonic()
        if at_work or any(hired.ready for hired in self._agents.values()):
            return now
        if now - since > _PATIENCE:
            needs = f"{self._needs.cpus} CPU" + (f" and {self._needs.gpus:g} GPU" if self._needs.gpus else "")
            raise SuiteError(
                f"the Ray cluster has had no room for a worker of {needs} for {_PATIENCE:.0f} s: `ray status` says why"
            )
        return since


def _answers_at(address: str) -> None:
    """Ask, where a host and a port are named: Ray itself waits for minutes, and then ends this process.

    Raises:
        OSError: nothing answers.
        ValueError: the port is none.
    """
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()


@dataclass
class _Hired:
    """An agent: its machine, where that is known, whether it has begun, and is one of ours."""

    actor: Any
    machine: str | None = None
    begun: bool = False
    ready: bool = False
    asked: float = 0.0

    def asks_again(self) -> bool:
        """Whether it is time to ask how far it is."""
        now = time.monotonic()
        if now - self.asked < 1.0:
            return False
        self.asked = now
        return True


@dataclass(frozen=True)
class _Sent:
    """A job that an agent has, and how often it was sent."""

    number: int
    job: Job
    agent: _Hired
    sends: int = 1


@dataclass(frozen=True)
class _Lost:
    """An agent was gone before it had done its job, or its machine could not hold that."""

    reason: str
    by_machine: bool = False

    def answer(self) -> Answer:
        """If that was the last time."""
        return "died", None, f"its worker was lost {_MOST_LOSSES + 1} times, at last by {self.reason}", 0.0, 0.0


def _failed(reason: str) -> Answer:
    return "failed", None, reason, 0.0, 0.0


class _RayAgent(Agent):
    """An agent in a process that Ray began."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        forget_main()
        super().__init__(environment)

    def greeting(self) -> tuple[str, str]:
        """The version of the suite on its machine, and that machine's name in the cluster."""
        return __version__, str(importlib.import_module("ray").get_runtime_context().get_node_id())
