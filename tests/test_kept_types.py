"Floats that a recipe keeps as float16 or bytes: the unit stays, and what does not fit is refused or counted."

from types import SimpleNamespace
import numpy as np
import pandas as pd
import pytest
import torch
from kagglekit.core.paths import root
from kagglekit.core.validation import KitError
from kagglekit.fit import page_check
from kagglekit.fit.preflight import open_samples
from kagglekit.images.formats import INPUTS, decoder_of, find_inputs, input_format, open_cache
from kagglekit.runs import fitted, setup
from kagglekit.runs.recipe import Recipe
from kagglekit.training.learner import PrepareBatch, pixel_stats
from running import quiet
import kagglekit.images.cadence  # noqa: F401  registers abacad

SIDE, BYTES = (64, 48), 'abacad(dtype=uint8, range=(-5, 15))'


@pytest.fixture
def names(data):
    "Two cadences."
    g = np.random.default_rng(0)
    for i in range(2):
        np.save(data / f'{i}.npy', g.normal(size=(6, 273, 256)).astype(np.float16))
    return ['0.npy', '1.npy']


@pytest.fixture
def level(monkeypatch):
    "A format of float32 that returns the number in a file."

    def read(path, size):
        return np.full((*size, 1), float(path.read_text()), np.float32)

    input_format('level', 1, 'float32')(read)
    yield read
    del INPUTS['level']


def in_their_unit(inputs, rows):
    "Cached rows as a network sees them."
    how = find_inputs(inputs)
    prepare = PrepareBatch(pixel_stats(torch.nn.Identity(), how.channels, how.dtype, how.levels))
    return prepare.normalise(torch.from_numpy(np.array(rows)).permute(0, 3, 1, 2)).numpy()


def test_a_network_sees_bytes_in_the_unit_of_the_floats(data, names):
    "Within half a step of the range."
    floats, kept = (open_cache(data, names, inputs, SIDE, quiet) for inputs in ('abacad', BYTES))
    assert (floats.dtype, kept.dtype, kept.nbytes) == (np.float16, np.uint8, floats.nbytes // 2)
    apart = in_their_unit(BYTES, kept) - in_their_unit('abacad', floats)
    assert 0 < np.abs(apart).max() <= 20 / 255 / 2 + 1e-3


def test_prediction_prepares_and_decodes_as_training_does(data, names):
    "New files, with the recipe alone."
    recipe, net = Recipe('exp0001', inputs=BYTES, size=SIDE), torch.nn.Identity()
    comp = SimpleNamespace(target=SimpleNamespace(kind='numbers'))
    trained = setup._preparation(SimpleNamespace(recipe=recipe, comp=comp), net, torch.zeros(2, 1), None)
    for prepare in (fitted._preparation(recipe, net), trained):
        mean, sd = prepare.stats
        assert (mean.item(), sd.item()) == pytest.approx((63.75, 12.75))
    decode = decoder_of(BYTES, SIDE, names, None)
    np.testing.assert_array_equal(decode(data / '1.npy'), open_cache(data, names, BYTES, SIDE, quiet)[1])


def test_a_format_without_the_choice_stays_what_it_was():
    "The same entry, and so the same caches and records."
    assert find_inputs('abacad') is find_inputs('abacad(dtype=float16)') is INPUTS['abacad']
    assert find_inputs(find_inputs(BYTES).name).name == find_inputs(BYTES).name
    assert find_inputs(BYTES).panels == INPUTS['abacad'].panels


@pytest.mark.parametrize(
    'inputs, words',
    [
        ('abacad(dtype=uint8)', r'abacad\(dtype=uint8, range=\(-5, 15\)\)'),
        ('abacad(dtype=float32)', "dtype of abacad must be 'float16' or 'uint8'"),
        ('abacad(dtype=uint8, range=(2, 1))', r'a range is \(low, high\)'),
        ('abacad(range=(-5, 15))', 'add dtype=uint8'),
        ('rgb(dtype=float16)', "rgb has no 'dtype'"),
    ],
)
def test_a_choice_that_cannot_be_is_refused(inputs, words):
    "Before anything is decoded."
    with pytest.raises(KitError, match=words):
        find_inputs(inputs)


def test_values_beyond_the_range_are_cut_and_counted(data, level):
    "In the log of decoding, file by file."
    for name, value in dict(low=-7, inside=5, high=16).items():
        (data / name).write_text(str(value))
    log: list[str] = []
    kept = open_cache(data, ['low', 'inside', 'high'], 'level(dtype=uint8, range=(-5, 15))', (2, 2), log.append)
    assert kept[:, 0, 0, 0].tolist() == [0, 128, 255]
    assert '2 files have values beyond -5 … 15, which are cut' in log


@pytest.mark.parametrize(
    'value, kept, words',
    [
        ('nan', 'dtype=float16', 'NaN or infinite'),
        ('nan', 'dtype=uint8, range=(0, 1)', 'NaN or infinite'),
        ('-inf', 'dtype=uint8, range=(0, 1)', 'NaN or infinite'),
        ('70000', 'dtype=float16', 'beyond ±65,504'),
    ],
)
def test_what_the_type_cannot_hold_is_refused_by_name(data, level, value, kept, words):
    "No infinity slips into a cache."
    (data / 'one').write_text(value)
    with pytest.raises(KitError, match=f'(?s)one.*{words}'):
        open_cache(data, ['one'], f'level({kept})', (2, 2), quiet)
    assert not list((root() / '.cache').glob('*.npy'))


def test_check_says_what_is_lost_and_what_is_saved(data, names):
    "Of the images, and of the disk."
    table = pd.DataFrame(dict(file=names))
    comp = SimpleNamespace(train=table, test=table[:1], folder=data, name='toy')
    kept, floats = (Recipe('exp0001', inputs=inputs, size=SIDE) for inputs in (BYTES, 'abacad'))
    assert page_check._image_bytes(kept) * 2 == page_check._image_bytes(floats)
    disk = page_check._disk(comp, [kept, floats]).text  # 3 rows of 64 × 48
    assert disk.startswith(f'decoded data take 18.4 KB as abacad at {SIDE}, 9.2 KB as {BYTES} at {SIDE}; ')
    sd = np.array([find_inputs('abacad').read(data / name, SIDE) for name in (*names, names[0])], float).std()
    assert open_samples(comp, floats).text.endswith(f'standard deviation {sd:.3g}')
    text = open_samples(comp, kept).text
    assert f'standard deviation {sd:.3g}; uint8 moves them by 0.02' in text and text.endswith('and cuts 0.00%')
