"""How long `kagglekit status`, `show` and `journal` take with many runs, and how much memory.

python bench/journal.py                   # 500 runs
python bench/journal.py --n 10000         # a minute or two
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import numpy as np
from kagglekit.core.paths import out_dir, workspace
from kagglekit.report.journal import journal
from kagglekit.report.journal_html import journal_html, write_page
from kagglekit.report.journal_plots import tree_svg
from kagglekit.report.journal_text import journal_text
from kagglekit.report.leaderboard import plot_leaderboard
from kagglekit.report.ranking import best_run


def write_record(folder, name, record):
    "A JSON file of a run."
    (folder / name).write_text(json.dumps(record, indent=1), encoding='utf8')


def write_run(comp, exp, parent, g):
    "The small record of a run, of the size that a real one has: 5 folds, curves, notes, leaderboard scores."
    folder, score = out_dir(comp, exp), float(g.uniform(0.7, 0.9))
    folder.mkdir(parents=True)
    write_record(
        folder,
        'params.json',
        dict(
            comp=comp,
            exp=exp,
            parent=parent,
            diff=dict(size=160, augment=['hflip', 'rot90']),
            reason='finer cracks show',
            recipe={f'field{j}': j for j in range(35)},
            metric='macro_f1',
            classes=[f'class{j}' for j in range(8)],
            data_hash='d' * 16,
            fold_hash='f' * 16,
            versions={f'package{j}': '1.2.3' for j in range(9)},
        ),
    )
    write_record(
        folder,
        'status.json',
        dict(state='done', pid=1, started=1.0, host='box', boot='b', heartbeat='2026-11-23 09:00:00'),
    )
    write_record(
        folder,
        'score.json',
        dict(
            metric='macro_f1',
            direction='greater',
            folds=[score] * 5,
            mean=score,
            sd=0.01,
            oof=score,
            seconds=100.0,
            images_per_second=90.0,
            peak_memory_mb=900.0,
        ),
    )
    write_record(
        folder, 'leaderboard.json', dict(public=score - 0.01, private=score - 0.02, when='2026-11-23 09:00:00')
    )
    rows = [f'{k},0,{e},1.0,1.0,{score * (1 - 0.5 ** (e + 1)):.4f},0.001,9.0' for k in range(5) for e in range(20)]
    header = 'fold,stage,epoch,train_loss,valid_loss,metric,lr,seconds'
    (folder / 'history.csv').write_text('\n'.join([header, *rows]) + '\n')
    (folder / 'notes.md').write_text('- 2026-11-23 09:00 작은 균열이 보인다\n' * 5, encoding='utf8')
    (folder / 'oof.parquet').touch()


def write_runs(comp, n):
    "n runs, each a child of an earlier one."
    g = np.random.default_rng(0)
    for i in range(n):
        write_run(comp, f'exp{i:04d}', f'exp{g.integers(i):04d}' if i else '', g)


def median_of(f, times=5):
    "Median seconds of some calls, and their range."
    spent = []
    for _ in range(times):
        start = time.perf_counter()
        f()
        spent.append(time.perf_counter() - start)
    return f'{statistics.median(spent):.3f} s   ({min(spent):.3f} to {max(spent):.3f})'


FRESH = """import sys, time
start = time.process_time()
from kagglekit.cli import main
try: main()
except SystemExit: pass
peak = next(line for line in open('/proc/self/status') if line.startswith('VmHWM'))
print(f'{time.process_time() - start} {int(peak.split()[1]) / 1024}', file=sys.stderr)"""
COMMANDS = ('status toy', 'show toy/exp0001', 'show exp0001', 'journal toy', 'journal toy --html')


def fresh(line, bytecode):
    "CPU seconds and peak memory, MB, of a command in a process of its own; bytecode: the folder that keeps it."
    env = os.environ | dict(PYTHONDONTWRITEBYTECODE='', PYTHONPYCACHEPREFIX=str(bytecode))
    done = subprocess.run([sys.executable, '-c', FRESH, *line.split()], capture_output=True, text=True, env=env)
    seconds, peak = done.stderr.strip().splitlines()[-1].split()
    return float(seconds), float(peak)


def measured(n):
    "Command → its CPU seconds and peak memory with n runs, the least of two: the first one compiles the package."
    with workspace() as home:
        write_runs('toy', n)
        os.environ['KAGGLEKIT_ROOT'] = str(home)
        try:
            return {line: min(fresh(line, home / 'bytecode') for _ in range(2)) for line in COMMANDS}
        finally:
            del os.environ['KAGGLEKIT_ROOT']


def commands(n, few=10):
    "The commands with n runs, beside few: what a run adds, and memory."
    small, large = measured(few), measured(n)
    heads = (f'{few} runs, s', f'{n:,} runs, s', 'a run, ms', f'{few} runs, MB', f'{n:,} runs, MB')
    print(f'{"kagglekit …":20}' + ''.join(f'{head:>16}' for head in heads))
    for line in COMMANDS:
        (base, least), (spent, most) = small[line], large[line]
        each = 1000 * (spent - base) / (n - few)
        print(f'{line:20}{base:16.2f}{spent:16.2f}{each:16.3f}{least:16.0f}{most:16.0f}')


def parts(n):
    "What the journal consists of, in this process."
    with workspace():
        write_runs('toy', n)
        table = journal('toy')
        assert len(table) == n and (table.problem == '').all() and best_run(table)
        jobs = dict(
            journal=lambda: journal('toy'),
            journal_text=lambda: journal_text(table),
            journal_html=lambda: journal_html(table),
            tree_svg=lambda: tree_svg(table),
            plot_leaderboard=lambda: plot_leaderboard(table),
        )
        print(f'{n} runs; medians of 5')
        for name, f in jobs.items():
            print(f'{name:16} {median_of(f)}')
        size = write_page('toy').stat().st_size / 1e6
        print(f'{"write_page":16} {median_of(lambda: write_page("toy"), 3)}   one file of {size:.1f} MB')


if __name__ == '__main__':
    given = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given.add_argument('--n', type=int, default=500, metavar='RUNS')
    given.add_argument('--parts', action='store_true', help='what the journal consists of, too')
    a = given.parse_args()
    commands(a.n)
    if a.parts:
        parts(a.n)
