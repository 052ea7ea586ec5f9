"The checks on the stand-ins: what is planted is found, and nothing else is cried over."
import json
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from kagglekit.checks import GRAIN, Finding, check_alike, check_copies, check_facts, check_groups, check_windows, fingerprints, grain, near_pairs
from kagglekit.competition import find_comp, load_pages
from kagglekit.core import workspace
from kagglekit.folds import make_folds
from kagglekit.looking import file_facts, take_sample
from kagglekit.practice import write_practice
from kagglekit.shifts import check_shift

@pytest.fixture(scope='module', autouse=True)
def pages(): load_pages()

def seen(name, tmp, rows=None):
    "A stand-in, written, and its small pictures."
    write_practice(name, rows)
    comp = find_comp(name)
    return comp, take_sample(comp, say=lambda line: None)

def alarms(*findings): return [f.check for f in findings if f.alarm]

def test_mask_has_one_number_that_is_two_people_and_nothing_else(tmp_path):
    with workspace(tmp_path):
        comp, s = seen('mask-practice', tmp_path, 420)
        groups = check_groups(comp, make_folds(comp, 3))
        assert groups.alarm and groups.number == 0 and '1 names begin alike' in groups.advice       # told, and no person is split
        assert alarms(check_copies(s), check_alike(s), check_shift(s), check_facts(file_facts(comp, comp.train), comp)) == []

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
        assert alarms(check_copies(s), check_groups(comp, make_folds(comp, 3)), check_shift(s), check_facts(file_facts(comp, comp.train), comp)) == []

def test_solar_cells_come_twice_and_plain_ones_are_told_apart(tmp_path):
    pytest.importorskip('elpv_dataset', reason='the photographs of solar cells are a package of their own')
    with workspace(tmp_path):
        comp, s = seen('anomaly-practice', tmp_path)
        files, kind = np.r_[s.train.file, s.test.file], pd.Series([*s.train['class'], *['?'] * len(s.test)])
        a, b, _ = near_pairs(fingerprints(np.concatenate([s.x, s.y])))
        of = lambda what: [grain(comp.folder/files[i], comp.folder/files[j]) for i, j in zip(a[::4], b[::4]) if kind[i] == kind[j] == what]
        plain, twice = of('mono'), of('poly')
        print(f'{len(a)} pairs look alike when they are small: grain of mono cells {np.median(plain):.2f}, of poly cells {np.median(twice):.2f} in the median')
        assert np.median(plain) < .3 and np.median(twice) > .8
        assert not [r for r in plain + twice if GRAIN - .06 < r < GRAIN + .06]                       # nothing lies near the threshold
        found = check_alike(s)
        assert found.alarm and len(found.rows) == 203 and (np.isin(found.rows.label_a, [c for c in comp.classes if c.startswith('mono')]).sum() <= 14)
        assert alarms(check_copies(s), check_groups(comp, make_folds(comp)), check_shift(s), check_facts(file_facts(comp, comp.train), comp)) == []

def test_the_page_shows_rows_that_have_no_picture(tmp_path, capsys):
    page = json.loads((Path(__file__).parent.parent/'nbs'/'eda.ipynb').read_text())
    code, = [''.join(c['source']) for c in page['cells'] if 'f.draw()' in ''.join(c['source'])]
    shown, rows = [], pd.DataFrame(dict(id=['a', 'b'], file='x.png', owner='one', fold=[0, 1]))
    exec(code, dict(findings=[Finding('groups', 2., 'rows', True, 'Look.', rows), Finding('copies', 0., 'rows', False, 'Nothing.')], display=shown.append))
    assert [list(t.columns) for t in shown] == [['id', 'owner', 'fold']] and capsys.readouterr().out.startswith('! groups')
