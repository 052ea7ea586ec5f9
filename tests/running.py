"Start runs as separate processes, and wait for them."

import json
import os
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


def kit(*args, **kw):
    return subprocess.run([KIT, *args], cwd=ROOT, capture_output=True, text=True, **kw)


def papermill(out, *params, page='train'):
    out.parent.mkdir(parents=True, exist_ok=True)
    return subprocess.run(
        [sys.executable, '-m', 'papermill', f'nbs/{page}.ipynb', str(out), '--no-progress-bar', *params],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )


def train_here(comp, exp, **given):
    "Train an experiment in this process, as train.ipynb does; `given` are its parameters."
    from kagglekit.fit.train import load_experiment, train
    from kagglekit.runs.setup import run_folds

    found, recipe = load_experiment(dict(comp=comp, exp=exp, **given))
    return train(recipe, found, run_folds(recipe, found))


def status(folder):
    return json.loads((folder / 'status.json').read_text()) if (folder / 'status.json').exists() else {}


def until(condition, process, seconds=180, every=0.2):
    "Wait for a condition while a process lives."
    end = time.time() + seconds
    while not condition():
        assert process.poll() is None and time.time() < end, process.communicate()
        time.sleep(every)


def start(*args, **kw):
    return subprocess.Popen([KIT, *args], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, **kw)


@cache
def zygote():
    "The process that forks; it ends with this one. No fork can use a GPU."
    env = os.environ | dict(CUDA_VISIBLE_DEVICES='')
    line = [sys.executable, str(Path(__file__).with_name('zygote.py'))]
    return subprocess.Popen(line, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def python(*args, cwd=ROOT, env=None):
    "`python *args` with all modules imported already: a fork of the zygote, which knows nothing of other tests."
    with tempfile.TemporaryDirectory() as folder:
        out, err = (Path(folder) / name for name in ('out', 'err'))
        request = dict(args=args, cwd=str(cwd), env=dict(env or os.environ), out=str(out), err=str(err))
        zygote().stdin.write(json.dumps(request) + '\n')
        zygote().stdin.flush()
        code = int(zygote().stdout.readline())
        return subprocess.CompletedProcess(args, code, out.read_text(), err.read_text())
