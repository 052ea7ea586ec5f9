"Rows that are parts of files, and files that are no pictures: read as their libraries wrote them, or refused by name."

import io
import sys
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from kagglekit.core.paths import root
from kagglekit.core.validation import KitError, Lazy
from kagglekit.data.competition import Competition
from kagglekit.images import fast_decoding
from kagglekit.images.formats import find_inputs, open_cache, open_caches, read_one
from kagglekit.images.parts import close_files, rows_of
from kagglekit.images.sizes import FITS, fit_image
from kagglekit.fit.preflight import open_samples
from kagglekit.runs.identity import data_hashes
from kagglekit.runs.recipe import Recipe
from running import quiet

h5py = pytest.importorskip('h5py')
pydicom = pytest.importorskip('pydicom')
sf = pytest.importorskip('soundfile')
NOISE = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
SIDE = (40, 60)
RATE = 16_000


def encoded(array, kind='PNG'):
    "The bytes of an image file."
    f = io.BytesIO()
    Image.fromarray(array).save(f, kind)
    return f.getvalue()


# files of every kind, as their own libraries write them


def write_png(path):
    Image.fromarray(NOISE).save(path)


def write_tiff(path):
    pages = [Image.fromarray(NOISE[..., c]) for c in range(3)]
    pages[0].save(path, save_all=True, append_images=pages[1:])


def write_npy(path):
    np.save(path, NOISE.transpose(2, 0, 1))


def write_npz(path):
    np.savez_compressed(path, first=NOISE[..., 0], second=NOISE[..., 1])


def write_hdf5(path):
    with h5py.File(path, 'w') as f:
        f['image'] = np.void(encoded(NOISE))
        f['array'] = NOISE


def write_parquet(path):
    flat = NOISE.reshape(-1, 3).T
    table = pd.DataFrame(flat, columns=[str(i) for i in range(flat.shape[1])])
    table.insert(0, 'image_id', ['r', 'g', 'b'])
    table.to_parquet(path)


def write_dicom(path, **facts):
    frames = NOISE.transpose(2, 0, 1).astype(np.uint16)
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    ds = pydicom.dataset.FileDataset(path, {}, file_meta=meta, preamble=b'\0' * 128)
    ds.SOPClassUID, ds.SOPInstanceUID = meta.MediaStorageSOPClassUID, pydicom.uid.generate_uid()
    ds.Rows, ds.Columns, ds.NumberOfFrames, ds.SamplesPerPixel = *frames.shape[1:3], len(frames), 1
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
    ds.PhotometricInterpretation, ds.PixelData = 'MONOCHROME2', frames.tobytes()
    ds.update(facts)
    ds.save_as(path)
    return ds


def write_sound(path):
    noise = np.random.default_rng(0).integers(-9000, 9000, 6 * RATE).astype(np.int16)
    sf.write(path, noise, RATE)


FILES = [
    # name, writer, inputs, parts
    ('a.png', write_png, 'rgb_part', ['', '0,0,20,20', '5,5,60,40']),
    ('a.tif', write_tiff, 'grey_part', ['0', '1', '2']),
    ('b.tif', write_tiff, 'tiff(pages=2)', ['', '0', '1']),
    ('a.npy', write_npy, 'npy', ['0', '1', '2']),
    ('a.npz', write_npz, 'npy', ['first', 'second']),
    ('a.h5', write_hdf5, 'hdf5(channels=3)', ['image', 'array']),
    ('a.parquet', write_parquet, 'parquet(height=40, width=60)', ['r', 'g', 'b']),
    ('a.dcm', write_dicom, 'dicom', ['', '0', '2']),
    ('a.wav', write_sound, 'audio', ['', '1', '2-4']),
    ('a.flac', write_sound, 'audio', ['', '1', '2-4']),
    ('a.ogg', write_sound, 'audio', ['', '1', '2-4']),
    ('a.mp3', write_sound, 'audio', ['', '1', '2-4']),
]
CASES = pytest.mark.parametrize('name, write, inputs, parts', FILES, ids=[f'{f[0]}-{f[2]}' for f in FILES])


@CASES
def test_the_rows_of_a_file_are_cached_with_their_parts(data, name, write, inputs, parts):
    write(data / name)
    rows = [(name, part) for part in parts]
    cache = open_cache(data, rows, inputs, SIDE, quiet)
    assert cache.shape == (len(parts), *SIDE, find_inputs(inputs).channels)
    assert all(x.std() > 5 for x in cache)
    for (_, part), x in zip(rows, cache):
        assert (read_one(inputs, data / name, SIDE, part) == x).all()
    turned = open_cache(data, rows[::-1], inputs, SIDE, quiet)
    assert (turned[::-1] == cache[:]).all()
    assert turned.content != cache.content
    (root() / 'settings.ini').write_text('[DEFAULT]\ncache = no\n')
    loose = open_cache(data, rows, inputs, SIDE, quiet)
    assert (loose[:] == cache[:]).all() and loose.content == cache.content


@CASES
@pytest.mark.parametrize('damage', ['empty', 'cut', 'html', 'zeros', 'scrambled', 'folder', 'missing'])
def test_a_file_that_cannot_be_read_is_named_with_its_part(data, name, write, inputs, parts, damage):
    write(data / name)
    whole = (data / name).read_bytes()
    (data / name).unlink()
    content = dict(
        empty=b'',
        cut=whole[: len(whole) // 3],
        html=b'<!doctype html><title>404',
        zeros=bytes(5000),
        scrambled=whole[:40] + bytes(np.random.default_rng(1).integers(0, 256, len(whole) - 40).astype(np.uint8)),
    )
    if damage == 'folder':
        (data / name).mkdir()
    elif damage in content:
        (data / name).write_bytes(content[damage])
    if damage in ('cut', 'scrambled') and name in ('a.ogg', 'a.mp3', 'a.wav', 'a.flac'):
        pytest.skip('what is left of a stream is a shorter recording, or noise')
    with pytest.raises(KitError) as e:
        read_one(inputs, data / name, SIDE, parts[-1])
    assert name in str(e.value) and f'part {parts[-1]} of ' in str(e.value)
    assert 'ends with' not in str(e.value), 'the error of a library reached the user'


@CASES
def test_a_part_that_is_not_there_is_named(data, name, write, inputs, parts):
    write(data / name)
    with pytest.raises(KitError) as e:
        read_one(inputs, data / name, SIDE, '9999')
    assert name in str(e.value) and '9999' in str(e.value) and 'ends with' not in str(e.value)


@pytest.mark.parametrize('inputs, name', [('dicom', 'a.png'), ('hdf5', 'a.png'), ('npy', 'a.png'), ('audio', 'a.png')])
def test_a_picture_is_not_taken_for_another_file(data, inputs, name):
    write_png(data / name)
    with pytest.raises(KitError, match='a PNG picture'):
        read_one(inputs, data / name, SIDE)


@pytest.mark.parametrize('write, name, inputs', [(f[1], f[0], f[2].split('(')[0]) for f in FILES[3:]])
def test_a_file_that_is_no_picture_names_the_format_that_reads_it(data, write, name, inputs):
    write(data / name)
    with pytest.raises(KitError, match=f'input format {inputs} reads such files'):
        read_one('rgb', data / name, SIDE)


def test_a_missing_package_says_how_to_install_it_once(data, monkeypatch):
    write_dicom(data / 'a.dcm')
    monkeypatch.setitem(sys.modules, 'pydicom', None)
    with pytest.raises(KitError) as e:
        open_cache(data, [('a.dcm', '0'), ('a.dcm', '1')], 'dicom', SIDE, quiet)
    assert str(e.value).count("pip install 'kagglekit[dicom]'") == 1


# one file, many rows


def test_a_file_of_many_rows_is_opened_once(data, monkeypatch):
    with h5py.File(data / 'all.h5', 'w') as f:
        for i in range(300):
            f[f'k{i}'] = np.full((4, 4), i % 256, np.uint8)
    opens, original = [], h5py.File

    def counting(*args, **kw):
        opens.append(args[0])
        return original(*args, **kw)

    monkeypatch.setattr(h5py, 'File', counting)
    order = np.random.default_rng(0).permutation(300)
    cache = open_cache(data, [('all.h5', f'k{i}') for i in order], 'hdf5', (4, 4), quiet)
    assert (cache[:, 0, 0, 0] == order % 256).all()
    assert len(opens) <= 2  # to find the range, and to decode


def test_a_changed_file_is_decoded_again_and_an_unchanged_one_is_not(data):
    for name, value in (('a.h5', 1), ('b.h5', 2)):
        with h5py.File(data / name, 'w') as f:
            f['x'], f['y'] = np.full((4, 4), value, np.uint8), np.full((4, 4), value + 10, np.uint8)
    rows = [('a.h5', 'x'), ('b.h5', 'y'), ('a.h5', 'y')]
    first = open_cache(data, rows, 'hdf5', (4, 4), quiet)
    with h5py.File(data / 'a.h5', 'w') as f:
        f['x'], f['y'] = np.full((4, 4), 77, np.uint8), np.full((4, 4), 78, np.uint8)
    lines = []
    second = open_cache(data, rows, 'hdf5', (4, 4), lines.append)
    assert first[:, 0, 0, 0].tolist() == [1, 12, 11] and second[:, 0, 0, 0].tolist() == [77, 12, 78]
    assert any('decoding 2 of 3' in line for line in lines), lines
    assert first.content != second.content


def test_an_interrupted_cache_of_parts_resumes(data, monkeypatch):
    write_npy(data / 'a.npy')
    rows = [('a.npy', str(i % 3)) for i in range(600)]
    from kagglekit.images import cache_file

    original, calls = cache_file._row, []

    def stopping(cache, i, notes):
        calls.append(i)
        if len(calls) == 400:
            raise KeyboardInterrupt
        return original(cache, i, notes)

    monkeypatch.setattr(cache_file, '_row', stopping)
    with pytest.raises(KeyboardInterrupt):
        open_cache(data, rows, 'npy', (8, 8), quiet)
    done = len(calls)
    cache = open_cache(data, rows, 'npy', (8, 8), quiet)
    assert len(calls) - done <= 600 - 256
    assert (cache[:] == np.stack([read_one('npy', data / 'a.npy', (8, 8), str(i % 3)) for i in range(600)])).all()


def test_two_parts_of_one_file_are_not_mistaken_for_each_other(data):
    "The hash of a row holds file and part: a cache must not take one for the other."
    write_npy(data / 'a.npy')
    for part in '012':
        x = open_cache(data, [('a.npy', part)], 'npy', SIDE, quiet)[0]
        assert (x[..., 0] == NOISE[..., int(part)]).all()


# formats


def test_the_range_is_that_of_train_and_test_and_travels_to_other_files(data):
    np.save(data / 'train.npy', np.full((4, 4), 1000, np.int16))
    np.save(data / 'test.npy', np.array([[-1000, 3000]], np.int16))
    train, test = open_caches(data, [(['train.npy'], (4, 4)), (['test.npy'], (1, 2))], 'npy', quiet)
    assert train.pixels == test.pixels == (-1000, 3000)
    assert train.max() == 128 and test[0].ravel().tolist() == [0, 255]
    other = open_caches(data, [(['train.npy'], (2, 2))], 'npy', quiet, pixels=(0, 2000))[0]
    assert other.max() == 128 and other.pixels == (0, 2000)


def test_pages_of_16_bits_share_the_range_of_the_brightest(data):
    pages = [Image.fromarray(np.full((4, 4), value, np.uint16)) for value in (100, 1000, 4000)]
    pages[0].save(data / 'deep.tif', save_all=True, append_images=pages[1:])
    cache = open_cache(data, [('deep.tif', str(i)) for i in range(3)], 'grey_part', (4, 4), quiet)
    assert cache.pixels == (0, 4095)
    assert cache[:, 0, 0, 0].tolist() == [round(value / 4095 * 255) for value in (100, 1000, 4000)]
    stack = open_cache(data, ['deep.tif'], 'tiff(pages=3)', (4, 4), quiet)
    assert stack[0, 0, 0].tolist() == cache[:, 0, 0, 0].tolist()


@pytest.mark.parametrize('kind', ['JPEG', 'JPEG2000'])
def test_compressed_dicom_is_read_as_far_as_pillow_goes(data, kind):
    from pydicom.encaps import encapsulate

    grey = np.asarray(Image.fromarray(NOISE[..., 0]).resize((60, 40)))
    ds = write_dicom(data / 'a.dcm', WindowCenter=127.5, WindowWidth=256)
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.NumberOfFrames = 8, 8, 7, 1
    ds.WindowCenter, ds.WindowWidth, ds.VOILUTFunction = 127.5, 255, 'LINEAR_EXACT'
    ds.file_meta.TransferSyntaxUID = dict(
        JPEG=pydicom.uid.JPEGBaseline8Bit,
        JPEG2000=pydicom.uid.JPEG2000Lossless,
    )[kind]
    f = io.BytesIO()
    Image.fromarray(grey).save(f, kind, **(dict(quality=95) if kind == 'JPEG' else dict(no_jp2=True)))
    ds.PixelData = encapsulate([f.getvalue()])
    ds['PixelData'].VR = 'OB'
    ds.save_as(data / 'a.dcm')
    off = np.abs(read_one('dicom', data / 'a.dcm', SIDE)[..., 0].astype(int) - grey)
    assert off.max() <= (40 if kind == 'JPEG' else 0)
    ds.file_meta.TransferSyntaxUID = pydicom.uid.JPEGLSLossless
    ds.save_as(data / 'b.dcm')
    with pytest.raises(KitError, match='JPEG-LS.*pyjpegls'):
        read_one('dicom', data / 'b.dcm', SIDE)


def test_dicom_colour_is_colour_and_dicom_without_an_image_is_named(data):
    ds = write_dicom(data / 'a.dcm')
    ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.NumberOfFrames = 8, 8, 7, 1
    ds.SamplesPerPixel, ds.PlanarConfiguration, ds.PhotometricInterpretation = 3, 0, 'RGB'
    ds.PixelData = NOISE.tobytes()
    ds.save_as(data / 'rgb.dcm')
    assert (read_one('dicom(channels=3)', data / 'rgb.dcm', SIDE) == NOISE).all()
    assert read_one('dicom', data / 'rgb.dcm', SIDE).shape == (*SIDE, 1)
    del ds.PixelData
    ds.save_as(data / 'report.dcm')
    with pytest.raises(KitError, match='without an image'):
        read_one('dicom', data / 'report.dcm', SIDE)
    ds.PixelData = bytes(9)
    ds.Rows = ds.Columns = 60_000
    ds.save_as(data / 'huge.dcm')
    with pytest.raises(KitError, match='max_pixels'):
        read_one('dicom', data / 'huge.dcm', SIDE)


def test_arrays_that_make_no_image_are_refused(data):
    np.savez(data / 'objects.npz', x=np.array([{}], object))
    np.save(data / 'nan.npy', np.full((4, 4), np.nan))
    np.save(data / 'complex.npy', np.zeros((4, 4), complex))
    np.save(data / 'none.npy', np.zeros((0, 4)))
    np.save(data / 'four.npy', np.zeros((2, 2, 2, 2)))
    for name, words in [
        ('objects.npz', 'Python objects'),
        ('nan.npy', 'NaN'),
        ('complex.npy', 'complex128'),
        ('none.npy', 'empty'),
        ('four.npy', r'shape \(2, 2, 2, 2\)'),
    ]:
        with pytest.raises(KitError, match=words) as e:
            open_cache(data, [name], 'npy', (4, 4), quiet)
        assert name in str(e.value)


def test_bytes_that_end_in_zeros_come_whole_out_of_hdf5(data):
    "NumPy cuts zeros off the end of fixed-length bytes; a BMP may end in them."
    black = np.zeros((8, 8, 3), np.uint8)
    black[:2] = 200
    content = encoded(black[::-1], 'BMP')
    bottom_up = np.asarray(Image.open(io.BytesIO(content)))
    content = encoded(black, 'TIFF') + bytes(50)
    with h5py.File(data / 'a.h5', 'w') as f:
        f['fixed'] = np.bytes_(content)
        f['bmp'] = np.void(encoded(black[::-1], 'BMP'))
    assert (read_one('hdf5(channels=3)', data / 'a.h5', (8, 8), 'fixed') == black).all()
    assert (read_one('hdf5(channels=3)', data / 'a.h5', (8, 8), 'bmp') == bottom_up).all()


# sizes


@pytest.mark.parametrize('how', FITS)
@pytest.mark.parametrize('shape', [(40, 60), (60, 40), (1, 300), (300, 1), (7, 7)])
@pytest.mark.parametrize('size', [(32, 32), (16, 48), (1, 1)])
def test_every_size_is_reached_from_every_shape(how, shape, size):
    x = fit_image(np.full((*shape, 3), 200, np.uint8), size, how)
    assert x.shape == (*size, 3) and x.max() == 200
    assert set(np.unique(x)) <= {0, 200}
    if how in ('squash', 'crop'):
        assert x.min() == 200


@pytest.mark.parametrize('text', ['rgb', 'grey', 'rgb_part', 'grey_part', 'tiff', 'npy', 'hdf5', 'dicom'])
def test_formats_of_pictures_keep_the_aspect_where_asked(text):
    assert find_inputs(f'{text}(fit=pad)').name == f"{text}(fit='pad')"
    assert find_inputs(f'{text}(fit=squash)') is find_inputs(text)


def test_plain_rgb_keeps_its_cache_and_a_fitted_one_has_its_own(data):
    write_png(data / 'a.png')
    plain = open_cache(data, ['a.png'], 'rgb', (32, 32), quiet)
    padded = open_cache(data, ['a.png'], 'rgb(fit=pad)', (32, 32), quiet)
    assert len(list((root() / '.cache').glob('rgb-32x32-*.npy'))) == 1
    assert len(list((root() / '.cache').glob('rgb_fit_pad-32x32-*.npy'))) == 1
    assert (padded[0, :5] == 0).all() and (plain[0, :5] > 0).any()
    assert plain.decoding != padded.decoding


def test_the_quick_way_is_another_cache_and_the_same_image(data, monkeypatch):
    "Sizes beyond and below that of the file, with and without the package that decodes JPEGs."
    noise = np.random.default_rng(0).integers(0, 256, (8, 10, 3)).astype(np.uint8)
    Image.fromarray(noise).resize((200, 160)).save(data / 'a.jpg', quality=95)
    for size in ((64, 80), (200, 40)):
        slow = open_cache(data, ['a.jpg'], 'rgb', size, quiet)
        quick = open_cache(data, ['a.jpg'], 'rgb(fast=True)', size, quiet)
        assert quick.content == slow.content and quick.decoding != slow.decoding
        assert 0 < np.abs(quick.astype(int) - slow).max() <= 2
    monkeypatch.setitem(sys.modules, 'simplejpeg', None)
    monkeypatch.setattr(fast_decoding, 'simplejpeg', Lazy('simplejpeg'))
    np.testing.assert_array_equal(read_one('rgb(fast=True)', data / 'a.jpg', size), quick[0])


def test_arguments_that_are_wrong_are_named():
    for text, words in [
        ('rgb(fit=stretch)', 'squash'),
        ('rgb(fits=pad)', 'did you mean fit'),
        ('tiff(pages=0)', 'from 1 to 64'),
        ('parquet', 'needs height'),
        ('dicm', 'did you mean dicom'),
        ('audio(seconds=0)', 'seconds of audio'),
    ]:
        with pytest.raises(KitError, match=words):
            find_inputs(text)


# competitions


def competition(data, parts, test_parts):
    "A competition whose rows are parts of one recording."
    n, m = len(parts), len(test_parts)
    train = pd.DataFrame(dict(id=[f'r{i}' for i in range(n)], file='a.wav', part=parts, target=np.arange(n) % 2))
    test_ids = [f't{i}' for i in range(m)]
    test = pd.DataFrame(dict(id=test_ids, file='a.wav', part=test_parts, sample_id=test_ids))
    sample = pd.DataFrame(dict(id=test_ids, label=['on'] * m))
    return Competition('toy', train, test, sample, ('on', 'off'), metric='accuracy')


def test_preflight_opens_parts_and_names_a_broken_one(data):
    write_sound(data / 'a.wav')
    recipe = Recipe('exp0001', inputs='audio', size=32)
    assert '6 files open as audio' in str(open_samples(competition(data, ['0', '1', '2', '3'], ['4', '5']), recipe))
    with pytest.raises(KitError, match=r'1 of 6 .*part 70 of .*a\.wav lasts 6\.0 s'):
        open_samples(competition(data, ['0', '1', '2', '70'], ['4', '5']), recipe)
    with pytest.raises(KitError, match='reads whole files'):
        open_samples(competition(data, ['0', '1'], ['4', '5']), Recipe('exp0001', inputs='rgb', size=32))


def test_another_part_is_other_data(data):
    write_sound(data / 'a.wav')
    folds, recipe = pd.DataFrame(dict(id=['r0', 'r1'], fold=[0, 1])), Recipe('exp0001', inputs='audio')
    one = data_hashes(recipe, competition(data, ['0', '1'], ['2', '3']), folds)
    other = data_hashes(recipe, competition(data, ['0', '2'], ['2', '4']), folds)
    assert one['data_hash'] != other['data_hash'] and one['test_hash'] != other['test_hash']


def test_a_part_is_text(data):
    with pytest.raises(KitError, match='the column part is text'):
        competition(data, [0, 1], ['2', '3'])
    comp = competition(data, ['0', ''], ['2', '3'])
    assert rows_of(comp.train) == [('a.wav', '0'), ('a.wav', '')]


@CASES
def test_the_name_of_a_cache_does_not_depend_on_what_is_open(data, name, write, inputs, parts):
    write(data / name)
    read_one(inputs, data / name, SIDE, parts[-1])
    open_cache(data, [(name, parts[-1])], inputs, SIDE, quiet)
    before = sorted((root() / '.cache').glob('*.npy'))
    close_files()
    open_cache(data, [(name, parts[-1])], inputs, SIDE, quiet)
    assert sorted((root() / '.cache').glob('*.npy')) == before and len(before) == 1


def test_files_that_cannot_be_read_are_listed_and_the_others_are_kept(data):
    for name in ('a.h5', 'b.h5', 'c.h5'):
        with h5py.File(data / name, 'w') as f:
            f['x'] = np.full((4, 4), 9, np.uint8)
    (data / 'b.h5').write_bytes(b'no HDF5 at all')
    rows = [('a.h5', 'x'), ('b.h5', 'x'), ('c.h5', 'x')]
    with pytest.raises(KitError, match='2 of 4 files cannot be read') as e:
        open_cache(data, [*rows, ('c.h5', 'y')], 'hdf5', (4, 4), quiet)
    assert 'b.h5 is not an HDF5 file but a text file' in str(e.value) and 'part y of' in str(e.value)
    with pytest.raises(KitError, match='1 of 3 files cannot be read'):
        open_cache(data, rows, 'hdf5', (4, 4), quiet)
    with h5py.File(data / 'b.h5', 'w') as f:
        f['x'] = np.full((4, 4), 8, np.uint8)
    lines = []
    cache = open_cache(data, rows, 'hdf5', (4, 4), lines.append)
    assert 'decoding 1 of 3' in lines[0] and cache[:, 0, 0, 0].tolist() == [9, 8, 9]


def test_a_run_is_set_up_with_the_parts_of_its_rows(data):
    from kagglekit.runs.setup import make_network, open_setup

    write_sound(data / 'a.wav')
    comp = competition(data, ['0', '1', '2', '3'], ['4', '5'])
    recipe = Recipe('exp0001', inputs='audio(seconds=1, channels=3)', arch='resnet10t', pretrained=False, size=32)
    folds = pd.DataFrame(dict(id=comp.train.id, fold=[0, 1, 0, 1]))
    setup = open_setup(recipe, comp, folds, quiet)
    for table, cache in ((comp.train, setup.train), (comp.test, setup.test)):
        for part, x in zip(table.part, cache):
            assert (x == read_one(recipe.inputs, data / 'a.wav', (32, 32), part)).all()
    assert make_network(recipe, 2).conv1[0].in_channels == 3
