"Drawn practice competitions: the layout of the real ones, the sites' formulas, and the same bytes every time."

import sys
from typing import NamedTuple
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score, cohen_kappa_score, mean_squared_error
from running import ROOT
from kagglekit.core.paths import data_dir
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.practice.registry import STAND_INS
from kagglekit.practice.standins import local_score, write_practice
from kagglekit.practice.standin_photographs import score_aptos
from kagglekit.practice.standin_scans import HAEMORRHAGES, LINES, score_haemorrhage, score_ranzcr
from kagglekit.practice.standin_symbols import ATTRIBUTES, score_bengali, score_imet


class Layout(NamedTuple):
    "What the real competition has."

    tables: dict  # file → its columns
    sample: str  # the file of the sample submission
    files: dict  # column of a table, as (file, column) → pattern of the image's path
    best: float  # score of the truth
    poor: float  # a score that the sample does not reach


PETS = 'Subject Focus,Eyes,Face,Near,Action,Accessory,Group,Collage,Human,Occlusion,Info,Blur'.split(',')
LAYOUTS = {
    'aptos-practice': Layout(
        {
            'train.csv': ['id_code', 'diagnosis'],
            'test.csv': ['id_code'],
            'sample_submission.csv': ['id_code', 'diagnosis'],
        },
        'sample_submission.csv',
        {('train.csv', 'id_code'): 'train_images/{}.png', ('test.csv', 'id_code'): 'test_images/{}.png'},
        best=1,
        poor=0.01,
    ),
    'pawpularity-practice': Layout(
        {
            'train.csv': ['Id', *PETS, 'Pawpularity'],
            'test.csv': ['Id', *PETS],
            'sample_submission.csv': ['Id', 'Pawpularity'],
        },
        'sample_submission.csv',
        {('train.csv', 'Id'): 'train/{}.jpg', ('test.csv', 'Id'): 'test/{}.jpg'},
        best=0,
        poor=20,
    ),
    'ranzcr-practice': Layout(
        {
            'train.csv': ['StudyInstanceUID', *LINES, 'PatientID'],
            'train_annotations.csv': ['StudyInstanceUID', 'label', 'data'],
            'sample_submission.csv': ['StudyInstanceUID', *LINES],
        },
        'sample_submission.csv',
        {
            ('train.csv', 'StudyInstanceUID'): 'train/{}.jpg',
            ('sample_submission.csv', 'StudyInstanceUID'): 'test/{}.jpg',
        },
        best=1,
        poor=0.51,
    ),
    'haemorrhage-practice': Layout(
        {'stage_2_train.csv': ['ID', 'Label'], 'stage_2_sample_submission.csv': ['ID', 'Label']},
        'stage_2_sample_submission.csv',
        {
            ('stage_2_train.csv', 'ID'): 'stage_2_train/{}.dcm',
            ('stage_2_sample_submission.csv', 'ID'): 'stage_2_test/{}.dcm',
        },
        best=0,
        poor=0.69,
    ),
    'imet-practice': Layout(
        {
            'train.csv': ['id', 'attribute_ids'],
            'labels.csv': ['attribute_id', 'attribute_name'],
            'sample_submission.csv': ['id', 'attribute_ids'],
        },
        'sample_submission.csv',
        {('train.csv', 'id'): 'train/{}.png', ('sample_submission.csv', 'id'): 'test/{}.png'},
        best=1,
        poor=0.3,
    ),
    'bengali-practice': Layout(
        {
            'train.csv': ['image_id', 'grapheme_root', 'vowel_diacritic', 'consonant_diacritic', 'grapheme'],
            'test.csv': ['row_id', 'image_id', 'component'],
            'class_map.csv': ['component_type', 'label', 'component'],
            'sample_submission.csv': ['row_id', 'target'],
        },
        'sample_submission.csv',
        {},
        best=1,
        poor=0.16,
    ),
}
LOWER_IS_BETTER = ('pawpularity-practice', 'haemorrhage-practice')


def needs(comp):
    "Skip a competition of DICOM files where pydicom is not installed."
    if comp == 'haemorrhage-practice':
        pytest.importorskip('pydicom')


@pytest.fixture(scope='module')
def written(tmp_path_factory):
    "A function: competition → its folder, written once."
    home = tmp_path_factory.mktemp('layouts')
    (home / 'settings.ini').write_text((ROOT / 'settings.ini').read_text())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('KAGGLEKIT_ROOT', str(home))
        patch.setenv('KAGGLEKIT_DATA', '')

        def folder(comp):
            needs(comp)
            return write_practice(comp, say=lambda line: None)

        yield folder


def truth_of(folder):
    "The solution in the form of the hand-in."
    return pd.read_parquet(folder / '.answers.parquet').drop(columns=['unit', 'public'], errors='ignore')


@pytest.mark.parametrize('comp', LAYOUTS)
def test_tables_have_the_real_names_and_columns(comp, written):
    folder, layout = written(comp), LAYOUTS[comp]
    tables = {p.name: list(pd.read_csv(p, nrows=1).columns) for p in folder.glob('*.csv')}
    assert tables == layout.tables
    sample = pd.read_csv(folder / layout.sample)
    truth = truth_of(folder)
    assert list(truth.columns) == list(sample.columns)
    assert truth.iloc[:, 0].tolist() == sample.iloc[:, 0].astype(str).tolist()
    assert truth.iloc[:, 0].is_unique


@pytest.mark.parametrize('comp', [c for c in LAYOUTS if LAYOUTS[c].files])
def test_every_id_has_a_file_that_opens_and_every_file_an_id(comp, written):
    folder = written(comp)
    named = set()
    for (table, column), pattern in LAYOUTS[comp].files.items():
        ids = pd.read_csv(folder / table, dtype=str)[column]
        if comp == 'haemorrhage-practice':
            ids = ids.str.rsplit('_', n=1).str[0].drop_duplicates()
        named |= {folder / pattern.format(i) for i in ids}
    there = {p for p in folder.rglob('*') if p.is_file() and p.parent != folder}
    assert named == there
    assert all(is_image(p) for p in sorted(named)[::25])


def is_image(path):
    "Whether a file opens as an image that is not of one colour."
    if path.suffix == '.dcm':
        import pydicom

        return pydicom.dcmread(path).pixel_array.std() > 0
    with Image.open(path) as image:
        return np.asarray(image).std() > 0


@pytest.mark.parametrize('comp', LAYOUTS)
def test_sizes_stay_small(comp, written):
    sizes = [p.stat().st_size for p in written(comp).rglob('*') if p.is_file()]
    assert len(sizes) < 600
    assert sum(sizes) < 12e6


@pytest.mark.parametrize('comp', LAYOUTS)
def test_the_truth_gets_the_best_score_and_the_sample_a_poor_one(comp, written, tmp_path):
    folder, layout = written(comp), LAYOUTS[comp]
    write_table(tmp_path / 'right.csv', truth_of(folder).sample(frac=1, random_state=0))
    assert local_score(comp, tmp_path / 'right.csv') == pytest.approx(dict(public=layout.best, private=layout.best))
    for score in local_score(comp, folder / layout.sample).values():
        assert score > layout.poor if comp in LOWER_IS_BETTER else score < layout.poor


@pytest.mark.parametrize('comp', LAYOUTS)
def test_rows_that_belong_together_are_on_one_side(comp, written):
    answers = pd.read_parquet(written(comp) / '.answers.parquet')
    if 'unit' in answers:
        assert answers.groupby('unit').public.nunique().max() == 1
    assert 0.2 < answers.public.mean() < 0.7


@pytest.mark.parametrize('comp', LAYOUTS)
def test_a_second_writing_has_the_same_bytes(comp, written, tmp_path):
    first = written(comp)
    answers = STAND_INS[comp].write(tmp_path)
    names = sorted(p.relative_to(first) for p in first.rglob('*') if p.is_file() and p.name[0] != '.')
    assert names == sorted(p.relative_to(tmp_path) for p in tmp_path.rglob('*') if p.is_file())
    assert [n for n in names if (first / n).read_bytes() != (tmp_path / n).read_bytes()] == []
    kept = pd.read_parquet(first / '.answers.parquet').drop(columns='public')
    pd.testing.assert_frame_equal(answers, kept, check_dtype=False)


@pytest.mark.parametrize('comp', LAYOUTS)
def test_a_hand_in_that_lacks_rows_is_refused(comp, written, tmp_path):
    write_table(tmp_path / 'short.csv', truth_of(written(comp))[1:])
    with pytest.raises(KitError, match='1 ids are missing'):
        local_score(comp, tmp_path / 'short.csv')


def test_a_hand_in_without_a_column_or_with_words_is_refused(written, tmp_path):
    truth = truth_of(written('pawpularity-practice'))
    write_table(tmp_path / 'bad.csv', truth.rename(columns=dict(Pawpularity='Score')))
    with pytest.raises(KitError, match="no column 'Pawpularity'"):
        local_score('pawpularity-practice', tmp_path / 'bad.csv')
    write_table(tmp_path / 'bad.csv', truth.astype(str).replace(dict(Pawpularity={'100': 'hundred'})))
    with pytest.raises(KitError, match="'hundred'"):
        local_score('pawpularity-practice', tmp_path / 'bad.csv')


def test_what_the_formula_refuses_is_said_in_plain_words(written, tmp_path):
    truth = truth_of(written('aptos-practice'))
    write_table(tmp_path / 'half.csv', truth.assign(diagnosis=truth.diagnosis + 0.5))
    with pytest.raises(KitError, match="half.csv: the site's formula refuses it: ValueError"):
        local_score('aptos-practice', tmp_path / 'half.csv')


# The formulas, beside another way to the same number


def test_grades_and_numbers_are_scored_as_scikit_learn_does(written, tmp_path):
    g = np.random.default_rng(0)
    for comp, column, metric in [
        ('aptos-practice', 'diagnosis', lambda y, p: cohen_kappa_score(y, p, weights='quadratic')),
        ('pawpularity-practice', 'Pawpularity', lambda y, p: mean_squared_error(y, p) ** 0.5),
    ]:
        folder = written(comp)
        answers = pd.read_parquet(folder / '.answers.parquet')
        given = answers.iloc[:, :2].assign(**{column: g.permutation(answers[column])})
        write_table(tmp_path / 'given.csv', given)
        score = local_score(comp, tmp_path / 'given.csv')
        for side, rows in dict(public=answers.public, private=~answers.public).items():
            assert score[side] == pytest.approx(metric(answers[column][rows], given[column][rows]))


def test_a_grade_that_nobody_has_keeps_its_distance():
    table = pd.DataFrame(dict(id_code=list('abcd'), diagnosis=[0, 0, 4, 4]))
    answer = table.assign(diagnosis=[0, 1, 4, 4])
    kappa = score_aptos(table, answer, 'id_code')
    pairs = [(y, p) for y in table.diagnosis for p in answer.diagnosis]
    observed = np.mean((table.diagnosis - answer.diagnosis) ** 2)
    expected = np.mean([(y - p) ** 2 for y, p in pairs])
    assert kappa == pytest.approx(1 - observed / expected)


def test_a_column_of_which_all_are_right_lifts_the_mean_auc_by_its_share():
    g = np.random.default_rng(0)
    truth = pd.DataFrame(g.integers(0, 2, (50, len(LINES))), columns=list(LINES))
    truth.insert(0, 'StudyInstanceUID', [str(i) for i in range(50)])
    half = truth.assign(**dict.fromkeys(LINES, 0.5))
    column = next(iter(LINES))
    assert score_ranzcr(truth, half.assign(**{column: truth[column]}), 'StudyInstanceUID') == pytest.approx(
        0.5 + 0.5 / len(LINES)
    )


def test_any_weighs_twice_in_the_log_loss():
    ids = [f'ID_1_{label}' for label in HAEMORRHAGES]
    truth = pd.DataFrame(dict(ID=ids, Label=[1, 0, 0, 0, 0, 1]))
    p = np.array([0.8, 0.1, 0.1, 0.1, 0.1, 0.6])
    losses = -np.log(np.where(truth.Label, p, 1 - p))
    assert score_haemorrhage(truth, truth.assign(Label=p), 'ID') == pytest.approx(losses @ [1, 1, 1, 1, 1, 2] / 7)
    sure = score_haemorrhage(truth, truth.assign(Label=1 - truth.Label), 'ID')
    assert sure == pytest.approx(-np.log(1e-15), rel=1e-3)  # and not infinite


def test_a_forgotten_attribute_costs_more_than_a_wrong_one():
    truth = pd.DataFrame(dict(id=['a'], attribute_ids=['3 9']))
    score = {text: score_imet(truth, truth.assign(attribute_ids=text), 'id') for text in ('9 3', '3', '3 9 11', '')}
    assert score == pytest.approx({'9 3': 1, '3': 5 / 9, '3 9 11': 10 / 11, '': 0})


def test_the_root_weighs_twice_and_rare_classes_as_much_as_frequent_ones():
    parts = ['grapheme_root', 'vowel_diacritic', 'consonant_diacritic']
    ids = [f'Test_{i}_{part}' for i in range(4) for part in parts]
    truth = pd.DataFrame(dict(row_id=ids, target=[0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1]))
    wrong = truth.row_id.isin(['Test_3_grapheme_root'])
    assert score_bengali(truth, truth.assign(target=truth.target.mask(wrong, 0)), 'row_id') == pytest.approx(0.75)
    wrong = truth.row_id.isin(['Test_3_vowel_diacritic'])
    assert score_bengali(truth, truth.assign(target=truth.target.mask(wrong, 0)), 'row_id') == pytest.approx(0.875)


# What is particular to one of them


def test_patients_are_on_one_side_of_the_split(written):
    train = pd.read_csv(written('ranzcr-practice') / 'train.csv')
    answers = pd.read_parquet(written('ranzcr-practice') / '.answers.parquet')
    assert train.PatientID.duplicated().any()
    assert not set(train.PatientID) & set(answers.unit)
    assert (train[list(LINES)].sum() > 15).all()


def test_every_line_of_an_x_ray_is_annotated(written):
    folder = written('ranzcr-practice')
    train = pd.read_csv(folder / 'train.csv').set_index('StudyInstanceUID')
    lines = pd.read_csv(folder / 'train_annotations.csv')
    seen = pd.crosstab(lines.StudyInstanceUID, lines.label).clip(0, 1).reindex(train.index, fill_value=0)
    assert (seen[list(LINES)] == train[list(LINES)]).all().all()


def test_headers_of_ct_slices_lead_to_hounsfield_units(written):
    pydicom = pytest.importorskip('pydicom')
    kinds = set()
    for path in sorted((written('haemorrhage-practice') / 'stage_2_test').glob('*.dcm'))[:20]:
        data = pydicom.dcmread(path)
        head = data.pixel_array * float(data.RescaleSlope) + float(data.RescaleIntercept)
        assert data.SOPInstanceUID == path.stem and head.shape == (64, 64)
        assert np.median(head[25:40, 25:40]) == pytest.approx(35, abs=45)
        assert head[:6, :6].mean() == pytest.approx(-1000, abs=10)
        kinds.add((data.PixelRepresentation, data.BitsStored, data.WindowCenter != 40))
    assert kinds == {(1, 16, False), (0, 12, True)}


def test_without_pydicom_the_error_names_the_extra(space, monkeypatch):
    monkeypatch.setitem(sys.modules, 'pydicom', None)
    with pytest.raises(KitError, match=r"pip install 'kagglekit\[dicom\]'"):
        write_practice('haemorrhage-practice')
    assert not data_dir('haemorrhage-practice').exists()


def test_attributes_are_named_in_the_order_of_their_codes(written):
    labels = pd.read_csv(written('imet-practice') / 'labels.csv')
    assert labels.attribute_id.tolist() == list(range(20))
    assert labels.attribute_name.tolist() == list(ATTRIBUTES) == sorted(ATTRIBUTES)


def test_pixels_of_graphemes_lie_in_columns(written):
    folder = written('bengali-practice')
    for part, n in dict(train=400, test=120).items():
        table = pq.read_table(folder / f'{part}_image_data_0.parquet')
        assert table.column_names == ['image_id', *map(str, range(137 * 236))]
        assert {str(t) for t in table.schema.types[1:]} == {'uint8'}
        assert table['image_id'].to_pylist() == [f'{part.title()}_{i}' for i in range(n)]
    test = pd.read_csv(folder / 'test.csv')
    assert test.row_id[:3].tolist() == [
        'Test_0_consonant_diacritic',
        'Test_0_grapheme_root',
        'Test_0_vowel_diacritic',
    ]
    assert (test.row_id == test.image_id + '_' + test.component).all()


def test_nearest_drawing_recognises_a_grapheme(written):
    "The parts can be seen: the mean images of the roots tell the roots of others apart."
    folder = written('bengali-practice')
    table = pq.read_table(folder / 'train_image_data_0.parquet')
    x = np.stack([c.to_numpy() for c in table.columns[1:]], 1).astype(float).reshape(-1, 137, 236)
    x = x[:, :136, :].reshape(-1, 17, 8, 59, 4).mean((2, 4)).reshape(len(x), -1)
    root = pd.read_csv(folder / 'train.csv').grapheme_root.to_numpy()
    means = np.stack([x[:300][root[:300] == r].mean(0) for r in range(12)])
    nearest = ((x[300:, None] - means) ** 2).sum(2).argmin(1)
    assert accuracy_score(root[300:], nearest) > 0.5
