"One spelling for a name with arguments: what is one thing is one recipe, and old spellings still read."

import numpy as np
import pytest
import torch
from kagglekit.blend.label_shift import prior_text
from kagglekit.blend.means import find_space, mix
from kagglekit.core.registry import arguments_of, bind_call, call_text, read_call
from kagglekit.core.validation import KitError
from kagglekit.models.losses import LOSSES, find_loss, loss
from kagglekit.runs.identity import difference
from kagglekit.runs.recipe import Recipe
from kagglekit.runs.spelling import SPELLINGS, spell
from kagglekit.training.augmentations import AUGMENTS, augmentation
from kagglekit.training.augment import augment_batch

SAME = [  # field, spellings of one thing, the first of which is canonical
    ('loss', ['focal .5', 'focal(.5)', 'focal(gamma=.5)', ' focal ( gamma = 5e-1 ) ', 'focal 0.50', 'focal gamma=.5']),
    ('loss', ['focal', 'focal()', 'focal(2)', 'focal(gamma=2.0)', 'focal 2']),
    ('loss', ['bce_auc 10', 'bce_auc(10)', 'bce_auc(weight=10, gamma=.7)', 'bce_auc(gamma=0.7, weight=10)']),
    ('loss', ['bce_auc(gamma=.5)', 'bce_auc(1, .5)', 'bce_auc gamma=.5']),
    ('augment', ['affine 45', 'affine(45)', 'affine(amount=45.0)', 'affine 4.5e1', 'affine amount=45']),
    ('augment', ['affine', 'affine(15)', 'affine 15', 'affine()']),
    ('augment', ['vflip .3 not a-b', "vflip(.3, not_='a-b')", "vflip(not_='a-b', amount=0.3)", 'vflip(.3) not a-b']),
    ('augment', ['vflip not a (old)', "vflip(not_='a (old)')", 'vflip .5 not a (old)', 'vflip() not a (old)']),
    ('augment', ['light .1 on *-good not pill-*', "light(.1, on='*-good not pill-*')"]),
    ('augment', ['light on x not y', "light(on='x', not_='y')"]),
    ('augment', ['hflip on "K5 3"', """hflip(on='"K5 3"')""", 'hflip  on  "K5 3"']),
    ('heads', ['age smooth=.1 weight=2', 'age(.1, 2)', 'age(weight=2, smooth=.1)', 'age weight=2.0 smooth=0.10']),
    ('heads', ["age(smooth=.1, loss='focal .5')", 'age(.1, loss=focal(gamma=.5))', "age(loss='focal(.5)', smooth=.1)"]),
    ('heads', ['age loss=focal', 'age(loss=focal)', "age(loss='focal(2)')", 'age loss=focal weight=1']),
    ('sampling', ['state .5', 'state(power=.5)', 'state(.5)', 'state  0.5', '"state"(.5)']),
    ('sampling', ['state', 'state(power=1)', 'state 1', 'state()', '"state"']),
    ('sampling', ['"pixel spacing" .5', '"pixel spacing"(power=.5)', "'pixel spacing'(.5)"]),
    ('sampling', ['size(mm)', '"size(mm)"']),
    ('sampling', ['size(mm) .5', '"size(mm)"(.5)']),
    ('pseudo_labels', ['unsafe exp0012', "unsafe('exp0012')", 'unsafe(exp0012)', 'unsafe  exp0012 ']),
    ('pseudo_labels', ['unsafe my labels.csv', "unsafe('my labels.csv')"]),
    ('distill', ['unsafe exp0012 .5', 'unsafe exp0012(0.50)', ' unsafe  exp0012  .5 ']),
    ('scheduler', ['step(gamma=0.9)', 'step(gamma=.9)', 'step(0, .9)', 'step gamma=.9']),
    ('optimizer', ['SGD', 'SGD()', 'SGD(momentum=.9)', 'SGD(nesterov=True)']),
    ('optimizer', ['AdamW(betas=(0.8, 0.99))', 'AdamW(betas=(.8,.99))']),
    ('tta', ['hflip', ' hflip ', 'hflip()']),
]
CASES = [(field, text, texts[0]) for field, texts in SAME for text in texts]


@pytest.mark.parametrize('field, text, short', CASES)
def test_spellings_of_one_thing_have_one_text(field, text, short):
    assert spell(field, text) == short
    assert spell(field, short) == short


@pytest.mark.parametrize('field, texts', SAME)
def test_spellings_of_one_thing_are_one_recipe(field, texts):
    several = field in ('augment', 'heads', 'tta')
    recipes = [Recipe('exp0001', **{field: (text,) if several else text}) for text in texts]
    assert all(r.params() == recipes[0].params() for r in recipes)


def test_a_record_in_another_spelling_is_the_same_run():
    asked = Recipe('exp0001', loss='focal(.5)', augment=['grid(.3)', "vflip(not_='a')"], sampling='state(.5)')
    new = dict(comp='toy', exp='exp0001', recipe=asked.params())
    typed = dict(loss='focal 0.5', augment=['grid .3', 'vflip .5 not a'], sampling='state  .5')
    assert difference(dict(new, recipe=new['recipe'] | typed), new) == ''
    assert 'focal .4' in difference(dict(new, recipe=new['recipe'] | dict(loss='focal .4')), new)


def test_a_child_in_another_spelling_differs_in_nothing():
    parent = Recipe('exp0001', augment=['grid .3', 'affine(45)'])
    with pytest.raises(KitError):
        parent.but('exp0002', augment=['grid', 'affine 45'])
    assert parent.but('exp0002', augment=['grid', 'affine(30)']).augment == ('grid', 'affine 30')


def test_a_spelling_does_not_change_what_is_drawn():
    x, t = torch.randn(4, 3, 16, 16), torch.eye(4)
    old = augment_batch(x, t, ['vflip .7', 'affine 45', 'light .2'], range(4), 2021, 0, 0, 3)[0]
    new = augment_batch(x, t, ['vflip(.7)', 'affine(amount=45)', 'light()'], range(4), 2021, 0, 0, 3)[0]
    assert torch.equal(old, new)


WRONG = [  # field, text, what the message says
    ('loss', 'focal(gama=.5)', 'did you mean gamma'),
    ('loss', 'focal(.5, gamma=.5)', 'gives gamma twice'),
    ('loss', 'focal(11)', 'from 0 to 10'),
    ('loss', 'focal(gamma=nan)', 'must be a number'),
    ('loss', 'focal(gamma=True)', 'must be a number'),
    ('loss', 'focal(gamma=1e999)', 'must be a number'),
    ('loss', 'focal(gamma=[1])', 'is not understood'),
    ('loss', 'focal(gamma=1+1j)', 'is not understood'),
    ('loss', 'focal(', 'is not understood'),
    ('loss', 'focal)(', 'is not understood'),
    ('loss', 'focal(*[1])', 'is not understood'),
    ('loss', 'focal(**{})', 'is not understood'),
    ('loss', 'focal(.5).real', 'is not understood'),
    ('loss', 'focal(x := 1)', 'is not understood'),
    ('loss', 'focal(lambda: 1)', 'is not understood'),
    ('loss', 'focal(open("/etc/passwd"))', 'must be a number'),
    ('loss', 'bce_auc(gamma=2)', 'gamma of bce_auc must be a number from 0 to 1'),
    ('loss', 'arcface(margin=.1)', "takes no argument, so no 'margin'"),
    ('loss', 'ce(1)', 'takes no argument'),
    ('augment', 'affine(degrees=45)', "affine has no 'degrees'"),
    ('augment', 'affine(200)', 'from 0 to 180'),
    ('augment', 'affin(45)', 'did you mean affine'),
    ('augment', 'vflip(on=3)', 'names of classes'),
    ('augment', "vflip(not_='')", 'names of classes'),
    ('augment', "vflip(not='a')", 'is not understood'),
    ('heads', 'age(smoth=.1)', 'did you mean smooth'),
    ('heads', 'age(weight=0)', 'from 0.001'),
    ('heads', 'age(loss=focl)', 'did you mean focal'),
    ('heads', 'age(loss=focal(11))', 'from 0 to 10'),
    ('sampling', 'state(power=2)', 'from 0 to 1'),
    ('sampling', 'state(pover=.5)', 'did you mean power'),
    ('pseudo_labels', 'unsafe(exp0012, exp0013)', 'is not understood'),
    ('distill', 'exp0012', 'weight of its predictions'),
    ('distill', 'exp0012 0', 'weight of exp0012'),
    ('distill', 'exp0012 half', 'is not understood'),
    ('optimizer', 'SGD(momentun=.5)', 'did you mean momentum'),
    ('optimizer', 'SGD(lr=.5)', "has no 'lr'"),
    ('optimizer', 'SGD(momentum=high)', 'momentum of SGD'),
    ('tta', 'hflip(1)', 'takes no argument'),
]


@pytest.mark.parametrize('field, text, words', WRONG)
def test_a_wrong_argument_is_refused_by_name(field, text, words):
    with pytest.raises(KitError) as e:
        spell(field, text)
    assert field in str(e.value) and words in str(e.value), str(e.value)


@pytest.mark.parametrize('registry, field', [(AUGMENTS, 'augment'), (LOSSES, 'loss')])
def test_each_number_reads_back_from_its_text(registry, field):
    for name, entry in registry.items():
        for argument in [a for a, known in entry.arguments.items() if getattr(known.kind, '__origin__', None) is float]:
            for value in (0.125, 0.3, 1 / 3 / 3):
                text = spell(field, f'{name}({argument}={value!r})')
                values = bind_call(read_call(text, field), entry.arguments, field)
                assert values.get(argument, entry.arguments[argument].default) == value
                assert spell(field, text) == text


def test_an_argument_with_a_range_in_its_annotation_needs_no_decorator():
    from typing import Annotated
    from pydantic import Field

    def sway(x, y, u, amount, ways: Annotated[int, Field(ge=1, le=4)] = 2, mode: str = 'soft'):
        return x * ways + (mode == 'hard'), y

    augmentation('kept', 0.5, between=(0, 1))(sway)
    try:
        r = Recipe(augment=['sway(ways=3)', "sway(.5, 2, mode=hard, on='a')", 'sway .1'])
        assert r.augment == ('sway(ways=3)', "sway(mode='hard') on a", 'sway .1')
        with pytest.raises(KitError, match='ways of sway must be a whole number from 1 to 4'):
            Recipe(augment=['sway(ways=5)'])
        x, t = torch.ones(2, 1, 2, 2), torch.eye(2)
        assert augment_batch(x, t, r.augment[:1], range(2), 1)[0].eq(3).all()
    finally:
        del AUGMENTS['sway']


def test_a_loss_of_a_page_takes_several_arguments():
    @loss(between=(0, 1))
    def two(z, t, a=0.5, b=2.0):
        return z.sum(1) * a + b

    try:
        z, t = torch.ones(2, 3), torch.eye(3)[:2]
        assert find_loss('two(b=1)')(z, t) == 2.5 and find_loss('two(1, b=0)')(z, t) == 3
        assert Recipe(loss='two(1, 2)').loss == 'two 1'
    finally:
        del LOSSES['two']


@pytest.mark.parametrize('text', ['power(2)', 'power(exponent=2.0)', 'power 2'])
def test_a_space_has_one_name(text):
    P = np.random.default_rng(0).uniform(size=(2, 5, 1))
    assert find_space(text).name == 'power 2'
    assert np.array_equal(mix(P, space=text), mix(P, space='power 2'))


@pytest.mark.parametrize('text', ['power', 'power(0)', 'power(2, 3)', 'power x', 'rank(2)', 'pover(2)'])
def test_a_space_that_cannot_be_is_refused(text):
    with pytest.raises(KitError, match='space'):
        find_space(text)


def test_a_prior_has_one_text():
    assert {prior_text(t) for t in ('normal .43', 'normal(.43)', 'normal(share=0.430)')} == {'normal .43'}
    with pytest.raises(KitError, match='share of normal'):
        prior_text('normal(1)')


def test_nothing_is_executed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for field in SPELLINGS.keys() - {'pseudo_labels'}:  # a file may have such a name
        with pytest.raises(KitError):
            spell(field, "focal(open('made', 'w'))")
    assert not list(tmp_path.iterdir())


def test_text_that_is_not_registered_makes_no_difference_to_the_parser():
    known = arguments_of(lambda x, left=1.0, right=1.0: 0, 1)
    for text in ('f(right=2)', 'f right=2', 'f(1, 2)'):
        values = bind_call(read_call(text, 'field'), known, 'field')
        assert call_text('f', values) == 'f(right=2)'
