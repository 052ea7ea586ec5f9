"Runs of every kind of target: compared, in the journal, rebuilt, and shown; what this version cannot know is named."

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, roc_auc_score, root_mean_squared_error
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.storage import write_json
from kagglekit.core.validation import KitError
from kagglekit.data.competition import READERS, Competition, competition
from kagglekit.targets.target import Factors, Grades, Labels, Numbers, OneOf, Shares
from kagglekit.fit.plots import error_table, fold_table, plot_counts, plot_errors, plot_folds, read_predicted
from kagglekit.fit.target_plots import worst_rows
from kagglekit.report.bootstrap import paired_bootstrap, verdict_of
from kagglekit.report.by_output import by_output
from kagglekit.report.compare import compare_text
from kagglekit.report.journal import journal
from kagglekit.report.journal_html import write_page
from kagglekit.report.pairs import read_pair
from kagglekit.report.rebuild import answers_text, decision_text, rebuild, same_answers
from kagglekit.report.retrain import compare_retrained
from kagglekit.report.toy_runs import toy_history, toy_run, toy_target, toy_truth
from kagglekit.report.toy_submission import finished_run

HEADS = Factors((('root', ('x', 'y', 'z')), ('vowel', ('0', '1'))))
TARGETS = {  # kind → target, metric, form of the hand-in, decision
    'class': (OneOf(('a', 'b', 'c')), 'macro_f1', 'label', None),
    'binary': (OneOf(('yes',)), 'auc', 'probability', None),
    'labels': (Labels(('rain', 'snow')), 'fbeta(beta=2, average=samples)', 'labels', 'thresholds'),
    'long': (Labels(('rain', 'snow')), 'column_auc', 'long', None),
    'numbers': (Numbers(('width', 'depth')), 'rmse', 'numbers', None),
    'clipped': (Numbers(('score',), range=(0, 100)), 'mae', 'numbers', 'clip(10, 90)'),
    'grades': (Grades(('none', 'mild', 'severe')), 'qwk', 'label', 'cut_points'),
    'shares': (Shares(('a', 'b', 'c')), 'kl_divergence', 'probability', None),
    'heads': (HEADS, 'head_mean(metric=accuracy)', 'long', None),
}
KINDS = list(TARGETS)


def made_sample(ids, kind):
    "A sample submission in the form of a kind."
    target, _, answer, _ = TARGETS[kind]
    if kind == 'heads':
        return pd.DataFrame(dict(row=[f'{i}_{head}' for i in ids for head, _ in target.heads], target='0'))
    if kind == 'long':
        return pd.DataFrame(dict(ID=[f'{i}_{name}' for i in ids for name in target.names], Label='0.5'))
    if answer in ('label', 'labels'):
        first = {'labels': 'rain snow'}.get(kind, target.names[0])
        return pd.DataFrame(dict(id=ids, answer=first))
    return pd.DataFrame(dict(id=ids, **dict.fromkeys(target.names, '0.5')))


def made_comp(kind, n=120, **more):
    "A competition of a kind, whose data are a folder that is there."
    target, metric, answer, decide = TARGETS[kind]
    data_dir(kind).mkdir(parents=True, exist_ok=True)
    y = toy_truth(target, n)
    train = pd.DataFrame(dict(id=[f'r{i:03d}' for i in range(n)], file='x.png'))
    for name, values in zip(target.columns, y.reshape(n, -1).T):
        train[name] = values
    ids = [f't{i:02d}' for i in range(20)]
    test = pd.DataFrame(dict(id=ids, file='x.png', sample_id=ids))
    sample = made_sample(ids, kind)
    given = dict(target=target, metric=metric, answer=answer, decide=decide) | more
    return Competition(kind, train, test, sample, **given)


@pytest.fixture
def comp(request):
    "A competition of a kind that the package can read, in a workspace of its own."
    kind, *more = request.param if isinstance(request.param, tuple) else (request.param,)
    with workspace():
        made = made_comp(kind, **(more[0] if more else {}))
        competition(kind)(lambda name: made)
        yield made
        READERS.pop(kind)


def two_runs(kind):
    "Two runs of a kind without data, the second with less noise."
    target, metric, _, decide = TARGETS[kind]
    runs = [toy_run(exp, 0.5, comp=kind, state='done', metric=metric) for exp in ('exp0001', 'exp0002')]
    for run, noise in zip(runs, (0.8, 0.3)):
        toy_target(run, target, noise)
        toy_history(run)
        if decide:
            write_json(run.folder / 'decision.json', dict(decide=decide))
    return runs


@pytest.mark.parametrize('kind', KINDS)
def test_two_runs_of_a_kind_are_compared(kind):
    with workspace():
        one, two = two_runs(kind)
        pair, text = read_pair(one, two), compare_text(one, two)
    result, table = paired_bootstrap(pair, draws=100), by_output(pair)
    assert 'exp0002 is better than exp0001' in text and 'is it better?' in text
    assert pair.metric.better(result.second, result.first) and result.draws == 100
    change = table.iloc[:, 4]
    assert ((change < 0) if table.attrs.get('less') else (change > 0)).all()


def test_a_comparison_has_the_values_of_scikit_learn():
    with workspace():
        long, grades, numbers = (read_pair(*two_runs(kind)) for kind in ('long', 'grades', 'numbers'))
    known = ~np.isnan(long.y[:, 0])
    auc = [roc_auc_score(long.y[on, i], long.P[1, on, i]) for i, on in enumerate((known, slice(None)))]
    assert long.scores[1] == pytest.approx(np.mean(auc))
    kappa = cohen_kappa_score(grades.y, grades.seen[1, :, 0].astype(int), weights='quadratic')
    assert grades.scores[1] == pytest.approx(kappa)
    assert set(np.unique(grades.seen)) <= {0, 1, 2} and (grades.P[1] % 1 != 0).any()
    error = root_mean_squared_error(numbers.y.ravel(), numbers.P[1].ravel())
    assert numbers.scores[1] == pytest.approx(error)


@pytest.mark.parametrize('comp', KINDS, indirect=True)
def test_a_run_is_the_same_when_it_is_rebuilt(comp):
    run = finished_run(comp, 'exp0001', 0)
    again = rebuild(run, comp, run.folder / 'again')
    found = same_answers(run.folder / 'submission.csv', again, comp)
    assert found.same and 'to the byte' in answers_text(found)
    words = decision_text(run, run.folder / 'again')
    assert words.endswith('is the recorded one when it is fitted again') if comp.decide else words == ''


@pytest.mark.parametrize('comp', ['labels', 'grades'], indirect=True)
def test_another_decision_is_named(comp):
    run = finished_run(comp, 'exp0001', 0)
    write_json(run.folder / 'decision.json', run.read('decision.json') | dict(in_sample=0.1))
    rebuild(run, comp, run.folder / 'again')
    assert 'is another one' in decision_text(run, run.folder / 'again')
    (run.folder / 'oof.parquet').unlink()
    rebuild(run, comp, run.folder / 'alone')
    assert 'taken from the record' in decision_text(run, run.folder / 'alone')


@pytest.mark.parametrize(
    'comp, old, new, largest',
    [
        ('labels', 'rain snow', 'snow rain', None),
        ('long', '', '', 0.25),
        ('numbers', '', '', 0.25),
        (('numbers', dict(header=False)), '', '', 0.25),
    ],
    indirect=['comp'],
)
def test_answers_are_compared_in_their_form(comp, old, new, largest):
    run = finished_run(comp, 'exp0001', 0)
    path, other = run.folder / 'submission.csv', run.folder / 'other.csv'
    lines = path.read_text().splitlines()
    assert lines[0].startswith('t') != comp.header
    if largest is None:
        other.write_text(path.read_text().replace(old, new))
        assert old in path.read_text()
        found = same_answers(path, other, comp)
        assert (found.equal, found.first, found.same) == (1, '', False)
        return
    id, *values = lines[3].split(',')
    lines[3] = ','.join([id, *values[:-1], str(abs(float(values[-1]) - 0.25))])
    other.write_text('\n'.join(lines) + '\n')
    found = same_answers(path, other, comp)
    assert (found.same, found.first) == (False, id) and 0 < found.largest <= 0.25 + 1e-6
    assert round(found.rows * (1 - found.equal)) == 1


@pytest.mark.parametrize('comp', KINDS, indirect=True)
def test_the_journal_has_runs_of_a_kind(comp):
    for seed, exp in enumerate(('exp0001', 'exp0002')):
        run = finished_run(comp, exp, seed)
        toy_history(run)
    table, page = journal(comp.name), write_page(comp.name).read_text()
    assert table.problem.eq('').all() and table.metric.eq(comp.metric).all() and table.CV.notna().all()
    assert table.in_sample.notna().all() == (comp.decide is not None)
    assert 'exp0002' in page and ('>in-sample<' in page) == (comp.decide is not None)


@pytest.mark.parametrize('comp', KINDS, indirect=True)
def test_a_repetition_of_a_kind_is_compared(comp):
    run, again = finished_run(comp, 'exp0001', 0), finished_run(comp, 'exp0002', 0)
    table = compare_retrained(run, again, comp).set_index('what')
    assert (table.difference.abs() < 1e-9).all() and 'OOF correlation' in table.index


def by_threes(kind):
    "Columns of a train table whose rows come in threes, with weights, and the last rows only trained on."
    comp = made_comp(kind)
    comp.train['plant'] = [f'p{i // 3}' for i in range(len(comp.train))]
    comp.train['weight'] = 1.0 + np.arange(len(comp.train)) % 2
    comp.train['extra'] = np.arange(len(comp.train)) >= 90
    given = dict(unit='plant', weight='weight', train_only='extra', metric=comp.metric, answer=comp.answer)
    return Competition(kind, comp.train, comp.test, comp.sample, target=comp.target, decide=comp.decide, **given)


@pytest.mark.parametrize('kind', ['binary', 'labels', 'numbers', 'grades', 'shares'])
def test_units_weights_and_decisions_are_those_of_the_score(kind):
    with workspace():
        comp = by_threes(kind)
        competition(kind)(lambda name: comp)
        try:
            one, two = (finished_run(comp, exp, seed) for seed, exp in enumerate(('exp0001', 'exp0002')))
            pair = read_pair(one, two)
            recorded = [float(run.read('score.json')['oof']) for run in (one, two)]
            text = verdict_of(kind, pair)
        finally:
            READERS.pop(kind)
        alone = read_pair(one, two)
    np.testing.assert_allclose(pair.scores, recorded, rtol=1e-6)
    assert (len(pair.y), pair.unit, len(alone.y)) == (30, 'plant', 90)
    assert 'over 30 plants' in text and 'not joined by plant' in alone.doubts[0]


@pytest.mark.parametrize('comp', KINDS, indirect=True)
def test_the_page_of_a_run_shows_a_kind(comp):
    run = finished_run(comp, 'exp0001', 0)
    predicted = read_predicted(run, comp)
    folds = predicted[['id', 'fold']]
    assert plot_counts(comp) is not None and plot_folds(comp, folds) is not None
    assert fold_table(comp, folds).shape[1] == 2
    assert plot_errors(predicted, comp) is not None and len(error_table(predicted, comp))
    worst = worst_rows(predicted, comp)
    assert len(worst) == 10 and worst.iloc[:, 3].is_monotonic_decreasing and (worst.truth != worst.predicted).any()


@pytest.mark.parametrize('comp', ['labels', 'numbers', 'heads', 'grades'], indirect=True)
def test_without_a_truth_the_page_says_so(comp):
    run = finished_run(comp, 'exp0001', 0)
    (run.folder / 'oof.parquet').unlink()
    predicted = read_predicted(run, comp)
    assert plot_errors(predicted, comp) is None
    assert 'no truth' in error_table(predicted, comp) and 'no truth' in worst_rows(predicted, comp)


def test_a_target_of_a_later_version_stops_nothing_else():
    with workspace():
        one, _ = two_runs('labels')
        boxes = toy_run('exp0003', 0.7, comp='labels', state='done', metric='iou(.5)', target=dict(kind='boxes'))
        toy_history(boxes)
        toy_run('exp0004', 0.7, comp='labels', state='done', target='odd')
        heads = toy_run('exp0005', 0.7, comp='labels', state='done', target=dict(kind='factors', heads=3))
        table, page = journal('labels'), write_page('labels').read_text()
        assert 'rows cannot be compared: labels/exp0003: its target' in compare_text(one, boxes)
        with pytest.raises(KitError, match='does not say what was predicted'):
            read_pair(one, heads)
    problems = dict(zip(table.exp, table.problem))
    assert problems['exp0001'] == '' and problems['exp0003'].startswith(
        'cannot be read: its target is of the kind boxes'
    )
    assert problems['exp0005'].startswith('cannot be read: its params.json does not say')
    assert problems['exp0004'].startswith('cannot be read: its params.json does not say')
    assert table.CV.notna().all() and 'exp0003' in page
