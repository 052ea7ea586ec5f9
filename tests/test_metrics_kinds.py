"Metrics of every kind of target, against scikit-learn, SciPy, or the host's formula in its plain slow form."

from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
import sklearn.metrics as sk
from scipy.stats import pearsonr, spearmanr
from kagglekit.core.validation import KitError
from kagglekit.metrics.constant_answers import constant_answers
from kagglekit.metrics.factor_metrics import bind_heads
from kagglekit.metrics.registry import METRICS, constant_score, find_metric, known_metric, metric
from kagglekit.metrics.site_metric import bind_site, metric_of, site_metric
from kagglekit.targets.target import Factors, Grades, Labels, Numbers, OneOf, Shares

SEEDS = range(4)


def classes(seed, n=70, k=4, ties=True):
    "Codes with a row of each class, probabilities with ties, weights with zeros."
    g = np.random.default_rng(seed)
    y = np.append(np.arange(k), g.integers(0, k, n - k))
    P = g.dirichlet(np.ones(k), n)
    P = P.round(1) if ties else P
    return y, np.clip(P, 0, 1), g.integers(0, 4, n).astype(float)


def labels(seed, n=60, c=5, unknown=0.0):
    "Labels with both sides of each column, scores with ties, weights."
    g = np.random.default_rng(seed)
    y = (g.random((n, c)) < 0.4).astype(float)
    y[0], y[1] = 0, 1
    y[2:][g.random((n - 2, c)) < unknown] = np.nan
    return y, g.random((n, c)).round(1), g.integers(0, 4, n).astype(float) + (np.arange(n) < 2)


def close(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-10, atol=1e-12)


def many_is_one(name, y, P, w=None):
    "Several candidates at once give the values of each alone."
    m = find_metric(name)
    close(m.many(y, np.stack([P, P[::-1], P]), w), [m(y, P, w), m(y, P[::-1], w), m(y, P, w)])


# One class


CLASS = dict(
    accuracy=lambda y, p, w: sk.accuracy_score(y, p.argmax(1), sample_weight=w),
    macro_f1=lambda y, p, w: sk.f1_score(y, p.argmax(1), average='macro', sample_weight=w, zero_division=0),
    auc=lambda y, p, w: np.mean([sk.roc_auc_score(y == c, p[:, c], sample_weight=w) for c in range(p.shape[1])]),
    balanced_accuracy=lambda y, p, w: sk.balanced_accuracy_score(y, p.argmax(1), sample_weight=w),
    mcc=lambda y, p, w: sk.matthews_corrcoef(y, p.argmax(1), sample_weight=w),
    average_precision=lambda y, p, w: sk.average_precision_score(np.eye(p.shape[1])[y], p, sample_weight=w),
)
for _average in ('macro', 'micro', 'weighted'):
    for _beta in (0.5, 1, 2):
        CLASS[f'fbeta({_beta}, average={_average})'] = lambda y, p, w, b=_beta, a=_average: sk.fbeta_score(
            y, p.argmax(1), beta=b, average=a, sample_weight=w, zero_division=0
        )


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('name', CLASS)
def test_class_metrics_are_sklearns(name, weighted):
    for seed in SEEDS:
        y, p, w = classes(seed)
        w = w if weighted else None
        close(find_metric(name)(y, p, w), CLASS[name](y, p, w))
        close(find_metric(name)(y, p.astype(np.float32), w), CLASS[name](y, p, w))
        many_is_one(name, y, p, w)


@pytest.mark.parametrize('name', [name for name in CLASS if find_metric(name).of_labels])
def test_labels_alone_are_enough(name):
    (y, p, w), m = classes(5), find_metric(name)
    close(m.of_labels(y, p.argmax(1)[None], 4)[0], m(y, p))
    close(m.of_labels(y, p.argmax(1)[None], 4, w)[0], m(y, p, w))


WEIGHTED = ('accuracy', 'macro_f1', 'log_loss', 'auc', 'auc_present', 'average_precision_present', 'fbeta')


@pytest.mark.parametrize('k', [1, 2, 5])
@pytest.mark.parametrize('name', WEIGHTED)
def test_weights_are_sklearns_on_any_rows(name, k):
    "Ties, absent classes, rows of weight 0, weights that are no whole numbers, one candidate or several."
    for seed in range(12):
        g = np.random.default_rng(seed)
        n = int(g.integers(4, 60))
        y = g.integers(0, max(2, k) - (seed % 3 == 0 and k > 2), n)
        y[:2] = 0, 1
        p = g.dirichlet(np.ones(max(2, k)), n)
        p = p if name == 'log_loss' else p.round(1)
        w = g.random(n) * (g.random(n) < 0.7)
        w[:2] = 1
        P = p[:, 1:] if k == 1 else p
        close(find_metric(name)(y, P, w), plain_weighted(name, y, p, w))
        many_is_one(name, y, P, w)
        close(find_metric(name)(y, P, w), find_metric(name)(y, P, 7 * w))
        close(find_metric(name)(y, P, np.ones(n)), find_metric(name)(y, P))


def plain_weighted(name, y, p, w):
    "scikit-learn's value of the rows that have weight; nan where a class without such rows leaves none."
    (y, p, w), k = (x[w > 0] for x in (y, p, w)), p.shape[1]
    labels = p[:, 1] > 0.5 if k == 2 else p.argmax(1)
    if name in ('accuracy', 'macro_f1', 'fbeta', 'log_loss'):
        return dict(
            accuracy=lambda: sk.accuracy_score(y, labels, sample_weight=w),
            macro_f1=lambda: sk.f1_score(y, labels, average='macro', sample_weight=w, zero_division=0),
            fbeta=lambda: sk.fbeta_score(y, labels, beta=1, average='macro', sample_weight=w, zero_division=0),
            log_loss=lambda: sk.log_loss(y, p, sample_weight=w, labels=range(k)),
        )[name]()
    of_class = sk.average_precision_score if name.startswith('average') else sk.roc_auc_score
    there = [1] if k == 2 else np.unique(y)
    if name == 'auc' and len(np.unique(y)) < k:
        return np.nan
    return np.mean([of_class(y == c, p[:, c], sample_weight=w) for c in there])


def test_rows_without_weight_are_as_if_they_were_not_there():
    y, p, w = classes(3)
    for name in [name for name, m in METRICS.items() if m.weighted and 'class' in m.kinds and not m.site]:
        if name in ('pauc', 'pfbeta'):
            continue
        kept = w > 0
        close(METRICS[name](y, p, w), METRICS[name](y[kept], p[kept], w[kept]))


def test_absent_classes():
    y, p, _ = classes(1)
    y, wide = y % 3, p  # the fourth class has no row
    for name in ('balanced_accuracy', 'average_precision', 'balanced_log_loss'):
        assert np.isnan(find_metric(name)(y, wide)) and '1 of 4 classes' in find_metric(name).why(y, wide)
    close(find_metric('balanced_accuracy_present')(y, wide), sk.balanced_accuracy_score(y, wide.argmax(1)))
    close(
        find_metric('average_precision_present')(y, wide),
        np.mean([sk.average_precision_score(y == c, wide[:, c]) for c in range(3)]),
    )
    recall = sk.f1_score(y, wide.argmax(1), average=None, labels=[0, 1, 2])
    close(find_metric('fbeta_present')(y, wide), recall.mean())
    close(find_metric('fbeta')(y, wide), find_metric('macro_f1')(y, wide))


def test_a_class_without_weight_is_absent():
    y, p, w = np.array([0, 1, 2]), np.eye(3), np.array([1.0, 1, 0])
    assert np.isnan(METRICS['balanced_accuracy'](y, p, w)) and METRICS['balanced_accuracy_present'](y, p, w) == 1
    assert np.isnan(METRICS['balanced_log_loss'](y, p, w))


def test_mcc_of_constants():
    y = np.array([0, 1, 1])
    assert find_metric('mcc')(y, np.eye(2)[[1, 1, 1]]) == 0 == sk.matthews_corrcoef(y, [1, 1, 1])
    assert np.isnan(find_metric('mcc')([1, 1], np.eye(2))) and find_metric('mcc')(y, np.eye(2)[1 - y]) == -1


def test_auc_without_weight_on_one_side_is_undefined():
    y, p = np.array([0, 1, 1]), np.array([0.2, 0.9, 0.1])
    for w in ([0, 1, 1], [1, 0, 0], [0, 0, 0]):
        assert np.isnan(METRICS['auc'](y, p, np.array(w, float)))
    assert METRICS['auc'](y, p, np.array([1, 2, 1])) == 2 / 3


def test_a_plain_function_may_take_weights():
    @metric('weighted_hits', values='labels', weighted=True)
    def weighted_hits(y, labels, w=None, power=1.0):
        return np.average(y == labels, weights=None if w is None else w**power)

    y, p, w = classes(0)
    assert find_metric('weighted_hits')(y, p) == METRICS['accuracy'](y, p)
    close(find_metric('weighted_hits')(y, p, w), METRICS['accuracy'](y, p, w))
    close(find_metric('weighted_hits(power=2)')(y, p, w), METRICS['accuracy'](y, p, w**2))
    METRICS.pop('weighted_hits')


def test_binary_target_has_one_column_or_two():
    g = np.random.default_rng(3)
    y, p = g.integers(0, 2, 40), g.random(40).round(1)
    both = np.stack([1 - p, p], 1)
    for name in (
        'average_precision',
        'pauc',
        'pfbeta',
        'weighted_log_loss(weights=(1, 3))',
        'balanced_log_loss',
        'mcc',
    ):
        close(find_metric(name)(y, p), find_metric(name)(y, both))
    close(find_metric('average_precision')(y, p), sk.average_precision_score(y, p))
    close(find_metric('fbeta(average=binary)')(y, p), sk.f1_score(y, p > 0.5))


def host_pauc(y, p, min_tpr):  # ISIC 2024
    v_gt, v_pred = abs(np.asarray(y) - 1), np.array([1.0 - x for x in p])
    max_fpr = abs(1 - min_tpr)
    scaled = sk.roc_auc_score(v_gt, v_pred, max_fpr=max_fpr)
    return 0.5 * max_fpr**2 + (max_fpr - 0.5 * max_fpr**2) / (1.0 - 0.5) * (scaled - 0.5)


def host_pfbeta(y, p, beta):  # RSNA 2023
    y_true_count, ctp, cfp = 0, 0, 0
    for truth, prediction in zip(y, p):
        prediction = min(max(prediction, 0), 1)
        if truth:
            y_true_count += 1
            ctp += prediction
        else:
            cfp += prediction
    precision, recall = ctp / (ctp + cfp), ctp / y_true_count
    if precision > 0 and recall > 0:
        return (1 + beta * beta) * (precision * recall) / (beta * beta * precision + recall)
    return 0


def host_balanced_log_loss(y, p, weights):  # Mayo Clinic 2022
    total = 0
    for c, weight in enumerate(weights):
        rows = [i for i in range(len(y)) if y[i] == c]
        total += weight * sum(np.log(max(min(p[i, c], 1 - 1e-15), 1e-15)) for i in rows) / len(rows)
    return -total / sum(weights)


@pytest.mark.parametrize('seed', SEEDS)
def test_metrics_of_hosts(seed):
    g = np.random.default_rng(seed)
    y, p = np.append([0, 1], g.integers(0, 2, 50)), g.random(52).round(1 + seed % 2)
    for tpr in (0.8, 0.5, 0.95, 0.9):
        close(find_metric(f'pauc({tpr})')(y, p), host_pauc(y, p, tpr))
    close(find_metric('pauc(0)')(y, p), sk.roc_auc_score(y, p))
    for beta in (0.5, 1, 2):
        close(find_metric(f'pfbeta({beta})')(y, p), host_pfbeta(y, p, beta))
    y, p, w = classes(seed, ties=False)
    close(
        find_metric('balanced_log_loss(weights=(1, 2, 1, .5))')(y, p),
        host_balanced_log_loss(y, p, (1, 2, 1, 0.5)),
    )
    of_row = np.array([1, 2, 4, 1])[y]
    close(find_metric('weighted_log_loss(weights=(1, 2, 4, 1))')(y, p), sk.log_loss(y, p, sample_weight=of_row))
    close(find_metric('weighted_log_loss')(y, p, w), sk.log_loss(y, p, sample_weight=w))


def test_pauc_by_weights_is_pauc_of_repeated_rows():
    y, p, w = np.array([0, 1, 0, 1, 1, 0]), np.array([0.1, 0.4, 0.4, 0.8, 0.3, 0.7]), np.array([1, 2, 3, 1, 0, 2])
    again = np.repeat(np.arange(6), w)
    close(find_metric('pauc(.6)')(y, p, w), find_metric('pauc(.6)')(y[again], p[again]))
    close(find_metric('pfbeta')(y, p, w), find_metric('pfbeta')(y[again], p[again]))
    assert np.isnan(find_metric('pauc')([1, 1], [0.2, 0.3])) and np.isnan(find_metric('pfbeta')([0, 0], [0.2, 0.3]))


def plain_map(y, p, k):  # the k best in a list, as a hand-in has them
    total = 0
    for truth, row in zip(y, p):
        best = sorted(range(len(row)), key=lambda c: (-row[c], c))[:k]
        total += 1 / (1 + best.index(truth)) if truth in best else 0
    return total / len(y)


@pytest.mark.parametrize('k', [1, 2, 3, 9])
def test_best_k(k):
    for seed in SEEDS:
        y, p, w = classes(seed)
        close(find_metric(f'map_at({k})')(y, p), plain_map(y, p, k))
        many_is_one(f'map_at({k})', y, p, w)
        y, p, w = classes(seed, ties=False)
        if k < 4:
            close(find_metric(f'top_accuracy({k})')(y, p, w), sk.top_k_accuracy_score(y, p, k=k, sample_weight=w))
    y, p, _ = classes(0)
    close(find_metric('top_accuracy(1)')(y, p), find_metric('accuracy')(y, p))


def test_best_k_in_chunks(monkeypatch):
    import kagglekit.metrics.class_metrics as home

    y, p, _ = classes(2)
    whole = find_metric('map_at(3)')(y, p)
    monkeypatch.setattr(home, 'CHUNK', 28)
    assert find_metric('map_at(3)')(y, p) == whole


# Several labels


def masked_mean(f, y, p, w=None, weights=None):  # over columns, of the known rows
    values = []
    for j in range(y.shape[1]):
        known = ~np.isnan(y[:, j])
        values.append(f(y[known, j], p[known, j], sample_weight=None if w is None else w[known]))
    return np.average(values, weights=weights)


def clipped_log_loss(y, p, sample_weight=None):
    return sk.log_loss(y, np.clip(p, np.finfo(p.dtype).eps, 1), labels=[0, 1], sample_weight=sample_weight)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('unknown', [0, 0.3])
@pytest.mark.parametrize(
    'name, of_column',
    [
        ('column_auc', sk.roc_auc_score),
        ('column_log_loss', clipped_log_loss),
        ('column_average_precision', sk.average_precision_score),
    ],
)
def test_column_means(name, of_column, unknown, weighted):
    for seed in SEEDS:
        y, p, w = labels(seed, unknown=unknown)
        w = w if weighted else None
        close(find_metric(name)(y, p, w), masked_mean(of_column, y, p, w))
        close(
            find_metric(f'{name}(weights=(2, 1, 1, 1, 0))')(y, p, w), masked_mean(of_column, y, p, w, [2, 1, 1, 1, 0])
        )
        many_is_one(name, y, p, w)


def test_haemorrhage_counts_any_twice():  # RSNA 2019: the mean over rows of the weighted mean over labels
    y, p, _ = labels(3, c=6)
    p = np.clip(p, 0.05, 0.95)
    loss = -(y * np.log(p) + (1 - y) * np.log(1 - p))
    close(
        find_metric('column_log_loss(weights=(2, 1, 1, 1, 1, 1))')(y, p), np.average(loss, 1, [2, 1, 1, 1, 1, 1]).mean()
    )


def host_birdclef(y, p):  # 2024: the classes that have positives
    solution = pd.DataFrame(y)
    scored = list(solution.sum()[solution.sum() > 0].index)
    return sk.roc_auc_score(y[:, scored], p[:, scored], average='macro')


def host_padded_cmap(y, p, padding_factor=5, sample_weight=None):  # BirdCLEF 2023
    solution, submission = pd.DataFrame(y), pd.DataFrame(p)
    new_rows = pd.DataFrame([[1 for _ in solution.columns] for _ in range(padding_factor)])
    padded_solution = pd.concat([solution, new_rows]).reset_index(drop=True)
    padded_submission = pd.concat([submission, new_rows]).reset_index(drop=True)
    return sk.average_precision_score(
        padded_solution.values, padded_submission.values, average='macro', sample_weight=sample_weight
    )


def test_birds():
    for seed in SEEDS:
        y, p, w = labels(seed)
        y[:, 2] = 0
        assert np.isnan(find_metric('column_auc')(y, p)) and 'label 3 of 5' in find_metric('column_auc').why(y, p)
        assert np.isnan(find_metric('column_average_precision')(y, p))
        close(find_metric('column_auc_present')(y, p), host_birdclef(y, p))
        close(find_metric('padded_cmap')(y, p), host_padded_cmap(y, p))
        close(find_metric('padded_cmap(padding=1)')(y, p), host_padded_cmap(y, p, 1))
        padded = host_padded_cmap(y, p, sample_weight=np.append(w, np.ones(5)))
        close(find_metric('padded_cmap')(y, p, w), padded)
        kept = [0, 1, 3, 4]
        close(
            find_metric('column_average_precision_present')(y, p),
            sk.average_precision_score(y[:, kept], p[:, kept], average='macro'),
        )
    y[:, 0] = 1  # no negative row
    assert np.isnan(find_metric('column_auc_present')(y, p))
    assert 'no known negative' in find_metric('column_auc_present').why(y, p)
    assert np.isnan(find_metric('column_auc_present')(0 * y, p))


def host_lwlrap(truth, scores):  # Freesound 2019
    sample_weight = np.sum(truth > 0, axis=1)
    nonzero = np.flatnonzero(sample_weight > 0)
    return sk.label_ranking_average_precision_score(
        truth[nonzero, :] > 0, scores[nonzero, :], sample_weight=sample_weight[nonzero]
    )


def plain_lrap(y, p):  # with unknown labels left out of each row
    values = []
    for truth, row in zip(y, p):
        known = ~np.isnan(truth)
        if known.any():
            values.append(sk.label_ranking_average_precision_score([truth[known] == 1], [row[known]]))
    return np.mean(values)


@pytest.mark.parametrize('seed', SEEDS)
def test_ranking_precision(seed):
    y, p, w = labels(seed)
    close(find_metric('lrap')(y, p), sk.label_ranking_average_precision_score(y, p))
    close(find_metric('lrap')(y, p, w), sk.label_ranking_average_precision_score(y, p, sample_weight=w))
    close(find_metric('lwlrap')(y, p), host_lwlrap(y, p))
    many_is_one('lrap', y, p, w)
    y, p, _ = labels(seed, unknown=0.4)
    y[5] = np.nan
    close(find_metric('lrap')(y, p), plain_lrap(y, p))
    assert np.isnan(find_metric('lwlrap')(0 * y, p))


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('average', ['macro', 'micro', 'weighted', 'samples'])
def test_fbeta_of_labels(average, weighted):
    for seed in SEEDS:
        y, p, w = labels(seed)
        w = w if weighted else None
        p[:20] = 0  # rows without a prediction
        for beta in (0.5, 2):
            theirs = sk.fbeta_score(y, p > 0.5, beta=beta, average=average, sample_weight=w, zero_division=0)
            close(find_metric(f'fbeta(beta={beta}, average={average})')(y, p, w), theirs)
        many_is_one(f'fbeta(average={average})', y, p, w)
        close(
            find_metric(f'fbeta(average={average})')(y, (p > 0.5) * 1.0), find_metric(f'fbeta(average={average})')(y, p)
        )


def test_fbeta_with_unknown_labels():
    y, p, _ = labels(7, unknown=0.3)
    values = [sk.f1_score(y[k, j], p[k, j] > 0.5) for j in range(5) for k in [~np.isnan(y[:, j])]]
    close(find_metric('fbeta')(y, p), np.mean(values))
    known = ~np.isnan(y)
    close(find_metric('fbeta(average=micro)')(y, p), sk.f1_score(y[known], p[known] > 0.5))
    y[:, 1], p[:, 1] = 0, 0
    assert np.isnan(find_metric('fbeta')(y, p)) and 'fbeta_present' in find_metric('fbeta').why(y, p)
    p[0, 1] = 1  # predicted, and so it counts as 0
    values[1] = 0
    close(find_metric('fbeta')(y, p), np.mean(values))
    close(find_metric('fbeta_present')(y, p), np.mean([values[j] for j in (0, 2, 3, 4)]))


def test_right_answers():
    y, p, w = labels(2)
    close(find_metric('exact_match')(y, p, w), sk.accuracy_score(y, p > 0.5, sample_weight=w))
    close(find_metric('label_accuracy')(y, p, w), 1 - sk.hamming_loss(y, p > 0.5, sample_weight=w))
    y, p, _ = labels(2, unknown=0.5)
    y[3] = np.nan
    known = ~np.isnan(y)
    close(find_metric('label_accuracy')(y, p), ((y == 1) == (p > 0.5))[known].mean())
    right = [((t == 1) == (s > 0.5))[k].all() for t, s, k in zip(y, p, known) if k.any()]
    close(find_metric('exact_match')(y, p), np.mean(right))


def test_one_row_and_nothing_known():
    y, p = np.array([[1.0, 0]]), np.array([[0.9, 0.4]])
    for name, value in [('lrap', 1), ('exact_match', 1), ('label_accuracy', 1), ('fbeta(average=samples)', 1)]:
        assert find_metric(name)(y, p) == value and np.isnan(find_metric(name)(y * np.nan, p))
    assert np.isnan(find_metric('column_auc')(y, p))


# Numbers


def numbers(seed, unknown=0.0):
    g = np.random.default_rng(seed)
    y = g.normal(5, 2, (50, 3)).round(1)
    p = (y + g.normal(0, 1, y.shape)).round(1)
    y[g.random(y.shape) < unknown] = np.nan
    return y, p, g.random(50)


@pytest.mark.parametrize('weighted', [False, True])
@pytest.mark.parametrize('unknown', [0, 0.3])
def test_numbers(unknown, weighted):
    for seed in SEEDS:
        y, p, w = numbers(seed, unknown)
        w = w if weighted else None
        known = ~np.isnan(y)
        cells = np.broadcast_to(np.ones(50)[:, None] if w is None else w[:, None], y.shape)[known]
        pooled = dict(sample_weight=cells)
        close(find_metric('rmse')(y, p, w), sk.root_mean_squared_error(y[known], p[known], **pooled))
        close(find_metric('mae')(y, p, w), sk.mean_absolute_error(y[known], p[known], **pooled))
        far, near = y[known] + 20, p[known] + 20
        close(find_metric('mape')(y + 20, p + 20, w), sk.mean_absolute_percentage_error(far, near, **pooled))
        columns = dict(mcrmse=sk.root_mean_squared_error, mcmae=sk.mean_absolute_error, r2=sk.r2_score)
        for name, f in columns.items():
            close(find_metric(name)(y, p, w), masked_mean(f, y, p, w))
            close(find_metric(f'{name}(weights=(1, 2, 0))')(y, p, w), masked_mean(f, y, p, w, [1, 2, 0]))
            many_is_one(name, y, p, w)


def host_weighted_r2(y, p, weights):  # CSIRO 2026, a row an image and a number
    rows = [(y[i, j], p[i, j], weights[j]) for i in range(len(y)) for j in range(len(weights))]
    mean = sum(w * t for t, _, w in rows) / sum(w for _, _, w in rows)
    return 1 - sum(w * (t - s) ** 2 for t, s, w in rows) / sum(w * (t - mean) ** 2 for t, _, w in rows)


def host_laplace(fvc, predicted, sigma):  # OSIC 2020
    clipped = np.maximum(sigma, 70)
    delta = np.minimum(np.abs(fvc - predicted), 1000)
    return np.mean(-np.sqrt(2) * delta / clipped - np.log(np.sqrt(2) * clipped))


def test_numbers_of_hosts():
    y, p, _ = numbers(3)
    close(find_metric('pooled_r2(weights=(.1, .2, .7))')(y, p), host_weighted_r2(y, p, (0.1, 0.2, 0.7)))
    g = np.random.default_rng(0)
    fvc, predicted, sigma = g.normal(2500, 900, 40), g.normal(2500, 900, 40), g.uniform(10, 300, 40)
    y = np.stack([fvc, np.full(40, np.nan)], 1)
    close(find_metric('laplace')(y, np.stack([predicted, sigma], 1)), host_laplace(fvc, predicted, sigma))


def test_correlation():
    for seed in SEEDS:
        y, p, w = numbers(seed, 0.2)
        for name, f in [('pearson', pearsonr), ('spearman', spearmanr)]:
            close(find_metric(name)(y, p), masked_mean(lambda a, b, sample_weight, f=f: f(a, b)[0], y, p))
            many_is_one(name, y, p)
        whole = np.repeat(np.arange(50), 1 + (w * 3).astype(int))
        close(find_metric('pearson')(y, p, 1 + (w * 3).astype(int)), find_metric('pearson')(y[whole], p[whole]))


def test_numbers_undefined():
    y, p, _ = numbers(0)
    for name in ('pearson', 'spearman'):
        assert np.isnan(find_metric(name)(y, 0 * p)) and 'predicted as a constant' in find_metric(name).why(y, 0 * p)
        assert np.isnan(find_metric(name)(y[:1], p[:1]))
    y[:, 1] = 0.1
    assert np.isnan(find_metric('r2')(y, p)) and 'column 2 of 3' in find_metric('r2').why(y, p)
    assert np.isfinite(find_metric('r2(weights=(1, 0, 1))')(y, p)) and np.isfinite(find_metric('pooled_r2')(y, p))
    assert np.isnan(find_metric('mape')([[0.0]], [[1.0]])) and np.isnan(
        find_metric('pooled_r2')([[0.3], [0.3]], [[1], [2]])
    )
    assert np.isnan(find_metric('rmse')([[np.nan]], [[1.0]]))
    y[:, 1] = np.nan
    assert np.isnan(find_metric('mcrmse')(y, p)) and 'no known number' in find_metric('mcrmse').why(y, p)


# Grades, shares, factors


@pytest.mark.parametrize('seed', SEEDS)
def test_qwk(seed):
    g = np.random.default_rng(seed)
    y, p, w = g.integers(0, 5, 60), g.normal(2, 1.2, 60).clip(0, 4), g.random(60)
    for weights in (None, w):
        theirs = sk.cohen_kappa_score(y, np.rint(p), weights='quadratic', sample_weight=weights)
        close(find_metric('qwk')(y, p, weights), theirs)
    y, p, w = classes(seed)
    close(find_metric('qwk')(y, p, w), sk.cohen_kappa_score(y, p.argmax(1), weights='quadratic', sample_weight=w))
    many_is_one('qwk', y, p, w)


def test_qwk_of_constants():
    assert find_metric('qwk')([0, 1, 2], [[1.0]] * 3) == 0 and np.isnan(find_metric('qwk')([1, 1], [[1.0]] * 2))
    assert find_metric('qwk')([1, 1], [[0.0], [1.0]]) == 0
    values = find_metric('qwk').many([1, 1], [[[1.0], [1.0]], [[0.0], [1.0]]])
    assert np.isnan(values[0]) and values[1] == 0


def host_kl(solution, submission, epsilon=10**-15, weights=None):  # Kaggle, HMS 2024
    for col in solution.columns:
        submission[col] = np.clip(submission[col], epsilon, 1 - epsilon)
        nonzero = solution[col] != 0
        solution.loc[nonzero, col] = solution.loc[nonzero, col] * np.log(
            solution.loc[nonzero, col] / submission.loc[nonzero, col]
        )
        solution.loc[~nonzero, col] = 0
    return np.average(solution.sum(axis=1), weights=weights)


def test_kl_divergence():
    for seed in SEEDS:
        g = np.random.default_rng(seed)
        votes = g.integers(0, 4, (40, 6)) + np.eye(6)[g.integers(0, 6, 40)]
        y, p, w = votes / votes.sum(1, keepdims=True), g.dirichlet(np.ones(6) / 5, 40).round(2), g.random(40)
        for weights in (None, w):
            theirs = host_kl(pd.DataFrame(y), pd.DataFrame(p), weights=weights)
            close(find_metric('kl_divergence')(y, p, weights), theirs)
        many_is_one('kl_divergence', y, p, w)


def host_bengali(y, parts):  # 2020
    scores = [sk.recall_score(y[:, j], part.argmax(1), average='macro') for j, part in enumerate(parts)]
    return np.average(scores, weights=[2, 1, 1])


def test_heads():
    sizes = (6, 4, 3)
    target = Factors(tuple((f'head{k}', tuple(f'c{i}' for i in range(k))) for k in sizes))
    data = [classes(seed, k=k) for seed, k in enumerate(sizes)]
    y, p = np.stack([y for y, _, _ in data], 1), np.concatenate([p for _, p, _ in data], 1)
    m = bind_heads(find_metric('head_mean(balanced_accuracy, weights=(2, 1, 1))'), target)
    close(m(y, p), host_bengali(y, [p for _, p, _ in data]))
    w = data[0][2]
    loss = bind_heads(find_metric('head_mean(log_loss)'), target)
    for rows in (None, w):
        close(loss(y, p, rows), np.mean([find_metric('log_loss')(y, p, rows) for y, p, _ in data]))
    assert not loss.greater and loss.range == (0, np.inf) and m.name.startswith('head_mean(')
    close(m(y, p, w), np.average([find_metric('balanced_accuracy')(y, p, w) for y, p, _ in data], weights=[2, 1, 1]))
    few = y.copy()
    few[few[:, 1] == 3, 1] = 0
    assert np.isnan(m(few, p)) and m.why(few, p).startswith('head 2: 1 of 4')
    for text, words in [('head_mean(rmse)', 'a head has one class'), ('head_mean(acuracy)', 'did you mean accuracy')]:
        with pytest.raises(KitError, match=words):
            find_metric(text)
    with pytest.raises(KitError, match='do not fit'):
        find_metric('head_mean(sizes=(6, 4, 2))')(y, p)


# Names with arguments


def test_names_with_arguments():
    y, p, _ = classes(0)
    a, b = find_metric('fbeta(beta=2, average=weighted)'), find_metric("fbeta(2, 'weighted')")
    assert a(y, p) == b(y, p) and a.name == 'fbeta(beta=2, average=weighted)' and a.greater
    assert find_metric('map_at') is METRICS['map_at'] and find_metric('map_at(5)').name == 'map_at(5)'
    assert find_metric('auc') is METRICS['auc']
    for text, words in [
        ('map_at(k=0)', 'k of map_at'),
        ('map_at(5, 6)', 'takes 1 argument'),
        ('fbeta(average=makro)', 'average of fbeta'),
        ('pauc(tprr=.8)', 'did you mean tpr'),
        ('macrof1', 'did you mean macro_f1'),
        ('map_at(5', 'is not understood'),
        ('accuracy(w=1)', 'takes no argument'),
        ('column_auc(weights=(1, -1))', 'weights are 0 or more'),
    ]:
        with pytest.raises(KitError, match=words):
            find_metric(text)(np.array([[0.0, 1], [1, 0]]), np.eye(2))


def test_arguments_of_a_pages_metric():
    @metric('within', values='numbers', kinds=('numbers',))
    def within(y, p, width: float = 1.0):
        return (abs(y - p) <= width).mean()

    y, p = np.array([[1.0], [2], [3]]), np.array([[1.5], [2], [6]])
    assert find_metric('within(3)')(y, p) == 1 and find_metric('within')(y, p) == 2 / 3
    METRICS.pop('within')


# The best constant prediction


def brute(m, y, answers):
    values = [m(y, np.tile(np.atleast_1d(p), (len(y), 1))) for p in answers]
    return max(values) if m.greater else min(values)


def test_constant_score_of_classes_is_as_before():
    y, _, _ = classes(0)
    for name in ('accuracy', 'macro_f1', 'log_loss', 'auc'):
        m = find_metric(name)
        frequencies = np.bincount(y, minlength=4) / len(y)
        before = [m(y, np.broadcast_to(p, (len(y), 4))) for p in [*np.eye(4), frequencies]]
        before = float(max(before) if m.greater else min(before))
        assert constant_score(m, y, 4) == constant_score(m, y, OneOf(('a', 'b', 'c', 'd'))) == before
    assert np.isnan(constant_score(find_metric('auc'), [], 2))
    assert constant_score(find_metric('accuracy'), [0, 1, 1, 1], OneOf(('on',))) == 0.75


def test_constant_score_of_every_kind():
    y, _, w = labels(1, c=3)
    target = Labels(('a', 'b', 'c'))
    every = np.array(np.meshgrid([0, 1], [0, 1], [0, 1])).reshape(3, -1).T.astype(float)
    for name in ('fbeta(average=micro)', 'fbeta(2)', 'exact_match', 'label_accuracy'):
        m = find_metric(name)
        close(constant_score(m, y, target), brute(m, y, every))
    m = find_metric('column_log_loss')
    close(constant_score(m, y, target), m(y, np.tile(y.mean(0), (len(y), 1))))
    close(constant_score(m, y, target, w), m(y, np.tile(np.average(y, axis=0, weights=w), (len(y), 1)), w))
    assert constant_score(find_metric('column_auc'), y, target) == 0.5
    y, _, _ = numbers(2, 0.2)
    target = Numbers(('a', 'b', 'c'))
    close(constant_score(find_metric('mcrmse'), y, target), np.nanstd(y, 0).mean())
    close(constant_score(find_metric('mcmae'), y, target), np.nanmean(abs(y - np.nanmedian(y, 0)), 0).mean())
    close(constant_score(find_metric('r2'), y, target), 0)
    assert np.isnan(constant_score(find_metric('pearson'), y, target))
    y = np.array([0, 0, 1, 2, 2, 2])
    assert constant_score(find_metric('qwk'), y, Grades(('x', 'y', 'z'))) == 0
    y = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    m = find_metric('kl_divergence')
    close(constant_score(m, y, Shares(('a', 'b', 'c'))), m(y, np.tile(y.mean(0), (20, 1))))
    heads = Factors((('p', ('a', 'b')), ('q', ('a', 'b', 'c'))))
    y = np.array([[0, 2], [0, 2], [1, 0]])
    close(constant_score(bind_heads(find_metric('head_mean'), heads), y, heads), 2 / 3)


def test_constant_sigma():
    y = np.stack([np.random.default_rng(0).laplace(2500, 500, 200), np.full(200, np.nan)], 1)
    m = find_metric('laplace')
    level = constant_score(m, y, Numbers(('FVC', 'sigma')))
    at = np.median(y[:, 0])
    close(level, max(m(y, np.tile([at, s], (200, 1))) for s in [np.sqrt(2) * abs(y[:, 0] - at).mean()]))
    assert level > max(m(y, np.tile([at, s], (200, 1))) for s in (100, 300, 1500))
    assert all(np.isfinite(p).all() for p in constant_answers(y, Numbers(('FVC', 'sigma'))))


# The site's own metric


class ParticipantVisibleError(Exception):
    pass


def host_isic(solution, submission, row_id_column_name, min_tpr=0.80):
    del solution[row_id_column_name]
    del submission[row_id_column_name]
    if submission.target.max() > 1:
        raise ParticipantVisibleError('Submission target must be at most 1')
    return host_pauc(solution.target.values, submission.target.values, min_tpr)


@pytest.fixture
def registered():
    before = set(METRICS)
    yield
    for name in set(METRICS) - before:
        METRICS.pop(name)


def stub(target, name, answer, form=None, /, **columns):
    "A competition, with two rows in its sample."
    sample = pd.DataFrame(columns)
    test = pd.DataFrame(dict(sample_id=['7', '8']))
    return SimpleNamespace(
        name='stub',
        target=target,
        metric=name,
        answer=answer,
        form=form,
        sample=sample,
        test=test,
        unit=None,
        header=True,
    )


def test_a_site_metric_is_the_hosts(registered):
    site_metric(host_isic, 'isic', greater=True)
    comp = stub(OneOf(('target',)), 'isic', 'probability', isic_id=['7', '8'], target='0.3')
    m, g = metric_of(comp), np.random.default_rng(0)
    y, P = g.integers(0, 2, 40), g.random((3, 40, 1))
    assert m.site is host_isic and m.greater and m.name == 'isic' and m.kinds == ('class',)
    close(m.many(y, P), [host_pauc(y, p[:, 0], 0.8) for p in P])
    close(m.many(y, P), find_metric('pauc').many(y, P))
    assert metric_of(stub(OneOf(('a', 'b')), 'accuracy', 'label')) is METRICS['accuracy']


def test_a_site_metric_names_the_hosts_error(registered):
    site_metric(host_isic, 'isic', greater=True, values='scores')
    comp = stub(OneOf(('target',)), 'isic', 'probability', isic_id=['7', '8'], target='0.3')
    with pytest.raises(KitError, match='metric isic.*ParticipantVisibleError: Submission target must be at most 1'):
        metric_of(comp)([0, 1, 1], [0.5, 3.0, 0.2])
    with pytest.raises(KitError, match=r'metric_of\(comp\)'):
        find_metric('isic')([0, 1], [0.5, 0.3])


def test_a_site_metric_in_long_form(registered):
    names = ('a', 'b', 'c')

    def score(solution, submission, row_id_column_name):
        assert (solution[row_id_column_name] == submission[row_id_column_name]).all()
        weights = solution[row_id_column_name].str.endswith('_c') + 1
        return np.average((solution.value - submission.value) ** 2, weights=weights)

    site_metric(score, 'long_square', greater=False)
    keys = [f'{i}_{name}' for i in (7, 8) for name in names]
    comp = stub(Labels(names), 'long_square', 'long', id=keys, value='0')
    y, p, _ = labels(0, c=3)
    m = metric_of(comp)
    close(m(y, p), np.average(((y - p) ** 2).mean(0), weights=[1, 1, 2]))
    y[4, 1] = np.nan  # such a row cannot be written
    rest = np.arange(len(y)) != 4
    close(m(y, p), m(y[rest], p[rest]))


def test_a_site_metric_of_labels_gets_answers(registered):
    def score(solution, submission, row_id_column_name):
        return (solution.y == submission.y).mean()

    m = site_metric(score, 'same', greater=True, values='labels')
    for target, y, p, value in [
        (OneOf(('on',)), np.array([0, 1, 1]), [[0.2], [0.9], [0.4]], 2 / 3),
        (Grades(('x', 'y', 'z')), np.array([0, 2, 1]), [[0.4], [1.6], [0.3]], 2 / 3),
        (Labels(('on',)), np.array([[0.0], [1], [1]]), [[0.2], [0.9], [0.4]], 2 / 3),
    ]:
        bound = bind_site(m, target, lambda ids, p: pd.DataFrame(dict(id=ids, y=p[:, 0])))
        close(bound(y, np.array(p)), value)


# Records


def test_a_record_may_name_a_metric_that_is_gone():
    assert known_metric('map_at(3)').range == (0, 1) and known_metric('rmse').greater is False
    assert known_metric('gone') is None and known_metric(None) is None and known_metric('map_at(x=1)') is None


def host_kl_score(solution, submission, row_id_column_name):
    del solution[row_id_column_name]
    del submission[row_id_column_name]
    for col in solution.columns:
        if col not in submission.columns:
            raise ParticipantVisibleError(f'Missing submission column {col}')
    return host_kl(solution.astype(float), submission.astype(float))


def test_site_metrics_in_other_forms(registered):
    site_metric(host_kl_score, 'hms', greater=False)
    comp = stub(Shares(('a', 'b')), 'hms', 'probability', id=['7', '8'], a_vote='.5', b_vote='.5')
    g = np.random.default_rng(0)
    y, p = g.dirichlet([1, 1], 30), g.dirichlet([1, 1], 30)
    close(metric_of(comp)(y, p), find_metric('kl_divergence')(y, p))
    close(metric_of(comp).many(y, np.stack([p, y]))[1], 0)

    def score(solution, submission, row_id_column_name):
        return sk.f1_score(solution.label, submission.label, average='macro')

    site_metric(score, 'names', greater=True, values='labels')
    y, p, _ = classes(0)
    comp = stub(OneOf(('cat', 'dog', 'cow', 'fox')), 'names', 'label', id=['7', '8'], label='cat')
    close(metric_of(comp)(y, p), find_metric('macro_f1')(y, p))
    site_metric(lambda s, t, i: sk.cohen_kappa_score(s.g, t.g, weights='quadratic'), 'grade', True, values='labels')
    comp = stub(Grades(('0', '1', '2')), 'grade', 'numbers', id=['7', '8'], g='0')
    y, p = g.integers(0, 3, 40), g.random((40, 1)) * 2
    close(metric_of(comp)(y, p), find_metric('qwk')(y, p))


def test_heads_of_a_competition_are_bound():
    heads = Factors((('p', ('a', 'b')), ('q', ('a', 'b', 'c'))))
    comp = stub(heads, 'head_mean', 'probability', id=['7', '8'], p_a='0', p_b='0', q_a='0', q_b='0', q_c='0')
    y = np.array([[0, 2], [0, 1], [1, 0]])
    p = np.concatenate([np.eye(2)[y[:, 0]], np.eye(3)[[2, 2, 2]]], 1)
    close(metric_of(comp)(y, p), (1 + 1 / 3) / 2)


# Shapes


def test_a_single_number_may_have_no_axis():
    assert find_metric('rmse')([1.0, 2], [1.0, 4]) == find_metric('rmse')([[1.0], [2]], [[1.0], [4]]) == np.sqrt(2)


@pytest.mark.parametrize(
    'name, y, p',
    [
        ('rmse', [[1.0, 2], [3, 4]], [[1.0], [2]]),
        ('column_auc', [[1.0], [0]], [[0.1, 0.2], [0.3, 0.4]]),
        ('kl_divergence', [[1.0, 0]], [[0.5, 0.3, 0.2]]),
        ('fbeta', [[1.0, 0, 1]], [[0.5, 0.3]]),
        ('qwk', [[1, 0]], [[0.5]]),
    ],
)
def test_columns_must_fit(name, y, p):
    with pytest.raises(KitError, match='do not fit'):
        find_metric(name)(y, p)


def test_codes_are_checked_where_classes_are_known():
    for name in ('fbeta', 'qwk', 'mcc'):
        with pytest.raises(KitError, match='a target is a class code'):
            find_metric(name)([0, 3], np.eye(2))
