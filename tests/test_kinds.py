"A tiny run of every kind of target, from files to the submission."

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score
import torch
from PIL import Image
from sklearn.utils.class_weight import compute_class_weight

from kagglekit.core.paths import data_dir
from kagglekit.core.validation import KitError
from kagglekit.data.competition import READERS, Competition, competition
from kagglekit.metrics.constant_answers import as_answers
from kagglekit.metrics.decisions import nested_decision
from kagglekit.metrics.site_metric import metric_of
from kagglekit.models.losses import find_loss
from kagglekit.targets.target import Factors, Grades, Labels, Numbers, OneOf, Shares
from kagglekit.fit.plots import check_record, plot_batch
from kagglekit.fit.page_check import inspect_comp
from kagglekit.fit.preflight import check_columns
from kagglekit.fit.target_words import row_text
from kagglekit.fit.train import load_experiment, train
from kagglekit.runs.recipe import RECIPES, Recipe, Recipes, find_recipe
from kagglekit.runs.run import Run
from kagglekit.runs.scores import predictions_of
from kagglekit.runs.setup import make_learner, open_setup, run_folds

TRAIN, TEST, SIDE = 96, 24, 32
GRADES, NUMBERS = tuple('0123'), (('area', (10, 60)), ('share', None))


def draw_files(name):
    "Images whose mean colour is the truth: the train table, the test table, (n, 3) colours of train."
    g, n = np.random.default_rng(0), TRAIN + TEST
    folder = data_dir(name) / 'images'
    folder.mkdir(parents=True)
    colours = g.random((n, 3))
    for i, colour in enumerate(colours):
        noisy = colour * 200 + g.normal(0, 15, (SIDE, SIDE, 3))
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f'{i:03}.png')
    ids = [f'{i:03}' for i in range(n)]
    table = pd.DataFrame(dict(id=ids, file=[f'images/{i}.png' for i in ids]))
    test = table[TRAIN:].reset_index(drop=True)
    return table[:TRAIN].copy(), test.assign(sample_id=test.id), colours[:TRAIN]


def filled(test, **columns):
    "A sample submission with one value in each column."
    return pd.DataFrame(dict(id=test.sample_id)).assign(**columns)


def long_form(test, names, value):
    "A sample submission with a row for each id and name."
    return pd.DataFrame(dict(row_id=[f'{i}_{name}' for i in test.sample_id for name in names], answer=value))


def numbers(train, test, v):
    train = train.assign(area=v[:, 0] * 50 + 10, share=v[:, 1])
    given = dict(target=Numbers(('area', 'share')), metric='mcrmse', answer='numbers')
    return train, test, filled(test, area='0', share='0'), given, 'mse'


def in_range(train, test, v):
    train = train.assign(area=v[:, 0] * 50 + 10)
    given = dict(target=Numbers('area', range=(10, 60)), metric='rmse', answer='numbers', decide='clip(12, 58)')
    return train, test, filled(test, area='0'), given, 'bce'


def labels(train, test, v):
    train = train.assign(cat=(v[:, 0] > 0.5).astype(float), dog=(v[:, 1] > 0.7).astype(float))
    train.loc[:15, 'dog'] = np.nan
    given = dict(target=Labels(('cat', 'dog')), metric='fbeta(beta=2, average=samples)', answer='labels')
    return train, test, filled(test, tags='cat dog'), given | dict(decide='thresholds'), 'bce'


def label_rows(train, test, v):
    train = train.assign(cat=(v[:, 0] > 0.5).astype(float), dog=(v[:, 1] > 0.7).astype(float))
    given = dict(target=Labels(('cat', 'dog')), metric='column_auc', answer='long')
    return train, test, long_form(test, ('cat', 'dog'), '0.5'), given, 'asymmetric'


def grades(train, test, v):
    given = dict(target=Grades(GRADES), metric='qwk', answer='label', decide='cut_points')
    return train.assign(target=(v[:, 0] * 3.99).astype(int)), test, filled(test, grade='0'), given, 'huber(delta=.5)'


def shares(train, test, v):
    train[['a', 'b', 'c']] = v / v.sum(1, keepdims=True)
    given = dict(target=Shares(tuple('abc')), metric='kl_divergence', answer='probability')
    return train, test, filled(test, a_vote='.3', b_vote='.3', c_vote='.4'), given, 'kl'


def factors(train, test, v):
    train = train.assign(target_root=(v[:, 0] * 2.99).astype(int), target_vowel=(v[:, 1] > 0.5).astype(int))
    target = Factors((('root', tuple('xyz')), ('vowel', ('short', 'long'))))
    given = dict(target=target, metric='head_mean(balanced_accuracy, weights=(2, 1))', answer='long')
    return train, test, long_form(test, ('root', 'vowel'), 'x'), given, 'ce'


KINDS = (numbers, in_range, labels, label_rows, grades, shares, factors)


@pytest.fixture
def made(space, request):
    "A competition of a kind, registered with a recipe, for as long as a test takes."
    name = request.param.__name__.replace('_', '-')
    train, test, sample, given, loss = request.param(*draw_files(name))
    competition(name)(lambda n: Competition(n, train, test, sample, **given))
    tiny = dict(arch='test_convnext', pretrained=False, size=SIDE, folds=2, epochs=2, lr=5e-3, bs=16)
    Recipes(name).add(Recipe('exp0001', reason='a tiny run', loss=loss, **tiny))
    yield READERS[name](name)
    del READERS[name], RECIPES[name]


def train_it(comp):
    "Its run, finished."
    again, recipe = load_experiment(dict(comp=comp.name, exp='exp0001'))
    train(recipe, again, run_folds(recipe, again))
    return Run(comp.name, 'exp0001')


@pytest.mark.parametrize('made', KINDS, indirect=True)
def test_a_run_of_every_kind_goes_from_files_to_the_submission(made):
    "Checked, trained, scored without leakage of the decision, and written in the form of the sample."
    assert not [line for line in inspect_comp(made.name) if line.mark == '✗']
    run = train_it(made)
    oof, score = pd.read_parquet(run.folder / 'oof.parquet'), run.read('score.json')
    assert list(oof) == ['id', 'fold', *made.target.stored, *made.outputs] and oof.id.tolist() == made.train.id.tolist()
    y, P, metric = made.y, predictions_of(oof, made.target), metric_of(made)
    np.testing.assert_array_equal(made.target.stored_truth(oof), y)
    answers = nested_decision(made.decide, y, P, metric, made.target, oof.fold.to_numpy())
    assert score['oof'] == metric(y, answers) and np.isfinite(score['mean'])
    submission = pd.read_csv(run.folder / 'submission.csv', dtype=str)
    assert list(submission) == list(made.sample) and submission.iloc[:, 0].tolist() == made.sample.iloc[:, 0].tolist()
    assert (run.folder / 'decision.json').exists() == (made.decide is not None)
    check_record(run, made, find_recipe(made.name, 'exp0001'), score)


@pytest.mark.parametrize('made', KINDS, indirect=True)
def test_a_batch_shows_the_truth_of_its_rows_in_words(made):
    recipe = find_recipe(made.name, 'exp0001')
    folds = run_folds(recipe, made)
    learner = make_learner(open_setup(recipe, made, folds, say=lambda line: None), 0)
    titles = [' '.join(ax.get_title().split()) for ax in plot_batch(learner, made, recipe.seed, n=4).axes]
    learner.dls.train.epoch_key = (recipe.seed, 0, 0, 0)
    rows = np.asarray(learner.dls.train.get_idxs()[:4])
    assert titles[:4] == [row_text(made.target, row) for row in as_answers(made.y[rows], made.target)]
    assert titles[4:8] == titles[8:] == titles[:4]  # without mixup, augmented images keep their targets


@pytest.mark.parametrize('made', [in_range], indirect=True)
def test_a_clipped_number_stays_where_it_is_clipped(made):
    run = train_it(made)
    area = pd.read_csv(run.folder / 'submission.csv').area
    assert area.between(12, 58).all() and area.nunique() > 5
    assert json.loads((run.folder / 'decision.json').read_text())['high'] == 58


@pytest.mark.parametrize(
    'made, field, value, words',
    [
        (numbers, 'loss', 'ce', 'ce is not for a target of the kind numbers; take one of'),
        (labels, 'loss', 'mse', 'mse is not for a target of the kind labels; take one of bce, focal'),
        (labels, 'class_weight_power', 1.0, 'it weights classes'),
        (grades, 'label_smoothing', 0.1, 'label_smoothing: it is for labels and classes'),
        (shares, 'mixup_label', 'or', 'mixup_label: or joins labels'),
        (numbers, 'train_labels', 'area', 'it names other class codes'),
        (factors, 'heads', ('root', 'vowel'), 'they are factors of one class'),
    ],
    indirect=['made'],
)
def test_a_field_for_another_kind_is_refused_before_training(made, field, value, words):
    recipe = RECIPES[made.name]['exp0001'].but('exp0002', 'no', **{field: value})
    with pytest.raises(KitError, match=words):
        check_columns(recipe, made)


def units(train, test, v):
    "Two files make a scored patient; the last rows are only trained on; the files of some weigh double."
    patient = train.id.astype(int) // 2
    sick = pd.Series(v[:, 0] > 0.5).groupby(patient.to_numpy()).transform('max').to_numpy()
    train = train.assign(target=sick.astype(int), patient='p' + patient.astype(str), weight=1.0 + (patient % 2))
    train['external'] = patient >= 36
    test['sample_id'] = 'p' + (test.id.astype(int) // 2).astype(str)
    sample = pd.DataFrame(dict(id=test.sample_id.drop_duplicates().tolist(), sick='0.5'))
    given = dict(classes=('sick',), metric='auc', answer='probability', unit='patient', pool='max')
    return train, test, sample, given | dict(weight='weight', train_only='external'), 'bce'


@pytest.mark.parametrize('made', [units], indirect=True)
def test_units_are_scored_as_one_and_external_rows_never(made):
    "No patient is in two folds, none of the external rows is predicted, and the score is that of patients."
    run = train_it(made)
    oof = pd.read_parquet(run.folder / 'oof.parquet')
    validated = made.train[~made.train.external]
    assert oof.id.tolist() == validated.id.tolist()
    patient = validated.patient.to_numpy()
    assert (oof.groupby(patient).fold.nunique() == 1).all()
    by_patient = oof.groupby(patient).agg(target=('target', 'max'), p=('p_sick', 'max'))
    weight = validated.groupby('patient').weight.first()
    auc = roc_auc_score(by_patient.target, by_patient.p, sample_weight=weight)
    assert run.read('score.json')['oof'] == pytest.approx(auc, abs=1e-12)
    assert auc != pytest.approx(roc_auc_score(by_patient.target, by_patient.p), abs=1e-3)
    test = pd.read_parquet(run.folder / 'test.parquet')
    pooled = test.groupby(made.test.sample_id.to_numpy()).p_sick.max()
    handed_in = pd.read_csv(run.folder / 'submission.csv').set_index('id').sick
    np.testing.assert_allclose(handed_in, pooled[handed_in.index], rtol=1e-6)


def test_a_row_of_double_weight_counts_twice():
    z, t = torch.randn(3, 4, generator=torch.Generator().manual_seed(0)), torch.eye(4)[:3]
    weighted = find_loss('ce')(z, torch.cat([t, torch.tensor([[1.0], [2.0], [0.0]])], 1))
    first, second = find_loss('ce')(z[:1], t[:1]), find_loss('ce')(z[1:2], t[1:2])
    torch.testing.assert_close(weighted, (first + 2 * second) / 3)


def one_of_two(train, test, v):
    "A rare binary class, and rows of unlike weights."
    train = train.assign(target=(v[:, 0] > 0.75).astype(int), weight=np.arange(len(train)) % 3 + 0.5)
    given = dict(classes=('sick',), metric='auc', answer='probability', weight='weight')
    return train, test, filled(test, sick='.5'), given, 'bce'


def one_of_three(train, test, v):
    "Three classes of unlike sizes, and rows of unlike weights."
    sizes = dict(target=np.digitize(v[:, 0], [0.1, 0.4]), weight=np.arange(len(train)) % 3 + 0.5)
    given = dict(target=OneOf(tuple('abc')), metric='macro_f1', answer='label', weight='weight')
    return train.assign(**sizes), test, filled(test, label='a'), given, 'ce'


@pytest.mark.parametrize('made', [one_of_two, one_of_three], indirect=True)
def test_class_weights_are_those_of_classes_where_rows_have_weights_too(made):
    "The loss of a fold is the weighted mean over rows, each times its class weight, as scikit-learn balances them."
    recipe = RECIPES[made.name]['exp0001'].but('exp0002', 'balanced', class_weight_power=1.0)
    folds = run_folds(recipe, made)
    learner = make_learner(open_setup(recipe, made, folds, say=lambda line: None), 0)
    y, w = made.y, made.weights
    balanced = compute_class_weight('balanced', classes=np.unique(y), y=y[folds.fold != 0])
    z = torch.randn(TRAIN, len(made.classes), generator=torch.Generator().manual_seed(0))
    logits = torch.cat([torch.zeros(TRAIN, 1), z], 1) if z.shape[1] == 1 else z  # a sigmoid is a softmax over (0, z)
    each = torch.nn.functional.cross_entropy(logits, torch.from_numpy(y), reduction='none').numpy()
    found = learner.loss_func(
        z, torch.cat([learner.answer.targets(y), torch.tensor(w, dtype=torch.float32)[:, None]], 1)
    )
    assert float(found) == pytest.approx((each * balanced[y] * w).sum() / w.sum(), rel=1e-5)
