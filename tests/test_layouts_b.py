"Six more drawn competitions: mammograms, lesions, bird songs, EEGs, pasture, flukes."

import sys
from typing import NamedTuple
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.metrics import r2_score, roc_auc_score
from running import ROOT
from kagglekit.core.paths import data_dir
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.practice.registry import STAND_INS
from kagglekit.practice.standins import local_score, write_practice
from kagglekit.practice.standin_birdclef import SONGS
from kagglekit.practice.standin_hms import COLUMNS, STEPS, VOTES


class Layout(NamedTuple):
    "What the real competition has."

    tables: dict  # file → its columns, separated by blanks
    best: float  # score of the truth
    poor: float  # a score that the sample does not reach
    files: int  # in all, with tables
    package: str | None = None  # that writes its files


SPECIES = ' '.join(SONGS)
SHARES = ' '.join(VOTES)
LESION = (
    'patient_id age_approx sex isic_id anatom_site_general clin_size_long_diam_mm image_type tbp_lv_areaMM2 '
    'tbp_lv_norm_border tbp_lv_norm_color tbp_lv_symm_2axis attribution copyright_license'
)
LAYOUTS = {
    'mammography-practice': Layout(
        {
            'train.csv': 'site_id patient_id image_id laterality view age cancer biopsy invasive BIRADS implant '
            'density machine_id difficult_negative_case',
            'test.csv': 'site_id patient_id image_id laterality view age implant machine_id prediction_id',
            'sample_submission.csv': 'prediction_id cancer',
        },
        best=1,
        poor=0.4,
        files=508 + 3,
        package='pydicom',
    ),
    'isic-practice': Layout(
        {
            'train-metadata.csv': f'{LESION} target lesion_id iddx_full iddx_1 tbp_lv_dnn_lesion_confidence',
            'test-metadata.csv': LESION,
            'sample_submission.csv': 'isic_id target',
        },
        best=0.2,
        poor=0.021,
        files=400 + 2 + 3,
        package='h5py',
    ),
    'birdclef-practice': Layout(
        {
            'train_metadata.csv': 'primary_label secondary_labels type latitude longitude scientific_name common_name '
            'author license rating url filename',
            'sample_submission.csv': f'row_id {SPECIES}',
        },
        best=1,
        poor=0.51,
        files=96 + 20 + 2,
        package='soundfile',
    ),
    'hms-practice': Layout(
        {
            'train.csv': 'eeg_id eeg_sub_id eeg_label_offset_seconds spectrogram_id spectrogram_sub_id '
            f'spectrogram_label_offset_seconds label_id patient_id expert_consensus {SHARES}',
            'test.csv': 'spectrogram_id eeg_id patient_id',
            'sample_submission.csv': f'eeg_id {SHARES}',
        },
        best=0,
        poor=0.8,
        files=80 + 30 + 3,
    ),
    'biomass-practice': Layout(
        {
            'train.csv': 'sample_id image_path Sampling_Date State Species Pre_GSHH_NDVI Height_Ave_cm target_name '
            'target',
            'test.csv': 'sample_id image_path target_name',
            'sample_submission.csv': 'sample_id target',
        },
        best=1,
        poor=0,
        files=400 + 3,
    ),
    'whales-practice': Layout(
        {'train.csv': 'image species individual_id', 'sample_submission.csv': 'image predictions'},
        best=1,
        poor=0.02,
        files=4600 + 2,
    ),
}


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    "A function: competition → its folder, written once."
    home = tmp_path_factory.mktemp('layouts')
    (home / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('KAGGLEKIT_ROOT', str(home))
        patch.setenv('KAGGLEKIT_DATA', '')

        def folder(comp):
            if LAYOUTS[comp].package:
                pytest.importorskip(LAYOUTS[comp].package)
            return write_practice(comp, say=lambda line: None)

        yield folder


def truth_of(folder):
    "The solution in the form of the hand-in."
    return pd.read_parquet(folder / '.answers.parquet').drop(columns=['unit', 'public'], errors='ignore')


def scored_by(formula, comp, folder, tmp_path, **given):
    "Check the public and the private score of changed columns against a formula of (answers, given)."
    answers = pd.read_parquet(folder / '.answers.parquet')
    submission = truth_of(folder).assign(**given)
    write_table(tmp_path / 'given.csv', submission)
    score = local_score(comp, tmp_path / 'given.csv')
    for side, rows in dict(public=answers.public, private=~answers.public).items():
        assert score[side] == pytest.approx(formula(answers[rows], submission[rows])), side


@pytest.mark.parametrize('comp', LAYOUTS)
def test_tables_have_the_real_names_and_columns(comp, written):
    folder = written(comp)
    tables = {p.name: set(pd.read_csv(p, nrows=1).columns) for p in folder.glob('*.csv')}
    assert tables == {name: set(columns.split()) for name, columns in LAYOUTS[comp].tables.items()}
    sample, truth = pd.read_csv(folder / 'sample_submission.csv'), truth_of(folder)
    assert list(truth.columns) == list(sample.columns)
    assert truth.iloc[:, 0].tolist() == sample.iloc[:, 0].astype(str).tolist()
    assert truth.iloc[:, 0].is_unique


@pytest.mark.parametrize('comp', LAYOUTS)
def test_sizes_stay_small(comp, written):
    sizes = [p.stat().st_size for p in written(comp).rglob('*') if p.is_file() and p.name != '.answers.parquet']
    assert len(sizes) == LAYOUTS[comp].files
    assert sum(sizes) < 10e6


@pytest.mark.parametrize('comp', LAYOUTS)
def test_the_truth_gets_the_best_score_and_the_sample_a_poor_one(comp, written, tmp_path):
    folder, layout = written(comp), LAYOUTS[comp]
    write_table(tmp_path / 'right.csv', truth_of(folder).sample(frac=1, random_state=0))
    right = local_score(comp, tmp_path / 'right.csv')
    assert right == pytest.approx(dict(public=layout.best, private=layout.best), abs=1e-9)
    for score in local_score(comp, folder / 'sample_submission.csv').values():
        assert score > layout.poor if comp == 'hms-practice' else score < layout.poor


@pytest.mark.parametrize('comp', LAYOUTS)
def test_rows_that_belong_together_are_on_one_side(comp, written):
    answers = pd.read_parquet(written(comp) / '.answers.parquet')
    together = dict.fromkeys(['mammography-practice', 'birdclef-practice', 'biomass-practice'], True)
    assert ('unit' in answers) == together.get(comp, False)
    if 'unit' in answers:
        assert answers.groupby('unit').public.nunique().max() == 1 and answers.unit.duplicated().any()
    assert 0.2 < answers.public.mean() < 0.7


@pytest.mark.parametrize('comp', LAYOUTS)
def test_a_second_writing_has_the_same_bytes(comp, written, tmp_path):
    first = written(comp)
    answers = STAND_INS[comp].write(tmp_path)
    names = sorted(p.relative_to(first) for p in first.rglob('*') if p.is_file() and p.name != '.answers.parquet')
    assert names == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob('*') if p.is_file())
    assert [n for n in names if (first / n).read_bytes() != (tmp_path / n).read_bytes()] == []
    kept = pd.read_parquet(first / '.answers.parquet').drop(columns='public')
    pd.testing.assert_frame_equal(answers, kept, check_dtype=False)


@pytest.mark.parametrize('comp', LAYOUTS)
def test_a_hand_in_that_lacks_rows_is_refused(comp, written, tmp_path):
    write_table(tmp_path / 'short.csv', truth_of(written(comp))[1:])
    with pytest.raises(KitError, match='1 ids are missing'):
        local_score(comp, tmp_path / 'short.csv')


@pytest.mark.parametrize('comp', ['mammography-practice', 'isic-practice', 'birdclef-practice'])
def test_without_its_package_the_error_names_the_extra(comp, space, monkeypatch):
    extra = dict(pydicom='dicom', h5py='hdf5', soundfile='audio')[LAYOUTS[comp].package]
    monkeypatch.setitem(sys.modules, LAYOUTS[comp].package, None)
    with pytest.raises(KitError, match=rf"pip install 'kagglekit\[{extra}\]'"):
        write_practice(comp)
    assert not data_dir(comp).exists()


# The formulas, beside another way to the same number


def test_a_breast_is_scored_by_its_share_of_probability(written, tmp_path):
    folder = written('mammography-practice')
    p = np.random.default_rng(0).random(len(truth_of(folder)))

    def dice(answers, given):  # the F1 of fractions is the Dice coefficient
        return 2 * (answers.cancer * given.cancer).sum() / (answers.cancer.sum() + given.cancer.sum())

    scored_by(dice, 'mammography-practice', folder, tmp_path, cancer=p)


def test_only_the_upper_part_of_the_curve_counts(written, tmp_path):
    folder = written('isic-practice')
    p = truth_of(folder).target + np.random.default_rng(0).normal(0, 0.7, len(truth_of(folder)))

    def standardised(answers, given):  # scikit-learn's, turned back into an area
        area = roc_auc_score(1 - answers.target, -given.target, max_fpr=0.2)
        return 0.02 + (2 * area - 1) * (0.2 - 0.02)

    scored_by(standardised, 'isic-practice', folder, tmp_path, target=p)


def test_species_count_the_same_where_they_are_heard(written, tmp_path):
    folder = written('birdclef-practice')
    g = np.random.default_rng(0)
    columns = {s: g.random(len(truth_of(folder))) for s in SONGS}

    def macro(answers, given):
        return np.mean([roc_auc_score(answers[s], given[s]) for s in SONGS if answers[s].any()])

    scored_by(macro, 'birdclef-practice', folder, tmp_path, **columns)


def test_shares_that_do_not_sum_to_one_are_refused(written, tmp_path):
    truth = truth_of(written('hms-practice'))
    write_table(tmp_path / 'bad.csv', truth.assign(other_vote=truth.other_vote + 0.5))
    with pytest.raises(KitError, match='sum to 1'):
        local_score('hms-practice', tmp_path / 'bad.csv')


def test_the_total_counts_half(written, tmp_path):
    folder = written('biomass-practice')
    truth = truth_of(folder)
    weights = dict(Dry_Clover_g=0.1, Dry_Dead_g=0.1, Dry_Green_g=0.1, GDM_g=0.2, Dry_Total_g=0.5)

    def weighted(answers, given):
        w = answers.sample_id.str.split('__').str[1].map(weights)
        return r2_score(answers.target, given.target, sample_weight=w)

    target = truth.target + np.random.default_rng(0).normal(0, 9, len(truth))
    scored_by(weighted, 'biomass-practice', folder, tmp_path, target=target)


def test_a_whale_in_third_place_is_worth_a_third(written, tmp_path):
    folder = written('whales-practice')
    truth = truth_of(folder).predictions
    for answers, worth in {'a b {}': 1 / 3, '{} {}': 1, 'a b c d {} e': 1 / 5, 'a b c d e {}': 0}.items():
        scored_by(
            lambda answers, given, worth=worth: worth,
            'whales-practice',
            folder,
            tmp_path,
            predictions=[answers.replace('{}', t) for t in truth],
        )


# What is particular to one of them


def test_views_of_a_breast_share_their_truth(written):
    train = pd.read_csv(written('mammography-practice') / 'train.csv')
    breasts = train.groupby(['patient_id', 'laterality'])
    assert set(breasts.view.agg(' '.join)) == {'CC MLO'} and set(breasts.cancer.nunique()) == {1}
    assert train.BIRADS[train.site_id == 2].isna().all() and train.BIRADS[train.site_id == 1].notna().all()
    assert (train.biopsy >= train.cancer).all() and (train.cancer >= train.invasive).all()


def test_images_in_hdf5_open_by_their_id(written):
    h5py = pytest.importorskip('h5py')
    folder = written('isic-practice')
    ids = pd.read_csv(folder / 'test-metadata.csv').isic_id
    with h5py.File(folder / 'test-image.hdf5') as f:
        assert sorted(f) == sorted(ids)
        data = f[ids[0]][()].tobytes()
    (folder.parent / 'lesion.jpg').write_bytes(data)
    with Image.open(folder.parent / 'lesion.jpg') as image:
        assert image.format == 'JPEG' and 40 <= image.width == image.height <= 56


@pytest.mark.parametrize('comp, train, test', [('isic-practice', 'train-metadata', 'test-metadata'),
                                              ('hms-practice', 'train', 'test'),
                                              ('mammography-practice', 'train', 'test')])  # fmt: skip
def test_no_patient_is_in_train_and_in_test(comp, train, test, written):
    patients = [set(pd.read_csv(written(comp) / f'{part}.csv').patient_id) for part in (train, test)]
    assert not patients[0] & patients[1]


def test_background_singers_are_listed(written):
    train = pd.read_csv(written('birdclef-practice') / 'train_metadata.csv')
    others = train.secondary_labels.map(lambda text: text.strip('[]').replace("'", '').split(', '))
    assert (train.secondary_labels != '[]').sum() > 10
    assert all(set(some) <= {*SONGS, ''} - {label} for some, label in zip(others, train.primary_label))


def test_a_labelled_window_lies_in_its_spectrogram(written):
    folder = written('hms-practice')
    train, test = pd.read_csv(folder / 'train.csv'), pd.read_csv(folder / 'test.csv')
    last = train.groupby('spectrogram_id').spectrogram_label_offset_seconds.max()
    for part, ids in dict(train=last.index[:5], test=test.spectrogram_id[:3]).items():
        for i in ids:
            table = pd.read_parquet(folder / f'{part}_spectrograms' / f'{i}.parquet')
            assert list(table.columns) == ['time', *COLUMNS]
            assert len(table) == STEPS + (last[i] // 2 if part == 'train' else 0)
            assert table.time[:3].tolist() == [1, 3, 5]
    assert train.eeg_id.duplicated().any() and (train[VOTES].sum(axis=1) >= 3).all()


def test_some_whales_are_new(written):
    train = pd.read_csv(written('whales-practice') / 'train.csv')
    truth = truth_of(written('whales-practice')).predictions
    assert train.individual_id.value_counts().unique().tolist() == [2] and train.individual_id.nunique() == 2000
    known = truth.isin(train.individual_id)
    assert (truth[~known] == 'new_individual').all() and (~known).mean() == 0.1
