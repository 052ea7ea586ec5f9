"A trial: the same code at a small size, apart from the experiments."

import io
import json
from contextlib import redirect_stdout
from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
from kagglekit.cli import main
from kagglekit.cli.show import show_run
from kagglekit.data.competition import Competition, find_comp, load_pages
from kagglekit.core.paths import out_dir, workspace
from kagglekit.core.storage import write_json
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import RECIPES, Recipe
from kagglekit.runs.setup import run_folds
from kagglekit.fit.train import load_experiment, train
from kagglekit.data.folds import make_folds
from kagglekit.report.journal import journal
from kagglekit.blend.members import check_run
from kagglekit.runs.run import Run, is_trial
from kagglekit.runs.lineage import fold_source
from kagglekit.fit.trial import cut_recipe, cut_rows, cut_size, take_rows, trial
from kagglekit.handin.upload import submit
from running import ROOT

load_pages()


@pytest.fixture(scope='module')
def space():
    "A workspace in which the command has tried one recipe: what it printed."
    with workspace() as home:
        (home / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
        with redirect_stdout(io.StringIO()) as printed, pytest.raises(SystemExit) as end:
            main(['trial', 'shapes-practice', 'exp0009', '-p', 'parent', 'exp0002', '-p', 'lr', '1e-3'])
        assert not end.value.code
        yield SimpleNamespace(home=home, printed=printed.getvalue(), run=Run('shapes-practice', 'trial-exp0009'))


def test_a_trial_reports_its_cuts_and_the_time_of_the_whole_run(space):
    lines = space.printed.splitlines()
    cut = ('train rows   160   instead of 240', 'folds        2   instead of 3', 'epochs       1   instead of 8')
    for words in cut:
        assert any(line.strip() == words for line in lines), space.printed
    assert any(line.startswith('the whole of exp0009: about ') and 'on this machine' in line for line in lines)
    assert 'it runs; its score cannot be compared' in space.printed


def test_the_record_of_a_trial_names_its_cuts(space):
    params = space.run.read('params.json')
    assert params['trial']['of'] == 'exp0009' and 'a trial' in params['not_comparable']
    assert (params['parent'], params['recipe']['epochs'], params['recipe']['folds']) == ('exp0009', 1, 2)
    assert params['recipe']['lr'] == 1e-3 and params['recipe']['augment'] == ['hflip', 'rot90']
    assert space.run.state() == 'done' and is_trial(space.run)
    assert len(pd.read_parquet(space.run.folder / 'oof.parquet')) == 160
    assert not (space.run.folder / 'submission.csv').exists() and not (space.run.folder / 'leaderboard.json').exists()
    assert sum(p.stat().st_size for p in (space.home / '.cache').rglob('*') if p.is_file()) < 2e6
    assert not out_dir('shapes-practice', 'exp0009').exists()


def test_a_trial_is_no_experiment(space):
    assert journal('shapes-practice').empty
    assert 'trial-exp0009' in show_run('trial-exp0009')
    comp = find_comp('shapes-practice')
    folds = make_folds(comp, 3, 2021)
    with pytest.raises(KitError, match='kagglekit run shapes-practice exp0009'):
        fold_source(comp, 'trial-exp0009', folds)
    with pytest.raises(KitError, match='a trial'):
        check_run(space.run, comp)
    with pytest.raises(KitError, match='cannot be submitted'):
        submit(space.run, comp, 'local')
    asked = dict(comp='shapes-practice', exp='exp0010', parent='exp0001', init_from='trial-exp0009')
    with pytest.raises(KitError, match='a trial'):
        found, recipe = load_experiment(asked)
        train(recipe, found, folds)


def test_the_next_trial_replaces_it_and_keeps_the_notes(space):
    space.run.note('looks fine')
    before = space.run.read('params.json')['made'], space.run.read('score.json')
    said = []
    trial('shapes-practice', 'exp0009', said.append, parent='exp0002', lr=1e-3)
    assert (space.run.folder / 'notes.md').read_text().count('looks fine') == 1
    assert space.run.read('score.json')['oof'] == before[1]['oof']  # the same rows, the same seed
    trial('shapes-practice', 'exp0009', said.append, parent='exp0002', train_all=True)
    assert space.run.read('score.json')['folds'] == [] and not (space.run.folder / 'oof.parquet').exists()


def test_a_run_with_the_name_of_a_trial_is_kept(space):
    folder = out_dir('shapes-practice', 'trial-exp0001')
    write_json(folder / 'params.json', dict(exp='trial-exp0001'))
    with pytest.raises(KitError, match='is no trial'):
        trial('shapes-practice', 'exp0001')
    assert json.loads((folder / 'params.json').read_text()) == dict(exp='trial-exp0001')


@pytest.mark.parametrize(
    'exp, changes, words',
    [
        ('exp0077', {}, 'needs a parent'),
        ('exp0077', dict(parent='exp0001', size=9.5), 'size'),
        ('exp0077', dict(parent='exp0001', fold_file='none.csv'), 'is not there'),
        ('exp0077', dict(parent='exp0001', augment=('hflip not circel',)), 'circel'),
    ],
)
def test_a_trial_refuses_what_a_run_refuses(space, exp, changes, words):
    with pytest.raises(KitError, match=words):
        trial('shapes-practice', exp, **changes)
    assert not out_dir('shapes-practice', f'trial-{exp}').exists()


@pytest.mark.parametrize(
    'comp, exp, arch, size',
    [
        ('mask', 'exp0010', 'test_vit', 64),
        ('mask', 'exp0017', 'test_efficientnet', (64, 64)),
        ('mask', 'last-day-resnet152', 'test_resnet', (64, 64)),
        ('anomaly', 'features_100_resnest', 'resnest14d', 64),
        ('anomaly', 'features_87_pill_published', 'test_efficientnet', 64),
        ('seti', 'exp0001', 'test_efficientnet', (32, 160)),
        ('seti', 'exp0021', 'test_efficientnet', 64),
        ('seti', 'exp0020', 'test_efficientnet', 64),
    ],
)
def test_a_recipe_for_a_gpu_is_cut_and_keeps_its_idea(comp, exp, arch, size):
    whole = RECIPES[comp][exp]
    small = cut_recipe(whole)
    assert (small.arch, small.size, small.folds, small.pretrained, small.init_from) == (arch, size, 2, False, '')
    assert max(small.stages(), key=lambda s: s.epochs).epochs == (2 if whole.swa else 1)
    for field in (
        'inputs',
        'augment',
        'mixup',
        'loss',
        'heads',
        'train_labels',
        'sampling',
        'scheduler',
        'lr',
        'train_all',
        'single_object',
        'snapshots',
        'stem_stride1',
        'tta',
        'ema',
        'swa',
        'checkpoint',
    ):
        assert getattr(small, field) == getattr(whole, field)


@pytest.mark.parametrize(
    'size, small',
    [(576, 64), (8, 8), ((512, 384), (64, 64)), ((256, 1638), (32, 160)), ((64, 48), (64, 48)), ((8, 8192), (32, 512))],
)
def test_sizes_become_small_and_keep_their_form(size, small):
    assert cut_size(size) == small


def people(n=300, k=7):
    g = np.random.default_rng(0)
    target = np.r_[np.arange(k), g.choice(k, n - k, p=[0.6, 0.2, 0.1, 0.05, 0.03, 0.01, 0.01])]
    ids, persons = [f'r{i}' for i in range(n)], [f'p{i // 4}' for i in range(n)]
    train = pd.DataFrame(dict(id=ids, file='x.png', target=target, person=persons))
    test = pd.DataFrame(dict(id=[f't{i}' for i in range(90)], file='x.png', sample_id=[f't{i}' for i in range(90)]))
    sample = test[['sample_id']].assign(label='a')
    return Competition('people', train, test, sample, tuple('abcdefg'), 'macro_f1', group='person')


@pytest.mark.parametrize('rows, tested', [(60, 20), (7, 1), (1000, 1000)])
def test_the_subset_has_every_class_and_splits_no_group(rows, tested):
    comp = people()
    folds = make_folds(comp, 5)
    small, few = cut_rows(comp, folds, rows, tested)
    assert len(small.train) == min(rows, 300) and len(small.test) == min(tested, 90) == len(small.sample)
    assert small.train.target.nunique() == 7 and few.id.tolist() == small.train.id.tolist()
    assert set(few.fold) <= {0, 1} and few.fold.groupby(small.train.person.to_numpy()).nunique().max() == 1
    assert small.train.id.map(dict(zip(comp.train.id, range(300)))).is_monotonic_increasing
    again, _ = cut_rows(comp, folds, rows, tested)
    assert again.train.equals(small.train)


def test_rows_without_validation_stay_without():
    comp = people()
    _, few = cut_rows(comp, run_folds(Recipe('exp0001', train_all=True), comp), 50, 9)
    assert (few.fold == -1).all()


def test_every_value_has_a_row_before_any_has_two():
    values = np.repeat(['a', 'b', 'c', 'd'], [500, 20, 2, 1])
    taken = pd.Series(values[take_rows(values, 10, 'toy')]).value_counts()
    assert taken.to_dict() in (dict(a=4, b=3, c=2, d=1), dict(a=3, b=4, c=2, d=1))
