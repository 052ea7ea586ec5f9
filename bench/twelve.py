"""Twelve competitions the whole way: practice data, `kagglekit new`, check, two runs, their blend, the site's score.

    python bench/twelve.py                     # all twelve, about half an hour on one core
    python bench/twelve.py aptos hms           # some of them
    python bench/twelve.py --epochs 1          # quicker, and the scores mean little

Works in an empty workspace of its own. Prints a line for each competition: the lines that were changed in the page that
`kagglekit new` wrote, the CV of both runs and of the blend, the blend's scores on the local leaderboard, and those of
the best constant answer. Data and training have fixed seeds.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
import numpy as np

ROOT = Path(__file__).parent.parent
EDITS: dict[str, list[tuple[str, str]]] = {
    'aptos': [],
    'pawpularity': [],
    'ranzcr': [],
    'haemorrhage': [("metric='column_auc'", "metric='column_log_loss(weights=(1, 1, 1, 1, 1, 2))'")],
    'imet': [('metric="fbeta(beta=1', 'metric="fbeta(beta=2')],
    'bengali': [
        (
            """metric="head_mean(metric='balanced_accuracy')\"""",
            """metric="head_mean(metric='balanced_accuracy', weights=(1, 2, 1))\"""",
        )
    ],
    'mammography': [("metric='auc'", "metric='pfbeta(beta=1)'")],
    'isic': [("metric='auc'", "metric='pauc(tpr=0.8)'")],
    'birdclef': [("metric='column_auc'", "metric='column_auc_present'")],
    'hms': [],
    'biomass': [("metric='mcrmse'", "metric='pooled_r2(weights=(0.1, 0.1, 0.1, 0.5, 0.2))'")],
    'whales': [],
}  # competition → (old, new) texts of the page that `new` wrote: what a person knows from the site


class Walk(NamedTuple):
    "What came of a competition."

    comp: str
    lines: int  # of the page that were changed after `kagglekit new`
    wrong: list[str]  # lines of `kagglekit check` that found a fault
    cv: list[float]  # OOF score of both runs, and of their blend
    board: dict[str, float]  # public and private score of the blend, by the site's formula
    constant: dict[str, float]  # of the best constant answer
    greater: bool  # whether more is better
    seconds: float

    @property
    def learnt(self) -> bool:
        "Whether the private score is better than that of every constant answer."
        ours, theirs = self.board['private'], self.constant['private']
        return ours > theirs if self.greater else ours < theirs


def correct_page(comp, edits):  # the page as a person would correct it; the number of lines that differ
    from kagglekit.core.paths import root

    path = root() / 'nbs' / 'competitions' / f'{comp}.ipynb'
    before = path.read_text(encoding='utf8')
    after = before
    for old, new in edits:
        found = after.count(json.dumps(old)[1:-1])
        assert found == 1, f'{comp}: {old} stands {found} times in the page that new wrote'
        after = after.replace(json.dumps(old)[1:-1], json.dumps(new)[1:-1])
    path.write_text(after, encoding='utf8')
    return sum(a != b for a, b in zip(before.splitlines(), after.splitlines()))


def train_run(comp, exp, parent=None, **changes):
    "Train with the engine of train.ipynb; a score."
    from kagglekit.fit.train import load_experiment, train
    from kagglekit.runs.setup import run_folds

    given = dict(comp=comp, exp=exp, parent=parent, reason=parent and 'another seed', **changes)
    competition, recipe = load_experiment(given)
    return train(recipe, competition, run_folds(recipe, competition))['oof']


def mix(comp):
    "The mean of both runs, as a blend; its score."
    from kagglekit.blend.blend_run import run_blend
    from kagglekit.blend.recipe import BlendRecipe
    from kagglekit.data.competition import find_comp
    from kagglekit.practice.standins import local_score

    competition = find_comp(comp)
    run = run_blend(BlendRecipe('exp0101', ('exp0011', 'exp0012'), reason='both seeds'), competition)
    run.set_leaderboard(**local_score(competition, run.folder / 'submission.csv'))
    return run.read('score.json')['oof']


def constant_scores(comp, greater):
    "The scores of the answer for every row that has the best private one."
    from kagglekit.data.competition import find_comp
    from kagglekit.metrics.constant_answers import constant_answers
    from kagglekit.targets.forms import find_form, make_table
    from kagglekit.practice.standins import local_score

    c, found = find_comp(comp), []
    form, ids = find_form(c), list(dict.fromkeys(c.test.sample_id))
    for answer in itertools.islice(constant_answers(c.y, c.target), 40):
        answers = np.repeat(answer[None, -len(c.outputs) :], len(ids), 0)
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / 'submission.csv'
            make_table(c, ids, answers, form).to_csv(path, index=False)
            found.append(local_score(c, path))
    return (max if greater else min)(found, key=lambda s: s['private'])


def walk(name, **changes):
    "A competition the whole way, in the current workspace."
    from kagglekit.core.paths import root
    from kagglekit.data.competition import find_comp
    from kagglekit.metrics.site_metric import metric_of
    from kagglekit.fit.page_check import inspect_comp
    from kagglekit.draft.new_page import new_page
    from kagglekit.practice.standins import write_practice
    from kagglekit.runs.run import Run

    began, comp = time.time(), f'{name}-practice'
    write_practice(comp)
    new_page(comp)
    lines = correct_page(comp, EDITS[name])
    wrong = [f'{line.what}: {line.text}' for line in inspect_comp(comp) if line.mark == '✗']
    cv = [train_run(comp, f'exp00{seed}', 'exp0001', seed=seed, **changes) for seed in (11, 12)]
    cv.append(mix(comp))
    greater = metric_of(find_comp(comp)).greater
    board = Run(comp, 'exp0101').read('leaderboard.json')
    constant = constant_scores(comp, greater)
    seconds = time.time() - began
    shutil.rmtree(root() / '.cache', ignore_errors=True)
    return Walk(comp, lines, wrong, cv, board, constant, greater, seconds)


COLUMNS = '| competition | lines | CV of both runs | CV of the blend | public | private | best constant | seconds |'


def row(w):
    "A line of the table."
    runs = ', '.join(f'{score:.4f}' for score in w.cv[:2])
    scores = f'{w.board["public"]:.4f} | {w.board["private"]:.4f} | {w.constant["private"]:.4f}'
    return f'| {w.comp} | {w.lines} | {runs} | {w.cv[2]:.4f} | {scores} | {w.seconds:.0f} |'


def main():
    "Print the table."
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('names', nargs='*', choices=[*EDITS, []], help='such as aptos; all when left out')
    parser.add_argument('--epochs', type=int, help='of each run; as the written recipe says when left out')
    args = parser.parse_args()
    changes = dict(epochs=args.epochs) if args.epochs else {}
    with tempfile.TemporaryDirectory() as home:
        shutil.copy(ROOT / 'settings.ini', home)
        os.environ |= dict(KAGGLEKIT_ROOT=home, KAGGLEKIT_DATA='')
        print(COLUMNS, '|'.join(['', *['---'] * 8, '']), sep='\n')
        for name in args.names or EDITS:
            with contextlib.redirect_stdout(io.StringIO()):
                walked = walk(name, **changes)
            print(row(walked), *walked.wrong, sep='\n', flush=True)


if __name__ == '__main__':
    main()
