"Drawn practice competitions: what is particular to one of them."

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.metrics import accuracy_score
from layouts import truth_of
from kagglekit.practice.standin_birdclef import SONGS
from kagglekit.practice.standin_hms import COLUMNS, STEPS, VOTES
from kagglekit.practice.standin_scans import LINES
from kagglekit.practice.standin_symbols import ATTRIBUTES


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


def test_attributes_are_named_in_the_order_of_their_codes(written):
    labels = pd.read_csv(written('imet-practice') / 'labels.csv')
    assert labels.attribute_id.tolist() == list(range(20))
    assert labels.attribute_name.tolist() == list(ATTRIBUTES) == sorted(ATTRIBUTES)


def test_pixels_of_graphemes_lie_in_columns(written):
    folder = written('bengali-practice')
    for part, n in dict(train=400, test=120).items():
        table = pq.ParquetFile(folder / f'{part}_image_data_0.parquet')
        assert table.schema_arrow.names == ['image_id', *map(str, range(137 * 236))]
        assert {str(t) for t in table.schema_arrow.types[1:]} == {'uint8'}
        assert table.read(['image_id'])['image_id'].to_pylist() == [f'{part.title()}_{i}' for i in range(n)]
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
    table = pq.ParquetFile(folder / 'train_image_data_0.parquet').read()  # read_table wants gigabytes
    x = np.stack([c.to_numpy() for c in table.columns[1:]], 1).astype(float).reshape(-1, 137, 236)
    x = x[:, :136, :].reshape(-1, 17, 8, 59, 4).mean((2, 4)).reshape(len(x), -1)
    root = pd.read_csv(folder / 'train.csv').grapheme_root.to_numpy()
    means = np.stack([x[:300][root[:300] == r].mean(0) for r in range(12)])
    nearest = ((x[300:, None] - means) ** 2).sum(2).argmin(1)
    assert accuracy_score(root[300:], nearest) > 0.5


def test_views_of_a_breast_share_their_truth(written):
    train = pd.read_csv(written('mammography-practice') / 'train.csv')
    breasts = train.groupby(['patient_id', 'laterality'])
    assert set(breasts.view.agg(' '.join)) == {'CC MLO'} and set(breasts.cancer.nunique()) == {1}
    assert train.BIRADS[train.site_id == 2].isna().all() and train.BIRADS[train.site_id == 1].notna().all()
    assert (train.biopsy >= train.cancer).all() and (train.cancer >= train.invasive).all()


def test_images_in_hdf5_open_by_their_id(written, tmp_path):
    h5py = pytest.importorskip('h5py')
    folder = written('isic-practice')
    ids = pd.read_csv(folder / 'test-metadata.csv').isic_id
    with h5py.File(folder / 'test-image.hdf5') as f:
        assert sorted(f) == sorted(ids)
        data = f[ids[0]][()].tobytes()
    (tmp_path / 'lesion.jpg').write_bytes(data)
    with Image.open(tmp_path / 'lesion.jpg') as image:
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
