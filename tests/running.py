"Start runs as separate processes, and wait for them."

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path

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
        files = {name: str(Path(self.folder.name) / name) for name in ('out', 'err', 'code')}
        self.out, self.err, self.code = map(Path, files.values())
        request = dict(args=args, cwd=str(cwd), env=dict(env or os.environ), **files, **more)
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
            assert time.time() < end, self.communicate()
            time.sleep(0.01)
        return code

    def terminate(self):
        "As `kill` does."
        os.kill(self.pid, signal.SIGTERM)

    def communicate(self):
        "What it has printed."
        return self.out.read_text(), self.err.read_text()


def python(*args, **more):
    "`python *args` in a fork of the zygote; `more` is what zygote.py's `become` takes."
    fork = Forked(args, **more)
    code = fork.wait()
    return subprocess.CompletedProcess(args, code, *fork.communicate())
