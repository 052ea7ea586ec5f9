"Drawn practice competitions: the layout of the real ones, the best score for the truth, the same bytes every time."

import sys
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from layouts import LAYOUTS, files_of, truth_of
from kagglekit.core.paths import data_dir
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.practice.registry import STAND_INS
from kagglekit.practice.standins import local_score, write_practice


@pytest.mark.parametrize('comp', LAYOUTS)
def test_tables_have_the_real_names_and_columns(comp, written):
    folder, layout = written(comp), LAYOUTS[comp]
    tables = {p.name: '|'.join(pd.read_csv(p, nrows=1).columns) for p in folder.glob('*.csv')}
    assert tables == layout.tables
    sample = pd.read_csv(folder / layout.sample)
    truth = truth_of(folder)
    assert list(truth.columns) == list(sample.columns)
    assert truth.iloc[:, 0].tolist() == sample.iloc[:, 0].astype(str).tolist()
    assert truth.iloc[:, 0].is_unique


@pytest.mark.parametrize('comp', [c for c in LAYOUTS if LAYOUTS[c].images])
def test_every_id_has_a_file_that_opens_and_every_file_an_id(comp, written):
    folder = written(comp)
    named = set()
    for (table, column), pattern in LAYOUTS[comp].images.items():
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
    folder = written(comp)
    assert len(files_of(folder)) == LAYOUTS[comp].count
    assert sum((folder / name).stat().st_size for name in files_of(folder)) < 12e6


@pytest.mark.parametrize('comp', LAYOUTS)
def test_the_truth_gets_the_best_score_and_the_sample_a_poor_one(comp, written, tmp_path):
    folder, layout = written(comp), LAYOUTS[comp]
    write_table(tmp_path / 'right.csv', truth_of(folder).sample(frac=1, random_state=0))
    right = local_score(comp, tmp_path / 'right.csv')
    assert right == pytest.approx(dict(public=layout.best, private=layout.best), abs=1e-9)
    for score in local_score(comp, folder / layout.sample).values():
        assert score > layout.poor if layout.less else score < layout.poor


@pytest.mark.parametrize('comp', LAYOUTS)
def test_rows_that_belong_together_are_on_one_side(comp, written):
    answers = pd.read_parquet(written(comp) / '.answers.parquet')
    assert ('unit' in answers) == LAYOUTS[comp].units
    if 'unit' in answers:
        assert answers.groupby('unit').public.nunique().max() == 1 and answers.unit.duplicated().any()
    assert 0.2 < answers.public.mean() < 0.7


@pytest.mark.parametrize('comp', LAYOUTS)
def test_a_second_writing_has_the_same_bytes(comp, written, tmp_path):
    first = written(comp)
    answers = STAND_INS[comp].write(tmp_path)
    names = files_of(first)
    assert names == files_of(tmp_path)
    assert [n for n in names if (first / n).read_bytes() != (tmp_path / n).read_bytes()] == []
    kept = pd.read_parquet(first / '.answers.parquet').drop(columns='public')
    pd.testing.assert_frame_equal(answers, kept, check_dtype=False)


@pytest.mark.parametrize('comp', [c for c in LAYOUTS if LAYOUTS[c].package])
def test_without_its_package_the_error_names_the_extra(comp, space, monkeypatch):
    monkeypatch.setitem(sys.modules, LAYOUTS[comp].package, None)
    with pytest.raises(KitError, match=rf"pip install 'kagglekit\[{LAYOUTS[comp].extra}\]'"):
        write_practice(comp)
    assert not data_dir(comp).exists()
