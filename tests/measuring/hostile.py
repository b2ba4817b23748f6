"""Metrics that do harm, by the file that they come in, and a witness that would notice."""

WITNESS = '''

@metric(title="Witness", family="x", source="x", sign=1)
def NAME(run: Run) -> dict[str, float]:
    """Whatever of its process a metric's value may depend on."""
    return {
        "torch": float(torch.rand((), dtype=torch.float64)),
        "numpy": float(np.random.rand()),
        "random": random.random(),
        "dtype": float(torch.tensor(0.0).element_size()),
        "grad": float(torch.is_grad_enabled()),
        "threads": float(torch.get_num_threads()),
        "anomaly": float(torch.is_anomaly_enabled()),
        "folder": float(len(os.listdir("."))),
        "environment": float(sum(name in os.environ for name in ("SUITE_HOME", "SUITE_DATA_DIR", "LEFT", "A_TOKEN"))),
        "at start": float(any(name in at_start() for name in (b"SUITE_HOME", b"SUITE_DATA_DIR", b"A_TOKEN"))),
        "weights": float(run.weights.sum()) + float(run.initial.sum()),
        "inputs": float(run.inputs.sum()) + float(run.targets.sum()),
        "loss": run.training_loss(),
        "logits": float(run.logits().norm()),
    }
'''

HEAD = """\
import ctypes, mmap, os, random, resource, shutil, signal, stat, subprocess, sys, time, warnings
from pathlib import Path

import numpy as np
import torch
from suite.metrics import Run, metric


PHYSICAL = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def at_start():
    return Path("/proc/self/environ").read_bytes() + b"".join(os.sys.modules["posix"].environ)


def hostile(function):
    return metric(title=function.__name__ + "!", family="x", source="x", sign=1)(function)
"""

# each is measured, with a value or with a reason, in the process of all others of the file and of the witness after it
MEDDLERS = """

@hostile
def a_raises(run):
    raise RuntimeError("no luck")


@hostile
def a_undefined(run):
    raise ValueError("undefined here")


@hostile
def b_not_a_number(run):
    return float("nan")


@hostile
def b_infinite(run):
    return float("inf")


@hostile
def b_wrong_type(run):
    return torch.ones(())


@hostile
def c_changes_its_run(run):
    for tensor in (run.weights, run.initial, run.inputs, run.targets, run.curve):
        tensor.zero_()
    problem = run.whole.args[0]
    for tensor in (*problem.model.module.parameters(), problem.train.inputs, problem.train.targets):
        with torch.no_grad():
            tensor.zero_()
    run.task.grid["seed"] = []
    return 1.0


@hostile
def c_changes_settings(run):
    torch.manual_seed(0), np.random.seed(0), random.seed(0)
    torch.set_default_dtype(torch.float64)
    torch.set_grad_enabled(False)
    torch.set_num_threads(7)
    torch.autograd.set_detect_anomaly(True)
    np.seterr(all="raise")
    warnings.simplefilter("error")
    sys.setrecursionlimit(200)
    os.umask(0o777)
    return 1.0


@hostile
def c_changes_environment(run):
    os.environ.clear()
    os.environ["LEFT"] = "1"
    os.chdir("/")
    return 1.0


@hostile
def d_writes(run):
    Path("left-behind.txt").write_text("x" * 1000)
    Path("folder").mkdir()
    Path("folder/left-behind.txt").write_text("x")
    return float(len(os.listdir(".")))


@hostile
def d_removes_its_folder(run):
    folder = Path.cwd()
    assert folder.name.startswith("suite-metric-")  # the one thing that this must not remove is anything else
    shutil.rmtree(folder)
    return 1.0


@hostile
def e_prints(run):
    for _ in range(4):
        print("noise " * 200_000)
        print("noise " * 200_000, file=sys.stderr)
        os.write(1, b"noise " * 200_000)
        os.write(2, b"noise " * 200_000)
    ctypes.CDLL(None).puts(b"noise from C")
    sys.__stdout__.write("noise held back")
    return 1.0


@hostile
def e_prints_by_every_door(run):
    print("noise as of a file", file=sys.__stderr__)
    for number in range(256):
        try:
            if stat.S_ISREG(os.fstat(number).st_mode) or os.isatty(number):
                os.write(number, b"noise by a door that was left open")
        except OSError:
            pass
    return 1.0


@hostile
def f_forks(run):
    if os.fork() == 0:
        time.sleep(600)
        os._exit(0)
    return 1.0


@hostile
def f_forks_twice(run):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            time.sleep(600)
        os._exit(0)
    os.wait()
    return 1.0


@hostile
def f_comes_back_twice(run):
    return float(os.fork() > 0)


@hostile
def f_leaves_a_process(run):
    subprocess.Popen(["sleep", "600"])
    return 1.0


@hostile
def g_leaves(run):
    sys.exit(0)


@hostile
def g_interrupts(run):
    raise KeyboardInterrupt


@hostile
def h_hoards(run):
    return float(len(bytearray(100 * 2**30)))


@hostile
def h_hoards_in_torch(run):
    return float(torch.ones(100 * 2**30, dtype=torch.uint8).sum())


@hostile
def h_hoards_by_a_limit_of_its_own(run):
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))
    return float(len(mmap.mmap(-1, PHYSICAL * 7 // 10, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)))


@hostile
def h_fills_the_disk(run):
    with open("much", "wb") as file:
        file.seek(2**30 - 1)  # a hole, which takes nothing
        file.write(b"xx")
        file.flush()
    return 1.0


@hostile
def h_dumps_its_core(run):
    try:
        resource.setrlimit(resource.RLIMIT_CORE, (2**20, 2**20))
    except ValueError as error:
        raise RuntimeError("no core") from error
    return 1.0


@hostile
def h_lowers_what_others_may(run):
    for what in (resource.RLIMIT_DATA, resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE):
        resource.setrlimit(what, (12, resource.getrlimit(what)[1]))
    return 1.0


@hostile
def i_sets_an_alarm(run):
    signal.signal(signal.SIGALRM, lambda *_: os._exit(9))
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    return 1.0
"""

KILLERS = """

@hostile
def a_dies(run):
    os._exit(7)


@hostile
def b_dies_quietly(run):
    os._exit(0)


@hostile
def c_faults(run):
    ctypes.string_at(0)


@hostile
def d_hangs(run):
    while True:
        pass


@hostile
def e_hangs_deaf(run):
    if os.fork() == 0:
        time.sleep(600)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    time.sleep(600)


@hostile
def e_hangs_beside_others(run):
    subprocess.Popen(["sleep", "600"])
    subprocess.Popen(["sleep", "600"], start_new_session=True)
    time.sleep(600)


@hostile
def f_dies_beside_others(run):
    subprocess.Popen(["sh", "-c", "sleep 600 & sleep 600; true"], start_new_session=True)
    os._exit(7)


@hostile
def f_lowers_what_others_may_for_good(run):
    resource.setrlimit(resource.RLIMIT_FSIZE, (12, 12))
    return 1.0


@hostile
def f_closes_everything(run):
    os.closerange(0, 1000)
    return 1.0
"""

# measured before the third witness, which comes in a file of its own
PATCHER = """

def nothing(*_, **__):
    return torch.zeros(())


@hostile
def a_patches(run):
    torch.Tensor.sum = torch.Tensor.norm = torch.rand = nothing
    np.random.rand = lambda: 0.0
    Run.training_loss = Run.logits = nothing
    return float(run.weights.sum())
"""

# each reaches for something outside of its process; without confinement all of them get hold of it
REACHERS = """

@hostile
def a_connects(run):
    socket.create_connection(("127.0.0.1", PORT), 5).close()
    return 1.0


@hostile
def b_connects_by_name(run):
    socket.create_connection(("localhost", PORT), 5).close()
    return 1.0


@hostile
def c_connects_by_system_calls(run):
    c = ctypes.CDLL(None, use_errno=True)
    made = c.syscall(ctypes.c_long(41 if os.uname().machine == "x86_64" else 198), 2, 1, 0)
    if made < 0:
        raise OSError(ctypes.get_errno(), "no socket")
    socket.socket(fileno=made).connect(("127.0.0.1", PORT))
    return 1.0


@hostile
def d_lets_a_child_connect(run):
    words = "import socket; socket.create_connection(('127.0.0.1', PORT), 5)"
    subprocess.run([sys.executable, "-SEc", words], check=True, stderr=subprocess.DEVNULL)
    return 1.0


@hostile
def e_asks_a_daemon(run):
    socket.socket(socket.AF_UNIX).connect(DAEMON)
    return 1.0


@hostile
def f_looks_up_a_name(run):
    return float(bool(socket.create_connection(("nowhere.invalid", PORT), 5)))


@hostile
def g_reads_secrets_of_the_command(run):
    return float(b"PATH=" in Path(f"/proc/{os.getppid()}/environ").read_bytes())


@hostile
def h_reads_memory_of_the_command(run):
    open(f"/proc/{os.getppid()}/mem", "rb").close()
    return 1.0


@hostile
def i_writes_elsewhere(run):
    Path(ELSEWHERE, "written").write_text("x")
    return 1.0


@hostile
def j_lets_a_child_write_elsewhere(run):
    subprocess.run(["touch", ELSEWHERE + "/touched"], check=True, stderr=subprocess.DEVNULL)
    return 1.0


@hostile
def k_empties_a_file(run):
    os.truncate(ELSEWHERE + "/kept", 0)
    return 1.0


@hostile
def l_signals_the_command(run):
    os.kill(os.getppid(), signal.SIGWINCH)  # nobody minds that one
    return 1.0


@hostile
def l_bounds_the_command(run):
    resource.prlimit(os.getppid(), resource.RLIMIT_CORE, resource.prlimit(os.getppid(), resource.RLIMIT_CORE))
    return 1.0


@hostile
def l_lets_a_child_bound_the_command(run):
    words = "import resource as r, os; r.prlimit(int(os.sys.argv[1]), r.RLIMIT_CORE, r.getrlimit(r.RLIMIT_CORE))"
    said = subprocess.run([sys.executable, "-SEc", words, str(os.getppid())], check=False, stderr=subprocess.PIPE)
    if said.returncode:
        raise RuntimeError(said.stderr.decode().splitlines()[-1])
    return 1.0


@hostile
def l_moves_the_command(run):
    os.sched_setaffinity(os.getppid(), os.sched_getaffinity(os.getppid()))
    return 1.0


@hostile
def l_schedules_the_command(run):
    os.sched_setscheduler(os.getppid(), os.SCHED_OTHER, os.sched_param(0))
    return 1.0


@hostile
def l_slows_the_command(run):
    os.setpriority(os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid()))
    return 1.0


@hostile
def n_changes_what_is_its_own(run):
    resource.setrlimit(resource.RLIMIT_NOFILE, resource.getrlimit(resource.RLIMIT_NOFILE))
    os.sched_setaffinity(0, os.sched_getaffinity(0))
    os.setpriority(os.PRIO_PROCESS, 0, os.getpriority(os.PRIO_PROCESS, 0))
    return 1.0


@hostile
def m_takes_shared_memory(run):
    with tempfile.NamedTemporaryFile(dir="/dev/shm"):
        return 1.0


@hostile
def n_works_with_pairs_of_sockets(run):
    async def one():
        return 1.0

    return asyncio.run(one())
"""


def reaching(port: int, daemon: str, elsewhere: str) -> str:
    """The reachers as a file, with a port where somebody listens, a local socket, and a folder that is not theirs."""
    words = f"import asyncio, socket, tempfile\n\nDAEMON, ELSEWHERE = {daemon!r}, {elsewhere!r}\n"
    return HEAD + words + REACHERS.replace("PORT", str(port)) + witness("z_fourth")


def witness(name: str) -> str:
    """A witness of that name, as a part of a metric file."""
    return WITNESS.replace("NAME", name)


FILES = {
    "meddlers.py": HEAD + MEDDLERS + witness("z_first"),
    "killers.py": HEAD + KILLERS + witness("z_second"),
    "patcher.py": HEAD + PATCHER,
    "apart.py": HEAD + witness("z_third"),
}

CALM = {"calm.py": HEAD + "".join(witness(name) for name in ("z_first", "z_second", "z_third", "z_fourth"))}
