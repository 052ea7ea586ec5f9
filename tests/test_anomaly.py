"Dacon's anomaly detection: recipes end to end, records, damaged files, the first place's published files."

import json
from dataclasses import replace
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from scipy.special import softmax
from kagglekit.training.augmentations import AUGMENTS
from kagglekit.runs.field_names import current_record
from kagglekit.runs.identity import difference
from kagglekit.data.competition import find_comp, load_pages, prob_columns
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.randomness import rng
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import RECIPES
from kagglekit.data.folds import make_folds
from kagglekit.blend.label_shift import correct_prior, estimate_prior
from kagglekit.blend.members import read_member
from kagglekit.fit.preflight import check_all_files
from kagglekit.data.fold_npy import export_positions, import_positions
from kagglekit.runs.run import Run
from kagglekit.runs.setup import output_and_loss, make_learner, open_setup, run_folds
from kagglekit.fit.train import train

ROOT = Path(__file__).parent.parent
REAL = ROOT.parent / 'shared' / 'real' / 'anomaly'
STATES = [
    'mono-crack1',
    'mono-crack2',
    'mono-crack3',
    'mono-good',
    'poly-crack1',
    'poly-crack2',
    'poly-crack3',
    'poly-good',
]


@pytest.fixture(scope='module')
def comp(tmp_path_factory):
    "Eight class-states as drawn bars, in Dacon's layout, in a workspace of this module's own."
    with workspace(tmp_path_factory.mktemp('anomaly')):
        folder, g = data_dir('anomaly-practice'), rng('bars')
        label = np.array(STATES)[g.permutation(np.repeat(np.arange(8), [3, 6, 6, 12, 6, 6, 6, 15]))]
        table = pd.DataFrame(
            dict(index=range(60), file_name=[f'{10000 + i}.png' for i in range(60)], label=label)
        ).join(pd.Series(label).str.extract('(?P<class>.*)-(?P<state>.*)'))
        test = pd.DataFrame(dict(index=range(8), file_name=[f'{20000 + i}.png' for i in range(8)]))
        for part, df, names in [('train', table, label), ('test', test, STATES)]:
            (folder / part).mkdir(parents=True)
            for f, name in zip(df.file_name, names):
                x = g.integers(0, 60, (40, 40)).astype(np.uint8)
                x[:, 4 * STATES.index(name) : 4 * STATES.index(name) + 4] += 150
                Image.fromarray(x).save(folder / part / f)
        write_table(folder / 'train_df.csv', table)
        write_table(folder / 'test_df.csv', test)
        write_table(folder / 'sample_submission.csv', test[['index']].assign(label=STATES[0]))
        load_pages()
        yield find_comp('anomaly-practice')


def tiny(exp, **changes):
    "A recipe of the page at a size for seconds."
    base = dict(
        arch='test_convnext',
        pretrained=False,
        size=32,
        infer_size=40 if RECIPES['anomaly-practice'][exp].infer_size else 0,
        folds=2,
        epochs=2,
        dead_after=0,
    )
    return replace(RECIPES['anomaly-practice'][exp], **base | changes)


@pytest.mark.parametrize('exp', ['small_66', 'small_39', 'small_92', 'exp0014'])
def test_a_recipe_runs_to_its_end_and_is_scored_in_parts(comp, exp, monkeypatch):
    monkeypatch.setattr('kagglekit.fit.train.STAND_INS', {})  # these drawn rows have no hidden answers
    r = tiny(exp)
    score, run = train(r, comp, run_folds(r, comp)), Run(comp.name, exp)
    assert sorted(score['parts']) == ['class', 'state'] and set(score['parts']['state']) == {
        'crack1',
        'crack2',
        'crack3',
        'good',
    }
    assert 'missed' not in score['parts']['state']['good'] and 0 <= score['parts']['class']['mono']['missed'] <= 1
    assert abs(sum(4 * v['f1'] for v in score['parts']['class'].values()) / 8 - score['oof']) < 1e-9
    folds = pd.read_parquet(run.folder / 'test_folds.parquet')
    assert (
        folds.fold.nunique() == 2
        and len(folds) == 16
        and np.allclose(folds[prob_columns(comp.classes)].sum(axis=1), 1, atol=1e-4)
    )
    assert train(r, comp, run_folds(r, comp)) == json.loads((run.folder / 'score.json').read_text())


def test_out_of_fold_and_test_rows_are_predicted_at_infer_size(comp):
    r = tiny('small_66')
    job = open_setup(r, comp, run_folds(r, comp))
    assert (job.train.shape[1:3], job.shown[0].shape[1:3], job.shown[1].shape[1:3]) == ((32, 32), (40, 40), (40, 40))
    plain = open_setup(replace(r, infer_size=0), comp, run_folds(r, comp))
    assert plain.shown[0] is plain.train and plain.shown[1] is plain.test


def test_excluded_classes_are_never_flipped_and_validation_is_not_augmented(comp):
    r = tiny('exp0001', augment=('vflip 1 not *-crack3',))
    learn = make_learner(open_setup(r, comp, run_folds(r, comp)), 0)
    learn.dls.train.epoch_key = (0, 0, 0, 0)
    prepare = learn.prepare_batch
    for x, y in learn.dls.train:
        rows, before = learn.dls.train.rows, prepare.normalise(x)
        after, _ = prepare.change(before, y, rows, (0, 0, 0, 0))
        kept = (comp.train.state.iloc[rows] == 'crack3').to_numpy()
        assert torch.equal(after[kept], before[kept]) and torch.equal(after[~kept], before[~kept].flip(2))
    learn.training, learn.xb, learn.yb = False, (x,), (y,)
    prepare.learn = learn
    prepare.before_batch()
    assert torch.equal(learn.xb[0], prepare.normalise(x))


def test_class_weights_come_from_the_training_rows_of_the_fold(comp):
    from sklearn.utils.class_weight import compute_class_weight

    r = tiny('exp0012', class_weight_power=1.0)
    folds = run_folds(r, comp)
    learn = make_learner(open_setup(r, comp, folds), 1)
    codes = comp.train.target[folds.fold != 1].to_numpy()
    z, y = torch.zeros(8, 8), torch.eye(8)
    weights = torch.tensor(compute_class_weight('balanced', classes=np.arange(8), y=codes)).float()
    assert torch.allclose(learn.loss_func(z, y), (weights * np.log(8)).mean(), atol=1e-4)


def test_sampling_is_balanced_over_states(comp):
    r = tiny('exp0001', sampling='state')
    probs = (learn := make_learner(open_setup(r, comp, run_folds(r, comp)), 0)).dls.train.sampling_probs
    by_state = pd.Series(probs).groupby(comp.train.state.iloc[learn.dls.train.all_rows].to_numpy()).sum()
    assert np.allclose(by_state, 0.25)


def test_label_smoothing_is_spread_over_the_classes_of_its_head(comp):
    one, heads = (
        output_and_loss(tiny('exp0003'), comp)[1],
        output_and_loss(tiny('exp0003', heads=('class', 'state')), comp)[1],
    )
    z, y = torch.zeros(1, 8), torch.eye(8)[:1]
    assert abs(float(one(z, y)) - np.log(8)) < 1e-5
    z[0, 1] = 5.0  # the second kind of cell: its target is ε of two classes, not of 8
    y = torch.tensor([[1.0, 0, 1, 0, 0, 0]])
    logp = torch.log_softmax(torch.tensor([0.0, 5]), 0)
    want = (-(0.9 * logp[0] + 0.1 * logp[1]) + np.log(4)) / 2
    assert torch.allclose(heads(z[:, :6], y), want, atol=1e-5)


def test_recipes_of_the_page_agree_with_their_records():
    load_pages()
    for exp, r in RECIPES['anomaly-practice'].items():
        record = ROOT / 'record' / 'outputs' / 'anomaly-practice' / exp / 'params.json'
        if not record.exists():
            continue
        old = current_record(json.loads(record.read_text()))
        assert difference(old, dict(old, recipe=r.params())) == '', exp
        assert old['diff'] == r.diff and old['parent'] == r.parent


def test_a_fold_file_of_another_competition_is_refused(comp, tmp_path):
    path = tmp_path / 'other.npy'
    export_positions(make_folds(comp), comp, path)
    assert import_positions(path, comp).fold.tolist() == make_folds(comp).fold.tolist()
    smaller = replace(comp, train=comp.train.iloc[:50].reset_index(drop=True))
    with pytest.raises(KitError, match='another competition'):
        import_positions(path, smaller)


def test_a_class_with_fewer_rows_than_folds_is_named(comp):
    from kagglekit.runs.setup import folds_text

    r = tiny('exp0001', folds=5)
    said = folds_text(r, comp, run_folds(r, comp))
    assert [line for line in said if line.startswith('mono-crack1 is not validated in fold')]


def test_a_class_that_train_never_had_is_refused(comp, tmp_path):
    labels, probs = tmp_path / 'labels.csv', tmp_path / 'probs.csv'
    write_table(labels, pd.DataFrame(dict(index=range(8), label=['poly-crack4'] + STATES[1:])))
    with pytest.raises(KitError, match="poly-crack4' .did you mean poly-crack"):
        read_member(dict(file=str(labels)), comp)
    write_table(
        probs,
        pd.DataFrame(np.full((8, 9), 1 / 9), columns=prob_columns([*STATES, 'poly-crack4'])).assign(index=range(8)),
    )
    with pytest.raises(KitError, match='class columns'):
        read_member(dict(file=str(probs)), comp)


def test_a_missing_image_is_named(comp, monkeypatch):
    lost = comp.folder / comp.train.file[7]
    kept = lost.read_bytes()
    lost.unlink()
    try:
        assert len(find_comp('anomaly-practice').train) == 60  # tables are enough to blend and to look
        with pytest.raises(KitError, match=lost.name):
            check_all_files(comp)
    finally:
        lost.write_bytes(kept)


@pytest.mark.parametrize('name', ['turn45', 'tone', 'blur_noise'])
def test_the_first_places_augmentation_keeps_the_label(name):
    assert AUGMENTS[name].label == 'kept'


@pytest.mark.skipif(not REAL.exists(), reason="the first place's artefacts are not at hand")
@pytest.mark.parametrize('k, sizes', [(5, {855, 856}), (10, {427, 428})])
def test_the_first_places_folds_are_imported_and_exported(k, sizes, comp, tmp_path):
    "Disjoint, complete, the same after an export, and refused by another competition."
    rows = pd.DataFrame(
        dict(
            id=[str(10000 + i) for i in range(4277)],
            file=[f'train/{10000 + i}.png' for i in range(4277)],
            target=np.arange(4277) % 8,
        )
    )
    dacon = replace(comp, name='anomaly', train=rows, class_groups=(), normal_class=())
    folds = import_positions(REAL / f'{k}-Fold_idx.npy', dacon)
    assert folds.fold.nunique() == k and set(folds.fold.value_counts()) == sizes
    export_positions(folds, dacon, tmp_path / 'again.npy')
    assert import_positions(tmp_path / 'again.npy', dacon).fold.tolist() == folds.fold.tolist()
    with pytest.raises(KitError, match='another competition'):
        import_positions(REAL / f'{k}-Fold_idx.npy', comp)


@pytest.mark.skipif(not REAL.exists(), reason="the first place's artefacts are not at hand")
def test_the_first_places_votes_agree_with_run_92():
    "Non-null rows are those that run 92 gives to the same thing; ties as counted before."
    logits = torch.load(REAL / 'features_92(576).pth', weights_only=True, map_location='cpu')
    assert tuple(logits.shape) == (5, 2154, 88) and bool(logits.isfinite().all())
    for thing, rows, ties in [
        ('cable', 206, 3),
        ('grid', 96, 5),
        ('metal_nut', 134, 3),
        ('pill', 188, 0),
        ('wood', 96, 0),
    ]:
        votes = pd.read_csv(REAL / f'validation_E6_87_{thing}.csv', dtype=str, keep_default_na=False).drop(
            columns=['index', 'label']
        )
        counts = votes.apply(lambda r: r.value_counts(), axis=1).fillna(0)
        named = counts.drop(columns='null')
        top = counts.max(axis=1)
        assert (named.max(axis=1) == top).sum() >= rows > (named.max(axis=1) > counts['null']).sum() - 1
        assert ((counts.eq(top, axis=0).sum(axis=1) > 1) & (votes != 'null').any(axis=1)).sum() == ties


def dacon_counts():
    "The rows of each of Dacon's 88 classes, from the page of the competition."
    cells = json.loads((ROOT / 'nbs/competitions/anomaly.ipynb').read_text(encoding='utf8'))['cells']
    source = next(''.join(c['source']) for c in cells if ''.join(c['source']).startswith('COUNTS'))
    names = dict(pd=pd, test_eq=lambda a, b: None)
    exec(source, names)
    return names['counts']


@pytest.mark.skipif(not REAL.exists(), reason="the first place's artefacts are not at hand")
def test_the_label_shift_of_run_92_is_estimated_within_five_percent():
    "MVTec has 467 good test images, so 934 of Dacon's 2,154, 43.4 %, are good; train has 84.8 %."
    logits = torch.load(REAL / 'features_92(576).pth', weights_only=True, map_location='cpu').float().numpy()
    probs, counts = softmax(logits, 2).mean(0), dacon_counts()
    good, old = counts.index.str.endswith('-good'), counts.to_numpy() / 4277
    new = estimate_prior(probs, old, good)
    fixed = correct_prior(probs, old, new)
    assert old[good].sum() > 0.84 and abs(new[good].sum() - 0.434) < 0.05
    as_good = [good[p.argmax(1)].mean() for p in (probs, fixed)]
    assert abs(as_good[1] - 0.434) < 0.02 < as_good[0] - 0.434
    assert (fixed.argmax(1) != probs.argmax(1)).sum() == 56
