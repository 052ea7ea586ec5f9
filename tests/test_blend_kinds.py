"Blends of any target: every method that fits a kind, scored nested, handed in, and recreated to the byte."

import sys
from functools import cache

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import nnls
from scipy.special import expit, logit
from sklearn.metrics import fbeta_score, roc_auc_score

import kagglekit.blend.recipe  # noqa: F401  registers all methods
from kagglekit.blend.blend_run import replay, run_blend
from kagglekit.blend.build import make_blend
from kagglekit.blend.diagnostics import compare_methods, gain_table, leave_one_out, member_scores, plot_members
from kagglekit.blend.example_runs import example_of, example_run_of
from kagglekit.blend.join import join_members
from kagglekit.blend.kinds import Rows, rows_of, rows_of_test
from kagglekit.blend.members import read_member
from kagglekit.blend.means import find_space
from kagglekit.blend.methods import METHODS, apply_blend, fit_blend, goal, nested
from kagglekit.blend.recipe import BlendRecipe
from kagglekit.blend.trees import fitted_blend
from kagglekit.core.paths import workspace
from kagglekit.core.plots import plt
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.data.competition import Competition
from kagglekit.metrics.constant_answers import as_answers
from kagglekit.metrics.decisions import fit_decision
from kagglekit.targets.forms import read_answers, read_submission
from kagglekit.metrics.registry import find_metric
from kagglekit.metrics.site_metric import metric_of, site_metric
from kagglekit.targets.target import Labels, Numbers
from kagglekit.report.rebuild import rebuild
from kagglekit.runs.run import Run

KINDS = ('labels', 'numbers', 'grades', 'shares', 'factors')
THREE = ('exp0001', 'exp0002', 'exp0003')
OWN_OPTIONS = dict(
    weighted=dict(weights=(3, 2, 1)),
    nelder=dict(steps=20),
    climb=dict(step=0.1),
    stack_trees=dict(rounds=20, rate=0.15),
)
FILES = dict(stack_trees=['oof.parquet', 'test.parquet', 'trees.safetensors'])
CASES = [(kind, name) for kind in KINDS for name, m in METHODS.items() if kind in m.kinds]


@pytest.fixture
def here(tmp_path, monkeypatch, space):
    "A workspace of this test's own."
    monkeypatch.delenv('KAGGLEKIT_DATA', raising=False)
    return tmp_path


@cache
def run_files(kind, exp, skill, **fields):
    "The files of a finished run, written once: name → bytes."
    with workspace():
        run = example_run_of(example_of(kind, **fields), exp, skill)
        return {path.name: path.read_bytes() for path in run.folder.iterdir()}


def write_runs(kind, skills, **fields):
    "A competition, and runs of it: id → skill."
    made = example_of(kind, **fields)
    for exp, skill in skills.items():
        folder = Run(made.comp.name, exp).folder
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in run_files(kind, exp, skill, **fields).items():
            (folder / name).write_bytes(data)
    return made


def three_runs(kind, **fields):
    "A competition, and three runs of it."
    return write_runs(kind, dict(zip(THREE, (1.5, 1.2, 0.8))), **fields)


def joined(comp, exps=THREE):
    return join_members([read_member(exp, comp) for exp in exps], comp)


def test_every_kind_has_its_methods():
    "Searches on the metric blend all kinds; likelihood those of probabilities, least squares those of numbers."
    of = {kind: {n for n, m in METHODS.items() if kind in m.kinds} for kind in KINDS}
    for kind in KINDS:
        assert {'mean', 'weighted', 'climb', 'caruana', 'nelder'} <= of[kind]
    assert {k for k in KINDS if 'likelihood' in of[k]} == {'labels', 'shares', 'factors'}
    assert {k for k in KINDS if 'least_squares' in of[k]} == {'numbers', 'grades'}
    assert not any({'heads', 'heads_mean', 'heads_weighted'} & of[k] for k in KINDS)


@pytest.mark.parametrize('kind, method', CASES)
def test_a_blend_is_scored_handed_in_and_recreated(here, kind, method):
    "A run folder with all its files, whose submission holds the answers of its predictions."
    comp = three_runs(kind).comp
    run = run_blend(BlendRecipe('exp0101', THREE, method, OWN_OPTIONS.get(method, {})), comp)
    score, better = run.read('score.json'), metric_of(comp).better
    singles = [Run(comp.name, exp).read('score.json')['oof'] for exp in THREE]
    assert better(score['nested']['oof'], np.median(singles))
    assert (score['nested']['oof'] == score['oof']) or METHODS[method].fitted
    assert score['nested']['folds'] == score['folds'] or not METHODS[method].nested_oof
    oof, test = (pd.read_parquet(run.folder / f'{side}.parquet') for side in ('oof', 'test'))
    assert list(oof) == ['id', 'fold', *comp.target.stored, *comp.outputs]
    np.testing.assert_array_equal(comp.target.stored_truth(oof), comp.y)
    answers = read_answers(comp, read_submission(comp, run.folder / 'submission.csv'))
    decision = run.read('decision.json')
    if comp.decide is None and comp.answer != 'long':
        np.testing.assert_allclose(answers, test[comp.outputs], rtol=1e-12)
    elif comp.decide is None:
        assert (answers[:, :3].argmax(1) == test[comp.outputs[:3]].to_numpy().argmax(1)).all()
    else:
        assert (decision['nested'], decision['metric']) == (score['nested']['oof'], comp.metric)
        assert set(np.unique(answers)) <= set(range(4))
    assert replay(run, comp) == FILES.get(method, ['oof.parquet', 'test.parquet'])
    rebuild(run, comp, here / 'again')
    assert (here / 'again' / 'submission.csv').read_bytes() == (run.folder / 'submission.csv').read_bytes()


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('method', ['caruana', 'climb', 'nelder'])
def test_a_search_is_optimistic_in_sample(here, kind, method):
    "Twelve members, few rows: weights fitted to the metric are better in sample than nested, and than equal ones."
    exps = [f'exp{i:04d}' for i in range(1, 13)]
    made = write_runs(kind, dict.fromkeys(exps, 0.6), n=60, decide=None)
    t, metric = joined(made.comp, exps), metric_of(made.comp)
    P, options = t.oof().astype(float), OWN_OPTIONS.get(method, {})
    inside = metric(t.y, apply_blend(P, fit_blend(method, P, t.y, metric, t.rows, **options)))
    honest = metric(t.y, nested(method, P, t.y, t.fold, metric, t.rows, **options))
    best = metric.best([metric(t.y, p) for p in P])
    assert not metric.better(honest, inside) and not metric.better(metric(t.y, P[best]), inside)


def test_a_fold_has_no_say_in_its_own_predictions():
    "The truth of a fold may change as it likes: its nested predictions stay."
    g = np.random.default_rng(0)
    fold, rows, y = np.arange(120) % 4, Rows(Numbers(('a', 'b'))), g.normal(size=(120, 2))
    P, other = y + g.normal(size=(3, 120, 2)), np.where(fold[:, None] == 2, -y, y)
    for method in ('least_squares', 'stack', 'stack_trees', 'caruana'):
        a, b = (nested(method, P, truth, fold, find_metric('rmse'), rows) for truth in (y, other))
        np.testing.assert_array_equal(a[fold == 2], b[fold == 2])
        assert not np.allclose(a[fold != 2], b[fold != 2])


def test_a_member_that_knows_the_rows_of_a_fit_gains_nothing():
    "It is right wherever a nested blend is fitted, and noise where that blend is scored: trees trust it in vain."
    g = np.random.default_rng(5)
    y, fold, auc = g.integers(0, 2, 400), np.arange(400) % 4, find_metric('auc')
    decent = expit(2 * y - 1 + g.normal(size=400))
    for f in (0, 3):
        knows = np.where(fold == f, g.random(400), 0.1 + 0.8 * y)
        P = np.stack([decent, knows])[..., None]
        inside = apply_blend(P, fit_blend('stack_trees', P, y, auc, rounds=30))
        honest, without = (nested('stack_trees', some, y, fold, auc, rounds=30) for some in (P, P[:1]))
        own = [auc(y[fold == f], p[fold == f]) for p in (inside, honest, without)]
        assert 0.35 < own[1] < 0.65 < own[2] and own[1] < own[0]


def test_lightgbm_is_needed_to_grow_its_trees_alone(here, monkeypatch):
    "Where it is missing a recipe is refused at once, and what was blended is still applied."
    pytest.importorskip('lightgbm')
    comp = three_runs('shares').comp
    options = dict(library='lightgbm', rounds=20)
    run = run_blend(BlendRecipe('exp0101', THREE, 'stack_trees', options), comp)
    assert replay(run, comp) == FILES['stack_trees']
    t, oof = joined(comp), pd.read_parquet(run.folder / 'oof.parquet')[comp.outputs]
    np.testing.assert_array_equal(nested('stack_trees', t.oof(), t.y, t.fold, None, t.rows, **options), oof)
    monkeypatch.setitem(sys.modules, 'lightgbm', None)
    stored = pd.read_parquet(run.folder / 'test.parquet')[comp.outputs]
    np.testing.assert_array_equal(apply_blend(joined(comp).test(), fitted_blend(run), rows_of_test(comp)), stored)
    with pytest.raises(KitError, match=r"install it: pip install 'kagglekit\[trees\]'"):
        BlendRecipe('exp0102', THREE, 'stack_trees', options)


def test_members_of_one_number_are_blended_by_scipys_least_squares(here):
    "The weights in blend.json are those of scipy.optimize.nnls."
    comp = three_runs('numbers').comp
    run = run_blend(BlendRecipe('exp0101', THREE, 'least_squares', dict(each=True)), comp)
    t = joined(comp)
    weights = np.array(run.read('blend.json')['params']['weights'])
    for column in (0, 1):
        known = ~np.isnan(t.y[:, column])
        A = t.oof()[:, known, column].T.astype(float)
        np.testing.assert_allclose(weights[:, column], nnls(A, t.y[known, column])[0], atol=1e-9)
    common = fit_blend('least_squares', t.oof(), t.y, None, t.rows)['params']['weights']
    known, unit = ~np.isnan(t.y), np.nanstd(t.y, 0)
    A = np.stack([(p / unit)[known] for p in t.oof().astype(float)], 1)
    np.testing.assert_allclose(common, nnls(A, (t.y / unit)[known])[0], atol=1e-9)


def test_weights_of_rows_count_as_often_in_least_squares():
    "A row of weight 2 is two rows."
    g = np.random.default_rng(1)
    y, count = g.normal(size=50), np.arange(50) % 2 + 1.0
    train = pd.DataFrame(dict(id=[f'a{i}' for i in range(50)], file='x', size=y, often=count))
    test = pd.DataFrame(dict(id=['t0'], file='x', sample_id=['t0']))
    sample, more = pd.DataFrame(dict(id=['t0'], size='0')), dict(metric='rmse', answer='numbers', weight='often')
    comp = Competition('often', train, test, sample, target=Numbers(('size',)), **more)
    P = (y + g.normal(size=(3, 50)))[..., None]
    twice, rows = np.repeat(np.arange(50), count.astype(int)), rows_of(comp)
    for options in ({}, dict(sum_to_one=True)):
        a = fit_blend('least_squares', P, comp.y, None, rows, **options)['params']['weights']
        plain = Rows(comp.target)
        b = fit_blend('least_squares', P[:, twice], comp.y[twice], None, plain, **options)['params']['weights']
        np.testing.assert_allclose(a, b, atol=1e-8)


def test_unknown_labels_are_left_out(here):
    "The score of a mean of logits is scikit-learn's on the known rows, and nobody's row must sum to 1."
    comp = three_runs('labels', metric='column_auc', decide=None, answer='probability').comp
    run = run_blend(BlendRecipe('exp0101', THREE, 'mean', dict(space='logit')), comp)
    t = joined(comp)
    p = expit(logit(np.clip(t.oof().astype(float), 1e-7, 1 - 1e-7)).mean(0))
    stored = pd.read_parquet(run.folder / 'oof.parquet')[comp.outputs].to_numpy()
    np.testing.assert_allclose(stored, p, atol=1e-12)
    known = ~np.isnan(t.y)
    assert (~known).sum() == 20
    expected = np.mean([roc_auc_score(t.y[known[:, c], c], p[known[:, c], c]) for c in range(3)])
    assert run.read('score.json')['oof'] == pytest.approx(expected, abs=1e-12)


def test_a_search_sees_labels_at_a_threshold_of_a_half():
    "The objective of labels in the space logit is that of their probabilities, whatever the space."
    g = np.random.default_rng(2)
    y, P = (g.random((80, 3)) < 0.4).astype(float), g.random((4, 80, 3))
    for name in ('prob', 'logit', 'power 2'):
        space = find_space(name)
        found = goal(find_metric('fbeta'), y, space, Rows(Labels(tuple('abc'))))(space.to(P))
        expected = [fbeta_score(y, p > 0.5, beta=1, average='macro') for p in P]
        np.testing.assert_allclose(found, expected, atol=1e-9)


# ---- units, weights, rows that are only trained on


def units(pool='mean', metric='mcc', **more):
    "Two rows a patient, of whom some have weights, and some are only trained on."
    g = np.random.default_rng(3)
    patient = np.arange(240) // 2
    sick = (g.random(120) < 0.4).astype(int)[patient]
    train = pd.DataFrame(dict(id=[f'a{i:03d}' for i in range(240)], file='x', target=sick))
    train = train.assign(patient=[f'p{i}' for i in patient], w=1.0 + patient % 3, extra=patient >= 100)
    ids = [f'q{i // 2}' for i in range(40)]
    test = pd.DataFrame(dict(id=[f't{i:03d}' for i in range(40)], file='x', sample_id=ids))
    sample = pd.DataFrame(dict(id=sorted(set(ids)), cancer='0' if more.get('answer') == 'label' else '0.5'))
    fields = dict(metric=metric, answer='probability', unit='patient', weight='w', train_only='extra', pool=pool)
    return Competition(f'units-{pool}', train, test, sample, ('cancer',), **(fields | more))


def unit_runs(comp):
    from kagglekit.blend.example_runs import Example

    hidden = np.random.default_rng(4).integers(0, 2, (20, 1)).repeat(2, 0).astype(float)
    for exp, skill in zip(THREE, (1.5, 1.2, 0.8)):
        example_run_of(Example(comp, hidden), exp, skill)


def pooled_by_pandas(comp, p):
    "Truth, predictions and weights of the validated patients."
    table = comp.train[~comp.train.extra].assign(p=p[:, 0])
    how = dict(mean='mean', max='max', noisy_or=lambda v: 1 - np.prod(1 - v))[comp.pool]
    each = table.groupby('patient', sort=False)
    return each.target.first().to_numpy(), each.p.agg(how).to_numpy()[:, None], each.w.first().to_numpy()


@pytest.mark.parametrize('pool', ['mean', 'max', 'noisy_or'])
def test_units_are_pooled_before_the_metric(here, pool):
    "The objective, the score and the diagnostics are those of patients, with their weights."
    comp = units(pool)
    unit_runs(comp)
    t, metric = joined(comp), find_metric('mcc')
    assert t.oof().shape == (3, 200, 1) and len(t.y) == len(t.fold) == 200
    P = t.oof().astype(float)
    values = [metric(y, p, w) for y, p, w in (pooled_by_pandas(comp, p) for p in P)]
    for space in map(find_space, ('prob', 'logit')):
        np.testing.assert_allclose(goal(metric, t.y, space, t.rows)(space.to(P)), values, atol=1e-12)
    np.testing.assert_allclose(member_scores(t, comp).OOF, values, atol=1e-12)
    run = run_blend(BlendRecipe('exp0101', THREE, 'caruana'), comp)
    stored = pd.read_parquet(run.folder / 'oof.parquet')
    y, p, w = pooled_by_pandas(comp, stored[['p_cancer']].to_numpy())
    assert run.read('score.json')['oof'] == pytest.approx(metric(y, p, w), abs=1e-12)
    assert len(pd.read_csv(run.folder / 'submission.csv')) == 20
    assert replay(run, comp) == ['oof.parquet', 'test.parquet']
    assert len(gain_table(run, t, comp)) == 3 and len(leave_one_out(BlendRecipe('x', THREE), t, comp)) == 3


def test_likelihood_of_units_that_are_means_is_that_of_patients(here):
    "Pooling by the mean and mixing may change places, so the patients themselves are fitted."
    comp = units()
    unit_runs(comp)
    t = joined(comp)
    each = [pooled_by_pandas(comp, p) for p in t.oof().astype(float)]
    y, w = each[0][0], each[0][2].astype(int)
    rows = np.repeat(np.arange(len(y)), w)
    P = np.stack([p for _, p, _ in each])[:, rows]
    a = fit_blend('likelihood', t.oof(), t.y, None, t.rows)['params']['weights']
    b = fit_blend('likelihood', P, y[rows], None)['params']['weights']
    np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize('pool', ['mean', 'max', 'noisy_or'])
def test_a_submission_of_units_is_spread_over_their_rows(here, pool):
    "A team mate's file alone gives back what it says."
    comp = units(pool)
    unit_runs(comp)
    theirs = comp.sample.assign(cancer=np.linspace(0.05, 0.95, 20))
    write_table(here / 'theirs.csv', theirs)
    oof = comp.train[['id']].assign(p_cancer=np.linspace(0.1, 0.9, 240))  # with the rows that are only trained on
    write_table(here / 'theirs_oof.csv', oof)
    alone = BlendRecipe('exp0101', (dict(file=str(here / 'theirs.csv'), oof=str(here / 'theirs_oof.csv')),))
    run = run_blend(alone, comp)
    written = pd.read_csv(run.folder / 'submission.csv').set_index('id').loc[comp.sample.id]
    np.testing.assert_allclose(written.cancer, theirs.cancer, atol=1e-9)
    assert len(pd.read_parquet(run.folder / 'oof.parquet')) == 200


def test_a_threshold_is_nested_on_nested_weights(here):
    "The score of a decided blend, by hand: weights and threshold of a fold are those of the others."
    comp = units(metric='mcc', answer='label', decide='threshold')
    unit_runs(comp)
    t, metric = joined(comp), find_metric('mcc')
    run = run_blend(BlendRecipe('exp0101', THREE, 'likelihood'), comp)
    P, fold = t.oof().astype(float), t.fold
    answers = np.full(len(fold), np.nan)
    for k in range(4):
        out = fold != k
        b = fit_blend('likelihood', P[:, out], t.y[out], metric, t.rows.part(out))
        answers[~out] = apply_blend(P, b)[~out, 0]
    y, p, w = pooled_by_pandas(comp, answers[:, None])
    fold = fold[::2]  # of patients
    decided = np.empty(len(p))
    for k in range(4):
        out = fold != k
        threshold = fit_decision('threshold', y[out], p[out], metric, comp.target, w[out])['threshold']
        decided[~out] = p[~out, 0] > threshold
    score = run.read('score.json')
    assert score['nested']['oof'] == pytest.approx(metric(y, decided[:, None], w), abs=1e-12)
    assert run.read('decision.json')['nested'] == score['nested']['oof']


# ---- files from elsewhere


@pytest.mark.parametrize('kind', KINDS)
def test_a_team_mates_submission_is_a_member(here, kind):
    "In the competition's own form: its answers are mixed with a run's predictions."
    made = three_runs(kind)
    theirs = run_blend(BlendRecipe('exp0100', THREE), made.comp).folder / 'submission.csv'
    (here / 'theirs.csv').write_bytes(theirs.read_bytes())
    member = dict(file=str(here / 'theirs.csv'))
    run = run_blend(BlendRecipe('exp0101', ('exp0001', member)), made.comp)
    answers = read_answers(made.comp, read_submission(made.comp, theirs))
    first = pd.read_parquet(Run(made.comp.name, 'exp0001').folder / 'test.parquet')[made.comp.outputs]
    both = pd.read_parquet(run.folder / 'test.parquet')[made.comp.outputs]
    np.testing.assert_allclose(both, (first + answers) / 2, atol=1e-6)
    assert run.read('score.json')['oof'] is None


@pytest.mark.parametrize('kind', KINDS)
def test_out_of_fold_files_have_the_targets_columns(here, kind):
    "A member from files is that of the run whose tables they are, and the fitted weights are the same."
    comp = three_runs(kind).comp
    for side in ('oof', 'test'):
        table = pd.read_parquet(Run(comp.name, 'exp0002').folder / f'{side}.parquet')
        write_table(here / f'{side}.parquet', table.sample(frac=1, random_state=0))
    theirs = dict(file=str(here / 'test.parquet'), oof=str(here / 'oof.parquet'), name='theirs')
    a = run_blend(BlendRecipe('exp0101', ('exp0001', 'exp0002'), 'caruana'), comp)
    b = run_blend(BlendRecipe('exp0102', ('exp0001', theirs), 'caruana'), comp)
    assert a.read('blend.json')['params'] == b.read('blend.json')['params']
    assert (a.folder / 'submission.csv').read_bytes() == (b.folder / 'submission.csv').read_bytes()


def test_a_submission_without_a_header_is_read(here):
    comp = three_runs('numbers', header=False).comp
    run_blend(BlendRecipe('exp0100', THREE), comp)
    theirs = Run(comp.name, 'exp0100').folder / 'submission.csv'
    assert theirs.read_text().startswith('t0000,')
    stored = pd.read_parquet(theirs.with_name('test.parquet'))[comp.outputs]
    np.testing.assert_allclose(read_member(dict(file=str(theirs)), comp).test, stored, rtol=1e-12)


def test_the_k_best_classes_are_ranks(here):
    "A submission of a class competition that hands in the best few."
    ids, classes = ['t0', 't1'], tuple('abcd')
    train = pd.DataFrame(dict(id=[f'r{i}' for i in range(8)], file='x', target=np.arange(8) % 4))
    test = pd.DataFrame(dict(id=ids, file='x', sample_id=ids))
    sample = pd.DataFrame(dict(id=ids, best='a b'))
    comp = Competition('whales', train, test, sample, classes, metric='map_at(2)', answer='top')
    write_table(here / 'theirs.csv', sample.assign(best=['c a', 'b d']))
    p = read_member(dict(file=str(here / 'theirs.csv')), comp).test
    assert p.argsort(1)[:, ::-1][:, :2].tolist() == [[2, 0], [1, 3]]


def test_scores_of_labels_in_any_unit_are_mixed_by_rank(here):
    "Where the metric needs the order of each label alone."
    comp = three_runs('labels', metric='column_auc', decide=None, answer='probability').comp
    for side in ('oof', 'test'):
        table = pd.read_parquet(Run(comp.name, 'exp0002').folder / f'{side}.parquet')
        table[comp.outputs] = table[comp.outputs] * 40 - 7
        write_table(here / f'{side}.parquet', table)
    theirs = dict(file=str(here / 'test.parquet'), oof=str(here / 'oof.parquet'), name='theirs')
    a = run_blend(BlendRecipe('exp0101', ('exp0001', theirs), options=dict(space='rank')), comp)
    b = run_blend(BlendRecipe('exp0102', ('exp0001', 'exp0002'), options=dict(space='rank')), comp)
    assert a.read('score.json')['oof'] == pytest.approx(b.read('score.json')['oof'], abs=1e-9)
    with pytest.raises(KitError, match='theirs: scores beyond 0 … 1 are no probabilities'):
        run_blend(BlendRecipe('exp0103', ('exp0001', theirs), 'likelihood'), comp)


def test_a_wrong_file_is_named(here):
    comp = three_runs('numbers').comp
    write_table(here / 'a.csv', comp.sample.assign(height='tall'))
    write_table(here / 'b.csv', pd.DataFrame(dict(id=comp.test.id, v_height=1.0)))
    for file, words in (
        ('a.csv', "answers 'tall', which is no finite number"),
        ('b.csv', 'expected v_height, v_width'),
    ):
        with pytest.raises(KitError, match=words):
            read_member(dict(file=str(here / file)), comp)
    for member in (dict(logits='z.npy'), dict(votes='v.csv'), dict(file='a.csv', classes='own')):
        with pytest.raises(KitError, match='of the kind numbers; give a table of predictions'):
            read_member(member, comp)


# ---- what else may go wrong, and what is shown


@pytest.mark.parametrize('kind', KINDS)
def test_what_is_for_classes_is_refused_for_others(here, kind):
    comp = three_runs(kind).comp
    t = joined(comp)
    rules = '{base: blend, rules: [{take: exp0001, where: {}}]}'
    for more in (dict(rules=rules), dict(prior='classes'), dict(method='heads_mean')):
        with pytest.raises(KitError, match=f'of the kind {kind}'):
            make_blend(BlendRecipe('exp0101', THREE, **more), t, comp)


@pytest.mark.parametrize(
    'kind, space',
    [('numbers', 'rank'), ('numbers', 'prob'), ('shares', 'rank'), ('labels', 'log')],
)
def test_a_space_that_means_nothing_is_refused(here, kind, space):
    comp = three_runs(kind).comp
    with pytest.raises(KitError, match=f'space: {space} does not fit a target of the kind {kind}'):
        make_blend(BlendRecipe('exp0101', THREE, options=dict(space=space)), joined(comp), comp)


def test_numbers_may_leave_0_to_1_and_shares_stay_shares(here):
    comp = three_runs('numbers').comp
    made = make_blend(BlendRecipe('exp0101', THREE, 'weighted', dict(weights=(3, -1, -1))), joined(comp), comp)
    assert made.test.max() > 1 and 'scale' not in made.blend
    comp = three_runs('shares').comp
    run = run_blend(BlendRecipe('exp0101', THREE, 'weighted', dict(weights=(3, -1, -1))), comp)
    shares = pd.read_parquet(run.folder / 'test.parquet')[comp.outputs].to_numpy()
    np.testing.assert_allclose(shares.sum(1), 1, atol=1e-12)
    assert shares.min() == 0


def test_the_truth_beside_a_members_predictions_is_todays(here):
    made = three_runs('labels')
    path = Run(made.comp.name, 'exp0002').folder / 'oof.parquet'
    table = pd.read_parquet(path)
    table.loc[7, 'target_cloud'] = 1 - table.target_cloud[7]
    write_table(path, table)
    with pytest.raises(KitError, match='in 1 rows, such as id a0007'):
        read_member('exp0002', made.comp)


def test_blends_and_chosen_folds_are_members(here):
    comp = three_runs('factors').comp
    run_blend(BlendRecipe('exp0101', THREE, 'likelihood'), comp)
    some = dict(exp='exp0002', folds=[0, 2], space='log')
    run = run_blend(BlendRecipe('exp0102', ('exp0101', some), 'stack'), comp)
    p = pd.read_parquet(run.folder / 'test.parquet')[comp.outputs].to_numpy()
    np.testing.assert_allclose([p[:, :3].sum(1), p[:, 3:].sum(1)], 1, atol=1e-9)
    assert replay(run, comp) == ['oof.parquet', 'test.parquet']


def test_the_sites_own_metric_leads_a_search(here):
    "A search sees tables in the form of a hand-in, as the host's function reads them."

    def worst(solution, submission, row_id_column_name):
        return float((solution.height - submission.height).abs().max())

    site_metric(worst, 'worst_height', greater=False, values='numbers')
    comp = three_runs('numbers', metric='worst_height', n=60).comp
    run = run_blend(BlendRecipe('exp0101', THREE, 'caruana', dict(rounds=5)), comp)
    stored = pd.read_parquet(run.folder / 'oof.parquet')
    known = stored.target_width.notna()
    error = (stored.target_height - stored.v_height)[known].abs().max()
    assert run.read('score.json')['oof'] == pytest.approx(error, abs=1e-6)


@pytest.mark.parametrize('kind', KINDS)
def test_the_page_has_its_tables_and_its_figure(here, kind):
    comp = three_runs(kind).comp
    t, recipe = joined(comp), BlendRecipe('exp0101', THREE, 'caruana')
    scores = [Run(comp.name, exp).read('score.json') for exp in THREE]
    alone = member_scores(t, comp)
    np.testing.assert_allclose(alone.OOF, [s['oof'] for s in scores], atol=1e-6)
    np.testing.assert_allclose(alone['fold 1'], [s['folds'][1] for s in scores], atol=1e-6)
    run = run_blend(recipe, comp)
    gain = gain_table(run, t, comp)
    assert list(gain.OOF[1:]) == [run.read('score.json')['oof'], run.read('score.json')['nested']['oof']]
    methods = set(compare_methods(t, comp).method)
    assert {'mean', 'caruana'} < methods
    plt.close(plot_members(recipe, t, comp))


def test_a_perfect_member_is_all_that_a_blend_needs(here):
    "Of the truth and two others, likelihood and least squares take the truth."
    for kind, method in (('labels', 'likelihood'), ('shares', 'likelihood'), ('grades', 'least_squares')):
        made = three_runs(kind)
        t = joined(made.comp)
        truth = np.clip(as_answers(np.nan_to_num(t.y), made.comp.target), 0.001, None)
        P = np.stack([truth, *t.oof()[1:].astype(float)])
        weights = fit_blend(method, P, t.y, None, t.rows)['params']['weights']
        assert weights[0] > 0.98
