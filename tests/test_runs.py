"Runs from start to end: plain papermill and the command, typos, runs that depend on others."

import json
import shutil
import pandas as pd
import pytest
from kagglekit.cli import main
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp
from running import copy_practice, kit, papermill, status, train_here


def test_plain_papermill_leaves_every_file_of_the_contract(undisturbed):
    for name in (
        'params.json',
        'status.json',
        'history.csv',
        'oof.parquet',
        'test.parquet',
        'test_folds.parquet',
        'score.json',
        'submission.csv',
        'train.ipynb',
        'log.txt',
        'fold2/model.safetensors',
    ):
        assert (undisturbed / name).exists(), name
    assert (
        status(undisturbed)['state'] == 'done'
        and not list(undisturbed.rglob('*.part'))
        and not list(undisturbed.rglob('resume.pt'))
    )


def test_papermill_fails_on_a_typo_before_training(space):
    done = papermill(
        space / 'exp0009' / 'train.ipynb', '-p', 'exp', 'exp0009', '-p', 'parent', 'exp0001', '-p', 'mixpu', '0.4'
    )
    assert done.returncode != 0 and 'did you mean mixup' in done.stderr
    assert not (space / 'exp0009' / 'params.json').exists()


def test_papermills_0001_is_not_1(space):
    done = papermill(space / 'exp' / 'train.ipynb', '-p', 'exp', '0001')
    assert done.returncode != 0 and 'papermill reads -p exp 0001 as the number 1' in done.stderr
    assert not (space / '1').exists()


@pytest.mark.parametrize(
    'params, words',
    [
        (['exp0009', '-p', 'parent', 'exp0001', '-p', 'mixpu', '0.4'], 'did you mean mixup'),
        (['0001'], 'exp0012'),
        (['exp0001', '-p', 'lr', '9'], 'is taken'),
        (['exp0009', '-p', 'parent', 'exp0001', '-p', 'lr', 'fast'], "got 'fast'"),
        (['exp0009', '-p', 'parent', 'exp0001', '-p', 'mixup', '-1'], 'from 0 to 10'),
        (['exp0009', '-p', 'parent', 'exp0001', '-p', 'epochs', '2.5'], 'epochs'),
    ],
)
def test_kagglekit_run_refuses_before_a_kernel_starts(space, capsys, params, words):
    with pytest.raises(SystemExit) as end:
        main(['run', 'shapes-practice', *params])
    assert end.value.code == 2 and words in capsys.readouterr().err
    assert not space.exists()


def test_an_idea_costs_one_line(space):
    done = papermill(
        space / 'exp0009' / 'train.ipynb',
        '-p',
        'exp',
        'exp0009',
        '-p',
        'parent',
        'exp0001',
        '-p',
        'epochs',
        '2',
        '-p',
        'reason',
        '짧게',
    )
    assert done.returncode == 0, done.stderr[-2000:]
    params = json.loads((space / 'exp0009' / 'params.json').read_text())
    assert (params['parent'], params['diff'], params['reason'], params['recipe']['epochs']) == (
        'exp0001',
        {'epochs': 2},
        '짧게',
        2,
    )
    assert 'epochs 2' in kit('journal', 'shapes-practice').stdout


def test_a_run_with_pseudo_labels_of_another_run(space, undisturbed):
    "Weights and soft labels of exp0001, fold by fold; and the mark on one that takes the labels of all folds together."
    shutil.copytree(undisturbed, space / 'exp0001')
    shutil.copytree(undisturbed.parent.parent.parent / 'data', space.parent.parent / 'data')
    taught = dict(comp='shapes-practice', parent='exp0001', init_from='exp0001', epochs=1)
    score = train_here(exp='exp0009', pseudo_labels='exp0001', **taught)
    train_here(exp='exp0010', pseudo_labels='unsafe exp0001', **taught)
    params = [json.loads((space / exp / 'params.json').read_text()) for exp in ('exp0009', 'exp0010')]
    weights = [f'exp0001/fold{k}/model.safetensors' for k in range(3)]
    assert list(params[0]['sources']) == [*weights, 'exp0001/test_folds.parquet']
    assert 'not_comparable' not in params[0] and 'has seen all rows' in params[1]['not_comparable']
    marked = [line for line in kit('journal', 'shapes-practice').stdout.splitlines() if 'cannot be compared' in line]
    assert len(marked) == 1 and 'exp0010' in marked[0]
    assert score['mean'] > json.loads((space / 'exp0001' / 'score.json').read_text())['mean'] - 0.1
    shutil.copy(space / 'exp0010' / 'test_folds.parquet', space / 'exp0001')
    with pytest.raises(KitError, match='exp0001/test_folds.parquet, which it learns from, has changed since'):
        train_here(exp='exp0009', pseudo_labels='exp0001', **taught)


def test_three_heads_train_on_other_labels_than_they_are_scored_on(space):
    "Drawn people: three questions, the oldest class from 58 in training only; and all rows, without a CV."
    copy_practice('mask-practice', 210)
    tiny = dict(arch='test_convnext', pretrained=False, epochs=1, dead_after=0, size=32)
    folder = space.parent / 'mask-practice'
    for exp, more in [('heads', dict(folds=2)), ('all', dict(train_all=True))]:
        train_here('mask-practice', exp, parent='exp0004', **tiny, **more)
    oof, comp, score = (
        pd.read_parquet(folder / 'heads' / 'oof.parquet'),
        find_comp('mask-practice'),
        json.loads((folder / 'heads' / 'score.json').read_text()),
    )
    assert (
        oof.target.tolist() == comp.train.target.tolist() and (comp.train.old58 != comp.train.target).any()
    )  # scored at 60, whatever was learnt
    assert (
        sorted(score['heads']) == ['age', 'gender', 'mask'] and abs(oof.filter(like='p_').sum(axis=1) - 1).max() < 1e-4
    )
    assert 'each of 21 values of person is in one fold' in (folder / 'heads' / 'log.txt').read_text()
    full = json.loads((folder / 'all' / 'score.json').read_text())
    assert (
        (full['mean'], full['folds']) == (None, [])
        and not (folder / 'all' / 'oof.parquet').exists()
        and status(folder / 'all')['state'] == 'done'
    )
    assert len(pd.read_csv(folder / 'all' / 'submission.csv')) == len(comp.test)
