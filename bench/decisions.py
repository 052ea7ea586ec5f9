"""Fitting decisions: seconds of the clock and of the processor, peak memory, and the score before and after.

    python bench/decisions.py                  # 100,000 rows × 1,000 labels needs about 4 GB
    python bench/decisions.py --quick          # a tenth of the rows

Kappa is also climbed by Nelder and Mead's method on scikit-learn's kappa, as public notebooks do. Data are drawn with a
fixed seed. Times on shared machines vary, so compare only ratios within one run.
"""

import argparse
import resource
import time
import numpy as np
from scipy.optimize import minimize
from sklearn.metrics import cohen_kappa_score
from kagglekit.metrics.cut_points import apply_cuts, kappa, rounding_cuts
from kagglekit.metrics.decisions import apply_decision, fit_decision
from kagglekit.metrics.registry import Metric
from kagglekit.targets.target import Grades, Labels


def mean_f1(y, P):
    "Macro-F1 of labels, for each of (m, n, c) candidates."
    values = []
    for p in P:
        chosen, has = p > 0.5, y > 0.5
        hits, total = (chosen & has).sum(0), chosen.sum(0) + has.sum(0)
        values.append(np.mean(2 * hits / np.maximum(total, 1)))
    return np.array(values)


def mean_kappa(y, P):
    "Quadratic weighted kappa of grades, for each of (m, n, 1) candidates."
    return np.array([kappa(y, np.rint(p[:, 0])) for p in P])


F1 = Metric('f1', True, mean_f1, 'labels', kinds=('labels',))
QWK = Metric('qwk', True, mean_kappa, 'labels', kinds=('grades',))


def label_data(n, c):
    "Rare labels, and probabilities that are too low."
    g = np.random.default_rng(0)
    rate = np.geomspace(0.0005, 0.2, c).astype(np.float32)
    P = g.random((n, c), np.float32) ** (1 / (4 * rate) - 1)
    y = (g.random((n, c), np.float32) < P).astype(np.float64)
    P *= 0.5
    return y, P


def grade_data(n, k):
    "Grades, and expected grades that are drawn towards the middle."
    g = np.random.default_rng(0)
    y = g.integers(0, k, n)
    return y, np.clip(y * 0.6 + g.normal(0.3, 0.5, n), 0, k - 1)[:, None]


def report(name, decide, y, P, metric, target):
    "Fit one decision and print a row."
    start, cpu = time.perf_counter(), time.process_time()
    params = fit_decision(decide, y, P, metric, target)
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    after = metric(y, apply_decision(params, P, target))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(
        f'{name:34} {decide:12} {took:8.2f} s  {cpu:6.2f} s CPU  {metric(y, P):.4f} → {after:.4f}  peak {peak:.1f} GB',
        flush=True,
    )


def nelder_mead(y, x, k):
    "The usual way to cut points."
    loss = lambda cuts: -cohen_kappa_score(y, apply_cuts(x, range(k), np.sort(cuts)).astype(int), weights='quadratic')
    start, cpu = time.perf_counter(), time.process_time()
    found = minimize(loss, rounding_cuts(range(k)), method='nelder-mead')
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(f'{"the same, Nelder-Mead":34} {"":12} {took:8.2f} s  {cpu:6.2f} s CPU         → {-found.fun:.4f}')


def main():
    "Run all rows."
    parser = argparse.ArgumentParser()
    parser.add_argument('--quick', action='store_true', help='a tenth of the rows')
    n = 10_000 if parser.parse_args().quick else 100_000
    for k in (5, 20):
        y, P = grade_data(n, k)
        report(f'{n:,} rows × {k} grades', 'cut_points', y, P, QWK, Grades(tuple(map(str, range(k)))))
        if k == 5:
            nelder_mead(y, P[:, 0], k)
    for c in (20, 1000):
        y, P = label_data(n, c)
        target = Labels(tuple(f'label {i}' for i in range(c)))
        for decide in ('threshold', 'thresholds'):
            report(f'{n:,} rows × {c:,} labels', decide, y, P, F1, target)


if __name__ == '__main__':
    main()
