"""Blending beside hillclimbers, AutoGluon, scikit-learn and SciPy: seconds, ratios, and whether the results agree.

    python bench/blend.py                  # the sizes of a real competition; half an hour, most of it for the peers
    python bench/blend.py --quick          # a tenth of the rows, two minutes
    python bench/blend.py --only W1c W2
    python bench/blend.py --only memory    # peak memory of a blend of two runs, 50,000 rows × 2,000 classes

The peers live in a virtual environment of their own, .cache/bench-blend, which this script makes. Data are drawn with
fixed seeds. Times on shared machines vary, so compare only ratios within one run.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
import venv
from functools import partial
from pathlib import Path
import numpy as np

CACHE = Path(__file__).resolve().parent.parent / '.cache' / 'bench-blend'
PEERS = ['hillclimbers==0.1.4', 'autogluon.core==1.6.3']


def seconds(f, times=1):
    "The result of `f`, and the least time that it took, s."
    took = []
    for _ in range(times):
        start = time.perf_counter()
        out = f()
        took.append(time.perf_counter() - start)
    return out, min(took)


def binary_data(m, n):
    "Answers (n,) and members (m, n): a signal, what all share, what each has alone."
    g = np.random.default_rng(0)
    y, shared = (g.random(n) < 0.1).astype(int), g.normal(size=n)
    S = (
        y * g.uniform(1.2, 1.8, (m, 1))
        + shared * g.uniform(0.4, 0.8, (m, 1))
        + g.normal(size=(m, n)) * g.uniform(0.5, 1, (m, 1))
        - 2.5
    )
    return y, 1 / (1 + np.exp(-S))


def class_data(m, n, k):
    "Codes (n,) and members (m, n, k): 15 large classes and small ones, macro-F1 around .6 for each member."
    g = np.random.default_rng(0)
    share = np.r_[np.full(15, 242.0), np.full(k - 15, 9.0)]
    y = g.choice(k, n, p=share / share.sum())
    S = 6 * np.eye(k)[y] + g.normal(size=(n, k)) + 1.5 * g.normal(size=(m, n, k))
    S = np.exp(S - S.max(-1, keepdims=True))
    return y, S / S.sum(-1, keepdims=True)


def number_data(m, n):
    "Truth (n,) and members (m, n): what all share, what each has alone."
    g = np.random.default_rng(0)
    y, shared = g.normal(50, 10, n), g.normal(0, 2, n)
    return y, y + shared + g.normal(size=(m, n)) * g.uniform(3, 6, (m, 1)) + g.uniform(-1, 1, (m, 1))


# ---- the peers, run by their own interpreter


def peer_hill(y, P, negative):
    "hillclimbers: an identity matrix as test predictions makes its answer the weights."
    import io
    import pandas as pd
    from contextlib import redirect_stdout
    from sklearn.metrics import roc_auc_score
    from hillclimbers import climb_hill, partial

    names = [f'm{j:03d}' for j in range(len(P))]
    args = dict(
        train=pd.DataFrame(dict(y=y)),
        oof_pred_df=pd.DataFrame(P.T, columns=names),
        test_pred_df=pd.DataFrame(np.eye(len(P)), columns=names),
        target='y',
        objective='maximize',
        eval_metric=partial(roc_auc_score),
        negative_weights=negative,
        precision=0.01,
        plot_hill=False,
    )
    with redirect_stdout(io.StringIO()):
        return seconds(lambda: climb_hill(**args))


def peer_caruana(y, P, metric, kind):
    "AutoGluon's EnsembleSelection."
    from autogluon.core.metrics import get_metric
    from autogluon.core.models.greedy_ensemble.ensemble_selection import EnsembleSelection

    pick = EnsembleSelection(ensemble_size=25, problem_type=kind, metric=get_metric(metric))
    return seconds(lambda: pick.fit(list(P), y).weights_)


def peer(task, path):
    "What the peers' interpreter does: read, run, print JSON."
    d = np.load(path)
    jobs = dict(
        W1=lambda: peer_hill(d['y'], d['P'], False),
        W1n=lambda: peer_hill(d['y'], d['P'], True),
        W1c=lambda: peer_caruana(d['y'], d['P'], 'roc_auc', 'binary'),
        W2=lambda: peer_caruana(d['y'], d['P'], 'f1_macro', 'multiclass'),
    )
    weights, took = jobs[task]()
    print(json.dumps(dict(weights=np.asarray(weights).tolist(), seconds=took)))


def peer_python():
    "The peers' interpreter; made on the first call."
    CACHE.mkdir(parents=True, exist_ok=True)
    python = CACHE / 'venv' / 'bin' / 'python'
    if not (CACHE / 'ready').exists():
        print("making the peers' environment …", flush=True)
        venv.create(CACHE / 'venv', with_pip=True, clear=True)
        subprocess.run([python, '-m', 'pip', 'install', '-q', *PEERS], check=True, stderr=subprocess.DEVNULL)
        (CACHE / 'ready').touch()
    return python


def ask_peer(task, y, P):
    "(weights, seconds) of a peer."
    peer_python()
    path = CACHE / f'{task}.npz'
    np.savez(path, y=y, P=P)
    out = subprocess.run(
        [peer_python(), __file__, '--peer', task, path], check=True, capture_output=True, text=True
    ).stdout
    found = json.loads(out.strip().splitlines()[-1])
    path.unlink()
    return np.array(found['weights']), found['seconds']


# ---- ours


def ours(y, P, metric, name, **options):
    "(weights, seconds) of a method of kagglekit."
    import kagglekit.blend.greedy  # noqa: F401  registers its methods
    from kagglekit.blend.methods import fit_blend
    from kagglekit.metrics.registry import find_metric

    P = P if P.ndim == 3 else P[:, :, None]
    b, took = seconds(lambda: fit_blend(name, P, y, find_metric(metric), **options), 3)
    return np.array(b['params']['weights']), took


def row(work, who, theirs, mine, aim=''):
    "A line of the table; the results are the same when all weights agree to 1e-9."
    difference = np.abs(theirs[0] - mine[0]).max()
    same = 'same weights' if difference < 1e-9 else f'weights differ by {difference:.2g}'
    times = f'{theirs[1]:9.3f} s  ours {mine[1]:8.3f} s  ×{theirs[1] / mine[1]:7.1f}'
    print(f'{work:58s} {who:22s} {times}  {same:22s} {aim}', flush=True)


def against_sklearn(y, P, codes, M):
    "Metrics against scikit-learn; weights of the lowest log loss against SciPy's SLSQP with its numerical gradient."
    from scipy.optimize import minimize
    from sklearn.metrics import f1_score, log_loss, roc_auc_score
    from kagglekit.metrics.registry import find_metric

    auc, f1 = find_metric('auc'), find_metric('macro_f1')
    row(
        f'AUC of {len(P)} members × {len(y):,} rows',
        'scikit-learn',
        seconds(lambda: np.array([roc_auc_score(y, p) for p in P]), 3),
        seconds(lambda: auc.many(y, P), 3),
    )
    row(
        f'macro-F1 of {len(M)} members × {len(codes):,} rows × {M.shape[2]} classes',
        'scikit-learn',
        seconds(lambda: np.array([f1_score(codes, p.argmax(1), average='macro') for p in M]), 3),
        seconds(lambda: f1.many(codes, M), 3),
    )
    loss = lambda w: log_loss(y, np.clip(w @ P, 1e-7, 1 - 1e-7))
    m = len(P)
    fit = lambda: (
        minimize(
            loss,
            np.full(m, 1 / m),
            method='SLSQP',
            bounds=[(0, 1)] * m,
            constraints=dict(type='eq', fun=lambda w: w.sum() - 1),
            options=dict(maxiter=300, ftol=1e-10),
        ).x
    )
    theirs, mine = seconds(fit), ours(y, P, 'log_loss', 'likelihood')
    print(f'  log loss reached: SciPy {loss(theirs[0]):.9f}, ours {loss(mine[0]):.9f}')
    row('weights of least log loss', 'SciPy SLSQP', theirs, mine)


def least_squares(n):
    "Non-negative least squares against scikit-learn; with a sum of 1 against SciPy's SLSQP with its gradient."
    from scipy.optimize import minimize
    from sklearn.linear_model import LinearRegression
    import kagglekit.blend.least_squares  # noqa: F401  registers its method
    from kagglekit.blend.kinds import Rows
    from kagglekit.blend.methods import fit_blend
    from kagglekit.targets.target import Numbers

    y, P = number_data(23, n)
    rows, m = Rows(Numbers(('size',))), len(P)

    def mine(sum_to_one):
        fit = lambda: fit_blend('least_squares', P[:, :, None], y[:, None], None, rows, sum_to_one=sum_to_one)
        b, took = seconds(fit, 3)
        return np.array(b['params']['weights']), took

    def theirs():
        gradient = lambda w: 2 * P @ (w @ P - y) / n
        loss = lambda w: (np.mean((w @ P - y) ** 2), gradient(w))
        total = dict(type='eq', fun=lambda w: w.sum() - 1, jac=lambda w: np.ones(m))
        options = dict(maxiter=300, ftol=1e-12)
        start, bounds = np.full(m, 1 / m), [(0, 1)] * m
        return minimize(loss, start, jac=True, method='SLSQP', bounds=bounds, constraints=total, options=options).x

    free = LinearRegression(positive=True, fit_intercept=False)
    work = f'{m} members × {n:,} rows'
    row(f'least squares, {work}', 'scikit-learn', seconds(lambda: free.fit(P.T, y).coef_, 3), mine(False))
    row(f'the same with a sum of 1, {work}', 'SciPy SLSQP', seconds(theirs, 3), mine(True))


def large(m, n):
    "A climb and a selection over many members; peak memory of a process that does nothing else."
    y, P = binary_data(m, n)
    P = P.astype(np.float32).astype(np.float64)
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    for name in ('climb', 'caruana'):
        import kagglekit.blend.greedy  # noqa: F401  registers its methods
        from kagglekit.blend.methods import fit_blend
        from kagglekit.metrics.registry import find_metric

        b, took = seconds(partial(fit_blend, name, P[:, :, None], y, find_metric('auc')))
        kept = (np.array(b['params']['weights']) != 0).sum()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(
            f'{m} members × {n:,} rows: {name:8s} ours {took:7.1f} s, {kept} members kept, '
            f'peak memory of the process {peak:.2f} GB ({base:.2f} GB after drawing the data)',
            flush=True,
        )


def write_members(comp, seed=0):
    "Two finished runs of drawn predictions, in single precision."
    import pyarrow as pa
    import pyarrow.parquet as pq
    from kagglekit.data.competition import prob_columns
    from kagglekit.core.storage import write_json
    from kagglekit.runs.run import Run

    g, y, n = np.random.default_rng(seed), comp.train.target.to_numpy(), len(comp.train)
    for exp in ('exp0001', 'exp0002'):
        run = Run(comp.name, exp)
        run.folder.mkdir(parents=True)
        for side, ids in (('oof', comp.train.id), ('test', comp.test.id)):
            p = g.random((len(ids), len(comp.classes)), np.float32)
            if side == 'oof':
                p[np.arange(n), y] += 0.7
            p /= p.sum(1, keepdims=True)
            rows = dict(id=ids.tolist()) | (dict(fold=np.arange(n) % 5, target=y) if side == 'oof' else {})
            pq.write_table(
                pa.table(rows | {c: p[:, j] for j, c in enumerate(prob_columns(comp.classes))}),
                run.folder / f'{side}.parquet',
            )
        write_json(run.folder / 'params.json', dict(comp=comp.name, exp=exp, recipe={}))
        write_json(run.folder / 'score.json', dict(folds=[1.0]))


def memory(n, k, method):
    "What a blend of two runs holds at its peak, beyond what its members hold; in a process that does nothing else."
    import pandas as pd
    import psutil
    import pyarrow as pa
    import threading
    from kagglekit.blend.blend_run import run_blend
    from kagglekit.blend.recipe import BlendRecipe
    from kagglekit.data.competition import Competition
    from kagglekit.core.paths import workspace
    from kagglekit.runs.process import environment

    g, t = np.random.default_rng(1), n // 10
    train = pd.DataFrame(dict(id=[f'a{i}' for i in range(n)], file='x', target=g.permutation(np.arange(n) % k)))
    test = pd.DataFrame(dict(id=[f't{i}' for i in range(t)], file='x')).assign(sample_id=lambda d: d.id)
    classes = tuple(f'c{i:05d}' for i in range(k))
    comp = Competition('big', train, test, pd.DataFrame(dict(id=test.id, label=classes[0])), classes, 'macro_f1')
    with workspace():
        write_members(comp)
        environment()  # imports torch, which is no part of a blend
        pa.default_memory_pool().release_unused()
        held = psutil.Process().memory_info
        before, peak, done = held().rss, [0], threading.Event()

        def watch():
            while not done.wait(0.01):
                peak[0] = max(peak[0], held().rss - before)

        thread = threading.Thread(target=watch)
        thread.start()
        _, took = seconds(lambda: run_blend(BlendRecipe('exp0101', ('exp0001', 'exp0002'), method), comp))
        done.set()
        thread.join()
    one, members = n * k * 4, 2 * (n + t) * k * 4
    beyond = (peak[0] - members) / one
    print(
        f'{method:8s} of 2 members × {n:,} rows × {k:,} classes: '
        f'peak {peak[0] / 1e9:.2f} GB, members {members / 1e9:.2f} GB, '
        f'beyond them {beyond:.1f} × one OOF of {one / 1e9:.2f} GB in single precision, {took:.0f} s',
        flush=True,
    )


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--quick', action='store_true')
    p.add_argument('--only', nargs='*')
    p.add_argument('--peer', nargs=2)
    p.add_argument('--large', nargs=2, type=int)
    p.add_argument('--memory', nargs=3)
    a = p.parse_args()
    if a.peer:
        return peer(*a.peer)
    if a.large:
        return large(*a.large)
    if a.memory:
        return memory(int(a.memory[0]), int(a.memory[1]), a.memory[2])
    n = 6_000 if a.quick else 60_000
    (y, P), (codes, M) = binary_data(23, n), class_data(10, 427 if a.quick else 4277, 88)
    works = dict(
        metrics=lambda: against_sklearn(y, P, codes, M),
        numbers=lambda: least_squares(n),
        W1c=lambda: row(
            'W1c  Caruana, 25 rounds, 23 members, AUC',
            'autogluon.core 1.6.3',
            ask_peer('W1c', y, P),
            ours(y, P, 'auc', 'caruana'),
            'aim ≤ 0.6 s',
        ),
        W2=lambda: row(
            'W2   Caruana, 25 rounds, 10 members, 88 classes, macro-F1',
            'autogluon.core 1.6.3',
            ask_peer('W2', codes, M),
            ours(codes, M, 'macro_f1', 'caruana'),
            'aim ≤ 0.15 s',
        ),
        large=lambda: subprocess.run([sys.executable, __file__, '--large', '200', str(n)], check=True),
        memory=lambda: [
            subprocess.run(
                [sys.executable, __file__, '--memory', *(('5000', '200') if a.quick else ('50000', '2000')), m],
                check=True,
            )
            for m in ('mean', 'caruana')
        ],
        W1=lambda: row(
            f'W1   climb, 23 members × {n:,} rows, AUC',
            'hillclimbers 0.1.4',
            ask_peer('W1', y, P),
            ours(y, P, 'auc', 'climb'),
            'aim ≤ 3 s',
        ),
        W1n=lambda: row(
            'W1n  the same with negative weights',
            'hillclimbers 0.1.4',
            ask_peer('W1n', y, P),
            ours(y, P, 'auc', 'climb', negative=True),
        ),
    )
    for name in a.only or works:
        works[name]()


if __name__ == '__main__':
    main()
