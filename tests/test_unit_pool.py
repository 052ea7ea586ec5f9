"Attention over the rows of a unit: whole units in batches, one loss and one prediction each, whatever the batches are."

import shutil
from dataclasses import replace
import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from running import quiet
from safetensors.torch import load_file
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.randomness import rng
from kagglekit.core.validation import KitError
from kagglekit.data.competition import READERS, Competition, find_comp
from kagglekit.fit import train as fit
from kagglekit.fit.preflight import preflight
from kagglekit.fit.train import train
from kagglekit.models.build import build_model
from kagglekit.models.losses import class_weights, row_weights
from kagglekit.models.unit_pool import by_units, score_rows, unit_answers
from kagglekit.pack.half import half_oof
from kagglekit.predict.grad_cam import grad_cam, look_at_rows, rows_by_loss, trained_run
from kagglekit.predict.predict import Request, predict as predict_folder
from kagglekit.runs.recipe import Recipe
from kagglekit.runs.run import Run
from kagglekit.runs.scores import read_predictions
from kagglekit.runs.setup import make_learner, open_setup, run_folds
from kagglekit.targets.target import Numbers
from kagglekit.training.learner import predict

NAME = 'cases'
TINY = dict(arch='test_resnet', pretrained=False, size=32, folds=2, epochs=2, lr=3e-3, bs=8, dead_after=0)
RESULTS = ('oof.parquet', 'test.parquet', 'fold0/model.safetensors', 'fold1/model.safetensors')


def write_cases(folder, n, sizes):
    "Cases of some pictures of noise; one of them has a bright square, on the left or on the right."
    g, rows = rng('cases'), []
    for case in range(n):
        pictures = sizes[case % len(sizes)]
        shown = int(g.integers(pictures))
        for i in range(pictures):
            pixels = g.integers(0, 100, (32, 32, 3))
            if i == shown:
                pixels[8:24, 4 + 16 * (case % 2) :][:, :8] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / f'{case}_{i}.png')
            rows.append(dict(id=f'{case}_{i}', file=f'{case}_{i}.png', case=f'c{case}', target=case % 2))
    pd.DataFrame(rows).to_csv(folder / 'rows.csv', index=False)


def read_cases(name):
    "Every third case is to be predicted."
    rows = pd.read_csv(data_dir(name) / 'rows.csv', dtype=dict(id=str))
    tested = rows.case.str[1:].astype(int) % 3 == 0
    train, test = (rows[part].reset_index(drop=True) for part in (~tested, tested))
    train['age'] = 30.0 + 5 * train.target
    test = test.rename(columns=dict(case='sample_id'))[['id', 'file', 'sample_id']].assign(age=40.0)
    sample = pd.DataFrame(dict(case=test.sample_id.unique(), right='0.5'))
    how = dict(metric='auc', answer='probability', unit='case', numbers=('age',))
    return Competition(name, train, test, sample, ('right',), **how)


@pytest.fixture(scope='module')
def cases():
    "A workspace with 24 cases of one to six pictures."
    with workspace(), pytest.MonkeyPatch.context() as patch:
        folder = data_dir(NAME)
        folder.mkdir(parents=True)
        write_cases(folder, 24, (1, 6, 3, 2, 5))
        patch.setitem(READERS, NAME, read_cases)
        yield find_comp(NAME)


def recipe(exp, **changes):
    return Recipe(exp, reason='a test', **TINY | dict(unit_pool='attention(rows=3)') | changes)


def go(comp, exp, **changes):
    r = recipe(exp, **changes)
    train(r, comp, run_folds(r, comp))
    return Run(NAME, exp)


def learner_of(comp, k=0, **changes):
    r = recipe('toy', **changes)
    return make_learner(open_setup(r, comp, run_folds(r, comp), quiet), k)


@pytest.fixture(scope='module')
def whole(cases):
    "A run that nothing interrupts."
    return go(cases, 'whole')


def oof_of(run):
    return read_predictions(run.folder / 'oof.parquet')


def cases_of(comp, oof):
    "The case of each out-of-fold row."
    return comp.train.set_index('id').case[oof.id].to_numpy()


def test_training_batches_hold_whole_cases_and_an_epoch_has_each_once(cases):
    "Of a case with more rows than three, three others come in another epoch; the same epoch is the same."
    train, seen = learner_of(cases).dls.train, {}
    for epoch in (0, 1, 0):
        train.epoch_key = (0, 0, 0, epoch)
        batches = [train.rows for _ in train]
        assert len(batches) == len(train) and max(map(len, batches)) <= 9
        names = [set(cases.train.case[rows]) for rows in batches]
        assert sum(map(len, names)) == len(set.union(*names)) == cases.train.case[train.all_rows].nunique()
        rows = np.concatenate(batches)
        counts = cases.train.case[rows].value_counts()
        assert (counts == cases.train.case[train.all_rows].value_counts().clip(upper=3)[counts.index]).all()
        assert seen.setdefault(epoch, (names, rows.tolist())) == (names, rows.tolist())
    assert set(seen[0][1]) != set(seen[1][1]) and seen[0][0] != seen[1][0]


def test_a_case_counts_once_in_the_loss_however_many_rows_it_has(cases):
    "The loss of a batch is the mean over cases of the cross entropy of their pooled logits, made by hand; or weighted."
    train = cases.train.assign(w=cases.train.groupby('case').ngroup() % 3 + 1.0)
    for comp in (cases, replace(cases, train=train, weight='w')):
        learn = learner_of(comp, bs=32)
        rows = learn.dls.train.all_rows
        y, z = learn.dls.train.y[rows], torch.randn(len(rows), 2, generator=torch.Generator().manual_seed(0))
        each, weights = [], []
        for case in train.case[rows].unique():
            at = torch.from_numpy(np.flatnonzero(train.case[rows] == case))
            logit = (z[at, 1].softmax(0) * z[at, 0]).sum()
            each.append(float(F.binary_cross_entropy_with_logits(logit, y[at[0], 0])))
            weights.append(train.w[rows[at[0]]] if comp.weight else 1.0)
        assert float(learn.loss_func(z, y)) == pytest.approx(np.average(each, weights=weights), rel=1e-5)


def test_the_history_has_the_mean_over_cases(cases):
    "The training loss of an epoch that changes nothing is that of the predictions of the trained cases."
    still = dict(arch='test_convnext', unit_pool='attention', lr=1e-12, epochs=1, fit_folds=(0,))
    run, learn = go(cases, 'still', **still), learner_of(cases, **still)
    train = learn.dls.train
    p = unit_answers(learn.answer, predict(learn, train.cache, train.all_rows), train.units.codes[train.all_rows])
    rows = cases.train.iloc[train.all_rows].assign(p=p).groupby('case').first()
    loss = F.binary_cross_entropy(*(torch.tensor(rows[c].to_numpy()).double() for c in ('p', 'target')))
    found = pd.read_csv(run.folder / 'history.csv').train_loss
    assert found.tolist() == pytest.approx([float(loss)], rel=1e-5)


def test_class_weights_are_those_of_cases(cases):
    learn = learner_of(cases, class_weight_power=1.0)
    train = learn.dls.train
    t = torch.from_numpy(cases.train.iloc[train.all_rows].groupby('case').target.first().to_numpy())[:, None].float()
    weights = row_weights(t, class_weights(t))
    y = torch.cat([t, torch.arange(len(t))[:, None]], 1)
    each = F.binary_cross_entropy_with_logits(torch.full_like(t, 0.7), t, reduction='none')[:, 0]
    z = torch.full((len(t), 2), 0.7)
    assert float(learn.loss_func(z, y)) == pytest.approx(float((each * weights).mean()), rel=1e-5)


def test_the_rows_of_a_case_share_a_prediction_and_history_tells_that_of_cases(cases, whole):
    "Validation batches cut through cases, and its loss and metric are those of the stored predictions of whole ones."
    oof, history = oof_of(whole), pd.read_csv(whole.folder / 'history.csv')
    by_case = oof.assign(case=cases_of(cases, oof)).groupby('case')
    assert (by_case.p_right.nunique() == 1).all() and oof.p_right.nunique() > 8
    units = by_case[['fold', 'target', 'p_right']].first()
    scores = whole.read('score.json')['folds']
    for k, part in units.groupby('fold'):
        last = history[(history.fold == k) & (history.epoch == 1)].iloc[0]
        loss = F.binary_cross_entropy(*(torch.tensor(part[c].to_numpy()).double() for c in ('p_right', 'target')))
        assert last.valid_loss == pytest.approx(float(loss), rel=1e-4)
        assert last.metric == pytest.approx(scores[k], abs=1e-6)


def test_a_prediction_does_not_depend_on_the_batches(cases):
    "Two rows at a time, or all at once; of all cases, or of one alone."
    learn = learner_of(cases)
    cache, names = learn.dls.train.cache, cases.train.case.to_numpy()
    every = np.arange(len(cache))
    p = unit_answers(learn.answer, predict(learn, cache, every), names)
    few = unit_answers(learn.answer, predict(learn, cache, every, ('hflip',), bs=2), names)
    more = unit_answers(learn.answer, predict(learn, cache, every, ('hflip',), bs=64), names)
    np.testing.assert_allclose(few, more, atol=1e-6)
    assert abs(few - p).max() > 1e-5
    one = np.flatnonzero(names == 'c1')[::-1]
    alone = unit_answers(learn.answer, predict(learn, cache, one), names[one])
    np.testing.assert_allclose(alone, p[one], atol=1e-6)


@pytest.mark.parametrize('done', [(0, 1), (1, 1)])
def test_an_interrupted_run_ends_with_the_same_bytes(cases, whole, done):
    "The order of the cases and the rows that are left out come from seed and epoch."

    def epoch_done(self, rows, old=fit.FoldProgress.epoch):
        old(self, rows)
        if (self.k, len(rows)) == done:
            raise KeyboardInterrupt

    exp = f'cut{done[0]}'
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(fit.FoldProgress, 'epoch', epoch_done)
        with pytest.raises(KeyboardInterrupt):
            go(cases, exp)
    run = go(cases, exp)
    for name in RESULTS:
        assert (run.folder / name).read_bytes() == (whole.folder / name).read_bytes(), name


def test_labels_of_validated_cases_teach_nothing(cases, whole):
    "With others there, the weights of their fold are the same to the byte."
    folds = run_folds(recipe('whole'), cases)
    flipped = np.where(folds.fold == 0, 1 - cases.y, cases.y)
    r = recipe('flipped', fit_folds=(0,))
    train(r, replace(cases, train=cases.train.assign(target=flipped)), folds)
    weights = Run(NAME, 'flipped').folder / 'fold0/model.safetensors'
    assert weights.read_bytes() == (whole.folder / 'fold0/model.safetensors').read_bytes()


def test_new_pictures_change_their_case_alone(cases, whole, tmp_path):
    "The own test rows give the own bytes; a row that cannot be read leaves its case to the others."
    again = tmp_path / 'again.csv'
    own = pd.read_csv(whole.folder / 'submission.csv')
    predict_folder(Request(whole, out=again, batch=3))
    np.testing.assert_allclose(pd.read_csv(again).right, own.right, atol=1e-5)
    predict_folder(Request(whole, out=again))
    assert again.read_bytes() == (whole.folder / 'submission.csv').read_bytes()
    folder = tmp_path / 'new'
    shutil.copytree(data_dir(NAME), folder)
    shutil.copyfile(folder / '1_0.png', folder / '6_3.png')
    (folder / '9_2.png').write_bytes(b'half a file')
    predict_folder(Request(whole, folder, tmp_path / 'new.csv'))
    before, after = (pd.read_csv(path).set_index('case').right for path in (again, tmp_path / 'new.csv'))
    assert set(before.index[before != after]) == {'c6', 'c9'} and after.notna().all()


def test_a_look_is_at_the_logits_and_not_at_the_score(cases, whole):
    pytest.importorskip('captum')
    rows = rows_by_loss(oof_of(whole), cases).head(3)
    looked = look_at_rows(trained_run(whole, cases), rows)
    assert [one.id for one in looked] == rows.id.tolist() and all(one.heat.shape == (32, 32) for one in looked)
    net, x = build_model('test_resnet', 1, pretrained=False), torch.randn(2, 3, 64, 64)
    plain = grad_cam(net, (x,))
    np.testing.assert_allclose(grad_cam(score_rows(net), (x,), 1), plain, atol=1e-6)


def test_out_of_fold_rows_are_predicted_again_by_cases(cases, whole):
    "As a pack with weights in 16 bits does, to compare; here the weights are the same."
    again = half_oof(trained_run(whole, cases), {k: whole.fold_folder(k) / 'model.safetensors' for k in (0, 1)})
    np.testing.assert_allclose(again.p_right, oof_of(whole).p_right, atol=1e-6)


def test_it_goes_with_other_fields_of_the_network_and_the_training(cases, tmp_path):
    "Side table, masks of dropout, averages, accumulation, rates by layer, TTA: the run predicts its own bytes again."
    more = dict(table=True, drop_rate=0.3, drop_samples=3, feature_norm=8.0, freeze_epochs=1, layer_decay=0.9)
    more |= dict(head_lr=2.0, ema=0.9, accumulate=2, tta=('hflip',), infer_size=40, class_weight_power=0.5, rows=0.9)
    run = go(cases, 'more', epochs=1, checkpoint='best', augment=('hflip',), **more)
    assert (oof_of(run).groupby(cases_of(cases, oof_of(run))).p_right.nunique() == 1).all()
    again = tmp_path / 'again.csv'
    predict_folder(Request(run, out=again))
    assert again.read_bytes() == (run.folder / 'submission.csv').read_bytes()
    names = load_file(run.fold_folder(0) / 'model.safetensors')
    assert {name for name in names if 'attention' in name} >= {'classifier.attention.score.weight'}


def test_without_validation_and_with_a_teacher(cases, whole):
    "All cases are trained on; a teacher's predictions, which a case shares, are part of its targets."
    run = go(cases, 'all', epochs=1, train_all=True)
    assert len(read_predictions(run.folder / 'test.parquet')) == len(cases.test)
    r = recipe('student', distill='whole .5', unit_pool='attention')
    setup = open_setup(r, cases, run_folds(r, cases), quiet)
    train_dl = fit.taught(setup, 0, make_learner(setup, 0), quiet).dls.train
    y = train_dl.y[train_dl.all_rows]
    units = by_units(torch.zeros(len(y), 2), y)
    torch.testing.assert_close(units.t[units.codes], y[:, :1])
    assert len(y[:, 0].unique()) > 4


def test_the_truth_of_a_case_is_that_which_is_scored(cases):
    "The largest class among its rows, or the mean of its numbers; the weights of classes count cases."
    some = cases.train.assign(target=cases.train.id.str.endswith('_0').astype(int))
    y = learner_of(replace(cases, train=some)).dls.train.y
    assert (y[:, 0] == 1).all()
    ages = cases.train.assign(age=np.arange(len(cases.train)) * 1.0)
    comp = replace(cases, train=ages, target=Numbers(('age',)), classes=(), metric='rmse', answer='numbers')
    learn = learner_of(comp, loss='mse')
    found = learn.answer.probabilities(learn.dls.train.y[:, :1])[:, 0].numpy()
    np.testing.assert_allclose(found, ages.groupby('case').age.transform('mean'), rtol=1e-5)


def test_what_cannot_be_pooled_is_refused_before_a_training(cases):
    alone = replace(cases, unit=None, test=cases.test.drop_duplicates('sample_id'))
    with pytest.raises(KitError, match='cases names no unit'):
        preflight(alone, recipe('none'))
    with pytest.raises(KitError, match='noisy_or .* take mean or max'):
        preflight(replace(cases, pool='noisy_or'), recipe('none'))
    with pytest.raises(KitError, match='the rows of case c.* are in folds 0, 1'):
        preflight(cases, recipe('none', grouped=False))
    with pytest.raises(KitError, match='unit_pool: the head of .* is no single linear layer'):
        preflight(cases, recipe('none', arch='deit_tiny_distilled_patch16_224'))
    other = cases.train.assign(clinic=np.arange(len(cases.train)) % 5)
    with pytest.raises(KitError, match='split by case'):
        run_folds(recipe('none'), replace(cases, train=other, group='clinic'))
    assert preflight(cases, recipe('none')) is not None
