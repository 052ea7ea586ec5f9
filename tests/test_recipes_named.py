"Recipes of the published solutions; fields that a child resets; where a fold file comes from."

import subprocess
import numpy as np
import pandas as pd
import pytest
import torch
from kagglekit.training.augment import Mix
from kagglekit.images.loaders import fold_loaders, one_hot
from kagglekit.data.competition import Competition, load_pages
from kagglekit.core.paths import own_data, workspace
from kagglekit.core.randomness import rng
from kagglekit.core.storage import write_table
from kagglekit.core.text import diff_text
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import RECIPES, Recipe, resolve
from kagglekit.data.folds import find_fold_file
from kagglekit.models.heads import OutputSpec
from kagglekit.training.learner import PrepareBatch, fold_learner
from kagglekit.models.losses import find_loss
from kagglekit.metrics.registry import find_metric
from kagglekit.runs.single_object import (
    StopWhenPerfect,
    Snapshots,
    is_finished,
    keep_snapshots,
    improving_epochs,
    watch_training,
)
from kagglekit.runs.run import Run
from kagglekit.training.fold_fit import FoldFit
from kagglekit.training.callbacks import fit_stages
from kagglekit.training.schedules import Stage
from running import ROOT

load_pages()
OBJECTS = ('cable', 'grid', 'metal_nut', 'pill', 'wood')


def test_the_last_day_of_mask_is_two_networks_on_all_rows_and_their_cv():
    page = RECIPES['mask']
    cv, b4, resnet = (page[exp] for exp in ('last-day', 'last-day-b4', 'last-day-resnet152'))
    for r in (cv, b4, resnet):
        assert (r.train_labels, r.heads, r.epochs, r.lr, r.bs) == (
            'old58',
            ('mask', 'gender', 'age smooth=.1'),
            5,
            1e-4,
            16,
        )
        rates = [r.stages()[0].rate(e + part) for e in range(5) for part in (0, 0.5)]
        theirs = [1e-7 + (1e-4 - 1e-7) * (1 + np.cos(np.pi * e / 5)) / 2 for e in range(5)]
        np.testing.assert_allclose(rates, np.repeat(theirs, 2))
    assert (cv.train_all, b4.train_all, resnet.train_all) == (False, True, True)
    assert (b4.arch, resnet.arch) == ('tf_efficientnet_b4.ns_jft_in1k', 'resnet152.tv_in1k')


@pytest.mark.parametrize('thing', OBJECTS)
def test_each_object_has_a_recipe_of_the_published_rule_and_one_without_arcface(thing):
    page = RECIPES['anomaly']
    ours, published, plain = (page[f'features_87_{thing}{end}'] for end in ('', '_published', '_ce'))
    assert (published.snapshots, published.patience, published.loss) == ('both', 5, 'arcface')
    assert published.scheduler == "plateau(on='train')" and ours.snapshots == 'score'
    assert plain.loss == 'ce' and plain.single_object == thing and plain.augment == ours.augment


@pytest.mark.parametrize(
    'given, diff',
    [
        (dict(loss='ce'), dict(loss='ce', margin=0.5, margin_on='', arc_scale=30.0)),
        (dict(loss='focal .5', lr=1e-4), dict(loss='focal .5', lr=1e-4, margin=0.5, margin_on='', arc_scale=30.0)),
        (dict(lr=1e-4), dict(lr=1e-4)),
        (dict(margin=0.2), dict(margin=0.2)),
    ],
)
def test_a_child_without_arcface_resets_its_fields(given, diff):
    child = resolve('anomaly-practice', 'exp9001', parent='small_39', **given)
    assert child.diff == diff
    assert all(k in diff_text(child.diff) for k in diff)
    again = resolve('anomaly-practice', 'exp9001', parent='small_39', **child.diff)  # as its record says
    assert again.params() == child.params()


@pytest.mark.parametrize(
    'changes, words',
    [
        (dict(loss='ce', margin=0.2), 'belong to loss=arcface'),
        (dict(loss='ce', arc_scale=8.0), 'belong to loss=arcface'),
        (dict(loss='arcfase'), 'did you mean arcface'),
    ],
)
def test_a_margin_with_another_loss_is_refused(changes, words):
    with pytest.raises(KitError, match=words):
        resolve('anomaly-practice', 'exp9001', parent='small_39', **changes)


def test_a_child_without_heads_resets_separate_nets():
    assert resolve('mask', 'exp9001', parent='exp0017', heads='[]').diff == dict(heads=[], separate_nets=False)


def test_a_child_without_an_object_resets_its_snapshots():
    parent = 'features_87_pill_published'
    child = resolve('anomaly', 'exp9001', parent=parent, single_object='', train_all=False, scheduler='flat')
    assert (child.snapshots, child.diff['snapshots']) == ('score', 'score')


@pytest.fixture
def rows():
    train = pd.DataFrame(dict(id=[str(i) for i in range(40)], file='x.png', label=['a', 'b'] * 20, target=[0, 1] * 20))
    test = pd.DataFrame(dict(id=['t0', 't1'], file='x.png', sample_id=['t0', 't1']))
    return Competition('anomaly', train, test, test[['sample_id']].assign(label='a'), ('a', 'b'), 'macro_f1')


@pytest.mark.parametrize('file', ['5-Fold_idx.npy', '10-Fold_idx.npy'])
def test_a_missing_fold_file_is_refused_with_its_origin_and_an_alternative(rows, file):
    with workspace():
        with pytest.raises(KitError) as e:
            find_fold_file(rows, file, 'features_66')
        origin, home = 'Karel911/MVtec_AD-anomaly-detection', str(own_data('anomaly'))
        for words in (origin, home, "-p fold_file ''", '-p parent features_66'):
            assert words in str(e.value)
    assert resolve('anomaly', 'exp9001', parent='features_66', fold_file='').fold_file == ''


@pytest.mark.parametrize(
    'file, words',
    [
        ('foldz.csv', 'did you mean folds.csv'),
        ('../../etc/passwd', 'leads out'),
        ('/etc/passwd', 'leads out'),
        ('none/at-all.npy', 'Ask for it where the recipe comes from'),
    ],
)
def test_any_other_missing_fold_file_names_what_is_near(rows, file, words):
    with workspace():
        write_table(own_data('anomaly') / 'folds.csv', rows.train[['id']])
        with pytest.raises(KitError, match=words):
            find_fold_file(rows, file)
        assert find_fold_file(rows, 'folds.csv') == own_data('anomaly') / 'folds.csv'


def history(*pairs):
    return [dict(metric=m, train_loss=loss) for m, loss in pairs]


def published(rows, patience):
    "The published loop, written out: the epochs it saves, and the epoch it ends after."
    least, best, bad, saved = 1000, 0, 0, []
    for n, row in enumerate(rows, 1):
        if row['metric'] == 1:
            return saved + [n], n
        if row['train_loss'] < least and best < row['metric']:
            least, best = row['train_loss'], row['metric']
            saved.append(n)
        else:
            bad += 1
        if bad == patience:
            return saved, n
    return saved, None


def ours(rows, patience):
    end = next((n for n in range(1, len(rows) + 1) if is_finished(rows[:n], True, patience)), None)
    return improving_epochs(rows[:end], True), end


@pytest.mark.parametrize('seed', range(40))
def test_the_published_rule_agrees_with_its_published_loop(seed):
    g = rng('curves', seed)
    score = np.clip(np.linspace(0.1, g.uniform(0.6, 1.2), 40) + g.normal(0, 0.05, 40), 0.01, 1)
    loss = np.linspace(2, g.uniform(0.1, 1.5), 40) + g.normal(0, 0.1, 40)
    rows = history(*zip(score, loss))
    assert ours(rows, 5) == published(rows, 5)


def test_an_undefined_score_is_no_snapshot():
    rows = history((float('nan'), 1.0), (0.2, 0.9), (0.3, 0.95), (0.4, 0.8))
    assert (improving_epochs(rows), improving_epochs(rows, both=True)) == ([2, 3, 4], [2, 4])


def toy_fit(folder, stop=0, patience=3):
    "A linear network on noise with a faint dot, by the published rule; stopped after some epochs, or taken up."

    def unplug(rows):
        if len(rows) == stop:
            raise KeyboardInterrupt

    codes = np.arange(24) % 3
    x = rng('dots').integers(0, 90, (24, 16, 16, 1)).astype(np.uint8)
    for i, c in enumerate(codes):
        x[i, 4 * c + 1 : 4 * c + 3, 6:8] = 130
    torch.manual_seed(0)
    dls = watch_training(fold_loaders(x, one_hot(codes, 3), np.full(24, -1), 0, 8, 'cpu'))
    stats = (torch.full((1, 1, 1, 1), 60.0), torch.full((1, 1, 1, 1), 60.0))
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(256, 3))
    learn = fold_learner(dls, net, find_loss('ce'), PrepareBatch(stats, ('gauss 2',), Mix()), OutputSpec(3))
    test = pd.DataFrame(dict(id=['t0', 't1'], file='x.png', sample_id=['0', '1']))
    ids, labels = [f'r{i}' for i in range(24)], np.array(['a', 'b', 'c'])[codes]
    train = pd.DataFrame(dict(id=ids, file='x.png', label=labels, target=codes))
    comp = Competition('toy', train, test, test[['sample_id']].assign(label='a'), ('a', 'b', 'c'), 'macro_f1')
    run = Run('toy', folder)
    stages = [Stage(40, 0.003, 'plateau(on=train, patience=1)', 'SGD')]
    fit = FoldFit(run.fold_folder(0), stages, find_metric('macro_f1'), on_epoch=unplug)
    learn.add_cbs([Snapshots(fit, comp, x[:2], both=True), StopWhenPerfect(fit, True, patience)])
    try:
        fit_stages(learn, fit, train.id)
    except KeyboardInterrupt:
        return None
    keep_snapshots(run, fit, both=True)
    return fit.history


def test_a_run_by_the_published_rule_stops_and_resumes_with_the_same_snapshots():
    with workspace():
        whole, _, parts = toy_fit('whole'), toy_fit('parts', stop=3), toy_fit('parts')
        keep = lambda rows: [(r['metric'], r['train_loss'], r['lr']) for r in rows]
        assert keep(parts) == keep(whole) and len(whole) < 40
        assert published(whole, 3)[1] == len(whole)
        tables = [pd.read_parquet(Run('toy', exp).folder / 'snapshots.parquet') for exp in ('whole', 'parts')]
        pd.testing.assert_frame_equal(*tables)
        assert tables[0].snapshot.unique().tolist() == published(whole, 3)[0]
        losses = [dict(train_loss=r['train_loss']) for r in whole]
        stage = Stage(40, 0.003, 'plateau(on=train, patience=1)')
        assert [r['lr'] for r in whole] == [stage.rate(n, losses[:n]) for n in range(len(whole))]


@pytest.mark.parametrize('changes', [{}, dict(train_all=True, single_object='pill'), dict(patience=5)])
def test_the_published_rule_needs_an_object_and_a_patience(changes):
    with pytest.raises(KitError, match='snapshots=both'):
        Recipe('exp0001', snapshots='both', **changes)


def test_a_fresh_clone_has_the_layouts_of_data_and_no_data():
    git = lambda *args: subprocess.run(['git', *args], cwd=ROOT, capture_output=True, text=True)
    if git('rev-parse', '--git-dir').returncode:
        pytest.skip('this is no git clone')
    assert git('ls-files', 'data').stdout.split() == ['data/README.md']
    assert git('check-ignore', '-q', 'data/mine/train.csv').returncode == 0
    page = (ROOT / 'data/README.md').read_text(encoding='utf8')
    assert all(f'data/{comp}/' in page for comp in ('anomaly', 'seti', 'mask', '<comp>'))
