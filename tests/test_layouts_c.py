"`kagglekit new` over layouts that it was not made for: JSON, tabs, no header, several files a row, no test images."

import io
import json
from typing import NamedTuple
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from kagglekit.core.validation import KitError
from kagglekit.data.competition import Competition, find_comp, load_pages
from kagglekit.fit.page_check import inspect_comp
from kagglekit.images.formats import read_one
from kagglekit.draft.data_survey import survey
from kagglekit.draft.new_page import new_page
from kagglekit.draft.page_draft import make_draft
from kagglekit.practice.dicom_files import write_dicom
from kagglekit.runs.recipe import RECIPES

N, M = 24, 6  # train and test rows
TRAIN, TEST = [f'a{i:02d}' for i in range(N)], [f'b{i:02d}' for i in range(M)]
PIXELS = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)


@pytest.fixture
def home(space):
    "A workspace of this test's own, whose pages are forgotten after it."
    yield space.parent.parent
    for path in (space.parent.parent / 'nbs/competitions').glob('*.ipynb'):
        path.unlink()
    load_pages()


class Page(NamedTuple):
    "What `new` made of a folder."

    comp: Competition
    questions: str  # one a line
    inputs: str


def cycle(*values, n=N):
    "Values in turn."
    return [values[i % len(values)] for i in range(n)]


def picture(suffix='.png', mode='RGB'):
    "The bytes of a small image."
    data = io.BytesIO()
    image = Image.fromarray(PIXELS).convert(mode)
    image.save(data, dict(jpg='JPEG', jpeg='JPEG', tif='TIFF', tiff='TIFF').get(suffix[1:], 'PNG'))
    return data.getvalue()


def write(folder, files):
    "Files by their names: tables, texts and bytes; None is an image."
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            content = picture(path.suffix)
        elif isinstance(content, dict) and path.suffix != '.json':
            sep = '\t' if path.suffix == '.tsv' else ','
            content = pd.DataFrame(content).to_csv(index=False, sep=sep)
        elif not isinstance(content, str | bytes):
            content = json.dumps(content)
        path.write_bytes(content.encode() if isinstance(content, str) else content)


def images(pattern, ids):
    "Images with these ids in their names."
    return {pattern.format(i): None for i in ids}


def page_of(home, comp, files):
    "The page for a folder, checked without a fault."
    write(home / 'data' / comp, files)
    questions = '\n'.join(make_draft(survey(comp)).questions)
    new_page(comp)
    wrong = [f'{line.what}: {line.text}' for line in inspect_comp(comp) if line.mark == '✗']
    assert not wrong, wrong
    return Page(find_comp(comp), questions, RECIPES[comp]['exp0001'].inputs)


# Tables


def test_tabs_and_a_sample_without_a_header(home):
    "As SIGNATE: train_master.tsv, and a sample that begins with its first row."
    rows = '\n'.join(f'{i}.jpeg\t{k % 2}' for k, i in enumerate(TEST))
    page = page_of(
        home,
        'boards',
        {
            'train_master.tsv': dict(file_name=[f'{i}.jpeg' for i in TRAIN], flag=cycle(0, 0, 1)),
            'sample_submit.tsv': rows + '\n',
            **images('train/{}.jpeg', TRAIN),
            **images('test/{}.jpeg', TEST),
        },
    )
    assert not page.comp.header and len(page.comp.sample) == M
    assert page.comp.train.target.tolist() == cycle(0, 0, 1) and page.comp.classes == ('flag',)
    assert 'The sample has tabs' in page.questions


def test_no_header_and_train_images_in_two_folders(home):
    "As SIGNATE: names with their extension, for which no pattern of folders fits."
    page = page_of(
        home,
        'things',
        {
            'train_master.csv': dict(file_name=[f'{i}.png' for i in TRAIN], label_id=cycle(0, 1, 2)),
            'sample_submit.csv': ''.join(f'{i}.png,0\n' for i in TEST),
            **images('train_images_1/{}.png', TRAIN[:9]),
            **images('train_images_2/{}.png', TRAIN[9:]),
            **images('test_images/{}.png', TEST),
        },
    )
    assert page.comp.train.file[0] == 'train_images_1/a00.png' and page.comp.train.file[9] == 'train_images_2/a09.png'
    assert not page.comp.header and page.comp.classes == ('0', '1', '2')


def coco(names, side):
    "Images, and a category for each, as COCO has them."
    found = dict(images=[dict(id=100 + k, file_name=name) for k, name in enumerate(names)])
    if side == 'train':
        notes = [dict(id=k, image_id=100 + k, category_id=k % 3) for k in range(len(names))]
        found |= dict(annotations=notes, categories=[dict(id=k, name=f'species {k}') for k in range(3)])
    return found


def test_json_as_coco_has_it(home):
    "As Herbarium 2021: metadata.json in either folder, and paths in it."
    train, test = ([f'images/{i[1]}/{i}.jpg' for i in ids] for ids in (TRAIN, TEST))
    page = page_of(
        home,
        'herbs',
        {
            'train/metadata.json': coco(train, 'train'),
            'test/metadata.json': coco(test, 'test'),
            'sample_submission.csv': dict(Id=range(100, 100 + M), Predicted=0),
            **images('train/{}', train),
            **images('test/{}', test),
        },
    )
    assert page.comp.train.file[0] == 'train/images/0/a00.jpg' and page.comp.test.file[0] == 'test/images/0/b00.jpg'
    assert page.comp.train.target.tolist() == cycle(0, 1, 2)


def test_json_with_a_list_of_test_rows(home):
    "As Herbarium 2022, whose ids are under other names."
    notes = [dict(category_id=k % 3, image_id=i, genus_id=0) for k, i in enumerate(TRAIN)]
    rows = [dict(image_id=i, file_name=f'{i}.jpg') for i in TRAIN]
    page = page_of(
        home,
        'flora',
        {
            'train_metadata.json': dict(annotations=notes, images=rows, categories=[]),
            'test_metadata.json': [dict(image_id=str(k), file_name=f'test-{k}.jpg') for k in range(M)],
            'names.json': {'0': 'Abies alba'},
            'sample_submission.csv': dict(Id=range(M), Predicted=2),
            **images('train_images/{}.jpg', TRAIN),
            **images('test_images/test-{}.jpg', range(M)),
        },
    )
    assert page.comp.test.file[1] == 'test_images/test-1.jpg' and page.comp.classes == ('0', '1', '2')


def test_a_json_file_beside_each_image(home):
    "As crops: a folder for each image is no class, and the label joins three values of the JSON."
    labels = cycle('1_00_0', '3_a9_1', '3_a9_2', '6_a12_1')
    notes = {}
    for i, label in zip(TRAIN, labels):
        crop, disease, risk = label.split('_')
        notes[f'train/{i}/{i}.json'] = dict(
            description=dict(image=f'{i}.jpg', width=8),
            annotations=dict(disease=disease, crop=int(crop), risk=int(risk)),
        )
    page = page_of(
        home,
        'crops',
        {
            'sample_submission.csv': dict(image=TEST, label='1_00_0'),
            **notes,
            **{f'train/{i}/{i}.jpg': None for i in TRAIN},
            **{f'test/{i}/{i}.jpg': None for i in TEST},
        },
    )
    assert page.comp.classes == ('1_00_0', '3_a9_1', '3_a9_2', '6_a12_1')
    assert page.comp.train.label.tolist() == labels and page.comp.test.file[0] == 'test/b00/b00.jpg'
    assert 'Is label what is to be predicted?' in page.questions


# What is predicted


def test_label_strings_and_a_column_for_each(home):
    "As Freesound 2019: the table of noisy labels is the other one."
    labels = cycle('Bark', 'Run', 'Bark,Run')
    page = page_of(
        home,
        'sounds',
        {
            'train_curated.csv': dict(fname=[f'{i}.png' for i in TRAIN], labels=labels),
            'train_noisy.csv': dict(fname=['n.png'], labels='Run'),
            'sample_submission.csv': dict(fname=[f'{i}.png' for i in TEST], Bark=0, Run=0),
            **images('train_curated/{}.png', TRAIN),
            **images('train_noisy/{}.png', 'n'),
            **images('test/{}.png', TEST),
        },
    )
    assert page.comp.target.kind == 'labels' and page.comp.answer == 'probability'
    assert page.comp.train[['Bark', 'Run']].head(3).to_numpy().tolist() == [[1, 0], [0, 1], [1, 1]]
    assert 'train_noisy.csv' in page.questions


def test_labels_that_seldom_stand_alone(home):
    "As Planet: the sample says which labels there are, and the test images are in two folders."
    page = page_of(
        home,
        'forests',
        {
            'train_v2.csv': dict(image_name=TRAIN, tags=cycle('haze primary', 'clear primary', 'clear primary road')),
            'sample_submission_v2.csv': dict(image_name=TEST, tags='primary clear road'),
            **images('train-jpg/{}.jpg', TRAIN),
            **images('train-tif/{}.tif', TRAIN),
            **images('test-jpg/{}.jpg', TEST[:3]),
            **images('test-jpg-additional/{}.jpg', TEST[3:]),
        },
    )
    assert set(page.comp.target.names) == {'haze', 'primary', 'clear', 'road'} and page.comp.answer == 'labels'
    assert page.comp.test.file[5] == 'test-jpg-additional/b05.jpg' and page.inputs == 'rgb(fast=True)'
    assert 'Each train row has 2 files' in page.questions


def test_classes_by_name_that_the_sample_numbers(home):
    "As Petals: folders whose names have several words."
    names = ('alpine sea holly', 'azalea', 'iris', 'sea holly')
    page = page_of(
        home,
        'petals',
        {
            'sample_submission.csv': dict(id=TEST, label=0),
            **{f'jpeg/train/{name}/{name[:2]}{k}.jpeg': None for name in names for k in range(6)},
            **images('jpeg/test/{}.jpeg', TEST),
        },
    )
    assert page.comp.classes == ('0', '1', '2', '3') and page.comp.train.target.tolist()[::6] == [0, 1, 2, 3]
    assert 'alphabetical order' in page.questions


def test_rows_and_answers_that_only_one_side_knows_are_asked_about(home):
    files = images('train/{}.png', TRAIN) | images('test/{}.png', TEST)
    train = dict(id=TRAIN, bird=cycle('owl', 'tit', 'crow'))
    some = page_of(
        home, 'some', {'train.csv': train, 'sample_submission.csv': dict(id=TEST, owl=0.5, tit=0.5), **files}
    )
    assert (
        len(some.comp.train) == 16
        and '8 train rows have a bird that the sample has not, such as crow' in some.questions
    )
    more = page_of(home, 'more', {'train.csv': train, 'sample_submission.csv': dict(id=TEST, bird='nocall'), **files})
    assert 'The sample answers nocall' in more.questions


def test_classes_by_the_names_of_the_files(home):
    "As dogs and cats: no train table and no folders; the sample asks for a number."
    page = page_of(
        home,
        'pets',
        {
            'sample_submission.csv': dict(id=range(M), label=0.5),
            **{f'train/{kind}.{k}.jpg': None for kind in ('cat', 'dog') for k in range(12)},
            **images('test/{}.jpg', range(M)),
        },
    )
    assert page.comp.classes == ('dog',) and page.comp.train.target.tolist() == [0] * 12 + [1] * 12
    assert page.comp.train.file[0] == 'train/cat.0.jpg' and page.comp.test.file[0] == 'test/0.jpg'


@pytest.mark.parametrize(
    'answer, label, form, metric',
    [
        ('a b c', cycle('a', 'b', 'c', 'd'), 'top', 'map_at(3)'),  # the best three
        ('sugar beet', cycle('sugar beet', 'black grass'), 'label', 'accuracy'),  # a name of two words
        ('', cycle('a', 'b', 'c'), 'label', 'accuracy'),  # nothing to go by
    ],
)
def test_what_one_field_of_the_sample_holds(home, answer, label, form, metric):
    files = images('train/{}.png', TRAIN) | images('test/{}.png', TEST)
    tables = {'train.csv': dict(id=TRAIN, label=label), 'sample_submission.csv': dict(id=TEST, label=answer)}
    page = page_of(home, 'plants', tables | files)
    assert (page.comp.answer, page.comp.metric) == (form, metric)
    assert 'which no train row has' not in page.questions


# Rows


def test_both_eyes_of_a_person(home):
    "As diabetic retinopathy: ids name files, so they are no long form, and two of them begin alike."
    train, test = ([f'{k}_{side}' for k in ks for side in ('left', 'right')] for ks in (range(12), range(20, 23)))
    page = page_of(
        home,
        'retina',
        {
            'trainLabels.csv': dict(image=train, level=cycle(0, 1, 2, 3)),
            'sampleSubmission.csv': dict(image=test, level=0),
            **images('train/{}.jpeg', train),
            **images('test/{}.jpeg', test),
        },
    )
    assert page.comp.answer == 'label' and len(page.comp.test) == 6
    assert page.comp.group == 'pair' and page.comp.train.pair.nunique() == 12


@pytest.mark.parametrize('held', [True, False])
def test_without_test_images_all_else_can_be_tried(home, held):
    "As PANDA, and as birds whose folders only the train table knows."
    place = 'train_images/{}.tiff' if held else 'train_images/owl/{}.tiff'
    kind = {} if held else dict(kind='owl')
    page = page_of(
        home,
        'biopsies',
        {
            'train.csv': dict(image_id=TRAIN, isup_grade=cycle(0, 1, 2, 3), **kind),
            'test.csv': dict(image_id=TEST),
            'sample_submission.csv': dict(image_id=TEST, isup_grade=0),
            **images(place, TRAIN),
        },
    )
    assert page.inputs == 'rgb'  # a TIFF in colour
    assert set(page.comp.test.file) == {page.comp.train.file[0]}
    assert 'There are no images of the test rows here' in page.questions
    if held:  # the page finds them where they come later
        write(home / 'data/biopsies', images('test_images/{}.tiff', TEST))
        assert find_comp('biopsies').test.file[0] == 'test_images/b00.tiff'


def test_what_has_no_images_is_refused(home):
    "As Quick, Draw!: strokes in tables."
    write(
        home / 'data/strokes',
        {'train/sun.csv': dict(key_id=[1], drawing='[]'), 'sample.csv': dict(key_id=[2], word='sun')},
    )
    with pytest.raises(KitError, match='has no images'):
        new_page('strokes')


# Several files a row


def colours(ids, side, names):
    "A grey image of its own value for each channel."
    grey = lambda k: np.full((8, 8), 10 + 40 * k, np.uint8)
    made = {}
    for i in ids:
        for k, name in enumerate(names):
            data = io.BytesIO()
            Image.fromarray(grey(k)).save(data, 'PNG')
            made[f'{side}/{i}_{name}.png'] = data.getvalue()
    return made


@pytest.mark.parametrize('names', [('red', 'green', 'blue', 'yellow'), ('c1', 'c2')])
def test_a_file_for_each_channel(home, names):
    "As the Human Protein Atlas; red, green and blue come first, as pretrained networks know them."
    page = page_of(
        home,
        'cells',
        {
            'train.csv': dict(Id=TRAIN, Target=cycle('a', 'b')),
            'sample_submission.csv': dict(Id=TEST, Predicted='a'),
            **colours(TRAIN, 'train', names),
            **colours(TEST, 'test', names),
        },
    )
    assert page.inputs == 'channels_of_cells' and 'files' not in page.questions
    image = read_one(page.inputs, page.comp.folder / page.comp.train.file[0], (4, 4))
    assert image[0, 0].tolist() == [10 + 40 * k for k in range(len(names))]


def test_a_mask_is_no_channel(home):
    page = page_of(
        home,
        'masks',
        {
            'train.csv': dict(id=TRAIN, label=cycle('x', 'y')),
            'sample_submission.csv': dict(id=TEST, label='x'),
            **colours(TRAIN, 'train', ('image', 'mask')),
            **colours(TEST, 'test', ('image',)),
        },
    )
    assert page.inputs == 'grey' and 'Each train row has 2 files' in page.questions


def slices(ids, place, n):
    "Pictures 1 … n, each brighter than the last."
    made = {}
    for i in ids:
        for k in range(1, n + 1):
            data = io.BytesIO()
            Image.fromarray(np.full((8, 8), 10 * k, np.uint8)).save(data, 'PNG')
            made[f'{place.format(i)}/{k}.png'] = data.getvalue()
    return made


@pytest.mark.parametrize('place', ['{}', '{}/flair'])
def test_a_folder_of_slices_for_each_row(home, place):
    "The tenth comes after the ninth, and of several folders the first is taken."
    other = slices(TRAIN, 'train/{}/t2', 3) if 'flair' in place else {}
    page = page_of(
        home,
        'scans',
        {
            'train.csv': dict(id=TRAIN, label=cycle(0, 1)),
            'sample_submission.csv': dict(id=TEST, label=0.5),
            **slices(TRAIN[:-1], f'train/{place}', 12),
            **slices(TRAIN[-1:], f'train/{place}', 16),
            **slices(TEST, f'test/{place}', 12),
            **other,
        },
    )
    assert page.inputs == 'slices_of_scans' and 'three slices of a folder' in page.questions
    assert ('2 folders of slices: flair, t2' in page.questions) == bool(other)
    image = read_one(page.inputs, page.comp.folder / page.comp.train.file[0], (4, 4))
    assert image[0, 0].tolist() == [40, 70, 100]  # of 12: those at 3, 6 and 9, counted from 0


def test_a_series_of_dicom_files(home):
    pytest.importorskip('pydicom')
    write_dicom(home / 'one.dcm', np.arange(64, dtype=np.uint16).reshape(8, 8))
    one = (home / 'one.dcm').read_bytes()
    page = page_of(
        home,
        'brains',
        {
            'train_labels.csv': dict(BraTS21ID=TRAIN, MGMT_value=cycle(0, 1)),
            'sample_submission.csv': dict(BraTS21ID=TEST, MGMT_value=0.5),
            **{f'train/{i}/FLAIR/Image-{k}.dcm': one for i in TRAIN for k in range(1, 5)},
            **{f'test/{i}/FLAIR/Image-{k}.dcm': one for i in TEST for k in range(1, 5)},
        },
    )
    assert page.inputs == 'slices_of_brains' and page.comp.train.file[0].startswith('train/a00/FLAIR/')
