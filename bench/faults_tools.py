"What the sections of bench/faults.py share: a workspace, commands in forked processes, the score card."

import contextlib
import importlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
KIT = str(Path(sys.executable).with_name('kagglekit'))
COMP = 'shapes-practice'


@dataclass
class Outcome:
    "How a command ended."

    code: int  # exit status; -9 for a process that was killed
    out: str  # standard output
    err: str  # standard error

    @property
    def text(self):
        "All that was printed."
        return self.out + self.err


@dataclass
class Card:
    "The score card of a section."

    name: str
    total: int = 0
    wrong: list = field(default_factory=list)  # (case, why)

    def add(self, case, why=''):
        "Count a case; `why` says what was wrong, empty where all was right."
        self.total += 1
        if why:
            self.wrong.append((case, why))
            print(f'    {case}\n        {why}', flush=True)

    def line(self):
        return f'{self.name:10} {self.total - len(self.wrong):4} of {self.total} right'


@contextlib.contextmanager
def scratch_space():
    "A temporary workspace, deleted at the end."
    folder = Path(tempfile.mkdtemp())
    shutil.copy(ROOT / 'settings.ini', folder)
    os.environ.update(KAGGLEKIT_ROOT=str(folder), KAGGLEKIT_DATA='')
    os.environ.setdefault('OMP_NUM_THREADS', '1')
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def run(*args, timeout=300, **kw):
    "A command of the console script, as a process of its own."
    done = subprocess.run([KIT, *map(str, args)], cwd=ROOT, capture_output=True, text=True, timeout=timeout, **kw)
    return Outcome(done.returncode, done.stdout, done.stderr)


def _child(call, files):
    for number, path in zip((1, 2), files):
        target = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(target, number)
    sys.stdout, sys.stderr = open(1, 'w', closefd=False), open(2, 'w', closefd=False)
    code = 0
    try:
        call()
    except SystemExit as e:
        code = e.code if isinstance(e.code, int) else int(e.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def forked(call, timeout=120):
    "A call in a forked process: fast, and whatever it does to this one's state is forgotten."
    files = [tempfile.mktemp() for _ in range(2)]
    pid = os.fork()
    if not pid:
        _child(call, files)
    end = time.time() + timeout
    while (ended := os.waitpid(pid, os.WNOHANG))[0] == 0:
        if time.time() > end:
            os.kill(pid, 9)
            ended = os.waitpid(pid, 0)
            break
        time.sleep(0.01)
    texts = [Path(f).read_text(errors='replace') if os.path.exists(f) else '' for f in files]
    for f in files:
        Path(f).unlink(missing_ok=True)
    return Outcome(os.waitstatus_to_exitcode(ended[1]), *texts)


@lru_cache
def warm():
    "Import here, once, what the commands import: a forked process inherits it."
    from kagglekit.data.competition import load_pages

    rooms = ('fit.preflight', 'fit.train', 'handin.upload', 'launch.runner', 'report.compare', 'report.reproduce')
    for module in rooms:
        importlib.import_module(f'kagglekit.{module}')
    load_pages()


def kit(*args, timeout=120):
    "A command of the console script, in a forked process that inherits what is imported here."
    from kagglekit.cli import main

    warm()
    return forked(lambda: main([str(a) for a in args]), timeout)


def raised(call):
    "What a call says: the KitError's text, or '' when it went well; another error is `crash: …`."
    from kagglekit.core.validation import KitError

    try:
        call()
    except KitError as e:
        return str(e)
    except Exception as e:
        return f'crash: {type(e).__name__}: {e}'
    return ''


def refusal(outcome, words=''):
    "Why an outcome is no clean refusal that holds `words`; '' where it is one."
    if outcome.code == -9:
        return 'it was taken, or it hung'
    if 'Traceback' in outcome.text:
        return f'traceback: {outcome.text.strip().splitlines()[-1][:200]}'
    if outcome.code != 2:
        return f'exit {outcome.code}, not 2: {outcome.text.strip()[-200:]}'
    return '' if words.lower() in outcome.err.lower() else f'no {words!r} in: {outcome.err.strip()[-300:]}'


def manners(outcome, allowed=(0, 1, 2)):
    "Why an outcome is bad manners: a traceback, or an exit status that means nothing."
    if 'Traceback' in outcome.text:
        return f'traceback: {outcome.text.strip().splitlines()[-1][:200]}'
    return '' if outcome.code in allowed else f'exit {outcome.code}: {outcome.text.strip()[-200:]}'
