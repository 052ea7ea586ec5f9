"""CPU seconds and memory of commands that train nothing, and of a run from the command to its first batch.

    python bench/start.py              # one to two minutes
    python bench/start.py --n 2000     # more runs in the workspace of the first table

A run is compared with a script that executes the cells of train.ipynb, and with papermill on a page of one cell: the
rest is kagglekit's own. CPU seconds are those of all processes of a command; on a busy machine they grow, too, so the
first line says what `import pandas` takes at the same time.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
import nbformat
from journal import fresh, write_runs
from kagglekit.core.paths import workspace
from kagglekit.core.run_pages import find_page
from kagglekit.practice.standins import write_practice

AIMS = {  # command → CPU seconds
    '--help': 0.3,
    'status toy': 0.6,
    'show toy/exp0001': 0.6,
    'note toy/exp0001 text': 0.6,
    'journal toy': 0.6,
}
COMP, EXP = 'shapes-practice', 'first'
GIVEN = dict(parent='exp0001', reason='the first batch', callbacks=('first_batch',))
USED = """import json, os, psutil, time
def used():
    "CPU seconds of this process and of the one that started it, and that one's memory, MB, at a moment."
    parent = psutil.Process(os.getppid())
    own, its = os.times(), parent.cpu_times()
    return dict(at=time.time(), own=own[0] + own[1], command=its.user + its.system, mb=parent.memory_info().rss / 2**20)
def note():
    with open(os.environ['FIRST_BATCH'], 'w') as f:
        json.dump(used(), f)
"""
PAGE = f"""#| export
from kagglekit.core.validation import KitError
from kagglekit.training.plugins import CALLBACKS
{USED}
@CALLBACKS.add
def first_batch():
    from fastai.callback.core import Callback
    class First(Callback):
        order = 100
        def before_batch(self):
            note()
            raise KitError('measured')
    return First()
"""
CHECK = f"""import time
from kagglekit.launch.runner import check_data, check_run
recipe, run, _ = check_run({COMP!r}, 'new', [('parent', 'exp0001'), ('epochs', '3'), ('arch', 'resnet34')])
check_data(run, recipe)
peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(time.process_time(), int(peak.split()[1]) / 1024)"""


def show(name, seconds, aim=None, mb=None):
    "A line of the table."
    aim_text = f'aim {aim:.1f} s' if aim else ''
    print(f'{name:38}{seconds:8.2f} s   {aim_text:12}' + (f'{mb:6.0f} MB' if mb else ''), flush=True)


def python(*args, **env):
    "The last line that an interpreter prints."
    done = subprocess.run([sys.executable, *args], capture_output=True, text=True, env=os.environ | env)
    if done.returncode and 'measured' not in done.stderr:
        raise SystemExit(done.stderr)
    return (done.stdout.strip().splitlines() or [''])[-1]


def commands(n, bytecode, times=3):
    "Commands in a workspace of n runs; the least of some times."
    seconds = min(float(python('-c', 'import pandas, time; print(time.process_time())')) for _ in range(times))
    show('import pandas, to compare with', seconds)
    write_runs('toy', n)
    for line, aim in AIMS.items():
        seconds, mb = min(fresh(line, bytecode) for _ in range(times))
        show(f'kagglekit {line}', seconds, aim, mb)
    seconds, mb = min(tuple(map(float, python('-c', CHECK).split())) for _ in range(times))
    show('the check of parameters of a run', seconds, 1.5, mb)


def write_notebook(path, *sources):
    "A notebook of code cells."
    path.parent.mkdir(parents=True, exist_ok=True)
    spec = dict(name='python3', display_name='Python 3', language='python')
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    nb = nbformat.v4.new_notebook(cells=cells, metadata=dict(kernelspec=spec))
    nbformat.write(nb, path)


def cells_of_training():
    "The code of train.ipynb with the parameters of the run, as a script."
    cells = [cell for cell in nbformat.read(find_page('train'), as_version=4).cells if cell.cell_type == 'code']
    given = GIVEN | dict(comp=COMP, exp=EXP)
    return '\n'.join(
        [cells[0].source, *(f'{name} = {value!r}' for name, value in given.items()), *(c.source for c in cells[1:])]
    )


def first_batch(*args):
    "What was used until the first batch: seconds, CPU seconds, memory of the command."
    with tempfile.TemporaryDirectory() as folder:
        file, start = Path(folder) / 'first.json', time.time()
        line = python(*args, FIRST_BATCH=str(file))
        if not file.exists():
            raise SystemExit(f'{args[:3]} saw no first batch: {line}')
        used = json.loads(file.read_text())
    return used['at'] - start, used['own'], used['command'], used['mb']


def start_of_a_run(home, times=2):
    "From the command to the first batch, beside a script and papermill."
    write_notebook(home / 'nbs/competitions/first.ipynb', PAGE)
    write_notebook(home / 'empty.ipynb', USED + 'note()')
    (home / 'script.py').write_text(cells_of_training())
    given = [word for name, value in GIVEN.items() for word in ('-p', name, value if type(value) is str else value[0])]
    ways = {
        'a script of the same cells': ['-W', 'ignore', str(home / 'script.py')],
        'papermill on one cell': ['-m', 'papermill', str(home / 'empty.ipynb'), str(home / 'out.ipynb')],
        'kagglekit run': ['-c', 'from kagglekit.cli import main; main()', 'run', COMP, EXP, *given],
    }
    print(f'\n{"until the first batch":38}{"clock":>10}{"CPU":>10}{"command":>10}{"it holds":>12}')
    cpu = {}
    for name, line in ways.items():
        seen = min((first_batch(*line) for _ in range(times)), key=lambda seen: seen[1])
        alone = name.startswith('a script')
        cpu[name] = seen[1] + (0 if alone else seen[2])
        rest = '' if alone else f'{seen[2]:8.2f} s{seen[3]:9.0f} MB'
        print(f'{name:38}{seen[0]:8.2f} s{cpu[name]:8.2f} s{rest}', flush=True)
    script, papermill, ours = cpu.values()
    print(f'{"kagglekit beyond script and papermill":38}{"":10}{ours - script - papermill:8.2f} s   aim 1.0 s')


def main():
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument('--n', type=int, default=500, metavar='RUNS')
    a = given.parse_args()
    with workspace() as home:
        write_practice(COMP, say=lambda line: None)
        bytecode = home / 'bytecode'  # kept, as a user's machine keeps it
        os.environ |= dict(PYTHONDONTWRITEBYTECODE='', PYTHONPYCACHEPREFIX=str(bytecode))
        commands(a.n, bytecode)
        start_of_a_run(home)


if __name__ == '__main__':
    main()
