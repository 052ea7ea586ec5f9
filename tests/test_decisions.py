"Decisions: exact where they can be, never worse than the default, and unharmed by odd data."

import json
from itertools import combinations_with_replacement
import numpy as np
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, fbeta_score, mean_absolute_error
from kagglekit.core.validation import KitError
from kagglekit.metrics.cut_points import apply_cuts, find_cuts, kappa, kappa_cuts, quantile_cuts, rounding_cuts
from kagglekit.metrics.decisions import DECISIONS, apply_decision, find_decision, fit_decision, nested_decision
from kagglekit.metrics.registry import Metric, find_metric
from kagglekit.targets.target import Factors, Grades, Labels, Numbers, OneOf, Shares
from kagglekit.metrics.threshold_search import GRID, find_threshold, find_thresholds, gaps, label_counts

HEADS = Factors(heads=(('bowel', ('no', 'yes')), ('liver', ('none', 'low', 'high'))))
BINARY, TWO, THREE = OneOf(('crack',)), OneOf(('no', 'yes')), OneOf(('a', 'b', 'c'))
GRADES = Grades(('0', '1', '2', '3'))


def metric(name, f, kinds, greater=True, weighted=False, values='labels'):
    "A metric of one candidate at a time."

    def many(y, P, w=None):
        more = (w,) if weighted and w is not None else ()
        return np.array([f(y, p, *more) for p in P], float)

    return Metric(name, greater, many, values, kinds=kinds, weighted=weighted)


def fbeta(has, chosen, average, beta):
    "F-score of labels by counts."
    axis = dict(macro=0, micro=None, samples=1)[average]
    hits, total = (has & chosen).sum(axis), beta**2 * has.sum(axis) + chosen.sum(axis)
    return np.mean((1 + beta**2) * hits / np.maximum(total, 1e-9))


def labels_f1(average, beta=1.0):
    return metric(f'f{beta}_{average}', lambda y, p: fbeta(y > 0.5, p > 0.5, average, beta), ('labels',))


QWK = metric('any name', lambda y, p: cohen_kappa_score(y, np.rint(p[:, 0]), weights='quadratic'), ('grades',))
MAE = metric('mae', lambda y, p: mean_absolute_error(y, p), ('numbers',), greater=False, values='numbers')
NEVER = metric('never', lambda y, p: np.nan, ('class', 'labels', 'grades', 'numbers'))
EXACT = metric('exact', lambda y, p: ((p > 0.5) == (y > 0.5)).all(1).mean(), ('labels',))


def labels_of_rate(n, c, seed=0, factor=0.4):
    "Labels, and probabilities that are too low."
    g = np.random.default_rng(seed)
    chance = g.beta(0.6, 3, (n, c))
    return (g.random((n, c)) < chance).astype(float), (chance * factor).astype(np.float32)


def names(c):
    return Labels(tuple(f'label {i}' for i in range(c)))


def test_one_threshold_is_the_best_there_is():
    g = np.random.default_rng(1)
    macro = find_metric('macro_f1')
    for n in (5, 40, 300):
        y, P = np.r_[0, 1, g.integers(0, 2, n - 2)], g.random((n, 1)).round(2)
        params = fit_decision('threshold', y, P, macro, BINARY)
        best = max(macro(y, (P > t).astype(float)) for t in [*gaps(P), 0.5])
        assert macro(y, apply_decision(params, P, BINARY)) == best


def test_two_columns_are_decided_as_one():
    g = np.random.default_rng(2)
    y, p = g.integers(0, 2, 200), g.random((200, 1)) * 0.4
    one = fit_decision('threshold', y, p, find_metric('macro_f1'), BINARY)
    both = np.concatenate([1 - p, p], 1)
    two = fit_decision('threshold', y, both, find_metric('macro_f1'), TWO)
    assert one == two
    assert np.array_equal(apply_decision(two, both, TWO)[:, 1:], apply_decision(one, p, BINARY))


def test_counts_of_labels_are_those_of_comparing():
    y, P = labels_of_rate(300, 5)
    y[::7, 2] = np.nan
    w = np.random.default_rng(0).integers(1, 4, 300).astype(float)
    counts = label_counts(y, P, w)
    for at in (900, 1000, 1024, 1100):
        above = (P > GRID[at]) * w[:, None]
        assert np.array_equal(counts.chosen[:, at], (above * ~np.isnan(y)).sum(0))
        assert np.array_equal(counts.hits[:, at], (above * (y == 1)).sum(0))


AVERAGES = ['macro', 'micro', 'samples']


def test_the_scores_of_these_tests_are_scikit_learns():
    y, P = labels_of_rate(200, 4)
    for average in AVERAGES:
        theirs = fbeta_score(y > 0.5, P > 0.1, beta=2, average=average, zero_division=0)
        assert fbeta(y > 0.5, P > 0.1, average, 2) == pytest.approx(theirs)


@pytest.mark.parametrize('average', AVERAGES)
@pytest.mark.parametrize('beta', [0.5, 1, 2])
def test_thresholds_come_near_the_best_of_each_label(average, beta):
    y, P = labels_of_rate(3000, 6)
    score = labels_f1(average, beta)
    params = fit_decision('thresholds', y, P, score, names(6))
    found = score(y, apply_decision(params, P, names(6)))
    best = np.full(6, 0.5)  # one label after the other, all that differ
    for _ in range(2):
        for i in range(6):
            grid = np.quantile(P[:, i], np.linspace(0, 1, 40))
            tried = [np.r_[best[:i], t, best[i + 1 :]] for t in grid]
            best = max(tried, key=lambda t: score(y, (P > t).astype(float)))
    assert found > score(y, P) + 0.05
    assert found > score(y, (P > best).astype(float)) - 0.015


def test_a_rare_label_takes_the_threshold_of_the_average():
    y, P = labels_of_rate(4000, 8)
    score = labels_f1('macro')
    rare = y.copy()
    rare[40:, 0] = np.nan
    thresholds = find_thresholds(rare, P, score)
    usual = np.median(thresholds[1:])
    assert abs(thresholds[0] - usual) < 0.05, thresholds
    rare[:, 0] = np.nan
    assert abs(find_thresholds(rare, P, score)[0] - usual) < 0.02
    rare[:, 0] = 0
    rare[P[:, 0].argmin(), 0] = 1  # one positive, with the lowest probability of all, does not pull it down
    assert find_thresholds(rare, P, score)[0] > usual - 0.05


@pytest.mark.parametrize('score', [labels_f1('macro'), labels_f1('samples'), EXACT, NEVER], ids=lambda m: m.name)
@pytest.mark.parametrize('decide', ['threshold', 'thresholds'])
@pytest.mark.parametrize('seed', range(3))
def test_thresholds_are_never_worse_than_a_half(score, decide, seed):
    y, P = labels_of_rate(60, 4, seed, factor=(0.4, 1, 1.2)[seed])
    params = fit_decision(decide, y, P, score, names(4))
    found, half = score(y, apply_decision(params, P, names(4))), score(y, (P > 0.5).astype(float))
    assert not found < half


ODD = {  # (n, 3) of labels and probabilities
    'no label at all': (np.zeros((20, 3)), np.random.default_rng(0).random((20, 3))),
    'all positive': (np.ones((20, 3)), np.random.default_rng(0).random((20, 3))),
    'nothing known': (np.full((20, 3), np.nan), np.random.default_rng(0).random((20, 3))),
    'constant outputs': (np.eye(3)[np.arange(20) % 3], np.full((20, 3), 0.3)),
    'zeros and ones': (np.eye(3)[np.arange(20) % 3], np.eye(3)[np.arange(1, 21) % 3]),
    'one row': (np.array([[1.0, 0, 0]]), np.array([[0.2, 0.1, 0.9]])),
    'no row': (np.empty((0, 3)), np.empty((0, 3))),
}


@pytest.mark.parametrize('y, P', ODD.values(), ids=ODD)
@pytest.mark.parametrize('decide', ['threshold', 'thresholds', 'top(2)', 'clip(.1, .9)'])
def test_odd_labels_break_nothing(y, P, decide):
    params = json.loads(json.dumps(fit_decision(decide, y, P, labels_f1('macro'), names(3))))
    answers = apply_decision(params, P, names(3))
    assert answers.shape == P.shape and np.isfinite(answers).all()
    if not (y == 1).any() and decide == 'thresholds':
        assert set(params['thresholds'].values()) == {0.5}


@pytest.mark.parametrize('k', [2, 3, 5])
def test_cut_points_for_kappa_are_the_best_there_are(k):
    g = np.random.default_rng(k)
    for n in (8, 18):
        y = g.integers(0, k, n)
        x = (y * 0.5 + g.normal(0, 0.7, n)).round(1)
        w = g.integers(1, 4, n).astype(float)
        cuts = kappa_cuts(y, x, rounding_cuts(range(k)), w)
        some = combinations_with_replacement(gaps(x), k - 1)
        best = max(np.nan_to_num(kappa(y, apply_cuts(x, range(k), c), w)) for c in some)
        assert kappa(y, apply_cuts(x, range(k), cuts), w) == pytest.approx(best, abs=1e-9)
        answers = apply_cuts(x, range(k), cuts)
        theirs = cohen_kappa_score(y, answers, weights='quadratic', sample_weight=w)
        assert theirs == pytest.approx(best, abs=1e-9)


CUT_METRICS = [
    QWK,
    metric('accuracy', lambda y, p: (np.rint(p[:, 0]) == y).mean(), ('grades',)),
    metric('macro', lambda y, p: f1_score(y, np.rint(p[:, 0]), average='macro'), ('grades',)),
    metric('mae', lambda y, p: np.abs(p[:, 0] - y).mean(), ('grades',), greater=False),
    NEVER,
]


@pytest.mark.parametrize('score', CUT_METRICS, ids=lambda m: m.name)
@pytest.mark.parametrize('seed', range(4))
def test_cut_points_are_never_worse_than_rounding(score, seed):
    g = np.random.default_rng(seed)
    y = g.integers(0, 4, (6, 60, 300, 2000)[seed])
    P = (y * 0.6 + g.normal(0.4, 0.5, len(y))).clip(0, 3)[:, None]
    P = (P * 2).round() / 2 if seed % 2 else P.astype(np.float32)  # exact halves
    params = json.loads(json.dumps(fit_decision('cut_points', y, P, score, GRADES)))
    found, rounded = score(y, apply_decision(params, P, GRADES)), score(y, np.rint(P))
    assert np.isnan(rounded) or not score.better(rounded, found)
    if score is NEVER:
        assert np.array_equal(apply_decision(params, P, GRADES), np.rint(P))


def test_climbed_cut_points_come_near_the_best():
    g = np.random.default_rng(0)
    y = g.integers(0, 3, 30)
    x = (y * 0.5 + g.normal(0.3, 0.4, 30)).round(2)
    accuracy = lambda a, rows=slice(None): (a == y[rows]).mean()
    cuts = find_cuts(y, x, range(3), accuracy)
    best = max(accuracy(apply_cuts(x, range(3), c)) for c in combinations_with_replacement(gaps(x), 2))
    assert accuracy(apply_cuts(x, range(3), cuts)) >= best - 1 / 30


def test_numbers_are_cut_into_the_levels_they_have():
    g = np.random.default_rng(0)
    y = np.column_stack([g.choice([1, 2, 5], 400), g.choice([10.0, 20.0], 400)])
    y[::9, 1] = np.nan
    P = np.nan_to_num(y, nan=15.0) * 0.7 + g.normal(0, 0.3, y.shape)
    known = metric('known mae', lambda y, p: np.nanmean(np.abs(y - p)), ('numbers',), greater=False, values='numbers')
    stars = Numbers(('stars', 'price'))
    params = fit_decision('cut_points', y, P, known, stars)
    answers = apply_decision(params, P, stars)
    assert [sorted(set(column)) for column in answers.T] == [[1, 2, 5], [10, 20]]
    assert known(y, answers) < 0.5 * known(y, np.rint(P))
    with pytest.raises(KitError, match='400 distinct|has 400 values|say .round'):
        fit_decision('cut_points', g.random((400, 1)), P[:, :1], MAE, Numbers(('age',)))


@pytest.mark.parametrize(
    'y, x',
    [
        (np.zeros(10, int), np.linspace(0, 3, 10)),
        (np.arange(10) % 4, np.full(10, 1.5)),
        (np.array([0, 3]), np.array([0.2, 0.9])),
        (np.array([0, 0, 2, 3] * 5), np.linspace(0, 3, 20)),
        (np.empty(0, int), np.empty(0)),
    ],
    ids=['one grade', 'constant', 'two rows', 'a grade absent', 'no row'],
)
def test_odd_grades_break_nothing(y, x):
    kappas = metric('kappa', lambda y, p: kappa(y, np.rint(p[:, 0])), ('grades',))
    params = fit_decision('cut_points', y, x[:, None], kappas, GRADES)
    cuts = params['cut_points']['grade']['cuts']
    assert len(cuts) == 3 and sorted(cuts) == cuts
    assert set(apply_decision(params, np.linspace(-1, 4, 50)[:, None], GRADES).ravel()) <= {0, 1, 2, 3}


def test_ties_go_to_the_default():
    y, P = np.array([0, 0, 1, 1]), np.array([[0.1], [0.2], [0.8], [0.9]])
    assert fit_decision('threshold', y, P, find_metric('accuracy'), BINARY)['threshold'] == 0.5
    assert find_threshold(P, lambda t: 1.0 if t < 0.3 else 0.0) == pytest.approx(0.15)
    grades = np.array([0, 1, 2, 3])
    params = fit_decision('cut_points', grades, grades[:, None] * 1.0, QWK, GRADES)
    assert params['cut_points']['grade']['cuts'] == rounding_cuts(range(4)).tolist()
    assert np.array_equal(quantile_cuts(grades, grades, range(4)).round(2), [0.75, 1.5, 2.25])


def rare_classes(n, seed, shares=(0.8, 0.15, 0.05), strength=1.2):
    "Codes, and their probabilities by Bayes."
    g = np.random.default_rng(seed)
    y = g.choice(len(shares), n, p=shares)
    z = np.log(shares) + strength * g.normal(strength * np.eye(len(shares))[y], 1)
    P = np.exp(z)
    return y, P / P.sum(1, keepdims=True)


@pytest.mark.parametrize('scored', ['macro_f1', 'balanced_accuracy'])
def test_rare_classes_are_lifted_where_each_class_counts_the_same(scored):
    score, folds = find_metric(scored), np.arange(2000) % 5
    for seed in range(3):
        y, P = rare_classes(2000, seed)
        nested = nested_decision('logit_adjusted', y, P, score, THREE, folds)
        assert score(y, nested) > score(y, P) + 0.02


def test_a_metric_of_all_rows_leaves_the_most_probable_class():
    y, P = rare_classes(3000, 4)
    params = fit_decision('logit_adjusted', y, P, find_metric('accuracy'), THREE)
    assert params['power'] <= 0.2
    even = fit_decision('logit_adjusted', y, P, NEVER, THREE)
    assert even['power'] == 0
    assert np.array_equal(apply_decision(even, P, THREE).argmax(1), P.argmax(1))


def test_the_power_of_all_is_even_shares():
    y, P = rare_classes(500, 5)
    params = fit_decision('logit_adjusted', y, P, find_metric('macro_f1'), THREE)
    shares = np.bincount(y) / 500
    assert list(params['shares'].values()) == pytest.approx(shares)
    answers = apply_decision(params | dict(power=1.0), P, THREE)
    assert np.array_equal(answers.argmax(1), (P / shares).argmax(1))


@pytest.mark.parametrize('target, P', [(TWO, [[0.9, 0.1]]), (THREE, [[0.2, 0.5, 0.3]])])
@pytest.mark.parametrize('n', [0, 1, 7])
def test_classes_without_a_row_break_nothing(target, P, n):
    y, P = np.zeros(n, int), np.repeat(np.array(P), n, 0)
    params = fit_decision('logit_adjusted', y, P, find_metric('macro_f1'), target)
    again = json.loads(json.dumps(params))
    answers = apply_decision(again, P, target)
    assert answers.shape == P.shape and (answers.sum(1) == 1).all()


def test_shares_of_other_classes_are_refused():
    y, P = rare_classes(300, 6)
    params = fit_decision('logit_adjusted', y, P, find_metric('macro_f1'), THREE)
    with pytest.raises(KitError, match='fitted for other outputs'):
        apply_decision(params, P, OneOf(('a', 'b', 'x')))


def test_the_k_best_and_other_decisions_without_a_fit():
    P = np.array([[0.2, 0.9, 0.9], [0.5, 0.5, 0.5]])
    top = fit_decision('top(2)', None, P, NEVER, names(3))
    assert apply_decision(top, P, names(3)).tolist() == [[0, 1, 1], [1, 1, 0]]
    assert apply_decision(fit_decision('argmax', None, P, NEVER, THREE), P, THREE).tolist() == [[0, 1, 0], [1, 0, 0]]
    heads = apply_decision(
        fit_decision('argmax', None, None, NEVER, HEADS), np.array([[0.4, 0.6, 0.1, 0.2, 0.7]]), HEADS
    )
    assert heads.tolist() == [[0, 1, 0, 0, 1]]
    assert apply_decision(dict(decide='argmax'), np.array([[0.5], [0.6]]), BINARY).tolist() == [[0], [1]]
    number = np.array([[-1.2], [0.5], [7.8]])
    clipped = apply_decision(
        fit_decision('clip(0, 5)', None, number, MAE, Numbers(('age',))), number, Numbers(('age',))
    )
    assert clipped.ravel().tolist() == [0, 0.5, 5]
    assert apply_decision(dict(decide='round'), number, GRADES).ravel().tolist() == [0, 0, 3]
    assert apply_decision(dict(decide=None), number, GRADES) is number


OWN = [  # target, function, P, answers
    (THREE, lambda P: P.argmin(1), [[0.5, 0.3, 0.2]], [[0, 0, 1]]),
    (THREE, lambda P: (P > 0.25) * 1, [[0.5, 0.3, 0.2]], [[1, 1, 0]]),
    (BINARY, lambda P: (P[:, 0] > 0.1).astype(int), [[0.2], [0.05]], [[1], [0]]),
    (TWO, lambda P: (P[:, 1] > 0.1).astype(int), [[0.8, 0.2]], [[0, 1]]),
    (HEADS, lambda P: np.array([[1, 2]]), [[0.2, 0.8, 0.1, 0.1, 0.8]], [[0, 1, 0, 0, 1]]),
    (GRADES, lambda P: np.array([2]), [[0.3]], [[2]]),
    (Numbers(('age',)), lambda P: P[:, 0] * 2, [[1.5]], [[3]]),
    (names(2), lambda P: P > 0.5, [[0.3, 0.7]], [[0, 1]]),
]


@pytest.mark.parametrize('target, function, P, answers', OWN)
def test_a_function_of_the_page(target, function, P, answers):
    P = np.array(P, np.float32)
    params = json.loads(json.dumps(fit_decision(function, np.zeros(len(P)), P, NEVER, target)))
    made = apply_decision(params, P, target, function)
    assert made.tolist() == answers and made.dtype == P.dtype
    with pytest.raises(KitError, match='not at hand'):
        apply_decision(params, P, target)


@pytest.mark.parametrize(
    'function, words',
    [
        (lambda P: P[:, :2], 'returned the shape'),
        (lambda P: np.array([0, 3]), 'out of range'),
        (lambda P: np.array([0.5, 1]), 'no whole number'),
        (lambda P: P * np.nan, 'no finite numbers'),
        (lambda P: 1 / 0, 'ZeroDivisionError'),
    ],
)
def test_a_function_that_answers_wrongly_is_refused(function, words):
    with pytest.raises(KitError, match=words):
        apply_decision(dict(decide='function', function='mine'), np.ones((2, 3)), THREE, function)


REFUSED = [
    ('thresholds', BINARY, 'decides labels'),
    ('threshold', THREE, 'binary class'),
    ('logit_adjusted', BINARY, 'a column for each class'),
    ('logit_adjusted', names(2), 'decides class'),
    ('cut_points', names(2), 'there are top, clip, threshold, thresholds'),
    ('round', Shares(('a', 'b')), 'there are none for it'),
    ('top(4)', names(3), 'more than the 3 outputs'),
    ('top', names(3), 'needs k'),
    ('top(0)', names(3), 'from 1'),
    ('top(1.5)', names(3), 'whole number'),
    ('clip(5, 1)', GRADES, 'no room'),
    ('clip(low=0)', GRADES, 'needs high'),
    ('treshold', names(3), 'did you mean threshold'),
]


@pytest.mark.parametrize('text, target, words', REFUSED)
def test_a_decision_that_does_not_fit_is_refused(text, target, words):
    with pytest.raises(KitError, match=words):
        find_decision(text, target)


def test_every_decision_says_what_it_is():
    for name, decision in DECISIONS.items():
        assert decision.kinds and decision.kept, name
        assert decision.fitted == (name in ('threshold', 'thresholds', 'cut_points', 'logit_adjusted'))


def test_thresholds_of_other_labels_are_refused():
    y, P = labels_of_rate(50, 3)
    params = fit_decision('thresholds', y, P, labels_f1('macro'), names(3))
    with pytest.raises(KitError, match='fitted for other outputs'):
        apply_decision(params, P, Labels(('x', 'y', 'z')))
    with pytest.raises(KitError, match='do not fit 4 outputs'):
        apply_decision(params, P, names(4))
    shuffled = Labels(('label 2', 'label 0', 'label 1'))
    assert np.array_equal(
        apply_decision(params, P[:, [2, 0, 1]], shuffled), apply_decision(params, P, names(3))[:, [2, 0, 1]]
    )


@pytest.mark.parametrize('decide', ['threshold', 'thresholds', lambda P: P > 0.3, None])
def test_nested_answers_know_nothing_of_their_own_fold(decide):
    y, P = labels_of_rate(400, 3)
    folds = np.arange(400) % 5 - 1  # −1 is trained on alone
    P[folds == -1] = np.nan
    score = labels_f1('macro')
    nested = nested_decision(decide, y, P, score, names(3), folds)
    assert np.isnan(nested[folds == -1]).all() and np.isfinite(nested[folds >= 0]).all()
    other = y.copy()
    other[folds == 2] = 1 - other[folds == 2]
    again = nested_decision(decide, other, P, score, names(3), folds)
    assert np.array_equal(nested[folds == 2], again[folds == 2])
    function = decide if callable(decide) else None
    for fold in range(4):
        others = (folds >= 0) & (folds != fold)
        params = fit_decision(decide, y[others], P[others], score, names(3))
        assert np.array_equal(nested[folds == fold], apply_decision(params, P[folds == fold], names(3), function))


def test_a_single_fold_is_decided_unfitted():
    y, P = labels_of_rate(50, 3)
    nested = nested_decision('thresholds', y, P, labels_f1('macro'), names(3), np.zeros(50, int))
    assert np.array_equal(nested, (P > 0.5).astype(P.dtype))
    x = np.random.default_rng(0).random((20, 1)) * 3
    nested = nested_decision('cut_points', np.arange(20.0)[:, None] % 4, x, MAE, Numbers(('n',)), np.zeros(20, int))
    assert np.array_equal(nested, np.rint(x))
    nested = nested_decision('cut_points', np.arange(20) % 4, x, QWK, GRADES, np.zeros(20, int))
    assert np.array_equal(nested, np.rint(x))


def test_rows_without_a_prediction_have_no_part():
    y, P = labels_of_rate(200, 3)
    P[50:] = np.nan
    params = fit_decision('thresholds', y, P, labels_f1('macro'), names(3))
    assert params == fit_decision('thresholds', y[:50], P[:50], labels_f1('macro'), names(3))
    answers = apply_decision(params, P, names(3))
    assert np.isnan(answers[50:]).all() and np.isfinite(answers[:50]).all()


def test_weights_of_rows_count_as_copies():
    g = np.random.default_rng(3)
    y, w = g.integers(0, 4, 200), g.integers(1, 4, 200)
    P = (y * 0.6 + g.normal(0.4, 0.5, 200)).clip(0, 3)[:, None]
    weighted = metric('k', lambda y, p, w=None: kappa(y, np.rint(p[:, 0]), w), ('grades',), weighted=True)
    one = fit_decision('cut_points', y, P, weighted, GRADES, w.astype(float))
    copies = fit_decision('cut_points', np.repeat(y, w), np.repeat(P, w, 0), weighted, GRADES)
    ours, theirs = (apply_decision(params, P, GRADES) for params in (one, copies))
    assert np.array_equal(ours, theirs)


def test_the_search_is_deterministic_and_fast_on_large_data():
    y, P = labels_of_rate(20_000, 60)
    score = labels_f1('macro')
    first = fit_decision('thresholds', y, P, score, names(60))
    assert first == fit_decision('thresholds', y, P, score, names(60))
    assert score(y, apply_decision(first, P, names(60))) > score(y, P) + 0.1
    one = fit_decision('threshold', y, P, score, names(60))
    assert score(y, P) + 0.1 < score(y, apply_decision(one, P, names(60)))
