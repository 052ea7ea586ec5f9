"A probe is an ordinary run: its head is scikit-learn's on the features of the training rows alone, or knows them."

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
from kagglekit.fit.preflight import check_columns, preflight
from kagglekit.fit.train import load_experiment, train
from kagglekit.fit.trial import cut_recipe, time_needed
from kagglekit.images.caches import list_caches
from kagglekit.models.build import build_model
from kagglekit.pack.half import write_half
from kagglekit.predict.predict import Request, predict
from kagglekit.runs.fitted import load_predictor
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
    [
        (in_range, 'logistic'),
        (grades, 'linear'),
        (shares, 'logistic'),
        (factors, 'linear'),
        (units, 'logistic'),
        (numbers, 'knn'),
        (labels, 'knn'),
        (grades, 'knn'),
        (factors, 'knn'),
    ],
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
    if how != 'logistic' and made.target.kind == 'grades':
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


def known_rows(run, k):
    "What the nearest head of a fold knows, as it is in its weights."
    state = load_file(run.fold_folder(k) / 'model.safetensors')
    return {name.removeprefix('classifier.'): w.numpy() for name, w in state.items() if name.startswith('classifier')}


def unit(x):
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def mean_of_nearest(x, classes, k, temperature):
    "Class shares: of other rows the weighted mean of the nearest, and of one more row that has the mean of all."
    one_hot = np.eye(classes.max() + 1)[classes]

    def shares(other):
        cosines = unit(other) @ unit(x).T
        at = np.argsort(-cosines, 1)[:, :k]
        w = np.exp(np.take_along_axis(cosines, at, 1) / temperature)
        last = w[:, -1:]
        total = (w[:, :, None] * one_hot[at]).sum(1) + last * one_hot.mean(0)
        return total / total.sum(1, keepdims=True)

    return shares


@pytest.fixture(scope='module')
def nearest(shapes):
    "A k-nearest probe of the shapes, on features that are there."
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BodyNet, 'forward', lambda *args: pytest.fail('an image was passed through the network'))
        return go(COMP, 'k1', 'p1', probe='knn')


def test_a_nearest_head_knows_the_training_rows_of_its_fold_alone(nearest):
    "Keys are their features at length 1, values their classes; predictions are the weighted mean, by hand."
    comp, k = find_comp(COMP), 1
    oof = pd.read_parquet(nearest.folder / 'oof.parquet')
    test = pd.read_parquet(nearest.folder / 'test_folds.parquet')
    (plain, plain_test), (turned, turned_test) = features(nearest, k), features(nearest, k, 'hflip')
    rows, known = oof.fold.to_numpy() != k, known_rows(nearest, k)
    assert known['keys'].dtype == np.float16
    np.testing.assert_allclose(known['keys'], unit(plain[rows]), atol=1e-3)
    assert np.array_equal(known['values'], comp.y[rows])
    facts = nearest.read(f'fold{k}/fold.json')
    assert (facts['neighbours'], round(facts['temperature'], 4)) == (known['k'], round(float(known['temperature']), 4))
    shares = mean_of_nearest(plain[rows], comp.y[rows], facts['neighbours'], facts['temperature'])
    for table, a, b in ((oof[~rows], plain[~rows], turned[~rows]), (test[test.fold == k], plain_test, turned_test)):
        want = softmax((np.log(shares(a)) + np.log(shares(b))) / 2, 1)
        np.testing.assert_allclose(table[comp.outputs].to_numpy(), want, atol=5e-3)
    assert nearest.read('score.json')['mean'] > 0.3
    assert pd.read_csv(nearest.folder / 'history.csv').train_loss.isna().all()  # each row would find itself


def test_validation_rows_are_no_neighbours_and_choose_none(nearest):
    "With other labels in fold 0, what fold 0 knows is the same, with its k and temperature; fold 1 knows them."
    run, comp = nearest, find_comp(COMP)
    recipe = find_recipe(COMP, 'k1')
    changed = comp.train.assign(target=np.where(run_folds(recipe, comp).fold == 0, 0, comp.y))
    view = type(comp)(**{f: getattr(comp, f) for f in comp.__dataclass_fields__} | dict(train=changed))
    setup = open_setup(recipe, view, run_folds(recipe, comp), say=lambda line: None)
    for k in (0, 1):
        learn, before = make_learner(setup, k), known_rows(run, k)
        probe._fitted(setup, learn, k, features(run, k)[0].astype(np.float32))
        after = {name: w.numpy() for name, w in learn.model.classifier.state_dict().items()}
        kept = [name for name in before if np.array_equal(before[name], after[name])]
        assert (len(kept) == len(before)) == (k == 0) and 'keys' in kept


def test_the_known_rows_are_in_the_weights(nearest, tmp_path):
    "A prediction has the same bytes, also of a fold that was lost; 16 bits change next to nothing."
    run = nearest
    result = predict(Request(run, out=tmp_path / 'out.csv'), lambda *args: None)
    whole = {name: (run.folder / name).read_bytes() for name in ('oof.parquet', 'test.parquet', 'submission.csv')}
    assert result.path.read_bytes() == whole['submission.csv']
    for name in ('fold1/fold.json', 'score.json', *whole):
        (run.folder / name).unlink()
    go(COMP, 'k1', 'p1', probe='knn')
    assert whole == {name: (run.folder / name).read_bytes() for name in whole}
    comp, recipe = find_comp(COMP), find_recipe(COMP, 'k1')
    path, x = run.fold_folder(1) / 'model.safetensors', torch.randn(8, 1, 32, 32)
    write_half(path, tmp_path / 'half.safetensors')
    with torch.no_grad():
        z, half = (load_predictor(recipe, comp, {}, p).model.eval()(x) for p in (path, tmp_path / 'half.safetensors'))
    np.testing.assert_allclose(half.softmax(1), z.softmax(1), atol=2e-2)


def test_a_training_takes_the_body_and_leaves_the_known_rows(nearest, shapes):
    "So does another probe; and a nearest head takes the body of any run."
    still = dict(epochs=1, lr=1e-9, weight_decay=0.0, tta=(), fit_folds=(1,))
    runs = [
        go(COMP, 'k2', 'k1', probe='', init_from='k1', **still),
        go(COMP, 'k3', 'k1', probe='logistic', init_from='k1'),
        go(COMP, 'k4', 'k1', init_from='p1'),
    ]
    body = {name: w for name, w in shapes.state_dict().items() if not name.startswith('classifier')}
    for run in runs:
        assert same(body, load_file(run.fold_folder(1) / 'model.safetensors'))
    oof = [pd.read_parquet(run.folder / 'oof.parquet') for run in (Run(COMP, 'p1'), runs[1], nearest, runs[2])]
    assert oof[0].equals(oof[1]) and oof[2].equals(oof[3])


def test_a_teacher_that_knows_the_rows_is_refused(nearest):
    with pytest.raises(KitError, match='take another teacher'):
        check = find_recipe(COMP, 'exp0001').but('k5', **TINY | dict(distill='k1 .5', init_from=''))
        preflight(find_comp(COMP), check)
