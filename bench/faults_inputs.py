"Bad parameters, bad tables, bad images."

import io
import json
from functools import partial
import numpy as np
from PIL import Image
from faults_tools import COMP, kit, raised, refusal

NOT_NUMBERS = ('nan', 'inf', '-inf', 'NaN', '1e400', 'fast', '""', '[]', '{}', '[[1]]', '[null]', 'true', '"1"')
TOO_FAR = ('-1', '1e9', '99999999999999999999', '-0.001')
NUMBERS = dict(  # a recipe's fields that hold numbers → values beyond their range, besides those of TOO_FAR
    lr=('0', '1e5'),
    mixup=('11',),
    mixup_off=('1.5',),
    drop_rate=('1', '1.5'),
    drop_path_rate=('1', '2'),
    gem=('1e6',),
    feature_norm=('1e9',),
    ema=('1', '1.5'),
    grad_clip=('1e30',),
    weight_decay=('11',),
    label_smoothing=('1', '2'),
    class_weight_power=('1.5',),
    arc_scale=('0',),
    clip_input=('1e30',),
    epochs=('0', '2.5', '[1, 0]'),
    bs=('0', '2.5'),
    accumulate=('0',),
    folds=('0', '1', '2.5'),
    size=('0', '7', '8193', '2.5', '[64]', '[64, 64, 64]', '[64, 0]'),
    infer_size=('7',),
    freeze_epochs=('1.5',),
    patience=('.5',),
    seed=('1.5', '4294967296000000000000'),
    fold_seed=('1.5', '4294967296'),
    gpus=('0', '1.5'),
)
AUGMENT = (
    'hflip 7',
    'hflip -1',
    'hflip nan',
    'vflip inf',
    'affine nan',
    'affine -1',
    'affine 1e9',
    'cutout 1e9',
    'cutout -1',
    'light 1e9',
    'light nan',
    'light -2',
    'hfilp',
    'hflip .5 .5',
    'hflip .5 not',
    'hflip not nut',
    'rot90 7',
    '',
    ' ',
    'hflip .5 only circle',
    'hflip 1e-400 x',
)
TEXTS = dict(  # fields that hold a name, perhaps with a number
    loss=('focal -1', 'focal nan', 'focal 1e9', 'focall', 'ce 3', 'arcface -1', '', 'focal .5 .5', 'bce_auc inf'),
    sampling=('label -5', 'label nan', 'label 1e9', 'flavour', 'label .5 .5'),
    scheduler=('cosin', '', '5', '[]', '["cosine", "cosin"]'),
    optimizer=('AdamV', '', '5'),
    arch=('resnet81', '', '5', '../net'),
    inputs=('rbg', ''),
    checkpoint=('bset', ''),
    monitor=('los', ''),
    precision=('fp64', ''),
    mixup_label=('and',),
    tta=('["hfilp"]',),
    pseudo_labels=('exp9999', 'nobody.csv', '../../secret.csv', '/etc/passwd'),
    init_from=('exp9999', '../exp0001'),
    train_labels=('theirs',),
    fold_file=('none.csv', '../../folds.csv', '/etc/passwd', 'none.npy'),
    heads=('["colour"]', '[""]'),
    single_object=('nut',),
)
EXPS = (
    '1',
    '0001',
    '1.5',
    '-x',
    '../x',
    'a/b',
    'exp 1',
    'x.',
    'a' * 300,
    'submissions.csv',
    'submissions.lock',
    'journal.html',
    'Exp\n1',
    '실험',
    '.hidden',
    '~',
    'exp$HOME',
    'con/..',
    'journal',
)
COMPS = ('shapes', 'shapes-practise', '../data', 'nope', '', 'a' * 300, 'outputs/x')


def _refused(card, *args, words=''):
    card.add(
        ' '.join(map(repr, args[2:])) if len(args) > 2 else repr(args), refusal(kit('run', *args, timeout=20), words)
    )


def params(card, space, given):
    "Every value that cannot be is refused, with exit status 2 and the field's name, before anything is written."
    kit('practice', COMP)
    child = (COMP, 'exp0900', '-p', 'parent', 'exp0001', '-p')
    for field, beyond in NUMBERS.items():
        for value in NOT_NUMBERS + TOO_FAR + beyond:
            _refused(card, *child, field, value, words=field)
    for value in AUGMENT:
        _refused(card, *child, 'augment', json.dumps([value]), words='augment')
    for value in ('5', '{}', '[5]', '[["hflip"]]', 'true'):
        _refused(card, *child, 'augment', value, words='augment')
    for field, values in TEXTS.items():
        for value in values:
            _refused(card, *child, field, value, words=field)
    for field in ('mixpu', 'LR', 'learning_rate', '', 'exp ', 'comp', 'diff'):
        _refused(card, *child, field, '1')
    for exp in EXPS:
        _refused(card, COMP, exp, '-p', 'parent', 'exp0001', '-p', 'lr', '.01')
    for parent in ('5', 'exp9999', '', '../exp0001', '[1]', 'true'):
        _refused(card, COMP, 'exp0900', '-p', 'parent', parent, '-p', 'lr', '.01')
    for comp in COMPS:
        _refused(card, comp, 'exp0001')
    _refused(card, COMP, 'exp0001', '-p', 'lr', '9')
    _refused(card, COMP, 'exp9999')
    written = list((space / 'outputs').rglob('params.json'))
    card.add('nothing was written', f'{written}' if written else '')


def _competition(train, test, sample, **more):
    from kagglekit.data.competition import Competition
    from kagglekit.targets.labels import encode
    from kagglekit.core.tables import read_table

    def read(name, table, columns):
        path = more['folder'] / name
        path.write_bytes(table if isinstance(table, bytes) else table.encode())
        return read_table(path, columns, id='id')

    tables = (
        read('train.csv', train, ['id', 'label']),
        read('test.csv', test, ['id']),
        read('sample.csv', sample, ['id', 'label']),
    )
    classes = tuple(sorted(tables[0].label.unique()))
    tables[0]['target'] = encode(tables[0].label, classes, 'train.csv')
    for df in tables[:2]:
        df['file'] = df.id + '.png'
    return Competition('toy', tables[0], tables[1].assign(sample_id=tables[1].id), tables[2], classes, 'macro_f1')


ROWS = 'id,label\n' + ''.join(f'a{i},{label}\n' for i, label in enumerate(['cat', 'dog', 'cow'] * 6))
TEST, SAMPLE = 'id\nt1\nt2\n', 'id,label\nt1,cat\nt2,cat\n'
BAD_TRAIN = {
    'an empty label': ROWS + 'b1,\n',
    'a label with a space behind': ROWS + 'b1,cat \n',
    'a label in capitals': ROWS + 'b1,CAT\n',
    'a label with a no-break space': ROWS + 'b1,cat\u00a0\n',
    'a label in full width': ROWS + 'b1,ｃａｔ\n',
    'a row cut short': ROWS + 'b1\n',
    'a row with more fields': ROWS + 'b1,cat,dog\n',
    'one class': 'id,label\na,cat\nb,cat\n',
    'the header alone': 'id,label\n',
    'no byte': '',
    'NaN': ROWS + 'b1,NaN\n',
    'an id twice': ROWS + 'a1,cat\n',
    'an empty id': ROWS + ',cat\n',
    'UTF-16': ROWS.encode('utf-16'),
    'UTF-16 without a mark': ROWS.encode('utf-16-le'),
    'cp949': (ROWS + '가,cat\n').encode('cp949'),
    'Latin-1': (ROWS + 'é,cat\n').encode('latin-1'),
    'semicolons': ROWS.replace(',', ';'),
    'tabs': ROWS.replace(',', '\t'),
    'a NUL byte': ROWS + 'b\0,cat\n',
    'an open quote': ROWS + '"b1,cat\n',
    'a picture': b'\x89PNG\r\n\x1a\n',
    'an index column': 'x' + ROWS.replace('\n', '\n0,')[:-2],
    'two columns of a name': ROWS.replace('id,label', 'id,label,label', 1),
    'composed twice': ROWS + 'b1,caf\u00e9\nb2,cafe\u0301\n',
}
BAD_TEST = {
    'no rows': 'id\n',
    'a row of train': 'id\nt1\na1\n',
    'a row short': 'id\nt1\n',
    'a row more': TEST + 't3\n',
    'no byte': '',
}


def tables(card, space, given):
    "Tables that cannot be are a message that names the file, the row or the id; nothing becomes a class by mistake."
    folder = space / 'toy'
    folder.mkdir()
    card.add('a good table', raised(lambda: _competition(ROWS, TEST, SAMPLE, folder=folder)))
    for name, table in BAD_TRAIN.items():
        _is_refused(card, f'train: {name}', partial(_competition, table, TEST, SAMPLE, folder=folder))
    for name, table in BAD_TEST.items():
        _is_refused(card, f'test: {name}', partial(_competition, ROWS, table, SAMPLE, folder=folder))
    from kagglekit.metrics.registry import METRICS, find_metric

    codes = np.array([0, 1, 1])
    no_truth: list = [['a', 'b', 'a'], [[0, 1], [1, 0], [1, 1]]]
    no_codes: list = [[0.38, 0.9, 1.0], [np.nan, 0, 1], [-1, 0, 1]]
    for name in METRICS:
        for y in no_truth + (no_codes if METRICS[name].kinds == ('class',) else []):
            score = partial(find_metric(name), np.array(y), np.array([0.1, 0.2, 0.9]))
            _is_refused(card, f'{name} of targets {y}', score)
        for p in ([0.1, np.nan, 0.9], [0.1, np.inf, 0.9]):
            value = find_metric(name)(codes, np.array(p))
            card.add(f'{name} of {p}', '' if np.isnan(value) else f'it is {value}')


def _warned(made):  # whether a competition's classes are named as doubtful, in the check and in the log of a training
    from kagglekit.data.competition import Competition
    from kagglekit.targets.labels import doubtful_classes

    return isinstance(made, Competition) and bool(doubtful_classes(made.classes))


def _is_refused(card, case, call):
    made = []
    text = raised(lambda: made.append(call()))
    if made and _warned(made[0]):
        return card.add(case)
    card.add(case, 'it was taken' if not text else text if text.startswith('crash') else '')


def _png(array, **kw):
    file = io.BytesIO()
    Image.fromarray(array).save(file, kw.pop('format', 'png'), **kw)
    return file.getvalue()


def images(card, space, given):
    "Files that are no images are a message with a remedy; no library's words reach the user."
    import kagglekit.images.cadence  # noqa: F401  its formats register themselves
    from kagglekit.images.decoding import read_image
    from kagglekit.images.formats import INPUTS

    g = np.random.default_rng(0)
    good = _png(g.integers(0, 255, (20, 30, 3), dtype=np.uint8))
    jpeg = _png(g.integers(0, 255, (20, 30, 3), dtype=np.uint8), format='jpeg')
    bad = {
        'empty.png': b'',
        'text.png': b'hello',
        'html.jpg': b'<!DOCTYPE html><html>',
        'cut.png': good[: len(good) // 2],
        'cut.jpg': jpeg[: len(jpeg) // 2],
        'head.jpg': jpeg[:20],
        'zeros.png': bytes(1000),
        'postscript.png': b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n',
        'pdf.png': b'%PDF-1.4\n',
        'dicom.jpg': bytes(128) + b'DICM' + bytes(100),
        'gzip.png': b'\x1f\x8b' + good,
        'zip.png': b'PK\x03\x04' + good,
        'numpy.png': b'\x93NUMPY\x01\0',
        'flipped.png': bytes([good[0]]) + good[1:40] + bytes(40) + good[80:],
    }
    for name, content in bad.items():
        (space / name).write_bytes(content)
        _is_refused(card, name, partial(read_image, space / name, (16, 16)))
    (space / 'folder.png').mkdir()
    (space / 'dangling.png').symlink_to(space / 'nowhere')
    for name in ('folder.png', 'dangling.png', 'missing.png'):
        _is_refused(card, name, partial(read_image, space / name, (16, 16)))
    np.save(space / 'object.npy', np.array([{}], dtype=object), allow_pickle=True)
    np.save(space / 'shape.npy', np.zeros((3, 4)))
    np.savez(space / 'archive.npz', a=np.zeros(3))
    (space / 'archive.npz').rename(space / 'archive.npy')
    (space / 'cut.npy').write_bytes((space / 'shape.npy').read_bytes()[:100])
    for name in ('object.npy', 'shape.npy', 'archive.npy', 'cut.npy', 'missing.npy'):
        for how in ('abacad', 'aaa_bcd'):
            text = raised(partial(INPUTS[how].read, space / name, (32, 32)))
            words = [w for w in ('allow_pickle', 'pickle') if w in text]
            card.add(
                f'{name} as {how}', 'it was taken' if not text else text if text.startswith('crash') or words else ''
            )
    clear = np.zeros((16, 16, 4), np.uint8)
    clear[4:12, 4:12] = (200, 100, 50, 255)
    white = np.where(clear[..., 3:] == 0, np.uint8([255, 255, 255, 0]), clear)
    for name, array in (('black.png', clear), ('white.png', white)):
        (space / name).write_bytes(_png(array))
    same = np.array_equal(*(read_image(space / n, (16, 16)) for n in ('black.png', 'white.png')))
    card.add('hidden black and hidden white', '' if same else 'the same visible image has other pixels')
