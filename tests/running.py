"Start runs as separate processes, and wait for them."

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import SimpleNamespace
import psutil

ROOT = Path(__file__).parent.parent
KIT = str(Path(sys.executable).with_name('kagglekit'))
ARGS = ['shapes-practice', 'exp0001']
LONG = ['shapes-practice', 'exp0009', '-p', 'parent', 'exp0001', '-p', 'epochs', '500']  # longer than any test


def quiet(line):
    "Progress that nobody reads."


def cells(path):
    "The cells of a notebook."
    return json.loads(path.read_text(encoding='utf8'))['cells']


def source(cell):
    "The text of a cell."
    return ''.join(cell['source'])


def kit(*args, **more):
    "A command of the package, in a fork of the zygote, as its kernels are."
    return python(KIT, *args, **dict(spares=2) | more)


def papermill(out, *params, page='train'):
    "A page by plain papermill, in a fork of the zygote, as its kernel is."
    return python(*papermill_words(out, *params, page=page), spares=1)


def papermill_words(out, *params, page='train'):
    "What follows `python` for it."
    out.parent.mkdir(parents=True, exist_ok=True)
    return ['-m', 'papermill', f'nbs/{page}.ipynb', str(out), '--no-progress-bar', *params]


def train_here(comp, exp, **given):
    "Train an experiment in this process, as train.ipynb does; `given` are its parameters."
    from kagglekit.fit.train import load_experiment, train
    from kagglekit.runs.setup import run_folds

    found, recipe = load_experiment(dict(comp=comp, exp=exp, **given))
    return train(recipe, found, run_folds(recipe, found))


def status(folder):
    return json.loads((folder / 'status.json').read_text()) if (folder / 'status.json').exists() else {}


def until(condition, process, seconds=180, every=0.05):
    "Wait for a condition while a process lives."
    end = time.time() + seconds
    while not condition():
        assert process.poll() is None and time.time() < end, process.communicate()
        time.sleep(every)


def start_cold(*args):
    "Start a command of the package as a shell does, with a kernel that imports everything anew."
    return subprocess.Popen([KIT, *args], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def start(*args, **more):
    "Start a command of the package, in a fork of the zygote; `more` is what zygote.py's `become` takes."
    return Forked([KIT, *args], spares=2, **more)


@cache
def zygote():
    "The process that forks; it ends with this one. No fork can use a GPU."
    env = os.environ | dict(CUDA_VISIBLE_DEVICES='')
    line = [sys.executable, str(Path(__file__).with_name('zygote.py'))]
    return subprocess.Popen(line, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


class Forked:
    "`python *args` with all modules imported already: a fork of the zygote, which knows nothing of other tests."

    def __init__(self, args, cwd=ROOT, env=None, **more):
        self.folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.out, self.err, self.code = (Path(self.folder.name) / name for name in ('out', 'err', 'code'))
        asked = dict(args=args, cwd=str(cwd), env=dict(env or os.environ), code=str(self.code))
        request = asked | dict(files=[os.devnull, str(self.out), str(self.err)]) | more
        zygote().stdin.write(json.dumps(request) + '\n')
        zygote().stdin.flush()
        self.pid = int(zygote().stdout.readline())

    def poll(self):
        "The exit status; None while it runs."
        return int(self.code.read_text()) if self.code.exists() else None

    def wait(self, seconds=None):
        "The exit status, once it has ended."
        end = time.time() + (seconds or 600)
        while (code := self.poll()) is None:
            if time.time() > end:
                raise subprocess.TimeoutExpired(f'process {self.pid}', seconds)
            time.sleep(0.01)
        return code

    def terminate(self):
        "Ask it to end."
        self.signal(signal.SIGTERM)

    def kill(self):
        "End it."
        self.signal(signal.SIGKILL)

    def signal(self, number):
        "Send a signal, if it has not ended."
        with suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def communicate(self):
        "What it has printed."
        return tuple(path.read_text() if path.exists() else '' for path in (self.out, self.err))


class Torchrun(Forked):
    "What Popen starts for several processes, as forks: torchrun with pipes, and its two workers."

    def __init__(self, args, env, **pipes):
        with tempfile.TemporaryDirectory() as folder:
            given, out = (str(Path(folder) / name) for name in ('in', 'out'))
            os.mkfifo(given)
            os.mkfifo(out)
            super().__init__(args[1:], env=env, files=[given, out, out], spares=2)
            self.stdin, self.stdout = open(given, 'w'), open(out)


def forked_workers():
    "The workers of every torchrun that is a fork."
    return [p for run in psutil.Process(zygote().pid).children() for p in run.children()]


def fork_workers(patch):
    "Let several processes be forks, for as long as the patch lasts."
    more = {name: getattr(subprocess, name) for name in ('PIPE', 'STDOUT', 'TimeoutExpired')}
    patch.setattr('kagglekit.runs.workers.subprocess', SimpleNamespace(Popen=Torchrun, **more))


def fork_tools(patch):
    "Let the tools of sites be forks, for as long as the patch lasts."

    def run(command, env, timeout, **how):
        fork = Forked(command[1:], env=env)
        try:
            code = fork.wait(timeout)
        except subprocess.TimeoutExpired:
            fork.kill()
            fork.wait()
            raise
        return subprocess.CompletedProcess(command, code, *fork.communicate())

    more = {name: getattr(subprocess, name) for name in ('DEVNULL', 'TimeoutExpired')}
    patch.setattr('kagglekit.data.site_tools.subprocess', SimpleNamespace(run=run, **more))


def python(*args, **more):
    "`python *args` in a fork of the zygote; `more` is what zygote.py's `become` takes."
    fork = Forked(args, **more)
    code = fork.wait()
    return subprocess.CompletedProcess(args, code, *fork.communicate())


@cache
def drawn_once(comp, rows):
    "A practice competition, drawn: a workspace that lasts as long as this process, and its folder there."
    from kagglekit.core.paths import workspace
    from kagglekit.practice.standins import write_practice

    home = tempfile.TemporaryDirectory()
    with workspace(home.name):
        return home, write_practice(comp, rows, say=quiet)


def copy_practice(comp, rows=None):
    "A practice competition in this workspace, as `write_practice` draws it; its folder."
    from kagglekit.core.paths import own_data

    return shutil.copytree(drawn_once(comp, rows)[1], own_data(comp))


def write_shapes():
    "shapes-practice in this workspace, as it is drawn; its folder."
    return copy_practice('shapes-practice')


def write_few_shapes(rows=60, tests=12):
    "The first rows of shapes-practice, and of its answers; its folder."
    import pandas as pd

    folder = write_shapes()
    for name, n in [('train', rows), ('test', tests), ('sample_submission', tests)]:
        pd.read_csv(folder / f'{name}.csv', dtype=str)[:n].to_csv(folder / f'{name}.csv', index=False)
    answers = folder / '.answers.parquet'
    pd.read_parquet(answers)[:tests].to_parquet(answers)
    return folder
