"Readers of the competition pages: a damaged table or folder is refused with the file, the row and a remedy."

import shutil
import pandas as pd
import pytest
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.storage import write_table
from kagglekit.core.validation import KitError
from kagglekit.data.competition import find_comp
from running import copy_practice


def replace(old, new):
    "An edit of a text file: the first `old` becomes `new`."
    return lambda path: path.write_text(path.read_text().replace(old, new, 1))


def rename(name):
    "An edit that renames a file."
    return lambda path: path.rename(path.with_name(name))


def write_anomaly(folder):
    "Two kinds of object with two states each, in Dacon's layout."
    train = pd.DataFrame(dict(index=range(8), file_name=[f'{10000 + i}.png' for i in range(8)]))
    train['class'] = ['bottle'] * 4 + ['tile'] * 4
    train['state'] = ['good', 'crack'] * 4
    train['label'] = train['class'] + '-' + train.state
    test = pd.DataFrame(dict(index=range(3), file_name=[f'{20000 + i}.png' for i in range(3)]))
    for part, table in [('train', train), ('test', test)]:
        (folder / part).mkdir(parents=True)
        for name in table.file_name:
            (folder / part / name).touch()
        write_table(folder / f'{part}_df.csv', table)
    write_table(folder / 'sample_submission.csv', test[['index']].assign(label='tile-good'))


@pytest.mark.parametrize(
    'file, edit, message',
    [
        ('train_df.csv', replace('bottle-good', 'bottle-crack'), 'its class is bottle and its state good'),
        ('train_df.csv', replace('10003.png', '10002.png'), '10002.png'),
        ('train_df.csv', replace('state', 'stat'), 'did you mean stat'),
        ('train_df.csv', replace('tile-good', 'tile-good '), 'has spaces around it'),
        ('sample_submission.csv', replace('\n2,', '\n7,'), '1 ids are missing'),
        ('train_df.csv', lambda path: path.write_bytes('이름'.encode('cp949')), 'iconv -f cp949'),
    ],
)
def test_a_damaged_table_of_anomaly_is_refused(file, edit, message):
    with workspace():
        folder = data_dir('anomaly')
        write_anomaly(folder)
        assert len(find_comp('anomaly').train) == 8
        edit(folder / file)
        with pytest.raises(KitError, match=message):
            find_comp('anomaly')


@pytest.fixture(scope='module')
def drawn(tmp_path_factory):
    "Thirty drawn people, in Boostcamp's layout; the folder and one of them."
    with workspace(tmp_path_factory.mktemp('mask')):
        folder = copy_practice('mask-practice', 210)
        train = find_comp('mask-practice').train
    return folder, train[train['mask'] == 'not worn'].iloc[10]


@pytest.fixture
def mask(drawn):
    "A copy of the drawn people, as the competition `mask`; the folder, and a row of its train table."
    with workspace():
        yield shutil.copytree(drawn[0], data_dir('mask')), drawn[1]


def change_age(folder, row, age):
    "Write another age into the table and into the name of the person's folder."
    path = f'{row.person.rsplit("_", 1)[0]}_{age}'
    replace(f',{row.age},{row.person}', f',{age},{path}')(folder / 'train' / 'train.csv')
    (folder / 'train/images' / row.person).rename(folder / 'train/images' / path)


def add_twin(path):
    "The same image once more, with another suffix."
    shutil.copy(path, path.with_suffix('.jpg' if path.suffix == '.png' else '.png'))


@pytest.mark.parametrize(
    'edit, message',
    [
        (lambda path: path.unlink(), 'has 6 of 7 images; normal is missing'),
        (rename('normall.jpg'), 'did you mean normal'),
        (add_twin, 'has normal twice'),
        (lambda path: shutil.rmtree(path.parent), 'train.csv has this person'),
    ],
)
def test_a_damaged_folder_of_a_person_is_refused(mask, edit, message):
    folder, row = mask
    edit(folder / row.file)
    with pytest.raises(KitError, match=message):
        find_comp('mask')


@pytest.mark.parametrize('age', ['many', '160', '0'])
def test_an_impossible_age_is_refused(mask, age):
    change_age(*mask, age)
    with pytest.raises(KitError, match=f"age is '{age}', and must be years"):
        find_comp('mask')


def test_an_edited_row_that_contradicts_its_folder_is_refused(mask):
    folder, row = mask
    replace(f',{row.age},{row.person}', f',7,{row.person}')(folder / 'train' / 'train.csv')
    with pytest.raises(KitError, match='leave the table as published'):
        find_comp('mask')


def test_a_missing_column_of_the_sample_submission_is_named(mask):
    replace('ImageID', 'Image')(mask[0] / 'eval' / 'info.csv')
    with pytest.raises(KitError, match='did you mean Image'):
        find_comp('mask')


@pytest.mark.parametrize(
    'line, message',
    [
        ('{person},gendr,male', 'did you mean gender'),
        ('{person}x,gender,male', 'have no person {person}x .did you mean {person}'),
        ('{person},gender,man', "gender is 'man'"),
        ('{person},mask,wear', 'have no image {person} '),
    ],
)
def test_a_wrong_line_of_corrections_is_refused(mask, line, message):
    folder, row = mask
    (folder / 'corrections.csv').write_text(f'path,column,value\n{line.format(person=row.person)}\n')
    with pytest.raises(KitError, match=message.format(person=row.person)):
        find_comp('mask')
