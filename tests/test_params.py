"Recipe fields: values that must be refused, and values that must not."

import json
import subprocess
import sys
import numpy as np
import pytest
import torch
from kagglekit.models import architectures
from kagglekit.training.augmentations import AUGMENTS, augmentation
from kagglekit.training.augment import may_change
from kagglekit.training.tta import VIEWS, view
from kagglekit.targets.class_patterns import choose_classes
from kagglekit.core.paths import out_dir, workspace
from kagglekit.core.storage import write_json
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import NOT_IDENTITY, PARAMS, RECIPES, Recipe, Recipes, recipe_table, recorded, resolve
from kagglekit.models.losses import LOSSES, find_loss, loss
from kagglekit.blend.recipe import BlendRecipe
from kagglekit.models.build import find_weights
from kagglekit.training.augment_cadence import mirrors, mirrors_text

FLAGS = {f for f in PARAMS if isinstance(getattr(Recipe(), f), bool)}
NUMBERS = {f for f in PARAMS if isinstance(getattr(Recipe(), f), (int, float))} - FLAGS
TEXTS = {f for f in PARAMS if isinstance(getattr(Recipe(), f), str)}
LISTS = {f for f in PARAMS if isinstance(getattr(Recipe(), f), tuple)}
EVERY = [{}, {'a': 1}, [[]], [[1]], [{}], object(), 10**400]
WRONG = (
    dict.fromkeys(NUMBERS, [float('nan'), float('inf'), -1, -1e-9, 2**32, 1e9 + 0.5, True, '3', 'nan', '[', [], ''])
    | dict.fromkeys(FLAGS, [0, 1, 'yes', 'True', [], [True], float('nan')])
    | dict.fromkeys(TEXTS, [5, 1.5, True, float('nan')])
    | dict.fromkeys(LISTS, [5, True, float('nan'), [5], [True], '[', '[nan]'])
)


@pytest.mark.parametrize('field', PARAMS)
def test_no_field_takes_a_meaningless_value(field):
    for value in [*EVERY, *WRONG[field]]:
        with pytest.raises(KitError) as e:
            Recipe(**{field: value})
        assert str(e.value).startswith(field) and 'got' in str(e.value), (value, str(e.value))


def test_every_field_has_a_meaning_and_a_range():
    table = recipe_table()
    assert table.field.tolist() == list(PARAMS) and table.meaning.str.len().min() > 5
    assert not table.allowed.isin(['', 'a number', 'a whole number']).any()  # a number has a range


REFUSED = [  # field, value, words of the message
    ('augment', ['affine nan'], "got 'nan'"),
    ('augment', ['affine inf'], "got 'inf'"),
    ('augment', ['affine 181'], 'from 0 to 180'),
    ('augment', ['affine -15'], 'from 0 to 180'),
    ('augment', ['affine 1_0'], 'must be a number'),
    ('augment', ['hflip 7'], 'from 0 to 1'),
    ('augment', ['hflip -1'], 'from 0 to 1'),
    ('augment', ['vflip 1.01'], 'from 0 to 1'),
    ('augment', ['cutout 1e9'], 'from 0 to 1'),
    ('augment', ['light 1e9'], 'from 0 to 1'),
    ('augment', ['light nan'], 'must be a number'),
    ('augment', ['tone 1'], 'from 0 to 0.95'),
    ('augment', ['grid 2'], 'from 0 to 0.95'),
    ('augment', ['perspective .5'], 'from 0 to 0.45'),
    ('augment', ['gauss 1e3'], 'from 0 to 10'),
    ('augment', ['blur_noise 0x1'], 'must be a number'),
    ('augment', ['rot90 2'], 'takes no argument'),
    ('augment', ['hflip .5 .5'], 'takes 1 argument'),
    ('augment', ['hflip not'], 'names of classes'),
    ('augment', ['hflip on'], 'names of classes'),
    ('augment', ['hfilp'], 'did you mean hflip'),
    ('augment', ['hflip,'], 'did you mean hflip'),
    ('augment', ['Hflip'], 'did you mean hflip'),
    ('augment', [''], 'is not understood'),
    ('augment', 'hflip, vflip', """write -p augment '["hflip", "vflip"]'"""),
    ('augment', '[hflip]', """write -p augment '["hflip"]'"""),
    ('augment', ['lines .1'], 'inputs=rgb has none'),
    ('tta', ['hflip .5'], 'takes no argument'),
    ('tta', ['hfilp'], 'did you mean hflip'),
    ('loss', 'focal -1', 'from 0 to 10'),
    ('loss', 'focal nan', 'must be a number'),
    ('loss', 'focal 1e9', 'from 0 to 10'),
    ('loss', 'focal 1 2', 'takes 1 argument'),
    ('loss', 'bce_auc -5', 'from 0 to 1000'),
    ('loss', 'auc_margin 2', 'from 0 to 1'),
    ('loss', 'ce 1', 'takes no argument'),
    ('loss', 'arcface .5', 'takes no argument'),
    ('loss', '', 'is not understood'),
    ('loss', 'focla', 'did you mean focal'),
    ('sampling', 'label -5', 'from 0 to 1'),
    ('sampling', 'label nan', 'must be a number'),
    ('sampling', 'label 1e9', 'from 0 to 1'),
    ('sampling', 'label .5 .5', 'in quotes'),
    ('sampling', ' ', 'no column'),
    ('heads', ['age smooth=1'], 'from 0 to 0.49'),
    ('heads', ['age smooth=nan'], 'must be a number'),
    ('heads', ['age weight=0'], 'from 0.001'),
    ('heads', ['age weight=-1'], 'from 0.001'),
    ('heads', ['age weight=inf'], 'must be a number'),
    ('heads', ['age wieght=2'], 'did you mean weight'),
    ('heads', [''], 'empty'),
    ('heads', ['age loss=focl'], 'did you mean focal'),
    ('epochs', 0, 'from 1 to 10000'),
    ('epochs', [3, 0], 'from 1 to 10000'),
    ('epochs', 10**9, 'from 1 to 10000'),
    ('epochs', 2.5, 'a whole number'),
    ('epochs', [], 'one at least'),
    ('epochs', '[2, 3', 'a whole number'),
    ('epochs', '2,3', "write -p epochs '[2, 3]'"),
    ('lr', [], 'one at least'),
    ('lr', 0, 'above 0'),
    ('lr', '1e-3', "write -p lr '0.001'"),
    ('lr', 1e9, 'up to 100'),
    ('lr', [1e-3, float('nan')], 'above 0'),
    ('size', 7, 'from 8 to 8192'),
    ('size', 8193, 'from 8 to 8192'),
    ('size', '64,64', "write -p size '[64, 64]'"),
    ('size', '(64, 64)', "write -p size '[64, 64]'"),
    ('size', [64, 64, 64], 'a list of 2'),
    ('size', [64], 'a list of 2'),
    ('size', 8192, 'take bs 4 or less'),
    ('infer_size', False, 'a whole number'),
    ('label_smoothing', 1, 'below 0.5'),
    ('label_smoothing', 0.5, 'below 0.5'),
    ('drop_rate', 1, 'below 1'),
    ('drop_path_rate', 1, 'below 1'),
    ('ema', 1, 'below 1'),
    ('folds', 1, 'from 2 to 1000'),
    ('folds', 0, 'from 2 to 1000'),
    ('fold_seed', 2**32, 'below 4294967296'),
    ('seed', 2**32, 'below 4294967296'),
    ('bs', 0, 'from 1 to 65536'),
    ('gpus', 0, 'from 1 to 64'),
    ('mixup', 11, 'from 0 to 10'),
    ('pseudo_threshold', [0.1], 'a list of 2'),
    ('pseudo_threshold', [0.1, 2], 'from 0 to 1'),
    ('optimizer', 'adamw', 'did you mean AdamW'),
    ('scheduler', 'cosin', 'did you mean cosine'),
    ('scheduler', [], 'one at least'),
    ('inputs', 'rbg', 'did you mean rgb'),
    ('checkpoint', 'bset', 'did you mean best'),
    ('checkpoint', 'soup(1)', 'from 2 to 100'),
    ('checkpoint', 'best(3)', 'takes no argument'),
    ('init_from', '../exp0001', 'init_from'),
    ('parent', 5, 'parent'),
    ('parent', True, 'parent'),
    ('parent', 'a/../b', 'parent'),
    ('exp', 1, 'papermill reads'),
    ('exp', 'e' * 300, '64 characters'),
    ('reason', {'why': 1}, 'reason must be text'),
    ('reason', ['a'], 'reason must be text'),
    ('reason', True, 'reason must be text'),
    ('diff', [], 'diff must be'),
]


@pytest.mark.parametrize('field, value, words', REFUSED)
def test_a_value_out_of_range_is_refused_by_name(field, value, words):
    with pytest.raises(KitError) as e:
        Recipe(**{field: value})
    assert field in str(e.value) and words in str(e.value), str(e.value)


COMBINATIONS = [  # fields that do not go together, words of the message
    (dict(epochs=(2, 2), lr=(1.0, 1.0, 1.0)), 'entries'),
    (dict(separate_nets=True), 'name the heads'),
    (dict(ema=0.9, swa=True), 'take one'),
    (dict(margin=0.1), 'belong to loss=arcface'),
    (dict(heads=('age',), class_weight_power=1.0), 'single softmax'),
    (dict(loss='soft_f1', class_weight_power=1.0), 'no value for each row'),
    (dict(train_all=True, patience=3), 'leaves no rows'),
    (dict(train_all=True, scheduler='plateau'), 'leaves no rows'),
    (dict(single_object='pill'), 'needs train_all'),
    (dict(single_object='pill', train_all=True, ema=0.9), 'excludes ema'),
    (dict(snapshots='both'), 'needs single_object'),
    (dict(bs=4, gpus=4), 'two rows'),
    (dict(pseudo_labels='itself'), 'needs a threshold'),
    (dict(size=8192, bs=512), 'take bs 4 or less'),
]


@pytest.mark.parametrize('changes, words', COMBINATIONS)
def test_fields_that_do_not_go_together_are_refused(changes, words):
    with pytest.raises(KitError, match=words):
        Recipe(**changes)


TAKEN = [  # field, value, what the recipe holds then
    ('augment', 'hflip', ('hflip',)),
    ('augment', '["hflip", "affine 45"]', ('hflip', 'affine 45')),
    ('augment', '[]', ()),
    ('augment', ['hflip 0', 'hflip 1', 'affine 1e1'], ('hflip 0', 'hflip 1', 'affine 10')),
    ('augment', ['hflip on K5 3세대'], ('hflip on K5 3세대',)),
    ('tta', 'hflip', ('hflip',)),
    ('size', '[64, 48]', (64, 48)),
    ('size', np.int64(64), 64),
    ('size', 8, 8),
    ('infer_size', 0, 0),
    ('epochs', (1, 2), (1, 2)),
    ('lr', 1, 1.0),
    ('lr', 1e-320, 1e-320),
    ('lr', np.float64(0.1), 0.1),
    ('loss', ' focal  .5 ', 'focal .5'),
    ('loss', 'auc_margin .5', 'auc_margin .5'),
    ('sampling', '"pixel spacing" .5', '"pixel spacing" .5'),
    ('margin_on', '', ''),
    ('label_smoothing', 0.49, 0.49),
    ('seed', 2**32 - 1, 2**32 - 1),
    ('reason', 2024, '2024'),
    ('reason', 1.5, '1.5'),
    ('reason', '[not JSON', '[not JSON'),
    ('reason', '2024', '2024'),
]


@pytest.mark.parametrize('field, value, holds', TAKEN)
def test_a_value_in_range_is_accepted(field, value, holds):
    taken = getattr(Recipe(**{field: value}), field)
    assert taken == holds and type(taken) is type(holds)


def test_a_square_is_asked_for_before_anything_starts():
    with pytest.raises(KitError, match='square images'):
        Recipe(augment=['rot90'], size=(64, 48))
    Recipe(augment=['rot90'], size=(64, 64))


def test_an_augmentation_of_a_page_is_checked_by_its_registered_facts():
    @augmentation('kept', 0.5, between=(0, 2), mirrors=True)
    def wobble(x, y, u, amount):
        return x, y

    @augmentation('kept', between=(1, 3))
    def stretch(x, y, u, amount):
        return x, y

    @augmentation('kept', 0.5)
    def old_form(x, y, u, amount):
        return x, y

    try:
        Recipe(augment=['wobble 2', 'wobble', 'stretch 2', 'old_form 7', 'old_form'])
        for text, words in [
            ('wobble 2.1', 'from 0 to 2'),
            ('wobble nan', 'must be a number'),
            ('stretch', 'needs amount'),
            ('old_form 1e9', 'from -1000000'),
            ('old_form inf', 'must be a number'),
        ]:
            with pytest.raises(KitError, match=words):
                Recipe(augment=[text])
        assert mirrors('wobble') and not mirrors('old_form')
        assert len(mirrors_text(['wobble', 'old_form'], ((0, 1, 2, 3, 4, 5),))) == 1
    finally:
        for name in ('wobble', 'stretch', 'old_form'):
            AUGMENTS.pop(name)


def test_a_view_of_a_page_registers_whether_it_flips():
    view('turned', lambda x, panels: x.flip(3), mirrors=True)
    VIEWS['plain'] = lambda x, panels: x  # the form of old pages
    try:
        assert Recipe(tta=['turned', 'plain']).tta == ('turned', 'plain')
        assert mirrors('turned') and not mirrors('plain')
        assert VIEWS['turned'](torch.eye(3)[None, None], ())[0, 0, 0].tolist() == [0, 0, 1]
    finally:
        for name in ('turned', 'plain'):
            VIEWS.pop(name)


def test_a_loss_of_a_page_takes_its_number_and_can_be_weighted():
    @loss
    def tempered(z, t, tau=1.0):
        return -(t * torch.log_softmax(z / tau, 1)).sum(1)

    @loss(rows=False, number=False)
    def whole_batch(z, t, tau=1.0):
        return z.mean().expand(len(z))

    try:
        assert Recipe(loss='tempered 2', class_weight_power=1.0).loss == 'tempered 2'
        z, t = torch.randn(4, 3), torch.eye(4)[:, :3]
        torch.testing.assert_close(find_loss('tempered 2')(z, t), find_loss('tempered')(z / 2, t))
        for kw, words in [
            (dict(loss='tempered nan'), 'must be a number'),
            (dict(loss='tempered 1e7'), 'from -1000000'),
            (dict(loss='whole_batch 2'), 'takes no argument'),
            (dict(loss='whole_batch', class_weight_power=1.0), 'no value for each row'),
        ]:
            with pytest.raises(KitError, match=words):
                Recipe(**kw)
    finally:
        for name in ('tempered', 'whole_batch'):
            LOSSES.pop(name)


ODD = ('K5 3세대', 'E-Class[W213]', "driver's", 'a "b"', 'x*', 'xy', 'not', 'on', 'nan', '-', 'no', '5')


@pytest.mark.parametrize('name', ODD)
def test_any_class_name_can_be_chosen(name):
    quoted = json.dumps(name, ensure_ascii=False)
    for text in (name, quoted):
        assert np.flatnonzero(choose_classes(text, ODD)).tolist() == [ODD.index(name)]
    assert np.flatnonzero(~choose_classes(f'not {quoted}', ODD)).tolist() == [ODD.index(name)]
    entry, codes = f'hflip .5 on {quoted}', np.arange(len(ODD))
    assert np.flatnonzero(may_change([entry], ODD, codes)[entry]).tolist() == [ODD.index(name)]


@pytest.mark.parametrize(
    'text, chosen',
    [
        ('K5 3세대 -', ['K5 3세대', '-']),
        ('E-Class[W213] 5 not 5', ['E-Class[W213]']),
        ('x*', ['x*']),
        ('*[W213] nan', ['nan']),
        ('E-* driver*', ['E-Class[W213]', "driver's"]),
    ],
)
def test_class_names_win_over_patterns(text, chosen):
    if text.startswith('*['):  # no class fits: a bracket of a pattern is a set of letters
        with pytest.raises(KitError, match='no class fits'):
            choose_classes(text, ODD)
    else:
        assert [c for c, yes in zip(ODD, choose_classes(text, ODD)) if yes] == chosen


@pytest.mark.parametrize('text', ['not', 'K5', 'x* not x*', '"K5"', "'x?'"])
def test_a_text_that_means_no_class_is_refused(text):
    with pytest.raises(KitError):
        choose_classes(text, [c for c in ODD if c != 'not'])


@pytest.mark.parametrize('old, new', [('yes', 'needle'), ('no', 'not needle')])
def test_a_boolean_has_one_spelling_and_old_ones_are_read(old, new):
    names = ('not needle', 'needle')
    assert choose_classes(old, names).tolist() == choose_classes(new, names).tolist() == [n == new for n in names]


@pytest.mark.parametrize(
    'method, options, words',
    [
        ('caruana', dict(rounds=0), 'from 1 to 10000'),
        ('caruana', dict(rounds=10**9), 'from 1 to 10000'),
        ('caruana', dict(seed=2**32), 'below 4294967296'),
        ('climb', dict(step=0), 'above 0'),
        ('climb', dict(step=float('nan')), 'above 0'),
        ('climb', dict(step=2), 'up to 1'),
        ('weighted', dict(weights=[1, float('inf')]), 'from -1'),
        ('mean', dict(space='power 1e9'), 'to 100'),
        ('mean', dict(space='power nan'), 'to 100'),
        ('mean', dict(rounds='3'), 'a whole number'),
    ],
)
def test_a_blend_has_ranges_too(method, options, words):
    with pytest.raises(KitError) as e:
        BlendRecipe('exp0101', ('exp0001', 'exp0002'), method, options)
    assert words in str(e.value), str(e.value)


# what may change, what is recorded


def test_a_guard_and_a_logger_are_no_part_of_an_identity():
    assert set(NOT_IDENTITY) == {'dead_after', 'loggers', 'find_lr'}
    page = Recipes('guards')
    try:
        page.add(Recipe('exp0001', reason='first'))
        assert resolve('guards', 'exp0001', dead_after=0, tensorboard=True).identity() == page['exp0001'].identity()
        with pytest.raises(KitError, match='another experiment'):
            resolve('guards', 'exp0001', dead_after=0, seed=1)
        with pytest.raises(KitError, match='equals'):
            page['exp0001'].but('exp0002', dead_after=0)
    finally:
        RECIPES.pop('guards')


def test_a_number_for_a_reason_is_text_in_the_record():
    page = Recipes('numbers')
    try:
        page.add(Recipe('exp0001', reason='first'))
        child = resolve('numbers', 'exp0002', parent='exp0001', reason=2024, seed=1)
        assert child.reason == '2024'
        with workspace():
            write_json(
                out_dir('numbers', 'exp0002') / 'params.json', dict(child.about(), reason=2024, recipe=child.params())
            )
            assert recorded('numbers', 'exp0002') == child
        assert BlendRecipe('exp0101', ('exp0001', 'exp0002'), reason=2024).reason == '2024'
        for wrong in (dict(parent=5), dict(reason={}), dict(reason=False), dict(parent=['exp0001'])):
            with pytest.raises(KitError):
                resolve('numbers', 'exp0003', **dict(parent='exp0001', seed=1) | wrong)
    finally:
        RECIPES.pop('numbers')


def test_a_recipe_survives_json():
    r = Recipe(
        size=(64, 48), lr=(1e-320, 0.1), epochs=(1, 2), augment=['hflip on "K5 3"'], pseudo_threshold=(0.05, 0.9)
    )
    assert Recipe(**json.loads(json.dumps(r.params()))) == r


# names of architectures, and the start


@pytest.mark.parametrize(
    'arch, words',
    [
        ('resnet81', 'did you mean resnet18'),
        ('resnet18.a1_in2k', 'did you mean a1_in1k'),
        ('resnet18.nonsense', 'no weights'),
        ('Resnet18', 'did you mean resnet18'),
        ('', 'timm has no'),
        ('hf-hub:', 'owner/name'),
        ('hf_hub:timm', 'owner/name'),
    ],
)
def test_a_misspelt_architecture_is_refused_when_it_is_asked_for(arch, words):
    page = Recipes('archs')
    try:
        page.add(Recipe('exp0001', reason='first'))
        with pytest.raises(KitError, match=words):
            resolve('archs', 'exp0002', parent='exp0001', arch=arch)
        assert resolve('archs', 'exp0002', parent='exp0001', arch='hf_hub:timm/resnet18.a1_in1k').arch.startswith(
            'hf_hub'
        )
    finally:
        RECIPES.pop('archs')


def test_an_architecture_that_a_page_registers_is_known():
    import timm
    from timm.models import _registry

    def my_own_net(**kwargs): ...

    my_own_net.__module__ = __name__
    with pytest.raises(KitError):
        architectures.check_arch('my_own_net')
    _registry._model_entrypoints['my_own_net'] = my_own_net
    try:
        assert timm.is_model('my_own_net') and architectures.check_arch('my_own_net')
    finally:
        _registry._model_entrypoints.pop('my_own_net')


def test_unavailable_weights_are_noticed_before_training(monkeypatch):
    from kagglekit.models import build as model

    monkeypatch.setattr(model.constants, 'ENDPOINT', 'http://127.0.0.1:9')
    calls = []
    monkeypatch.setattr(model.timm, 'create_model', lambda *a, **k: calls.append(a))
    with pytest.raises(KitError, match='go online once'):
        find_weights('resnet34.tv_in1k')
    with pytest.raises(KitError, match='go online once'):
        model.build_model('hf-hub:nobody/nothing', 2)
    assert not calls  # no client of a hub was asked, so nothing was tried again


def test_a_wrong_id_is_refused_without_slow_imports():
    program = """
import sys
from kagglekit.data.competition import load_pages
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import resolve
from kagglekit.launch.runner import check_run
load_pages()
resolve('mask', 'cv-of-today', parent='exp0001', arch='resnet34', augment='hflip', seed=1)
try: check_run('anomaly-practice', 'exp9999', [])
except KitError: print([m for m in ('torch', 'timm', 'fastai', 'matplotlib', 'sklearn', 'scipy') if m in sys.modules])
from kagglekit.launch.runner import _kernel_room
_kernel_room()
print([m for m in ('torch', 'rfc3987_syntax', 'lark') if m in sys.modules])
"""
    done = subprocess.run([sys.executable, '-c', program], capture_output=True, text=True)
    assert done.stdout.split() == ['[]', '[]'], done.stdout + done.stderr[-2000:]
