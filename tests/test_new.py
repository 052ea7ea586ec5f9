"`kagglekit new` over layouts after known competitions: what it guesses, and that its page is checked without a fault."

import io
import json
import shutil
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from kagglekit.cli import main
from kagglekit.core.registry import name_of
from kagglekit.core.validation import KitError
from kagglekit.data.competition import READERS, find_comp, load_pages
from kagglekit.images import arrays, audio, dicom, image_parts  # noqa
from kagglekit.images.formats import INPUTS
from kagglekit.targets.target import Shares
from kagglekit.fit.page_check import inspect_comp
from kagglekit.draft.data_survey import survey
from kagglekit.draft.new_page import new_page
from kagglekit.draft.page_draft import make_draft
from kagglekit.runs.recipe import RECIPES
from running import train_here

for _name in ('arrays', 'audio', 'dicom', 'image_parts'):  # formats that a module registers
    with suppress(ImportError):
        import_module(f'kagglekit.images.{_name}')
N, M = 60, 8  # train and test rows
TRAIN, TEST = [f'tr{i:03d}' for i in range(N)], [f'te{i:03d}' for i in range(M)]
G = np.random.default_rng(0)


@pytest.fixture
def home(space):
    "A workspace of this test's own, whose pages are forgotten after it."
    yield space.parent.parent
    for path in (space.parent.parent / 'nbs/competitions').glob('*.ipynb'):
        path.unlink()
    load_pages()


def picture(suffix='.png', mode='RGB'):
    "The bytes of a small image."
    data = io.BytesIO()
    pixels = G.integers(0, 256, (12, 12, 3), np.uint8)
    Image.fromarray(pixels).convert(mode).save(data, 'JPEG' if suffix in ('.jpg', '.jpeg') else 'PNG')
    return data.getvalue()


def lay_out(home, comp, tables, files, content=None):
    "Tables and files of a competition."
    folder = home / 'data' / comp
    for name, table in tables.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(table).to_csv(folder / name, index=False)
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if content is not None else picture('.' + name.rpartition('.')[2]))
    return folder


def sides(pattern, train=TRAIN, test=TEST):
    "Files of both sides."
    return [pattern.format(side='train', id=i) for i in train] + [pattern.format(side='test', id=i) for i in test]


def draft(home, comp, tables, files, content=None):
    "What is guessed for a layout; where its files can be read, its page is written and checked, too."
    lay_out(home, comp, tables, files, content)
    d = make_draft(survey(comp))
    if name_of(d.inputs) in INPUTS or d.format:
        check_written(comp, ('images',) if content == b'' else ())
    return d


def check_written(comp, but=()):
    "Write a page, and assert that `kagglekit check` finds nothing wrong; `but` names lines that may be."
    new_page(comp)
    wrong = [f'{line.what}: {line.text}' for line in inspect_comp(comp) if line.mark == '✗' and line.what not in but]
    assert not wrong, wrong
    assert list(RECIPES[comp]) == ['exp0001', 'exp0002']
    return find_comp(comp)


def fact(d, what):
    return next(f.value for f in d.facts if f.what == what)


def checked(home, comp, tables, files):
    "The competition that a written page reads, after a check without a fault."
    lay_out(home, comp, tables, files)
    return check_written(comp)


def cycle(*values, n=N):
    "Values in turn."
    return [values[i % len(values)] for i in range(n)]


def floats(n=N, low=0.0, high=1.0):
    return np.round(G.uniform(low, high, n), 4)


# One column of answers


def test_one_class_by_name(home):
    "A label a row, in the form of the train table."
    c = checked(
        home,
        'weeds',
        {
            'train.csv': dict(image_id=TRAIN, label=cycle('daisy', 'fern', 'moss')),
            'test.csv': dict(image_id=TEST),
            'sample_submission.csv': dict(image_id=TEST, label='fern'),
        },
        sides('{side}_images/{id}.jpg'),
    )
    assert (c.classes, c.metric, c.answer) == (('daisy', 'fern', 'moss'), 'accuracy', 'label')
    assert c.train.file[0] == 'train_images/tr000.jpg' and c.test.file[0] == 'test_images/te000.jpg'


def test_a_binary_probability_with_patients(home):
    "As melanoma: tables with more columns, and a column of patients."
    c = checked(
        home,
        'moles',
        {
            'train.csv': dict(
                image_name=TRAIN,
                patient_id=cycle(*[f'P{i}' for i in range(20)]),
                sex=cycle('m', 'f'),
                target=cycle(0, 0, 1),
            ),
            'test.csv': dict(image_name=TEST, patient_id=cycle('Q1', 'Q2', n=M), sex='f'),
            'sample_submission.csv': dict(image_name=TEST, target=0.5),
        },
        sides('jpeg/{side}/{id}.jpg'),
    )
    assert (c.classes, c.metric, c.answer, c.group) == (('target',), 'auc', 'probability', 'patient_id')
    assert c.train.target.tolist() == cycle(0, 0, 1)


def test_whole_answers_of_a_binary_target_are_a_question(home):
    d = draft(
        home,
        'tissue',
        {'train_labels.csv': dict(id=TRAIN, label=cycle(0, 1)), 'sample_submission.csv': dict(id=TEST, label=0)},
        sides('{side}/{id}.png'),
    )
    assert d.arguments['answer'] == "'probability'" and any('0 and 1' in q for q in d.questions)


def test_two_names_and_one_number(home):
    "As a deepfake contest: the table has names, the sample wants a probability."
    c = checked(
        home,
        'faces',
        {
            'train.csv': dict(id=TRAIN, label=cycle('REAL', 'FAKE')),
            'sample_submission.csv': dict(id=TEST, prob=0.0),
        },
        sides('{side}/{id}.jpg'),
    )
    assert c.classes == ('FAKE',) and c.train.target.tolist() == cycle(0, 1)


def test_class_folders(home):
    "As used cars: no train table, a folder for each class, probabilities of each."
    train = [f'train/{name}/{name}_{i}.jpg' for name in ('Audi A4', 'BMW X1', 'Kia K5') for i in range(12)]
    c = checked(
        home,
        'used-cars',
        {
            'test.csv': dict(ID=TEST, img_path=[f'./test/{i}.jpg' for i in TEST]),
            'sample_submission.csv': {'ID': TEST, 'Audi A4': 0.0, 'BMW X1': 0.0, 'Kia K5': 0.0},
        },
        [*train, *(f'test/{i}.jpg' for i in TEST)],
    )
    assert c.classes == ('Audi A4', 'BMW X1', 'Kia K5') and c.metric == 'log_loss' and c.answer == 'probability'
    assert c.train.file[0] == 'train/Audi A4/Audi A4_0.jpg' and c.test.file[0] == 'test/te000.jpg'


def test_class_folders_with_one_label(home):
    "Ids that are not unique over the folders become paths."
    train = [f'train/{name}/{i}.png' for name in ('crack', 'good') for i in range(12)]
    c = checked(
        home,
        'walls',
        {'sample_submission.csv': dict(id=TEST, label='good')},
        [*train, *(f'test/{i}.png' for i in TEST)],
    )
    assert c.classes == ('crack', 'good') and c.train.id[0] == 'train/crack/0.png'


def test_grades(home):
    "As APTOS."
    d = draft(
        home,
        'aptos',
        {
            'train.csv': dict(id_code=TRAIN, diagnosis=cycle(0, 1, 2, 3, 4)),
            'test.csv': dict(id_code=TEST),
            'sample_submission.csv': dict(id_code=TEST, diagnosis=0),
        },
        sides('{side}_images/{id}.png'),
    )
    assert d.arguments['target'] == 'Grades(grades)' and d.arguments['decide'] == "'cut_points'"
    assert d.arguments['metric'] == "'qwk'" and not any('ordered' in q for q in d.questions)


def test_whole_numbers_without_a_telling_name_may_be_ordered_or_not(home):
    tables = {'train.csv': dict(id=TRAIN, wealth=cycle(1, 2, 3)), 'sample_submission.csv': dict(id=TEST, wealth=1)}
    d = draft(home, 'houses', tables, sides('{side}/{id}.png'))
    assert d.arguments['target'] == 'Grades(grades)' and any('ordered' in q for q in d.questions)


def test_class_codes_named_label_are_classes(home):
    "As Cassava."
    c = checked(
        home,
        'cassava',
        {
            'train.csv': dict(image_id=[f'{i}.jpg' for i in TRAIN], label=cycle(0, 1, 2, 3, 4)),
            'sample_submission.csv': dict(image_id=[f'{i}.jpg' for i in TEST], label=4),
        },
        sides('{side}_images/{id}.jpg'),
    )
    assert c.classes == ('0', '1', '2', '3', '4') and c.train.file[0] == 'train_images/tr000.jpg'


def test_a_number_with_a_range(home):
    "As Pawpularity: twelve columns of 0 and 1 are in the test table, too, and are no target."
    features = {name: cycle(0, 1) for name in ('Eyes', 'Face', 'Blur')}
    d = draft(
        home,
        'pets',
        {
            'train.csv': dict(Id=TRAIN, **features, Pawpularity=[1 + (37 * i) % 100 for i in range(N)]),
            'test.csv': dict(Id=TEST, **{k: v[:M] for k, v in features.items()}),
            'sample_submission.csv': dict(Id=TEST, Pawpularity=floats(M, 1, 100)),
        },
        sides('{side}/{id}.jpg'),
    )
    assert d.arguments['target'] == "Numbers(('Pawpularity',), range=(0, 100))"
    assert (d.arguments['metric'], d.arguments['answer']) == ("'rmse'", "'numbers'")


@pytest.mark.parametrize('mark', [' ', ','])
def test_label_strings(home, mark):
    "As iMet and plant pathology."
    sets = cycle('4', '17', f'4{mark}17', '201', f'17{mark}201{mark}4')
    d = draft(
        home,
        'museum',
        {
            'train.csv': dict(id=TRAIN, attribute_ids=sets),
            'labels.csv': dict(attribute_id=['4', '17', '201'], attribute_name=list('abc')),
            'sample_submission.csv': dict(id=TEST, attribute_ids=f'4{mark}17'),
        },
        sides('{side}/{id}.png'),
    )
    assert d.arguments['target'] == 'Labels(tuple(labels))' and d.arguments['answer'] == "'labels'"
    assert sorted(d.table('train').columns[-3:]) == ['17', '201', '4'] and d.table('train')['4'].tolist()[:3] == [
        1,
        0,
        1,
    ]
    assert any('labels.csv' in q for q in d.questions)


def test_the_five_best_identities(home):
    "As Happywhale: ids are names of files with their extension."
    whales = [f'w{i % 20:02d}' for i in range(N)]
    d = draft(
        home,
        'whales',
        {
            'train.csv': dict(image=[f'{i}.jpg' for i in TRAIN], species=cycle('orca', 'beluga'), individual_id=whales),
            'sample_submission.csv': dict(
                image=[f'{i}.jpg' for i in TEST], predictions='w01 w02 w03 w04 new_individual'
            ),
        },
        sides('{side}_images/{id}.jpg'),
    )
    assert d.arguments['classes'] == 'classes' and d.arguments['answer'] == "'top'"
    assert d.space['classes'][:2] == ('w00', 'w01') and d.arguments['metric'] == "'map_at(5)'"
    assert d.table('train').file[0] == 'train_images/tr000.jpg'


# Several columns of answers


def test_columns_of_labels_with_patients(home):
    "As RANZCR."
    labels = {'ETT - Normal': cycle(0, 1), 'NGT - Normal': cycle(1, 1, 0), 'CVC - Abnormal': cycle(0, 0, 0, 1)}
    d = draft(
        home,
        'lines',
        {
            'train.csv': dict(StudyInstanceUID=TRAIN, **labels, PatientID=cycle(*[f'p{i}' for i in range(25)])),
            'sample_submission.csv': dict(StudyInstanceUID=TEST, **dict.fromkeys(labels, 0)),
        },
        sides('{side}/{id}.jpg'),
    )
    assert d.arguments['target'] == 'Labels(names)' and d.space['names'] == tuple(labels)
    assert d.arguments['group'] == "'PatientID'" and d.arguments['metric'] == "'column_auc'"
    assert any('PatientID a person' in q for q in d.questions)


def test_columns_with_a_single_one_are_a_class(home):
    "As Plant Pathology 2020."
    kinds = cycle('healthy', 'rust', 'scab')
    columns = {k: [int(x == k) for x in kinds] for k in ('healthy', 'rust', 'scab')}
    c = checked(
        home,
        'apples',
        {
            'train.csv': dict(image_id=TRAIN, **columns),
            'test.csv': dict(image_id=TEST),
            'sample_submission.csv': dict(image_id=TEST, **dict.fromkeys(columns, 0.25)),
        },
        [f'images/{i}.jpg' for i in TRAIN + TEST],
    )
    assert c.classes == ('healthy', 'rust', 'scab') and c.train.target.tolist()[:4] == [0, 1, 2, 0]


def test_shares(home):
    p = G.dirichlet([1, 1, 1], N).round(6)
    columns = {f'Class{i}': p[:, i] for i in range(2)} | {'Class2': 1 - p[:, 0] - p[:, 1]}
    tables = {
        'training_solutions.csv': dict(GalaxyID=TRAIN, **columns),
        'sample_submission.csv': dict(GalaxyID=TEST, **dict.fromkeys(columns, 0)),
    }
    d = draft(
        home, 'galaxies', tables, [f'images_training/{i}.jpg' for i in TRAIN] + [f'images_test/{i}.jpg' for i in TEST]
    )
    assert d.arguments['target'] == 'Shares(names)' and d.arguments['answer'] == "'probability'"


def test_votes_become_shares(home):
    "As HMS: whole numbers whose sums differ; spectrograms named by another column; patients."
    votes = {f'{k}_vote': G.integers(0, 9, N) + (k == 'other') for k in ('seizure', 'lpd', 'other')}
    d = draft(
        home,
        'eeg',
        {
            'train.csv': dict(
                eeg_id=[f'9{i // 2}' for i in range(N)],
                spectrogram_id=[f'7{i // 2}' for i in range(N)],
                label_id=range(N),
                patient_id=[f'5{i // 6}' for i in range(N)],
                **votes,
            ),
            'test.csv': dict(
                spectrogram_id=[f'8{i}' for i in range(M)], eeg_id=[f'6{i}' for i in range(M)], patient_id=1
            ),
            'sample_submission.csv': dict(eeg_id=[f'6{i}' for i in range(M)], **dict.fromkeys(votes, 0.33)),
        },
        [f'train_spectrograms/7{i}.parquet' for i in range(N // 2)]
        + [f'test_spectrograms/8{i}.parquet' for i in range(M)],
        b'',
    )
    train = d.table('train')
    assert (
        d.arguments['target'] == 'Shares(names)'
        and d.arguments['group'] == "'patient_id'"
        and d.inputs == 'table_of_eeg'
    )
    assert np.allclose(train[list(votes)].sum(axis=1), 1) and train.id.is_unique
    assert (
        train.file[3] == 'train_spectrograms/71.parquet' and d.table('test').file[0] == 'test_spectrograms/80.parquet'
    )
    Shares(d.space['names']).check(train, 'train')


def test_numbers_under_longer_names(home):
    "As PlantTraits: the train columns end in _mean."
    traits = {f'{k}_mean': floats(N, 0, 9) for k in ('X4', 'X11', 'X50')}
    d = draft(
        home,
        'plants',
        {
            'train.csv': dict(id=range(100, 100 + N), WORLDCLIM=floats(), **traits, X4_sd=floats()),
            'test.csv': dict(id=range(900, 900 + M), WORLDCLIM=floats(M)),
            'sample_submission.csv': dict(id=range(900, 900 + M), X4=1.5, X11=1.5, X50=1.5),
        },
        sides('{side}_images/{id}.jpeg', range(100, 100 + N), range(900, 900 + M)),
    )
    assert d.arguments['target'] == 'Numbers(names)' and d.space['names'] == ('X4_mean', 'X11_mean', 'X50_mean')


def test_two_columns_of_a_binary_target(home):
    c = checked(
        home,
        'towers',
        {
            'train.csv': dict(id=TRAIN, label=cycle('stable', 'unstable')),
            'sample_submission.csv': dict(id=TEST, unstable_prob=0.5, stable_prob=0.5),
        },
        sides('{side}/{id}/front.png') + sides('{side}/{id}/top.png'),
    )
    assert set(c.classes) == {'stable', 'unstable'} and c.train.file[0] == 'train/tr000/front.png'


def test_main_and_secondary_labels_of_recordings(home):
    "As BirdCLEF: paths in a column, ids with the second at which a part ends."
    birds = ['amecro', 'barswa', 'comrav']
    rows = [f'soundscape_{i}_{s}' for i in range(3) for s in (5, 10, 15)]
    d = draft(
        home,
        'birds',
        {
            'train_metadata.csv': dict(
                primary_label=cycle(*birds),
                secondary_labels=cycle('[]', "['comrav']"),
                filename=[f'{birds[i % 3]}/XC{i}.ogg' for i in range(N)],
            ),
            'sample_submission.csv': dict(row_id=rows, **dict.fromkeys(birds, 0.3)),
        },
        [f'train_audio/{birds[i % 3]}/XC{i}.ogg' for i in range(N)]
        + [f'test_soundscapes/soundscape_{i}.ogg' for i in range(3)],
        b'',
    )
    train, test = d.table('train'), d.table('test')
    assert d.inputs == 'audio' and d.arguments['target'] == 'Labels(names)'
    assert train.loc[1, birds].tolist() == [0, 1, 1] and train.file[0] == 'train_audio/amecro/XC0.ogg'
    assert (test.file[1], test.part[1]) == ('test_soundscapes/soundscape_0.ogg', '5-10')


# The long form


def test_long_ids_of_labels(home):
    "As RSNA haemorrhage: train and sample are long, files are DICOM."
    names = ['any', 'epidural', 'intraventricular']
    d = draft(
        home,
        'bleeding',
        {
            'stage_2_train.csv': dict(
                ID=[f'ID_{i}_{n}' for i in TRAIN for n in names], Label=cycle(0, 1, 0, 0, 1, n=N * 3)
            ),
            'stage_2_sample_submission.csv': dict(ID=[f'ID_{i}_{n}' for i in TEST for n in names], Label=0.5),
        },
        [f'stage_2_train/ID_{i}.dcm' for i in TRAIN] + [f'stage_2_test/ID_{i}.dcm' for i in TEST],
        b'',
    )
    assert d.arguments['target'] == 'Labels(names)' and d.arguments['answer'] == "'long'" and d.inputs == 'dicom'
    assert d.space['names'] == tuple(names) and len(d.table('train')) == N and len(d.table('test')) == M
    assert d.table('train').loc[0, names].tolist() == [0, 1, 0]
    assert d.table('test').file[0] == 'stage_2_test/ID_te000.dcm' and d.table('test').sample_id[0] == 'ID_te000'


def test_long_ids_of_numbers_with_paths(home):
    "As CSIRO biomass: names with underscores, a column of names, paths in both tables; one test image alone."
    names = ['Dry_Clover_g', 'Dry_Green_g', 'GDM_g']
    row = lambda i, side: dict(sample_id=[f'{i}__{n}' for n in names], image_path=f'{side}/{i}.jpg', target_name=names)
    frame = lambda ids, side: pd.concat([pd.DataFrame(row(i, side)) for i in ids])
    train = frame(TRAIN, 'train').assign(State='NSW', target=floats(N * 3, 0, 80))
    test = frame(TEST[:1], 'test')
    d = draft(
        home,
        'biomass',
        {
            'train.csv': train,
            'test.csv': test,
            'sample_submission.csv': dict(sample_id=test.sample_id, target=0.0),
        },
        sides('{side}/{id}.jpg', TRAIN, TEST[:1]),
    )
    assert d.arguments['target'] == 'Numbers(names)' and d.arguments['answer'] == "'long'"
    assert len(d.table('train')) == N and d.table('test').id.tolist() == ['te000']
    assert d.table('train').file[0] == 'train/tr000.jpg'


def test_long_ids_and_a_wide_train_table(home):
    "As cervical spine fractures: a folder of slices for each study."
    names = [f'C{i}' for i in range(1, 4)]
    files = [
        f'{side}_images/{i}/{k}.dcm' for side, ids in (('train', TRAIN), ('test', TEST)) for i in ids for k in (1, 2, 3)
    ]
    d = draft(
        home,
        'spines',
        {
            'train.csv': dict(StudyInstanceUID=TRAIN, **{n: cycle(0, 1, 1) for n in names}),
            'test.csv': dict(
                row_id=[f'{i}_{n}' for i in TEST for n in names],
                StudyInstanceUID=[i for i in TEST for _ in names],
                prediction_type=names * M,
            ),
            'sample_submission.csv': dict(row_id=[f'{i}_{n}' for i in TEST for n in names], fractured=0.5),
        },
        files,
        b'',
    )
    assert d.arguments['answer'] == "'long'" and len(d.table('test')) == M
    assert d.inputs == 'slices_of_spines'


def test_long_ids_of_factors_in_parquet(home):
    "As Bengali: images are rows of Parquet files."
    names = ['grapheme_root', 'vowel_diacritic', 'consonant_diacritic']
    tables = {
        'train.csv': dict(
            image_id=[f'Train_{i}' for i in range(N)],
            grapheme_root=cycle(*range(9)),
            vowel_diacritic=cycle(*range(5)),
            consonant_diacritic=cycle(*range(4)),
            grapheme=cycle('ক', 'খ', 'গ'),
        ),
        'class_map.csv': dict(component_type=['grapheme_root'], label=[0], component=['ক']),
        'test.csv': dict(
            row_id=[f'Test_{i}_{n}' for i in range(M) for n in names],
            image_id=[f'Test_{i}' for i in range(M) for _ in names],
            component=names * M,
        ),
        'sample_submission.csv': dict(row_id=[f'Test_{i}_{n}' for i in range(M) for n in names], target=0),
    }
    folder = lay_out(home, 'bengali', tables, [])
    for side, n in (('train', N), ('test', M)):
        for part in range(2):
            ids = [f'{side.title()}_{i}' for i in range(part * n // 2, (part + 1) * n // 2)]
            pd.DataFrame(dict(image_id=ids, **{'0': 1, '1': 2})).to_parquet(
                folder / f'{side}_image_data_{part}.parquet'
            )
    d = make_draft(survey('bengali'))
    assert d.arguments['target'] == 'Factors(heads=heads)' and [len(c) for _, c in d.space['heads']] == [9, 5, 4]
    assert d.inputs == 'parquet(height=1, width=2)' and d.arguments['answer'] == "'long'" and len(d.table('test')) == M
    assert d.table('train').file.tolist()[:: N - 1] == ['train_image_data_0.parquet', 'train_image_data_1.parquet']
    assert d.table('test').part[0] == 'Test_0'


# Rows: units, parts, ids, files


def test_several_rows_with_one_answer(home):
    "As RSNA mammography: a breast has two views."
    ids = lambda first, n: [str(first + i) for i in range(n)]
    train = pd.DataFrame(dict(image_id=ids(500, N), patient_id=[100 + i // 4 for i in range(N)]))
    train = train.assign(laterality=cycle('L', 'L', 'R', 'R'), age=cycle(40, 50), cancer=cycle(0, 0, 1, 1, 0, 0, 0, 0))
    test = pd.DataFrame(dict(image_id=ids(900, M), patient_id=[200 + i // 4 for i in range(M)]))
    test = test.assign(laterality=cycle('L', 'L', 'R', 'R', n=M), age=40)
    test['prediction_id'] = test.patient_id.astype(str) + '_' + test.laterality
    d = draft(
        home,
        'breasts',
        {
            'train.csv': train,
            'test.csv': test,
            'sample_submission.csv': dict(prediction_id=test.prediction_id.unique(), cancer=0.02),
        },
        [f'train_images/{r.patient_id}/{r.image_id}.dcm' for r in train.itertuples()]
        + [f'test_images/{r.patient_id}/{r.image_id}.dcm' for r in test.itertuples()],
        b'',
    )
    assert d.arguments['unit'] == "'unit'" and d.table('train').unit[0] == '100_L'
    assert d.table('test').sample_id.tolist() == test.prediction_id.tolist() and d.arguments['group'] == "'patient_id'"
    assert d.table('train').file[0] == 'train_images/100/500.dcm'


def test_images_in_hdf5(home):
    "As ISIC 2024: JPEG files of train alone, HDF5 for both."
    tables = {
        'train-metadata.csv': dict(isic_id=TRAIN, target=cycle(0, 1), patient_id=cycle(*[f'p{i}' for i in range(20)])),
        'test-metadata.csv': dict(isic_id=TEST, patient_id='q'),
        'sample_submission.csv': dict(isic_id=TEST, target=0.3),
    }
    files = ['train-image.hdf5', 'test-image.hdf5', *(f'train-image/image/{i}.jpg' for i in TRAIN)]
    d = draft(home, 'skin', tables, files, b'')
    assert d.inputs == 'hdf5(channels=3)' and d.arguments['classes'] == "('target',)"
    assert d.table('train').loc[0, ['file', 'part']].tolist() == ['train-image.hdf5', 'tr000']


def test_first_letters_as_folders(home):
    "As SETI: no test table, a folder for each first letter."
    ids = [f'{i % 16:x}{i:04d}' for i in range(N)]
    test = [f'{i:x}test' for i in range(M)]
    d = draft(
        home,
        'sky',
        {'train_labels.csv': dict(id=ids, target=cycle(0, 1)), 'sample_submission.csv': dict(id=test, target=0.5)},
        [f'train/{i[0]}/{i}.npy' for i in ids] + [f'test/{i[0]}/{i}.npy' for i in test],
        b'',
    )
    assert d.inputs == 'npy' and "train['file'] = 'train/' + train['id'].str[0] + '/' + train['id'] + '.npy'" in d.lines


def test_several_extensions_are_looked_up(home):
    train = [f'train/{i}.{"jpg" if n % 2 else "png"}' for n, i in enumerate(TRAIN)]
    c = checked(
        home,
        'mixed',
        {
            'train.csv': dict(id=TRAIN, label=cycle('a', 'b')),
            'sample_submission.csv': dict(id=TEST, label='a'),
        },
        [*train, *(f'test/{i}.png' for i in TEST)],
    )
    assert c.train.file.tolist() == train


def test_ids_without_their_zeros_that_both_tables_have(home):
    c = checked(
        home,
        'zeros',
        {
            'train.csv': dict(id=range(N), label=cycle('a', 'b')),
            'test.csv': dict(id=range(M)),
            'sample_submission.csv': dict(id=range(M), label='a'),
        },
        sides('{side}/{id:05d}.png', range(N), range(M)),
    )
    assert c.train.file[7] == 'train/00007.png' and c.test.id[0] == 'test_0' and c.test.sample_id[0] == '0'


@pytest.mark.parametrize(
    'key, label, names',
    [
        ('이미지', '분류', ('균열', '정상')),
        ('画像ID', 'ラベル', ('正常', '異常')),
        ('file name', 'the label', ('a b', 'c')),
    ],
)
def test_columns_in_any_language(home, key, label, names):
    c = checked(
        home,
        'bridges',
        {
            'train.csv': {key: TRAIN, label: cycle(*names)},
            'test.csv': {key: TEST},
            'sample_submission.csv': {key: TEST, label: names[0]},
        },
        sides('{side}/{id}.png'),
    )
    assert set(c.classes) == set(names)


def test_masks_beside_images_are_not_taken(home):
    d = draft(
        home,
        'lungs',
        {'train.csv': dict(id=TRAIN, label=cycle('a', 'b')), 'sample_submission.csv': dict(id=TEST, label='a')},
        sides('{side}/images/{id}.png') + [f'train/masks/{i}.png' for i in TRAIN],
    )
    assert fact(d, 'file (train)') == "'train/images/' + train['id'] + '.png'"


def test_grey_images(home):
    lay_out(
        home,
        'xrays',
        {'train.csv': dict(id=TRAIN, label=cycle('a', 'b')), 'sample_submission.csv': dict(id=TEST, label='a')},
        sides('{side}/{id}.png'),
        picture(mode='L'),
    )
    assert make_draft(survey('xrays')).inputs == 'grey'


# The drawn layouts of known competitions

LAYOUTS = {
    'aptos': dict(kind='grades', metric='qwk', inputs='rgb', answer='label'),
    'pawpularity': dict(kind='numbers', metric='rmse', inputs='rgb(fast=True)', answer='numbers'),
    'ranzcr': dict(kind='labels', inputs='grey(fast=True)', answer='probability', group='PatientID'),
    'haemorrhage': dict(kind='labels', metric='column_auc', inputs='dicom', answer='long'),
    'imet': dict(kind='labels', metric="fbeta(beta=1, average='samples')", inputs='rgb', answer='labels'),
    'bengali': dict(kind='factors', inputs='parquet(height=137, width=236)', answer='long'),
    'mammography': dict(kind='class', metric='auc', inputs='dicom', unit='unit', group='patient_id'),
    'isic': dict(kind='class', metric='auc', inputs='hdf5(channels=3)', group='patient_id'),
    'birdclef': dict(kind='labels', metric='column_auc', inputs='audio', answer='probability'),
    'hms': dict(kind='shares', metric='kl_divergence', inputs='table_of_hms_practice', group='patient_id'),
    'biomass': dict(kind='numbers', metric='mcrmse', inputs='rgb(fast=True)', answer='long'),
    'whales': dict(kind='class', metric='map_at(5)', inputs='rgb(fast=True)', answer='top'),
}


@pytest.mark.parametrize('name', LAYOUTS)
def test_a_drawn_layout_is_understood_and_its_page_checked(home, drawn, name):
    comp, wanted = f'{name}-practice', LAYOUTS[name]
    shutil.copytree(drawn(comp), home / 'data' / comp)
    c = check_written(comp)
    found = vars(c) | dict(kind=c.target.kind, inputs=RECIPES[comp]['exp0001'].inputs)
    assert {key: found[key] for key in wanted} == wanted


# The page


def simple(home, comp='weeds'):
    return lay_out(
        home,
        comp,
        {'train.csv': dict(id=TRAIN, label=cycle('a', 'b')), 'sample_submission.csv': dict(id=TEST, label='a')},
        sides('{side}/{id}.png'),
    )


@pytest.mark.parametrize('comp', ['plant-pathology-2020', '2026-weeds', '235894', 'weeds.v2'])
def test_names_that_are_no_module_names(home, comp, capsys):
    simple(home, comp)
    for command in ('new', 'check'):
        with pytest.raises(SystemExit) as done:
            main([command, comp])
        said = capsys.readouterr()
        assert done.value.code == 0, said
    assert comp in READERS


def test_the_page_is_read_by_a_person(home, capsys):
    simple(home)
    with pytest.raises(SystemExit) as done:
        main(['new', 'weeds'])
    said = capsys.readouterr().out
    assert done.value.code == 0 and 'Next: kagglekit check weeds' in said and 'What you should answer' in said
    nb = json.loads((home / 'nbs/competitions/weeds.ipynb').read_text())
    text = '\n'.join(''.join(c['source']) for c in nb['cells'])
    assert '# weeds' in text and '- **target**: `one of 2 classes`' in text and '## Questions' in text
    assert max(map(len, (line for c in nb['cells'] if c['cell_type'] == 'code' for line in c['source']))) <= 121
    clean = subprocess.run(
        [sys.executable, '-m', 'ruff', 'check', '--select', 'F', str(home / 'nbs')], capture_output=True, text=True
    )
    assert clean.returncode == 0, clean.stdout


def test_a_page_is_never_overwritten(home):
    simple(home)
    new_page('weeds')
    path = home / 'nbs/competitions/weeds.ipynb'
    path.write_text('mine')
    with pytest.raises(KitError, match='nbs/competitions/weeds.ipynb is there already'):
        new_page('weeds')
    assert path.read_text() == 'mine'


def test_a_competition_with_a_page_gets_no_other(home):
    simple(home, 'shapes-practice')
    with pytest.raises(KitError, match='shapes-practice has a page already: kagglekit.competitions.shapes'):
        new_page('shapes-practice')


def _no_folder(folder):
    for path in sorted(folder.rglob('*'), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()


def _rewrite(name, text):
    return lambda folder: (folder / name).write_text(text)


def _without(pattern):
    return lambda folder: [p.unlink() for p in folder.glob(pattern)]


@pytest.mark.parametrize(
    'spoil, words',
    [
        (_no_folder, 'kagglekit download weeds'),
        (_without('*.csv'), 'no sample_submission.csv'),
        (_without('sample*.csv'), 'no sample_submission.csv'),
        (_without('train.csv'), 'no table of train rows'),
        (_without('*/*.png'), 'has no images'),
        (_without('train/*.png'), 'no file belongs to the train rows'),
        (_rewrite('train.csv', ''), 'is empty'),
        (_rewrite('sample_submission.csv', 'id\nte000\n'), 'it needs ids and answers'),
        (_rewrite('sample_submission.csv', 'id,label\n'), 'it needs ids and answers'),
        (_rewrite('train.csv', 'id,label\ntr000,a\n"tr001,b\n'), 'a quote is wrong'),
    ],
)
def test_bad_data_are_a_clear_error_and_no_page(home, spoil, words):
    spoil(simple(home))
    with pytest.raises(KitError, match=words):
        new_page('weeds')
    assert not (home / 'nbs/competitions/weeds.ipynb').exists()


def test_new_imports_no_torch(home):
    simple(home)
    code = (
        'import sys\nfrom kagglekit.draft.data_survey import survey\n'
        'from kagglekit.draft.page_draft import make_draft\n'
        'make_draft(survey("weeds"))\nprint("torch" in sys.modules)'
    )
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True)
    assert done.stdout.strip() == 'False', done.stderr


def test_the_first_recipe_trains(home):
    "From data to a scored run."
    simple(home)
    new_page('weeds')
    train_here('weeds', 'exp0001')
    assert json.loads((home / 'outputs/weeds/exp0001/score.json').read_text())['metric'] == 'accuracy'


def test_paths_that_begin_with_a_dot(home):
    "As on Dacon: a folder for each class, with a Korean name, and test paths such as ./test/000.png."
    faults = ('가구수정', '곰팡이', '녹오염')
    c = checked(
        home,
        'walls',
        {
            'test.csv': dict(id=TEST, img_path=[f'./test/{i:03d}.png' for i in range(M)]),
            'sample_submission.csv': dict(id=TEST, label=faults[0]),
        },
        [f'train/{fault}/{i}.png' for fault in faults for i in range(20)] + [f'test/{i:03d}.png' for i in range(M)],
    )
    assert (c.classes, c.answer, c.test.file[1]) == (faults, 'label', 'test/001.png')


def test_ids_are_not_numbers_with_a_decimal_point(home):
    "As BirdCLEF: no column has the name of the ids, and coordinates tell the rows apart, too."
    c = checked(
        home,
        'birds',
        {
            'train.csv': dict(longitude=floats(), label=cycle('owl', 'tit'), filename=[f'{i}.png' for i in TRAIN]),
            'sample_submission.csv': dict(row_id=TEST, label='owl'),
        },
        sides('{side}/{id}.png'),
    )
    assert c.train.id[0] == 'tr000.png'
