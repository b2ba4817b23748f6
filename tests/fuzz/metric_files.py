"""Damaged files of metrics. What they do is done when they are imported, and harms nothing outside of their folder."""

# ruff: noqa: E501 - tables of what is put in

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from random import Random

from tests.fuzz import damage
from tests.fuzz.specs import ROOT

NAME = "fuzzed_metric"
_GOOD = '@metric(title="T", family="f", source="Somebody 2020", sign=1)'
_HEAD = f'''\
from __future__ import annotations

from suite.metrics import Estimate, Run, metric

{_GOOD}
def {NAME}(run: Run) -> float:
    """The largest weight: max_i |w_i|."""
    return float(run.weights.abs().max())
'''


@lru_cache(maxsize=1)
def originals() -> tuple[bytes, ...]:
    """What `suite new metric` writes, and the metrics of this package under other names."""
    template = (ROOT / "suite/submission/templates/metric.py.txt").read_text(encoding="utf-8").replace("{{name}}", NAME)
    texts = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "suite/metrics").glob("*.py"))]
    own = [
        re.sub(r"(?m)^(@metric\((?:.|\n)*?\)\ndef )(\w+)", r"\1my_\2", text) for text in texts if "\n@metric(" in text
    ]
    return tuple(text.encode() for text in (template, template, *own))


def _after(text: str) -> str:
    """The good file with more at its end."""
    return f"{_HEAD}\n\n{text}\n"


def _before(text: str) -> str:
    return f"{text}\n{_HEAD.removeprefix('from __future__ import annotations')}"


def _with(words: str) -> str:
    """With other words in the decorator; the last of two of a kind counts."""
    kept = {"title": '"T"', "family": '"f"', "source": '"Somebody 2020"', "sign": "1"}
    name, _, value = words.partition("=")
    kept[name] = value
    given = ", ".join(f"{word}={said}" for word, said in kept.items())
    return _HEAD.replace(_GOOD, f"@metric({given})")


_WORDS = (
    "sign=0", "sign='1'", "sign=True", "sign=1.0", "sign=2", "sign=None", "sign=[1]", "sign=float('nan')", "sign=-1.0",
    "sign=1 + 0j", "version=0", "version=True", "version=1.0", "version='1'", "version=10**30", "version=10**5000", "version=-1",
    "probes='spectrum'", "probes=('nothing',)", "probes=None", "probes=(['spectrum'],)", "probes=['spectrum']", "probes=7",
    "probes=('spectrum', 'spectrum')", "probes=(x for x in ['spectrum'])", "probes={'spectrum'}", "cost='cheap'", "cost=None",
    "cost=['free']", "cost={}", "invariances='rescaling'", "invariances=None", "invariances=('everything',)", "trivial='yes'",
    "trivial=None", "trivial=1", "trivial=[]", "optimizers=()", "optimizers='sgd'", "optimizers=('lion',)", "optimizers=None",
    "applies=None", "applies=True", "applies=lambda: True", "applies=lambda task: 1 / 0", "applies=lambda task: 'yes'",
    "applies=lambda task: (_ for _ in ()).throw(SystemExit(0))", "applies=print", "title=''", "title=None", "title=3",
    "title='a\\nb'", "title='\\x1b[31m'", "title='\\ud800'", "title='\\0'", "title='x' * 10**6", "title='<script>'", "title='|'",
    "title=b'bytes'", "family='\\u202e'", "family=('f',)", "source=''", "source='\\ud800'", "source=type('S', (str,), {})('')",
    "nothing=1", "name='other'", "family=''", "source='| a | b |'", "title=type('S', (str,), {'strip': lambda s: 1 / 0})('x')",
)  # fmt: skip


def decorators(random: Random) -> str:
    """Words of `@metric` that are none, are of other types, are missing, or are there twice."""
    if random.random() < 0.8:
        return _with(random.choice(_WORDS))
    return _HEAD.replace(_GOOD, random.choice([
        "@metric", "@metric()", "@metric(1)", "@metric('T', 'f', 's', 1)", "@metric(title='T')", "@metrics(title='T')", "",
        f"{_GOOD}\n{_GOOD}", f"@staticmethod\n{_GOOD}", f"{_GOOD}\n@property", f"{_GOOD}\n@staticmethod", "@metric(**{})",
        f"{_GOOD}\n@classmethod", "@metric(title='T', title='T')", f"@print\n{_GOOD}", f"@(lambda f: 3)\n{_GOOD}",
        f"@__import__('functools').cache\n{_GOOD}", f"{_GOOD}\n@__import__('functools').cache",
    ]))  # fmt: skip


_FUNCTIONS = (
    "def {n}(): return 1.0", "def {n}(run, other): return 1.0", "def {n}(*, run): return 1.0", "def {n}(run): yield 1.0",
    "async def {n}(run): return 1.0", "class {n}:\n    def __call__(self, run): return 1.0", "class {n}: pass",
    "def {n}(run): pass", "def {n}(run): return 'a'", "def {n}(run): return {{}}", "def {n}(run): return {{1: 2}}",
    "def {n}(run): return [1.0]", "def {n}(run): return float('nan')", "def {n}(run): return 10**400",
    "def {n}(run): return {n}(run)", "def {n}(run): raise SystemExit(0)", "def {n}(run): raise BaseException('x')",
    "def {n}(run): return run.test_inputs", "def {n}(run=1 / 0): return 1.0", "def {n}(run: 1 / 0) -> nothing: return 1.0",
    "def {n}(run): return Estimate('a', None)", "def {n}(run): return True", "def {n}(run): return run.weights",
    "def {n}(run): return {{'a.b': 1.0, '': 2.0}}", "def {n}(run): return {{'\\ud800': 1.0}}", "def {n}(run): return {{'a' * 9999: 1.0}}",
)  # fmt: skip


def functions(random: Random) -> str:
    """Functions of nothing, of too much, generators, classes, such as return what is no number."""
    return f"from suite.metrics import Estimate, metric\n\n{_GOOD}\n{random.choice(_FUNCTIONS).format(n=NAME)}\n"


_NO_FUNCTIONS = (
    "lambda run: 1.0", "print", "len", "3", "None", "float", "type('C', (), {})", "__import__('functools').partial(max, 1)",
    "eval('lambda run: 1.0')", "__import__('math').sqrt", "[].append", "type('C', (), {'__call__': lambda s, r: 1.0})()",
    "__import__('torch').sum", "property(len)", "object()", "metric",
)  # fmt: skip


def no_functions(random: Random) -> str:
    """`@metric` around what is no function of a module."""
    call = _GOOD.removeprefix("@")
    text = f"from suite.metrics import metric\n{NAME} = {call}({random.choice(_NO_FUNCTIONS)})\n"
    inside = (
        f"def outer():\n    {_GOOD}\n    def inner(run):\n        return 1.0\n    return inner\n\n\n{NAME} = outer()\n"
    )
    renamed = f"def f(run):\n    return 1.0\n\n\nf.__name__ = {{}}\n{NAME} = {call}(f)\n"
    names = [
        "'../../escaped'",
        "'/tmp/escaped'",
        "'a b'",
        "''",
        "'a.b'",
        "'\\x1b[31m'",
        "'run_id'",
        "'x' * 300",
        "'é'",
        "'а'",
        "'class'",
    ]
    head = "from suite.metrics import metric\n\n\n"
    return random.choice(
        [
            text,
            text,
            head + inside,
            head + renamed.format(random.choice(names)),
            head + renamed.format(random.choice(names)),
        ]
    )


def names(random: Random) -> str:
    """Names that are taken, or are columns of the results, or are there twice, or none."""
    taken = random.choice(
        ["weight_norm", "sharpness_dimension", "run_id", "status", "loss_gap", "seed", "test_x", "_hidden", "é", "T"]
    )
    twice = _HEAD + f"\n\nfirst = {NAME}\n\n\n{_GOOD}\ndef {NAME}(run):\n    return 1.0\n"
    imported = "from suite.metrics.norms import weight_norm\n"
    made = "from suite.metrics.registry import Metric\nx = Metric('y', len, 'T', 'f', 's', 1)\n"
    odd = "from suite.metrics.registry import Metric\nx = Metric(name=3, measure=lambda run: 1.0, title=1, family=2, source=3, sign=9)\n"
    return random.choice([_HEAD.replace(f"def {NAME}", f"def {taken}"), _HEAD.replace(f"def {NAME}", f"def {taken}"), twice, imported, made,
                          odd, "", "x = 1\n", "metric = 3\n", _HEAD + f"{NAME} = None\n"])  # fmt: skip


_SYNTAX = ("def (", "    indented = 1\n  wrong = 2", "return 1", "x = = 1", "print 'a'", "if True:", "\tx = 1\n        y = 2", "'''", "(" * 300,
           "x = " + "-" * 5000 + "1", "x = " + "(" * 5000 + ")" * 5000, "x = 1" + " + 1" * 50_000, "0777", "x: int = yield", "await x",
           "from __future__ import braces", "import *", "# -*- coding: nonsense -*-", "# -*- coding: utf-16 -*-", "# coding: rot13", "\x00",
           "x = '\\N{nothing}'", "f'{'", "match x:\n    case", "é = ²", "x = 1_", "lambda: (yield)", "nonlocal x", "global x, x\nx += 1",
           "break", "1 = 2", "def f(a, a): pass", "x = " + "9" * 5000, "class C(\n", "assert", "del", "#" * 100_000)  # fmt: skip


def syntax(random: Random) -> str:
    """What is no Python, or more of it than a parser has room for."""
    text = random.choice(_SYNTAX)
    return f"{text}\n{_HEAD}" if random.random() < 0.5 else _after(text)


_ENDINGS = (
    "raise SystemExit", "raise SystemExit(0)", "raise SystemExit(3)", "raise SystemExit('text')", "raise SystemExit(None)",
    "import sys\nsys.exit()", "exit()", "quit(1)", "import os\nos._exit(0)", "import os\nos._exit(2)", "import os\nos.abort()",
    "import os, signal\nos.kill(os.getpid(), signal.SIGTERM)", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)",
    "import os, signal\nos.kill(os.getpid(), signal.SIGINT)", "import ctypes\nctypes.string_at(0)",
    "import atexit, os\natexit.register(os._exit, 0)", "import atexit\natexit.register(lambda: 1 / 0)",
)  # fmt: skip
_RAISING = (
    "raise BaseException", "raise BaseException('x')", "raise KeyboardInterrupt", "raise GeneratorExit", "raise StopIteration",
    "raise MemoryError", "raise Exception", "raise OSError(28, 'No space left on device')", "raise BrokenPipeError", "1 / 0",
    "class E(BaseException):\n    def __str__(self): raise self\nraise E", "class E(Exception):\n    def __str__(self): return None\nraise E",
    "raise type('E', (Exception,), {'__str__': lambda s: chr(0xd800) + '\\x1b[2J'})()", "raise ExceptionGroup('g', [ValueError(1)])",
    "raise BaseExceptionGroup('g', [KeyboardInterrupt()])", "raise RuntimeError('x' * 10**6)", "raise ValueError('a\\nb\\n' * 1000)",
    "raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'y')", "import absent_module", "from . import x", "from suite import nothing", "nothing",
    "assert False", "raise NotImplementedError", "raise ImportError", "raise SyntaxError('x')", "raise asyncio", "raise Warning('w')",
    "from suite.errors import BadInput\nraise BadInput('none')", "from suite.errors import SuiteError\nraise SuiteError()",
    "import warnings\nwarnings.warn('w')", "import warnings\nwarnings.simplefilter('error')\nwarnings.warn('w')",
    "import typer\nraise typer.Exit(0)", "import typer\nraise typer.Abort", "raise __import__('click').UsageError('x')",
)  # fmt: skip
_ENDLESS = (
    "while True: pass", "import time\ntime.sleep(10**9)", "import itertools\nlist(zip(itertools.count(), iter(int, 1))) if 0 else sum(iter(int, 1))",
    "import threading\nthreading.Event().wait()", "input()", "import sys\nsys.stdin.read()",
    "while True:\n    try:\n        while True: pass\n    except BaseException: pass", "import time\nwhile True: print('x' * 1000), time.sleep(0.01)",
    "import threading, time\nthreading.Thread(target=time.sleep, args=(10**9,)).start()", "import atexit, time\natexit.register(time.sleep, 10**9)",
    "import signal\nfor s in (signal.SIGTERM, signal.SIGALRM, signal.SIGINT): signal.signal(s, signal.SIG_IGN)\nwhile True: pass",
    "import os\nos.read(os.pipe()[0], 1)", "import subprocess\nsubprocess.run(['sleep', '1000000'])",
)  # fmt: skip
_DEEP = (
    "def f(): f()\nf()", "import sys\nsys.setrecursionlimit(10**9)\ndef f(): f()\nf()", "x = []\nfor _ in range(10**6): x = [x]\nrepr(x)",
    "import sys\nsys.setrecursionlimit(50)\ndef f(): f()\nf()", "class A:\n    def __getattr__(self, n): return getattr(self, n)\nA().x",
    "import importlib, sys\nimportlib.reload(sys.modules[__name__])", "exec(open(__file__).read())", "import copy\nx = []\nx.append(x)\nhash(repr(x))",
)  # fmt: skip
_FORKING = (
    "import os\nos.fork()", "import os\nif os.fork() == 0: os._exit(0)", "import os, time\nif os.fork() == 0: time.sleep(10**6)",
    "import os\nfor _ in range(3): os.fork()", "import subprocess\nsubprocess.Popen(['sleep', '1000000'])",
    "import multiprocessing as m, time\nm.get_context('fork').Process(target=time.sleep, args=(10**6,), daemon=True).start()",
    "import os\nif os.fork(): os._exit(0)",
)  # fmt: skip
_PRINTING = (
    "print('garbage')", "print('x' * 10**6)", "import sys\nsys.stdout.buffer.write(bytes(range(256)) * 100)\nsys.stdout.flush()",
    "import sys\nprint('{\"a\": 1}', file=sys.stderr)", "import sys\nsys.stdout.write('\\x1b[2J')", "import os\nos.write(2, b'\\xff' * 1000)",
    "import logging\nlogging.warning('w')", "print('every file was imported')", "help()",
)  # fmt: skip
_MEDDLING = (
    "import sys\nsys.stdout.close()", "import sys\nsys.stdout = sys.stderr = None", "import os\nos.close(1)", "import os\nos.close(2)",
    "import os\nos.chdir('/')", "import os\nos.environ.clear()", "import sys\ndel sys.modules[__name__]", "import sys\nsys.modules[__name__] = None",
    "import sys\nsys.path.clear()", "import sys\nsys.setrecursionlimit(60)", "import gc\ngc.disable()", "import locale\nlocale.setlocale(locale.LC_ALL, 'C')",
    "import sys\nsys.excepthook = lambda *_: 1 / 0", "import signal\nsignal.alarm(1)", "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (0, 0))",
    "import os\nos.unlink(__file__)", "open(__file__, 'w').write('x = 1')", "del __name__", "__name__ = 'suite.metrics.norms'", "__file__ = None",
    "import decimal, json\njson.dumps = None", "import numpy\nnumpy.seterr(all='raise')", "import torch\ntorch.set_default_dtype(torch.float16)",
)  # fmt: skip


def _snippet(snippets: tuple[str, ...]) -> Callable[[Random], str]:
    def made(random: Random) -> str:
        text = random.choice(snippets)
        return _before(text) if random.random() < 0.5 else _after(text)

    return made


TEXTS: dict[str, Callable[[Random], str]] = {
    "decorators": decorators,
    "functions": functions,
    "no functions": no_functions,
    "names": names,
    "syntax": syntax,
    "ends the process": _snippet(_ENDINGS),
    "raises": _snippet(_RAISING),
    "never ends": _snippet(_ENDLESS),
    "too deep": _snippet(_DEEP),
    "forks": _snippet(_FORKING),
    "prints": _snippet(_PRINTING),
    "meddles": _snippet(_MEDDLING),
}
"""Files that are text, by the kind of damage."""

FILES = (
    "metric.txt", "metric", "a b.py", "é.py", "-x.py", "a.b.py", "json.py", "random.py", "torch.py", "suite.py", "1.py",
    "class.py", "__init__.py", "x" * 240 + ".py", "METRIC.PY",
)  # fmt: skip
"""Names of files that need not be good ones."""

KINDS: tuple[str, ...] = (*damage.ANY, *TEXTS, "other names", "no file")


def spoil(kind: str, random: Random, folder: Path) -> str:
    """Leave a file of metrics in a folder; its name there."""
    path = folder / f"{NAME}.py"
    if kind in damage.ANY:
        path.write_bytes(damage.ANY[kind](random, random.choice(originals())))
    elif kind in TEXTS:
        path.write_bytes(TEXTS[kind](random).encode("utf-8", "surrogatepass"))
    elif kind == "other names":
        path = folder / random.choice(FILES)
        path.write_text(_HEAD)
    else:
        _no_file(random, path)
    return path.name


def ends_never(path: Path) -> bool:
    """Whether what a file starts outlives its import: that shows in the process that imported it, at its end."""
    return path.is_file() and bool(re.search(r"Thread\(|atexit|SIG_IGN", path.read_text(encoding="utf-8")))


def _no_file(random: Random, path: Path) -> None:
    how = random.randrange(5)
    if how == 0:
        path.mkdir()
    elif how == 1:
        path.symlink_to(random.choice([path.name, "nowhere", "/dev/zero", "/dev/null", "/etc/passwd", "/"]))
    elif how == 2:
        import os

        os.mkfifo(path)
    elif how == 3:
        path.write_bytes(b"\x6f\x0d\x0d\x0a" + random.randbytes(200))  # as a compiled file begins
