"The checks on every kind of target: each planted fault is found, and clean data raise no alarm."

import numpy as np
import pytest
from PIL import Image

from kagglekit.core.paths import workspace
from kagglekit.eda import overview as eda
from kagglekit.eda.examples import KINDS, kind_comp, write_kind_runs

RUNS = ['exp0001', 'exp0002']
WRONG = [5, 20, 35, 50, 65, 80]  # rows with a wrong class or label
CHECKS = (
    'group leakage',
    'duplicates',
    'near duplicates',
    'metadata leak',
    'columns of the tables',
    'truth within groups',
    'covariate shift',
    'output shift',
    'label errors',
)


def add_columns(folder, train, test):
    "Columns that train and test share, and that tell nothing."
    g = np.random.default_rng(1)
    for table in (train, test):
        table['age'] = g.integers(20, 80, len(table))
        table['site'] = g.choice(['north', 'south'], len(table))


def first_column(train):
    "The first column of the truth."
    return next(c for c in train if c not in ('id', 'file', 'patient', 'age', 'site'))


def make_wrong(kind, train):
    "Change the truth of some rows; returns their ids."
    column = first_column(train)
    if kind == 'numbers':
        rows = [5, 40]
        train.loc[rows, column] = [0.1 * train[column][5], 10 * train[column][40]]
    elif kind == 'grades':
        rows = [int(train.target.argmax())]
        train.loc[rows, 'target'] = 0
    elif kind == 'shares':
        rows = [int(train.red.argmin())]
        train.loc[rows, ['red', 'green', 'blue']] = [1.0, 0.0, 0.0]
    else:
        rows, values = WRONG, 3 if kind == 'factors' else 2
        train.loc[rows, column] = (train[column][rows] + 1) % values
    return set(train.id[rows])


def leak_column(train, test):
    "A machine that goes with the truth."
    train['machine'] = 3.0 * train[first_column(train)] + 0.01 * train.age
    test['machine'] = 1.0


def copy_image(kind, folder, train):
    "Row 110 shows what row 112 shows, and has another truth."
    Image.open(folder / train.file[112]).save(folder / train.file[110])
    column = first_column(train)
    if kind == 'shares':
        train.loc[[110, 112], ['red', 'green', 'blue']] = [[0.6, 0.2, 0.2], [0.2, 0.6, 0.2]]
    else:
        train.loc[[110, 112], column] = [0, 30] if kind == 'numbers' else [0, 1]
    train.loc[110, 'patient'] = 'p900'


def checked(kind, home, edit, **options):
    "The findings of the page, by name, and the competition."
    drawn = kind_comp(kind, home, edit=edit, **options)
    write_kind_runs(drawn, RUNS)
    data = eda.load_eda_data(drawn.comp, RUNS)
    return {f.check: f for f in eda.run_checks(data, lambda line: None)}, data


QUICK_FIRST = [kind if kind in ('labels', 'numbers') else pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS]


@pytest.mark.parametrize('kind', QUICK_FIRST)
def test_clean_data_raise_no_alarm(tmp_path, kind):
    with workspace(tmp_path):
        found, data = checked(kind, tmp_path, add_columns)
        assert [name for name, f in found.items() if f.alarm] == []
        assert not [f.check for f in found.values() if np.isnan(f.number)], 'everything is measured'
    expected = set(CHECKS)
    if kind == 'class':  # as before there were other kinds
        expected = expected - {'truth within groups', 'output shift'} | {'label shift'}
    assert set(found) == expected
    assert ('class frequencies of test are left out' in repr(data)) == (kind != 'class')


@pytest.mark.parametrize('kind', QUICK_FIRST)
def test_planted_faults_are_found(tmp_path, kind):
    wrong = set()

    def spoil(folder, train, test):
        add_columns(folder, train, test)
        leak_column(train, test)
        wrong.update(make_wrong(kind, train))
        copy_image(kind, folder, train)
        test.loc[0, 'patient'] = train.patient[0]

    with workspace(tmp_path):
        found, data = checked(kind, tmp_path, spoil)
    assert found['group leakage'].alarm and found['group leakage'].number == 3
    assert 'the same patient as a row of test' in found['group leakage'].advice
    copies = found['duplicates']
    assert copies.alarm and copies.number == 2 and '1 have different' in copies.advice
    assert set(copies.rows.iloc[0][['id_a', 'id_b']]) == {'r110', 'r112'}
    assert found['columns of the tables'].alarm and found['columns of the tables'].rows.feature[0] == 'machine'
    errors = found['label errors']
    assert errors.alarm and wrong <= set(errors.rows.id)
    assert set(errors.rows.id) - wrong <= {'r110', 'r112'}, 'and no right row is called wrong'
    assert not found['metadata leak'].alarm and not found['covariate shift'].alarm


@pytest.mark.parametrize('kind', QUICK_FIRST)
def test_the_page_shows_every_kind(tmp_path, kind, capsys):
    with workspace(tmp_path):
        found, data = checked(kind, tmp_path, add_columns)
        eda.show_target(data)
        eda.show_random(data)
        eda.show_by_target(data)
        eda.show_columns(data)
        eda.show_ranked(data)
        eda.show_evidence(list(found.values()))
    assert eda.columns_to_show(data.comp) == ['age']


def spread(folder, train, test):
    "Patients are units, and the truth of one of their rows differs."
    train['mass'] = train.groupby('patient').mass.transform('first')
    train['height'] = train.groupby('patient').height.transform('first')
    train.loc[7, 'mass'] += 30
    test['sample_id'] = test.patient


def test_units_with_several_truths_are_found(tmp_path):
    with workspace(tmp_path):
        found, data = checked('numbers', tmp_path, spread, unit='patient', group=None)
    f = found['truth within units']
    assert (f.alarm, f.number, f.rows.patient[0]) == (True, 1, 'p002')
    assert 'of 40 values of patient in train' in repr(data)
    assert not found['group leakage'].alarm and not found['duplicates'].alarm


def as_parts(folder, train, test):
    "Each patient is one wide picture, and a row is a box of it."
    for table in (train, test):
        for _, rows in table.groupby('patient'):
            boxes = [Image.open(folder / file) for file in rows.file]
            whole = Image.new('RGB', (64 * len(boxes), 64))
            for k, box in enumerate(boxes):
                whole.paste(box, (64 * k, 0))
            whole.save(folder / f'{rows.patient.iloc[0]}.png')
        nth = table.groupby('patient').cumcount()
        table['part'] = [f'{64 * k},0,{64 * k + 64},64' for k in nth]
        table['file'] = table.patient + '.png'


def test_parts_are_looked_at_one_by_one(tmp_path):
    def copied(folder, train, test):
        as_parts(folder, train, test)
        train.loc[30, ['file', 'part']] = train.loc[90, ['file', 'part']]

    with workspace(tmp_path / 'a') as home:
        clean, data = checked('labels', home, as_parts)
        eda.show_random(data)
    with workspace(tmp_path / 'b') as home:
        found, _ = checked('labels', home, copied)
    assert [name for name, f in clean.items() if f.alarm] == []
    assert found['duplicates'].number == 2 and found['near duplicates'].number == 2
    row = found['duplicates'].rows.iloc[0]
    assert {row.part_a, row.part_b} == {'0,0,64,64'} and {row.id_a, row.id_b} == {'r030', 'r090'}


def test_rows_that_are_only_trained_on_are_no_suspects(tmp_path):
    def spoil(folder, train, test):
        train['extra'] = train.patient > 'p030'
        train.loc[100, 'mass'] *= 100  # an extra row
        train.loc[7, 'mass'] *= 100

    with workspace(tmp_path):
        found, data = checked('numbers', tmp_path, spoil, train_only='extra')
    assert set(found['label errors'].rows.id) == {'r007'}
    assert data.exps == RUNS and not found['group leakage'].alarm
