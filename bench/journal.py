"How long it takes to open the journal of 500 runs. By hand: python bench/journal.py [runs]"
import json, statistics, subprocess, sys, time
import numpy as np
from kagglekit.core import out_dir, workspace
from kagglekit.journal import best_run, journal, journal_html, journal_text, plot_board, plot_tree, write_page

def write_runs(comp, n):
    "The small record of n runs, of the size that a real one has: 5 folds, notes, a leaderboard score."
    g = np.random.default_rng(0)
    for i in range(n):
        folder, exp = out_dir(comp, f'exp{i:04d}'), f'exp{i:04d}'
        folder.mkdir(parents=True)
        score = float(g.uniform(.7, .9))
        write = lambda name, record: (folder/name).write_text(json.dumps(record, indent=1), encoding='utf8')
        write('params.json', dict(comp=comp, exp=exp, parent=f'exp{g.integers(i):04d}' if i else '', diff=dict(size=160, augment=['hflip', 'rot90']), reason='finer cracks show',
                                  recipe={f'field{j}': j for j in range(35)}, metric='macro_f1', classes=[f'class{j}' for j in range(8)], data_hash='d'*16, fold_hash='f'*16,
                                  versions={f'package{j}': '1.2.3' for j in range(9)}))
        write('status.json', dict(state='done', pid=1, started=1., host='box', boot='b', heartbeat='2026-11-23 09:00:00'))
        write('score.json', dict(metric='macro_f1', direction='greater', folds=[score]*5, mean=score, sd=.01, oof=score, seconds=100., images_per_second=90., peak_memory_mb=900.))
        write('leaderboard.json', dict(public=score - .01, private=score - .02, when='2026-11-23 09:00:00'))
        (folder/'notes.md').write_text('- 2026-11-23 09:00 작은 균열이 보인다\n'*5, encoding='utf8')
        (folder/'oof.parquet').touch()

def median_of(f, times=5):
    "Median seconds of some calls, and their range."
    spent = []
    for _ in range(times):
        t0 = time.perf_counter(); f(); spent.append(time.perf_counter() - t0)
    return f'{statistics.median(spent):.3f} s   ({min(spent):.3f} to {max(spent):.3f})'

if __name__ == '__main__':
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    with workspace():
        write_runs('toy', n)
        table = journal('toy')
        assert len(table) == n and (table.problem == '').all() and best_run(table)
        jobs = dict(journal=lambda: journal('toy'), journal_html=lambda: journal_html(table), journal_text=lambda: journal_text(table),
                    plot_tree=lambda: plot_tree(table[:40]).canvas.draw(), plot_board=lambda: plot_board(table[:40]).canvas.draw())
        print(f'{n} runs; the pictures show 40; medians of 5')
        for name, f in jobs.items(): print(f'{name:14} {median_of(f)}')
        print(f"{'write_page':14} {median_of(lambda: write_page('toy'), 3)}   all {n} runs in one file of {write_page('toy').stat().st_size / 1e6:.1f} MB")
        print(f"{'import':14} {median_of(lambda: subprocess.run([sys.executable, '-c', 'import kagglekit.journal'], check=True), 3)}   a fresh process")
