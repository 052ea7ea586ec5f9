"The checks on the stand-ins: what is planted is found, and nothing else is cried over."
import numpy as np
import pandas as pd
import pytest
from kagglekit.checks import check_alike, check_copies, check_groups, check_windows, fingerprints, grain, near_pairs
from kagglekit.competition import find_comp, load_pages
from kagglekit.core import workspace
from kagglekit.folds import make_folds
from kagglekit.looking import take_sample
from kagglekit.practice import write_practice
from kagglekit.shifts import check_shift

@pytest.fixture(scope='module', autouse=True)
def pages(): load_pages()

def seen(name, tmp, rows=None):
    "A stand-in, written, and its small pictures."
    write_practice(name, rows)
    comp = find_comp(name)
    return comp, take_sample(comp, say=lambda line: None)

def test_mask_has_one_number_that_is_two_people_and_nothing_else(tmp_path):
    with workspace(tmp_path):
        comp, s = seen('mask-practice', tmp_path, 420)
        groups = check_groups(comp, make_folds(comp, 3))
        assert groups.alarm and groups.number == 0 and '1 names begin alike' in groups.advice       # told, and no person is split
        assert [f.check for f in (check_copies(s), check_alike(s), check_shift(s)) if f.alarm] == []

def test_people_split_by_picture_are_found(tmp_path):
    with workspace(tmp_path):
        write_practice('mask-practice', 420)
        comp = find_comp('mask-practice')
        found = check_groups(comp, make_folds(comp, 3, grouped=False))
        assert found.alarm and found.number > .9 * len(comp.train) and "make it the reader's group" in found.advice

def test_seti_has_overlapping_windows_and_no_copies(tmp_path):
    with workspace(tmp_path):
        comp, s = seen('seti-practice', tmp_path, 120)
        windows = check_windows(s)
        assert windows.alarm and windows.number > 20
        assert [f.check for f in (check_copies(s), check_groups(comp, make_folds(comp, 3))) if f.alarm] == []

def test_solar_cells_come_twice_and_plain_ones_are_told_apart(tmp_path):
    pytest.importorskip('elpv_dataset', reason='the photographs of solar cells are a package of their own')
    with workspace(tmp_path):
        comp, s = seen('anomaly-practice', tmp_path)
        files, kind = np.r_[s.train.file, s.test.file], pd.Series([*s.train['class'], *['?'] * len(s.test)])
        a, b, _ = near_pairs(fingerprints(np.concatenate([s.x, s.y])))
        plain = [k for k in range(len(a)) if kind[a[k]] == kind[b[k]] == 'mono']
        twice = [k for k in range(len(a)) if kind[a[k]] == kind[b[k]] == 'poly']
        agree = lambda some: float(np.median([grain(comp.folder/files[a[k]], comp.folder/files[b[k]]) for k in some]))
        print(f'{len(a)} pairs look alike when they are small: grain of mono cells {agree(plain):.2f}, of poly cells {agree(twice):.2f} in the median')
        assert agree(plain) < .1 and agree(twice) > .5
        found = check_alike(s)
        assert found.alarm and 80 < len(found.rows) < 260 and found.rows.label_a.str.startswith('mono').mean() < .1
        assert not check_copies(s).alarm
