"Start runs as separate processes, and wait for them."

import json
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
KIT = str(Path(sys.executable).with_name('kagglekit'))
ARGS = ['shapes-practice', 'exp0001']
LONG = ['shapes-practice', 'exp0009', '-p', 'parent', 'exp0001', '-p', 'epochs', '500']  # longer than any test


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
