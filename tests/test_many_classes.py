"Thousands of classes: what is kept of each row gives what all of it would."

import json

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from kagglekit.blend.best_rows import TopStack
from kagglekit.blend.blend_run import read_table_of, replay, run_blend
from kagglekit.blend.diagnostics import (
    compare_methods,
    fitted_weights,
    gain_table,
    leave_one_out,
    member_scores,
    plot_members,
)
from kagglekit.blend.kinds import rows_of
from kagglekit.blend.means import find_space
from kagglekit.blend.members import split_predictions
from kagglekit.blend.methods import fit_blend, goal, nested
from kagglekit.blend.recipe import BlendRecipe
from kagglekit.blend.top_evaluators import RankEvaluator, rank_depth
from kagglekit.core.paths import data_dir
from kagglekit.core.plots import plt
from kagglekit.core.validation import KitError
from kagglekit.targets import top_rows
from kagglekit.data.competition import READERS, Competition, competition
from kagglekit.metrics.class_metrics import ranks_of
from kagglekit.metrics.registry import METRICS, Metric, constant_score, find_metric
from kagglekit.targets.string_forms import TopForm
from kagglekit.targets.target import OneOf
from kagglekit.targets.top_rows import BEST, TopRows, mix_rows, table_of
from kagglekit.eda.predictions import load_predictions
from kagglekit.fit.plots import error_table, read_predicted
from kagglekit.fit.page_check import inspect_comp
from kagglekit.fit.train import load_experiment, train
from kagglekit.models.losses import find_loss
from kagglekit.report.oof import read_oof
from kagglekit.report.rebuild import rebuild
from kagglekit.runs.form import check_submission, make_submission, write_submission
from kagglekit.runs.recipe import RECIPES, Recipe, Recipes
from kagglekit.runs.results import finish_run, save_fold
from kagglekit.runs.run import Run
from kagglekit.runs.scores import check_predictions, predictions_of, read_predictions
from kagglekit.runs.setup import run_folds
from kagglekit.training.many_classes import read_validated, validated

K, TRAIN, TEST = 2100, 120, 40
NAMES = tuple(f'whale{i:04}' for i in range(K))


def probabilities(n, y=None, seed=0):
    "(n, K) of which a hundred classes hold all, the true one often ahead; the rest of each row is 0."
    g = np.random.default_rng(seed)
    P = np.zeros((n, K), np.float32)
    for row in range(n):
        some = g.choice(K, BEST, replace=False)
        if y is not None and g.random() < 0.7 and y[row] not in some:
            some[0] = y[row]
        P[row, some] = np.sort(g.dirichlet(np.full(BEST, 0.3)))[::-1]
    return P


@pytest.fixture
def whales():
    "A competition of 2,100 classes, without images."
    g = np.random.default_rng(1)
    y = np.r_[g.integers(0, K, TRAIN - 20), np.repeat(7, 20)]
    train = pd.DataFrame(dict(id=[f'a{i:03}' for i in range(TRAIN)], file='a.png', target=y))
    test = pd.DataFrame(dict(id=[f'b{i:03}' for i in range(TEST)], file='b.png'))
    test['sample_id'] = test.id
    sample = pd.DataFrame(dict(image=test.id, predictions=' '.join(NAMES[:5])))
    return Competition('whales', train, test, sample, target=OneOf(NAMES), metric='map_at(5)', answer='top')


def finished(whales, exp='exp0001', seed=0):
    "A run with the predictions of three folds; what they were, whole."
    run, fold = Run('whales', exp), np.arange(TRAIN) % 3
    P = probabilities(TRAIN, whales.train.target.to_numpy(), seed)
    T = [probabilities(TEST, seed=seed + 10 + k) for k in range(3)]
    for k in range(3):
        ids = whales.train.id[fold == k]
        save_fold(run, k, whales, ids, [P[fold == k], TopRows.of(T[k])], seconds=1, images=1)
    folds = pd.DataFrame(dict(id=whales.train.id, fold=fold))
    return run, finish_run(run, whales, folds), P, np.mean(T, 0)


METRICS_TRIED = (
    'accuracy',
    'macro_f1',
    'balanced_accuracy_present',
    'mcc',
    'top_accuracy(3)',
    'map_at(5)',
    'log_loss',
    'fbeta(beta=2)',
)


@pytest.mark.parametrize('name', METRICS_TRIED)
def test_a_metric_of_the_best_is_the_metric_of_all(name, whales):
    metric, y = find_metric(name), whales.train.target.to_numpy()
    P = probabilities(TRAIN, y)
    w = np.random.default_rng(2).uniform(0.5, 2, TRAIN)
    assert metric(y, TopRows.of(P)) == pytest.approx(metric(y, P), rel=1e-6)
    assert metric(y, TopRows.of(P), w) == pytest.approx(metric(y, P, w), rel=1e-6)
    assert np.isnan(metric(y[:0], TopRows.of(P)[:0]))
    constant = constant_score(metric, y, whales.target)
    frequencies = np.bincount(y, minlength=K) / len(y)
    assert constant == pytest.approx(metric(y, np.tile(frequencies, (TRAIN, 1))), rel=1e-3)


def test_every_metric_either_measures_many_classes_or_is_refused_by_name(whales):
    given = dict(target=OneOf(NAMES), answer='top')
    taken = set()
    for name, metric in METRICS.items():
        if 'class' not in metric.kinds or metric.site or name.startswith('pfbeta'):
            continue
        try:
            Competition('whales', whales.train, whales.test, whales.sample, metric=name, **given)
            taken.add(name)
        except KitError as e:
            assert 'those that can are' in str(e) and 'map_at' in str(e)
    assert {'accuracy', 'macro_f1', 'balanced_accuracy', 'top_accuracy', 'map_at', 'log_loss'} <= taken
    assert not {'auc', 'auc_present', 'average_precision'} & taken


@pytest.mark.parametrize(
    'changed, words',
    [
        (dict(decide='threshold'), 'decide|threshold'),
        (dict(decide=lambda P: P), "decide is 'argmax'"),
        (dict(answer='probability'), 'which has 2,100 classes .*known: label, top'),
        (dict(unit='id'), 'are not pooled'),
    ],
)
def test_what_needs_every_class_is_refused_when_the_page_is_read(changed, words, whales):
    given = dict(target=OneOf(NAMES), metric='map_at(5)', answer='top') | changed
    with pytest.raises(KitError, match=words):
        Competition('whales', whales.train, whales.test, whales.sample, **given)


def test_a_finished_run_scores_and_hands_in_what_all_classes_would(space, whales):
    run, score, P, T = finished(whales)
    y = whales.train.target.to_numpy()
    assert score['oof'] == pytest.approx(find_metric('map_at(5)')(y, P), rel=1e-9)
    oof = read_predictions(run.folder / 'oof.parquet')
    assert list(oof) == ['id', 'fold', 'target', 'best', 'p', 'rest']
    rows = predictions_of(oof, whales.target)
    np.testing.assert_allclose(rows.dense(), P, atol=1e-6)
    mean = predictions_of(read_predictions(run.folder / 'test.parquet'), whales.target)
    kept = mean.dense() > mean.spread[:, None].astype(np.float32)
    np.testing.assert_allclose(mean.dense()[kept], T[kept], atol=1e-6)
    np.testing.assert_allclose(mean.p.sum(1) + mean.rest, 1, atol=1e-5)
    path = write_submission(run, whales)
    assert not check_submission(path, whales)
    dense = TopForm(whales).write(whales.test.id.tolist(), T.astype(np.float32))
    assert pd.read_csv(path, dtype=str).predictions.tolist() == dense.predictions.tolist()


def test_labels_are_decided_and_written(space, whales):
    sample = pd.DataFrame(dict(image=whales.test.id, label=NAMES[0]))
    given = dict(target=OneOf(NAMES), metric='accuracy', answer='label', decide='argmax')
    comp = Competition('whales', whales.train, whales.test, sample, **given)
    run, score, P, T = finished(comp)
    y = whales.train.target.to_numpy()
    assert score['oof'] == (P.argmax(1) == y).mean() == run.read('decision.json')['in_sample']
    table = pd.read_csv(write_submission(run, comp), dtype=str)
    assert table.label.tolist() == [NAMES[code] for code in T.argmax(1)]


def test_a_submission_is_rebuilt_from_the_folds(space, whales, tmp_path):
    run, *_ = finished(whales)
    write_submission(run, whales)
    (run.folder / 'params.json').write_text('{"recipe": {}, "classes": ["a", "b"]}')
    again = rebuild(run, whales, tmp_path / 'again')
    assert again.read_bytes() == (run.folder / 'submission.csv').read_bytes()


def test_a_blend_of_two_runs_is_scored_and_handed_in(space, whales):
    "Weighted as all classes would be; recreated to the byte; some folds alone; what needs every class is refused."
    y = whales.train.target.to_numpy()
    (_, _, A, _), (_, _, B, _) = finished(whales), finished(whales, 'exp0002', 5)
    run = run_blend(BlendRecipe('exp0101', ('exp0001', 'exp0002'), 'weighted', dict(weights=[3, 1])), whales)
    score, mixed = run.read('score.json'), 0.75 * A + 0.25 * B
    assert score['oof'] == score['nested']['oof'] == pytest.approx(find_metric('map_at(5)')(y, mixed), rel=1e-9)
    stored = lambda exp: read_predictions(Run('whales', exp).folder / 'test.parquet')
    one, two = (predictions_of(stored(exp), whales.target).dense() for exp in ('exp0001', 'exp0002'))
    dense = TopForm(whales).write(whales.test.id.tolist(), 0.75 * one + 0.25 * two)
    assert pd.read_csv(run.folder / 'submission.csv', dtype=str).predictions.tolist() == dense.predictions.tolist()
    assert replay(run, whales) == ['oof.parquet', 'test.parquet']
    run_blend(BlendRecipe('exp0102', (dict(exp='exp0001', folds=[1]), 'exp0101')), whales)
    rows = predictions_of(stored('exp0102'), whales.target)
    fold = probabilities(TEST, seed=11)
    other = predictions_of(stored('exp0101'), whales.target).dense()
    np.testing.assert_array_equal(rows.labels(), (fold + other).argmax(1))
    with pytest.raises(KitError, match='stack needs all, take mean, weighted'):
        run_blend(BlendRecipe('exp0103', ('exp0001', 'exp0002'), 'stack'), whales)
    with pytest.raises(KitError, match='this view needs all of them'):
        split_predictions(run.folder / 'oof.parquet', whales)


THREE = ('exp0001', 'exp0002', 'exp0003')
SEARCHED = ('accuracy', 'macro_f1', 'balanced_accuracy_present', 'mcc', 'top_accuracy(3)', 'map_at(5)', 'log_loss')


def soft_members(y, k, kept, seed=0):
    "Members of k classes with no two equal values, and of their best."
    g = np.random.default_rng(seed)
    score = g.normal(size=(4, len(y), k)) * np.array([1.5, 1.7, 1.9, 2.5])[:, None, None] + g.normal(size=(len(y), k))
    score[:, np.arange(len(y)), y] += 4
    odds = np.exp(score)
    stack = TopStack([TopRows.of(np.float32(p), kept) for p in odds / odds.sum(-1, keepdims=True)])
    return stack, np.stack([member.dense() for member in stack])


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('name', SEARCHED)
def test_a_search_over_the_best_finds_the_weights_of_a_search_over_all(name, weighted, whales, monkeypatch):
    "Caruana's selection, a climb and likelihood; also nested, and with weights of the rows."
    monkeypatch.setattr(top_rows, 'MANY', 50)
    g, k, n = np.random.default_rng(3), 60, 300
    y, fold, metric = g.integers(0, 20, n), np.arange(n) % 3, find_metric(name)
    stack, dense = soft_members(y, k, 10)
    stack.members[3], dense[3] = stack[1], dense[1]  # a copy, so that ties are decided
    rows = None
    if weighted:
        train = pd.DataFrame(dict(id=[f'{i:03}' for i in range(n)], file='x', target=y, w=g.uniform(0.5, 2, n)))
        given = dict(target=OneOf(NAMES[:k]), metric='map_at(5)', answer='top', weight='w')
        rows = rows_of(Competition('whales', train, whales.test, whales.sample, **given))
    for method, options in [('caruana', dict(rounds=12)), ('climb', dict(step=0.1)), ('likelihood', {})]:
        a, b = (fit_blend(method, P, y, metric, rows, **options)['params']['weights'] for P in (stack, dense))
        np.testing.assert_allclose(a, b, atol=1e-9 if method == 'likelihood' else 0)
        assert 0 < np.max(a) < 1 or method == 'climb'
    nested_best = nested('caruana', stack, y, fold, metric, rows, rounds=6)
    nested_all = nested('caruana', dense, y, fold, metric, rows, rounds=6)
    np.testing.assert_allclose(nested_best.p, -np.sort(-nested_all, 1)[:, :10], atol=1e-6)


def test_a_true_class_that_nobody_keeps_is_beyond_what_is_kept():
    "Ranks up to the number of classes that are kept are those of all classes."
    y = np.random.default_rng(4).integers(0, 60, 200)
    stack, dense = soft_members(np.random.default_rng(5).permutation(y), 60, 10)  # the truth is anywhere
    evaluator = RankEvaluator(goal(find_metric('map_at(10)'), y, find_space('prob')), stack)
    assert rank_depth(find_metric('map_at(10)'), 10) == 10
    for w in ([1, 0, 0, 0], [0.2, 0.3, 0.1, 0.4], [0, 0.5, 0.5, 0]):
        found = evaluator.ranks(np.array(w) @ evaluator.Z)
        every = ranks_of(y, np.einsum('m,mnk->nk', w, dense.astype(float))[None])[0]
        np.testing.assert_array_equal(np.minimum(found, 10), np.minimum(every, 10))
    assert (found >= 10).any() and (found < 10).any()


def test_a_metric_that_reads_whole_rows_is_refused_in_a_line(whales):
    metric = Metric('mass_of_three', True, None, 'probabilities', of_top=lambda y, rows, w: rows.p[:, :3].sum(1).mean())
    y = whales.train.target.to_numpy()
    with pytest.raises(KitError, match='^mass_of_three reads more than .* take mean or weighted$'):
        fit_blend('caruana', TopStack([TopRows.of(probabilities(TRAIN, y, s)) for s in (0, 1)]), y, metric)


def test_a_fitted_blend_has_its_page(space, whales):
    "Scores, other methods, gains and the figure; its nested score is below the one in sample."
    for i, exp in enumerate(THREE):
        finished(whales, exp, 7 * i)
    recipe = BlendRecipe('exp0101', THREE, 'caruana', dict(rounds=8))
    run = run_blend(recipe, whales)
    table = read_table_of(recipe, whales)
    score, alone = run.read('score.json'), member_scores(table, whales)
    singles = [Run('whales', exp).read('score.json')['oof'] for exp in THREE]
    np.testing.assert_allclose(alone.OOF, singles)
    assert score['oof'] >= max(singles) and score['nested']['oof'] <= score['oof']
    assert set(compare_methods(table, whales).method) == {'mean', 'caruana', 'likelihood'}
    gain = gain_table(run, table, whales)
    assert list(gain.OOF[1:]) == [score['oof'], score['nested']['oof']] and '…' in gain.iloc[1, -1]
    assert leave_one_out(recipe, table, whales).adds.notna().all()
    plt.close(plot_members(recipe, table, whales))
    assert len(fitted_weights(run, table)) == 3
    assert replay(run, whales) == ['oof.parquet', 'test.parquet']


def test_wrong_tables_are_refused(whales):
    P = TopRows.of(probabilities(TEST))
    table = table_of(P, whales.target).assign(id=whales.test.id)
    check_predictions(table, whales.test.id, whales.target, 'test')
    for bad, words in [
        (table.drop(columns='rest'), 'its columns of predictions'),
        (table[::-1].reset_index(drop=True), 'another order'),
        (table.assign(rest=np.float32(np.nan)), '40 rows are no probabilities'),
        (table_of(TopRows(P.best + K, P.p, P.rest, K), whales.target).assign(id=table.id), 'no probabilities'),
    ]:
        with pytest.raises(KitError, match=words):
            check_predictions(bad, whales.test.id, whales.target, 'test')
    same = table_of(P[np.zeros(TEST, int)], whales.target).assign(id=table.id)
    with pytest.raises(KitError, match='the same prediction'):
        make_submission(whales, same)


def test_the_mean_of_runs_is_the_mean_of_all_classes():
    A, B = probabilities(30, seed=3), probabilities(30, seed=4)
    mixed, whole = mix_rows([TopRows.of(A), TopRows.of(B)], [0.3, 0.7]), 0.3 * A + 0.7 * B
    np.testing.assert_array_equal(mixed.labels(), whole.argmax(1))
    np.testing.assert_allclose(mixed.p, -np.sort(-whole, 1)[:, :BEST], atol=1e-6)


def test_the_validation_loss_is_that_of_all_rows():
    z = torch.randn(90, K, generator=torch.Generator().manual_seed(0))
    y = torch.nn.functional.one_hot(torch.arange(90), K).float()
    loss = find_loss('focal(gamma=1)', 0.1)
    parts = [validated(z[s].softmax(1), y[s], loss(z[s], y[s])) for s in (slice(64), slice(64, 90))]
    found = read_validated(torch.cat(parts), K)
    assert found.loss == pytest.approx(float(loss(z, y)), rel=1e-5)
    np.testing.assert_array_equal(found.rows.labels(), z.argmax(1).numpy())


ANIMALS, EACH, SIDE = 24, 6, 32  # identities, and the photographs of each


@pytest.fixture
def animals(space):
    "Identities told by their colour, registered with recipes, for as long as a test takes."
    g, n = np.random.default_rng(0), ANIMALS * EACH
    folder = data_dir('animals') / 'images'
    folder.mkdir(parents=True)
    animal = g.permutation(np.repeat(np.arange(ANIMALS), EACH))
    colours = g.random((ANIMALS, 3)) * 200
    for i in range(n):
        x = colours[animal[i]] + g.normal(0, 10, (SIDE, SIDE, 3))
        Image.fromarray(x.clip(0, 255).astype(np.uint8)).save(folder / f'{i:03}.png')
    table = pd.DataFrame(dict(id=[f'{i:03}' for i in range(n)], target=animal, weight=1.0 + animal % 2))
    table['file'] = 'images/' + table.id + '.png'
    train, test = table[:-24].reset_index(drop=True), table[-24:].reset_index(drop=True)
    test['sample_id'] = test.id
    names = tuple(f'w{i:02}' for i in range(ANIMALS))
    sample = pd.DataFrame(dict(image=test.id, predictions=' '.join(names[:5])))
    given = dict(target=OneOf(names), metric='map_at(5)', answer='top', weight='weight')
    competition('animals')(lambda n: Competition(n, train, test, sample, **given))
    tiny = dict(arch='test_convnext', pretrained=False, size=SIDE, folds=2, epochs=2, lr=5e-3, bs=16)
    mixed = dict(loss='ce', mixup=0.4, label_smoothing=0.1)
    recipes = Recipes('animals')
    recipes.add(Recipe('exp0001', reason='mixed', **mixed, **tiny))
    recipes.add(Recipe('exp0002', reason='margins', loss='arcface', augment=('hflip',), **tiny))
    recipes.add(Recipe('exp0003', reason='taught', pseudo_labels='exp0001', pseudo_threshold=(0.0, 0.01), **tiny))
    recipes.add(Recipe('exp0004', reason='itself', pseudo_labels='itself', pseudo_threshold=(0.0, 0.2), **tiny))
    yield
    del READERS['animals'], RECIPES['animals']


def trained(exp):
    "A finished run of the animals."
    comp, recipe = load_experiment(dict(comp='animals', exp=exp))
    train(recipe, comp, run_folds(recipe, comp))
    return Run('animals', exp), comp


def lowered(monkeypatch):
    "More than 20 classes are many, for a while."
    monkeypatch.setattr(top_rows, 'MANY', 20)
    monkeypatch.setattr('kagglekit.runs.setup.CODED', 20)


def test_training_many_classes_is_training_any_classes(animals, monkeypatch, tmp_path):
    "Every recipe once with one-hot targets and whole tables, and once with codes and the best: the same results."
    exps = ['exp0001', 'exp0002', 'exp0003', 'exp0004']
    whole = {exp: trained(exp)[0] for exp in exps}
    runs = whole['exp0001'].folder.parent
    comp = READERS['animals']('animals')
    dense = {exp: predictions_of(read_predictions(runs / exp / 'oof.parquet'), comp.target) for exp in exps}
    kept = runs.rename(tmp_path / 'whole')
    lowered(monkeypatch)
    assert not [line for line in inspect_comp('animals') if line.mark == '✗']
    for exp in exps:
        run, comp = trained(exp)
        rows = predictions_of(read_predictions(run.folder / 'oof.parquet'), comp.target)
        np.testing.assert_allclose(rows.dense(), dense[exp], atol=1e-5)
        scores = [json.loads((folder / exp / 'score.json').read_text())['oof'] for folder in (kept, runs)]
        assert scores[0] == pytest.approx(scores[1], rel=1e-9)
        old, new = (pd.read_csv(folder / exp / 'history.csv') for folder in (kept, runs))
        np.testing.assert_allclose(new.valid_loss, old.valid_loss, rtol=1e-4)
        np.testing.assert_allclose(new.metric, old.metric, rtol=1e-6)
        assert (run.folder / 'submission.csv').read_text() == (kept / exp / 'submission.csv').read_text()


def test_views_that_need_every_class_say_so(animals, monkeypatch):
    lowered(monkeypatch)
    run, comp = trained('exp0001')
    assert len(error_table(read_predicted(run, comp), comp)) <= 20
    with pytest.raises(KitError, match='this view needs all of them'):
        load_predictions(comp, 'exp0001')
    with pytest.raises(KitError, match='not compared row by row'):
        read_oof(run)
