"""Accuracy of our runs on the paper's question, and macro-F1 of the eight class-states with rare states lifted.

    python bench/elpv.py exp0001 exp0006          # runs of anomaly-practice that are done here
    python bench/elpv.py exp0018 exp0018-seed1 exp0018-seed2      # one recipe: the mean of its seeds comes last

Deitsch et al. 2019 (Solar Energy 185, https://arxiv.org/abs/1807.02894) trained for this question and report 88.42 %
accuracy with a VGG-19 at 300 pixels, on a 75 : 25 split. Our runs are trained for the eight class-states; here the
probabilities of crack2 and crack3 are summed, and compared with one half. The split has the same shares, but is another
random draw.

Macro-F1 counts each class the same, and the probability of a rare state is seldom the highest of eight. So it is also
computed as decided by logit_adjusted, nested: for each fold by what the other folds say.
"""

import argparse
import json
import numpy as np
import pandas as pd
from kagglekit.data.competition import find_comp, load_pages, prob_columns
from kagglekit.metrics.decisions import nested_decision
from kagglekit.metrics.registry import find_metric
from kagglekit.runs.recipe import recorded
from kagglekit.runs.run import Run


def accuracy(p, labels, classes):
    "Accuracy as a number and with its 95 % interval (Wilson), and which rows are predicted correctly."
    defect = [i for i, c in enumerate(classes) if c.endswith(('crack2', 'crack3'))]
    right = (p[:, defect].sum(1) > 0.5) == np.array([t.endswith(('crack2', 'crack3')) for t in labels])
    a, n, z = right.mean(), len(right), 1.96
    middle, half = (
        (a + z * z / (2 * n)) / (1 + z * z / n),
        z * np.sqrt(a * (1 - a) / n + z * z / (4 * n * n)) / (1 + z * z / n),
    )
    return a, f'{a:8.2%} ({middle - half:.2%} to {middle + half:.2%})', right


def lifted(p, y, fold, comp):
    "Macro-F1 as the mean over folds: of the probabilities, and with rare states lifted as the other folds say."
    metric = find_metric('macro_f1')
    answers = nested_decision('logit_adjusted', y, p, metric, comp.target, fold)
    folds = [fold == k for k in np.unique(fold)]
    return np.mean([metric(y[f], p[f]) for f in folds]), np.mean([metric(y[f], answers[f]) for f in folds])


def idea(run):
    "The recipe without its seed, as today's fields say it; of a blend its members."
    params = run.read('params.json')
    recipe = recorded(run.comp, run.exp).params() if 'recipe' in params else params['blend']
    return json.dumps({field: value for field, value in recipe.items() if field != 'seed'}, sort_keys=True)


def print_means(found):
    "The mean of each figure over the seeds of each recipe."
    for (name, _), group in pd.DataFrame(found, columns=['figure', 'idea', 'exp', 'value']).groupby(['figure', 'idea']):
        if len(group) > 1:
            v = group.value
            print(f'{name}: {v.mean():.4f} ± {v.std():.4f} over {len(v)} seeds ({", ".join(group.exp)})')


def predictions(run, name, ids):
    "The rows of a run's test or out-of-fold predictions; None for out-of-fold rows of a run on all rows."
    path = run.folder / f'{name}.parquet'
    if not path.exists():
        return None
    rows = pd.read_parquet(path)
    assert rows.id.tolist() == ids.tolist(), path
    return rows


def figures(run, comp, truth):
    "Print what a run scores; figure → value."
    columns, params = prob_columns(comp.classes), run.read('params.json')
    if run.state() != 'done':
        train = f'kagglekit run {comp.name} {run.exp}'
        raise SystemExit(f'{run} is {run.state()}, and has no predictions yet; train it: {train}')
    test, oof = predictions(run, 'test', comp.test.id), predictions(run, 'oof', comp.train.id)
    found, said = {}, 'none: trained on all rows'
    found['accuracy, test'], said_test, right = accuracy(test[columns].to_numpy(), truth, comp.classes)
    if oof is not None:
        p = oof[columns].to_numpy()
        found['accuracy, out-of-fold'], said, _ = accuracy(p, comp.train.label, comp.classes)
        scores = lifted(p, comp.train.target.to_numpy(), oof.fold.to_numpy(), comp)
        found |= zip(('macro-F1', 'macro-F1, lifted'), scores)
    minutes = (run.read('score.json').get('seconds') or 0) / 60
    print(f'{run.exp:14s} {said_test:28s} {said:28s} {minutes:6.1f} min  {params.get("reason", "")}')
    wrong = pd.Series(~right).groupby(pd.Series(truth).str.split('-').str[1]).agg(['sum', 'size'])
    print(f'{"":14s} wrong in test: {", ".join(f"{state} {w} of {n}" for state, w, n in wrong.itertuples())}')
    if oof is not None:
        print(f'{"":14s} macro-F1 {scores[0]:.4f}, with rare states lifted {scores[1]:.4f} (mean of the folds)')
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument('exps', nargs='+', help='runs of anomaly-practice')
    load_pages()
    comp = find_comp('anomaly-practice')
    answers = pd.read_parquet(comp.folder / '.answers.parquet').set_index('id').answer
    truth, found = answers[comp.test.sample_id].tolist(), []
    print(f'{"":14s} {f"test, {len(truth)} cells":28s} {f"out-of-fold, {len(comp.train)} cells":28s} {"":10s} what')
    for exp in parser.parse_args().exps:
        run = Run(comp.name, exp)
        scores = figures(run, comp, truth)
        recipe = idea(run)
        found += [(name, recipe, exp, value) for name, value in scores.items()]
    print_means(found)


if __name__ == '__main__':
    main()
