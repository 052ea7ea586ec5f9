"Tables with other encodings, separators or broken rows: read correctly, or refused with a remedy that works."

import re
import shutil
import subprocess
import pandas as pd
import pytest
from kagglekit.core.tables import check_files, match_ids, read_table
from kagglekit.core.validation import KitError


def write(folder, text, encoding='utf8'):
    "A table in a folder, as bytes or in an encoding; its path."
    path = folder / 'train.csv'
    path.write_bytes(text if isinstance(text, bytes) else text.encode(encoding))
    return path


def refusal(*args, **more):
    "What read_table says of a table that it refuses."
    with pytest.raises(KitError) as e:
        read_table(*args, **more)
    return str(e.value)


LABELS = [
    ('균열', 'cp949'),
    ('K5 3세대', 'cp949'),
    ('똠방각하', 'cp949'),
    ('정상', 'euc_kr'),
    ('ヒビ割れ', 'cp932'),
    ('欠陥', 'cp932'),
    ('きず', 'shift_jis'),
    ('良品', 'cp932'),
    ('裂纹', 'gbk'),
    ('破损', 'gb2312'),
    ('正常', 'gb18030'),
    ('裂紋', 'big5'),
    ('défaut', 'latin-1'),
    ('größe', 'cp1252'),
    ('mañana', 'latin-1'),
    ('Ölfleck', 'cp1252'),
    ('균열', 'utf-16'),
    ('good', 'utf-16'),
    ('균열', 'utf-16-le'),
    ('good', 'utf-16-be'),
    ('défaut', 'utf-32'),
    ('good', 'utf-32-le'),
]


@pytest.mark.skipif(not shutil.which('iconv'), reason='iconv is not installed')
@pytest.mark.parametrize('label, encoding', LABELS)
def test_the_iconv_command_of_the_message_works(tmp_path, label, encoding):
    "The first command that is printed makes a file that is read right."
    rows = ''.join(f'{i:05d},{label if i % 2 else "x"}\n' for i in range(12))
    said = refusal(write(tmp_path, 'id,label\n' + rows, encoding), ['id', 'label'])
    command = re.search(r'iconv .*? > new\.csv', said)[0]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    table = read_table(tmp_path / 'new.csv', ['id', 'label'], id='id')
    assert set(table.label) == {'x', label} and table.id[1] == '00001'


@pytest.mark.skipif(not shutil.which('iconv'), reason='iconv is not installed')
@pytest.mark.parametrize('label, encoding', [('好', 'gbk'), ('花猫', 'gbk'), ('划痕', 'gbk'), ('刮痕', 'big5')])
def test_ambiguous_bytes_are_shown_in_both_encodings(tmp_path, label, encoding):
    "Where no statistics can tell, the message shows each reading with its command, and one of them is right."
    said = refusal(write(tmp_path, f'id,label\n1,{label}\n', encoding), ['id', 'label'])
    commands = re.findall(r'iconv .*? > new\.csv', said)
    found = []
    for command in commands:
        subprocess.run(command, shell=True, cwd=tmp_path, check=True)
        found.append(read_table(tmp_path / 'new.csv', ['id', 'label']).label[0])
    assert label in found and f'1,{label}' in said


def test_a_path_with_spaces_and_quotes_still_makes_a_command(tmp_path):
    "The command is quoted for a shell."
    folder = tmp_path / "my data's"
    folder.mkdir()
    said = refusal(write(folder, 'id,label\n1,균열\n', 'cp949'), ['id'])
    command = re.search(r'iconv .*? > new\.csv', said)[0]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    assert read_table(tmp_path / 'new.csv', ['id']).label[0] == '균열'


@pytest.mark.parametrize(
    'text, ids, labels',
    [
        ('\ufeffid,label\n01,a\n02,b\n', ['01', '02'], ['a', 'b']),  # a byte order mark
        ('id,label\r\n01,a\r\n02,b\r\n', ['01', '02'], ['a', 'b']),  # line ends of Windows
        ('id,label\r\n01,a\n02,b\r', ['01', '02'], ['a', 'b']),  # mixed line ends
        ('id,label\n01,"a\nb"\n02,"x,y"\n', ['01', '02'], ['a\nb', 'x,y']),  # a line break and a comma in quotes
        ('id,label\n01,"say ""a"""\n', ['01'], ['say "a"']),  # doubled quotes
        ('id,label,\n01,a,\n02,b,\n', ['01', '02'], ['a', 'b']),  # trailing commas, in the header too
        ('id,label\n01,a,\n02,b,\n', ['01', '02'], ['a', 'b']),  # and below it alone
        (',id,label\n0,01,a\n1,02,b\n', ['01', '02'], ['a', 'b']),  # pandas' index
        ('Unnamed: 0,id,label\n0,01,a\n1,02,b\n', ['01', '02'], ['a', 'b']),  # the same, saved once more
        ('id,label\n01,a\n\n02,b\n\n', ['01', '02'], ['a', 'b']),  # empty lines
        ('id,label\n01,NA\n1e5,nan\n', ['01', '1e5'], ['NA', 'nan']),  # text stays text
    ],
)
def test_an_unambiguous_table_is_read(tmp_path, text, ids, labels):
    "No value moves into another column, and no text becomes a number."
    table = read_table(write(tmp_path, text), ['id', 'label'], id='id')
    assert list(table.columns) == ['id', 'label'] and table.id.tolist() == ids and table.label.tolist() == labels


@pytest.mark.parametrize(
    'text, words',
    [
        ('id,label\n01,a\n02\n', 'line 3 has 1 fields'),
        ('id,label\n01,a\n02,b,c\n', 'line 3 has 3 fields'),
        ('id,label\n0,01,a\n1,02,b\n', 'line 2 has 3 fields'),
        ('id,label\n01,"a\nb"\n02\n', 'line 4 has 1 fields'),
        ('id,label,label\n01,a,b\n', 'the column label comes twice'),
        ('id,label,\n01,a,b\n', 'column 3 of 3 has no name'),
        ('id,label\n01,"a\n02,b\n', 'never closed'),
        ('id,label\n', 'a header and no rows'),
        ('id\n01\n', "no column 'label'"),
        ('ID,label\n01,a\n', "did you mean 'ID'"),
        ('id, label\n01,a\n', "did you mean ' label'"),
        ('id,label\n01,a\n01,b\n', 'more than once'),
        ('id,label\n01,a\n ,b\n', 'no id in row 3'),
        ('', 'is empty'),
        ('\n\n', 'is empty'),
        ('id,label\n01,a\0\n', 'line 2 has zero bytes'),
        (b'id,label\n01,a\n' + bytes(4096), 'zero bytes'),
        (b'PK\x03\x04' + bytes(100), 'a zip or an Excel file'),
        (b'\x1f\x8b\x08' + bytes(100), 'packed by gzip'),
        ('<!DOCTYPE html>\n<html><body>sign in</body></html>', 'a web page'),
    ],
)
def test_an_ambiguous_table_is_refused(tmp_path, text, words):
    "The message names the line, or what the file is."
    said = refusal(write(tmp_path, text), ['id', 'label'], 'id')
    assert words in said and 'train.csv' in said


@pytest.mark.parametrize('mark', [';', '\t', '|'])
def test_the_command_for_another_separator_works(tmp_path, mark):
    "Fields that hold a comma are quoted by it."
    said = refusal(write(tmp_path, f'id{mark}label\n01{mark}a,b\n'), ['id', 'label'])
    command = re.search(r'python -c .*', said)[0]
    subprocess.run(command, shell=True, cwd=tmp_path, check=True)
    table = read_table(tmp_path / 'new.csv', ['id', 'label'])
    assert table.values.tolist() == [['01', 'a,b']]


def test_a_folder_is_no_table(tmp_path):
    "Nor is a file that is not there."
    assert 'a folder' in refusal(tmp_path, ['id'])
    assert 'not there' in refusal(tmp_path / 'nothing.csv', ['id'])


def test_a_large_table_is_counted_without_loading_it(tmp_path):
    "A field too few in the last of many rows is found, with its line."
    n = 50_000
    path = write(tmp_path, 'id,label\n' + ''.join(f'{i:06d},a\n' for i in range(n)) + '999999\n')
    assert f'line {n + 2} has 1 fields' in refusal(path, ['id'], 'id')


def test_ids_that_became_numbers_are_refused():
    "A page that reads with pandas loses the zeros in front."
    with pytest.raises(KitError, match='dtype=str'):
        match_ids(pd.Series([1, 2]), pd.Series(['1', '2']), 'train')


def test_missing_files_are_found_by_folder(tmp_path):
    "Files in folders, folders that are not there, and a name that is a folder's beginning."
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a' / '1.png').touch()
    check_files(tmp_path, pd.Series(['a/1.png']))
    with pytest.raises(KitError, match='2 of 3 files are not there, such as a/2.png, b/1.png'):
        check_files(tmp_path, pd.Series(['a/1.png', 'a/2.png', 'b/1.png']))


@pytest.mark.parametrize(
    'label, words', [('CROSS', 'in case alone'), ('NaN', 'missing value'), ('#N/A', 'missing value')]
)
def test_a_doubtful_class_in_a_listed_set_is_a_warning(label, words):
    from kagglekit.data.competition import Competition
    from kagglekit.targets.labels import encode
    from kagglekit.fit.page_check import _about

    train = pd.DataFrame(dict(id=list('abcd'), file='x.png', label=['cross', label, 'circle', 'cross']))
    classes = tuple(sorted(train.label.unique()))
    test = pd.DataFrame(dict(id=['t'], file='x.png', sample_id=['t']))
    sample = pd.DataFrame(dict(id=['t'], label=['cross']))
    made = Competition(
        'own', train.assign(target=encode(train.label, classes, 'train')), test, sample, classes, 'macro_f1'
    )
    assert any(words in note for note in _about(made).notes)
