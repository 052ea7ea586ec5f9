"A probe is an ordinary run: its head is scikit-learn's on the features of the training rows alone."

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from scipy.special import expit, log_softmax, softmax
from sklearn.linear_model import LogisticRegression, Ridge
from test_many_classes import animals, lowered  # noqa: F401  animals: a fixture
from test_kinds import factors, grades, in_range, labels, made, numbers, shares, units  # noqa: F401  made: a fixture

from kagglekit.core.paths import workspace
from kagglekit.core.validation import KitError
from kagglekit.data.competition import READERS, find_comp
from kagglekit.fit import probe
from kagglekit.fit.preflight import check_columns
from kagglekit.fit.train import load_experiment, train
from kagglekit.fit.trial import cut_recipe, time_needed
from kagglekit.images.caches import list_caches
from kagglekit.models.build import build_model
from kagglekit.predict.predict import Request, predict
from kagglekit.runs.recipe import RECIPES, find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.scores import predictions_of, read_predictions
from kagglekit.runs.setup import make_learner, open_setup, run_folds
from kagglekit.targets.top_rows import TopRows
from kagglekit.training.features import BodyNet
from running import write_shapes

COMP = 'shapes-practice'
TINY = dict(arch='test_efficientnet', folds=3, size=32, init_from='body.pth', pretrained=False)
BELOW = ('conv_stem', 'bn1', 'blocks.0', 'blocks.1')  # the lower half of its layers


def go(name, exp, parent='exp0001', **changes):
    "A child of a recipe, finished."
    comp, recipe = load_experiment(dict(comp=name, exp=exp, parent=parent) | changes)
    train(recipe, comp, run_folds(recipe, comp))
    return Run(name, exp)


@pytest.fixture(scope='module')
def shapes():
    "A workspace with the drawn shapes, weights of a body that all folds share, and a probe with flips."
    with workspace():
        folder = write_shapes()
        torch.manual_seed(1)
        net = build_model(TINY['arch'], 2, 1, pretrained=False)
        torch.save(net.state_dict(), folder / 'body.pth')
        go(COMP, 'p1', probe='logistic', tta=('hflip',), **TINY)
        yield net


def features(run, k, view=''):
    "Features of train and test images, by a plain pass of the network of a fold."
    comp, recipe = find_comp(run.comp), find_recipe(run.comp, run.exp)
    setup = open_setup(recipe, comp, run_folds(recipe, comp), say=lambda line: None)
    learn, found = make_learner(setup, k), []
    for cache in (setup.train, setup.test):
        x = learn.prepare_batch.normalise(torch.from_numpy(np.array(cache)).permute(0, 3, 1, 2))
        with torch.no_grad():
            found.append(BodyNet(learn.model.eval(), view)(x).double().numpy())
    return found


def strength(run, k):
    return run.read(f'fold{k}/fold.json')['strengths'][0]


def standard(x):
    "A transform of features by the statistics of these rows."
    mean, variance = x.mean(0), x.var(0)
    return lambda other: (other - mean) / np.sqrt(variance + variance.mean())


def logistic(x, y, strength):
    "scikit-learn's regression: the logits of other features."
    scale = standard(x)
    model = LogisticRegression(C=1 / (strength * len(x)), max_iter=500).fit(scale(x), y)
    return lambda other: model.decision_function(scale(other))


def held_out(x, y, fold, strength):
    "The log loss of rows, each predicted without its own fold."
    z = np.zeros((len(x), len(np.unique(y))))
    for j in np.unique(fold):
        z[fold == j] = logistic(x[fold != j], y[fold != j], strength)(x[fold == j])
    return -log_softmax(z, 1)[np.arange(len(y)), y].mean()


def test_a_probe_is_scikit_learns_regression_of_the_training_rows(shapes):
    "Scaler, strength and coefficients of a fold come from the rows of the other folds; views are averaged."
    run, comp = Run(COMP, 'p1'), find_comp(COMP)
    oof = pd.read_parquet(run.folder / 'oof.parquet')
    test = pd.read_parquet(run.folder / 'test_folds.parquet')
    (plain, plain_test), (turned, turned_test) = features(run, 0), features(run, 0, 'hflip')
    fold, y, k = oof.fold.to_numpy(), comp.y, 1
    rows, chosen = fold != k, strength(run, k)
    near = [held_out(plain[rows], y[rows], fold[rows], chosen * factor) for factor in (0.32, 1, 3.2)]
    assert near[1] <= min(near) + 2e-3
    logits = logistic(plain[rows], y[rows], chosen)
    for table, a, b in ((oof[~rows], plain[~rows], turned[~rows]), (test[test.fold == k], plain_test, turned_test)):
        want = softmax((logits(a) + logits(b)) / 2, 1)
        np.testing.assert_allclose(table[comp.outputs].to_numpy(), want, atol=3e-3)
    assert run.read('score.json')['mean'] > 0.3  # four shapes, and a network that has seen none


def test_validation_rows_decide_nothing_of_their_fold(shapes, monkeypatch):
    "With other labels in fold 0 the head of fold 0 is the same; those of other folds are not."
    run, comp = Run(COMP, 'p1'), find_comp(COMP)
    changed = comp.train.assign(target=np.where(run_folds(find_recipe(COMP, 'p1'), comp).fold == 0, 0, comp.y))
    heads = {}
    for name, table in (('p1', comp.train), ('other', changed)):
        view = type(comp)(**{f: getattr(comp, f) for f in comp.__dataclass_fields__} | dict(train=table))
        recipe = find_recipe(COMP, 'p1')
        setup = open_setup(recipe, view, run_folds(recipe, comp), say=lambda line: None)
        for k in (0, 1):
            learn = make_learner(setup, k)
            x = features(run, k)[0].astype(np.float32)
            heads[name, k] = probe._fitted(setup, learn, k, x)
    assert np.array_equal(heads['p1', 0].weight, heads['other', 0].weight)
    assert not np.array_equal(heads['p1', 1].weight, heads['other', 1].weight)


def same(a, b):
    return all(np.allclose(a[name], b[name], atol=1e-5) for name in a if 'running' not in name and 'num_b' not in name)


def test_its_weights_predict_the_same_bytes_and_are_a_start(shapes, tmp_path):
    "The head is in the weights, so a prediction needs no features; a child trains the upper layers from there."
    run = Run(COMP, 'p1')
    result = predict(Request(run, out=tmp_path / 'out.csv'), lambda *args: None)
    assert result.path.read_bytes() == (run.folder / 'submission.csv').read_bytes()
    still = dict(epochs=1, lr=1e-9, weight_decay=0.0)
    tuned = go(COMP, 'p2', 'p1', probe='', init_from='p1', freeze=0.5, tta=(), **still)
    a, b = (load_file(r.fold_folder(1) / 'model.safetensors') for r in (run, tuned))
    body = {name: w for name, w in shapes.state_dict().items() if not name.startswith('classifier')}
    assert same(a, b) and same(body, a)
    moved = {name for name in a if 'running' in name and not torch.equal(a[name], b[name])}
    assert 'blocks.2.0.bn1.running_mean' in moved and not any(name.startswith(BELOW) for name in moved)
    assert not np.allclose(
        a['classifier.weight'], load_file(run.fold_folder(0) / 'model.safetensors')['classifier.weight']
    )


def test_another_head_needs_no_pass_and_a_lost_fold_is_fitted_again(shapes, monkeypatch):
    run, seen = Run(COMP, 'p1'), []
    monkeypatch.setattr(BodyNet, 'forward', lambda *args: pytest.fail('an image was passed through the network'))
    linear = go(COMP, 'p3', 'p1', probe='linear', loss='focal')
    users = [info.users for info in list_caches() if info.format.startswith('features')]
    assert len(users) == 4 and all({f'{COMP}/p1', f'{COMP}/p3'} <= set(names) for names in users)
    assert linear.read('score.json')['mean'] > 0.3
    whole = {name: (run.folder / name).read_bytes() for name in ('oof.parquet', 'test.parquet', 'submission.csv')}
    monkeypatch.setattr(probe, 'fit_head', lambda *args, real=probe.fit_head: seen.append(1) or real(*args))
    for name in ('fold1/fold.json', 'score.json', *whole):
        (run.folder / name).unlink()
    go(COMP, 'p1', probe='logistic', tta=('hflip',), **TINY)
    assert len(seen) == 1 and whole == {name: (run.folder / name).read_bytes() for name in whole}


def test_what_does_nothing_is_said_or_refused(shapes):
    log = (Run(COMP, 'p1').folder / 'log.txt').read_text()
    base = find_recipe(COMP, 'exp0001')
    assert 'these fields do nothing: epochs' in log
    with pytest.raises(KitError, match='mixup: a probe fits a head alone'):
        base.but('p4', probe='linear', mixup=0.4)
    recipe = find_recipe(COMP, 'p1')
    assert cut_recipe(recipe).probe == 'logistic'
    comp = find_comp(COMP)
    folds = run_folds(recipe, comp)
    assert time_needed(recipe, comp, folds) < time_needed(base.but('p5', **TINY), comp, folds)


def test_frozen_layers_stay_as_they_are(shapes):
    "Half of the layers, with the statistics of their norms; the rest is trained."
    run = go(COMP, 'f1', freeze=0.5, epochs=1, **TINY)
    before, after = shapes.state_dict(), load_file(run.fold_folder(1) / 'model.safetensors')
    changed = {
        name for name in after if not name.startswith('classifier') and not torch.equal(before[name], after[name])
    }
    assert changed and not [name for name in changed if name.startswith(BELOW)]
    assert {'blocks.2.0.bn1.running_mean', 'conv_head.weight'} <= changed


@pytest.mark.parametrize(
    'made, how, words',
    [
        (numbers, 'logistic', 'here are numbers; take probe=linear'),
        (labels, 'linear', 'head of deit_tiny'),
    ],
    indirect=['made'],
)
def test_a_head_that_cannot_be_fitted_is_refused_before_decoding(made, how, words):  # noqa: F811
    arch = 'test_convnext' if how == 'logistic' else 'deit_tiny_distilled_patch16_224'
    with pytest.raises(KitError, match=words):
        check_columns(RECIPES[made.name]['exp0001'].but('p1', probe=how, arch=arch), made)


@pytest.mark.parametrize(
    'made, how',
    [(in_range, 'logistic'), (grades, 'linear'), (shares, 'logistic'), (factors, 'linear'), (units, 'logistic')],
    indirect=['made'],
)
def test_every_kind_of_target(made, how, tmp_path):  # noqa: F811
    "It learns something, and predicts its own bytes."
    run = go(made.name, 'p1', probe=how, precision='bf16' if how == 'linear' else 'fp32')
    oof = pd.read_parquet(run.folder / 'oof.parquet')
    P, y = oof[made.outputs].to_numpy(), made.target.stored_truth(oof)
    assert np.isfinite(P).all()
    score, metric = run.read('score.json'), run.read('params.json')['metric']
    result = predict(Request(run, out=tmp_path / 'out.csv'), lambda *args: None)
    assert result.path.read_bytes() == (run.folder / 'submission.csv').read_bytes()
    if how == 'linear' and made.target.kind == 'grades':
        assert np.corrcoef(P[:, 0], y)[0, 1] > 0.5
    assert score['metric'] == metric and np.isfinite(score['mean'])


@pytest.mark.parametrize('made', [labels], indirect=True)
def test_rows_of_unknown_labels_are_left_out(made):  # noqa: F811
    run = go(made.name, 'p1', probe='logistic')
    oof, y = pd.read_parquet(run.folder / 'oof.parquet'), made.y[:, 1]
    for k in (0, 1):
        x, at = features(run, k)[0], (oof.fold.to_numpy() != k) & ~np.isnan(y)
        fits = [expit(logistic(x[at], y[at], s)(x)) for s in run.read(f'fold{k}/fold.json')['strengths']]
        rows = oof.fold.to_numpy() == k
        assert min(abs(oof.p_dog.to_numpy()[rows] - p[rows]).max() for p in fits) < 3e-3


@pytest.mark.parametrize('made', [numbers], indirect=True)
def test_numbers_are_a_ridge_regression(made):  # noqa: F811
    run = go(made.name, 'p1', probe='linear')
    oof, y = pd.read_parquet(run.folder / 'oof.parquet'), made.y
    for k in (0, 1):
        x, at = features(run, k)[0], oof.fold.to_numpy() != k
        scale = standard(x[at])
        for j, name in enumerate(made.outputs):
            known = [
                Ridge(s * at.sum()).fit(scale(x[at]), y[at, j]).predict(scale(x[~at]))
                for s in run.read(f'fold{k}/fold.json')['strengths']
            ]
            assert min(abs(oof[name].to_numpy()[~at] - p).max() / y[:, j].std() for p in known) < 3e-3


def test_many_classes_are_those_of_a_table_of_all(animals, monkeypatch, tmp_path):  # noqa: F811
    "With weights of rows and classes: once as a table of all classes, once as codes and the best of each row."
    found = []
    for name in ('all', 'best'):
        runs = [go('animals', 'p1', probe='linear'), go('animals', 'p2', 'p1', class_weight_power=0.5)]
        taught = go('animals', 'p3', 'p1', pseudo_labels='p1', pseudo_threshold=(0.0, 0.01))
        assert abs(taught.read('score.json')['mean'] - runs[0].read('score.json')['mean']) < 0.1
        target = READERS['animals']('animals').target
        tables = [predictions_of(read_predictions(run.folder / 'oof.parquet'), target) for run in runs]
        found.append([table.dense() if isinstance(table, TopRows) else table for table in tables])
        taught.folder.parent.rename(tmp_path / name)
        lowered(monkeypatch)
    for dense, best in zip(*found):
        np.testing.assert_allclose(best, dense, atol=1e-5)
    assert not np.allclose(*found[0], atol=1e-3)
