"Image files: decoded correctly or refused; the cache of decoded images is never wrong."

import gzip
import io
import os
import pickle
import shutil
import signal
import struct
import time
import zlib
import numpy as np
import pytest
from PIL import Image
from kagglekit.core.paths import root
from kagglekit.core.validation import KitError
from kagglekit.images.formats import input_format, open_cache, open_caches, read_one
import kagglekit.images.cadence
from running import Forked, quiet, until

RAMP = np.linspace(0, 1, 64)[None].repeat(48, 0)
NOISE = np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)
SIDE = (48, 64)


def save(path, array, kind=None, **options):
    "Write an array as a picture; its name."
    Image.fromarray(array).save(path, kind, **options)
    return path.name


def deep(bits, scale=RAMP):
    "A picture of 16 bits that uses some of them."
    return (scale * (2**bits - 1)).round().astype(np.uint16)


def png16(path, values):
    "Write 16-bit colour, with or without alpha, as PNG."
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[values.shape[2]]

    def part(name, body):
        return struct.pack('>I', len(body)) + name + body + struct.pack('>I', zlib.crc32(name + body))

    head = struct.pack('>IIBBBBB', values.shape[1], values.shape[0], 16, kind, 0, 0, 0)
    rows = b''.join(b'\0' + row.astype('>u2').tobytes() for row in values)
    parts = part(b'IHDR', head) + part(b'IDAT', zlib.compress(rows)) + part(b'IEND', b'')
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + parts)
    return path.name


# how deep a picture is


@pytest.mark.parametrize('kind', ['png', 'tif'])
@pytest.mark.parametrize('bits', [8, 10, 12, 14, 16])
def test_every_depth_in_a_16_bit_file_keeps_its_grey_levels(data, kind, bits):
    "Divided by 257, twelve bits have 17 levels left and eight bits two."
    name = save(data / f'a.{kind}', deep(bits))
    x = open_cache(data, [name], 'grey', SIDE, quiet)[0, ..., 0]
    assert len(np.unique(x)) == 64
    assert np.abs(x - 255 * RAMP).max() <= 1


@pytest.mark.parametrize('bits', [8, 12])
def test_16_bit_colour_that_uses_fewer_bits_keeps_its_range(data, bits):
    "Pillow keeps the upper eight of 16 bits of a colour."
    colours = np.stack([deep(bits), deep(bits, RAMP[:, ::-1]), deep(bits, RAMP / 2)], -1)
    x = open_cache(data, [png16(data / 'a.png', colours)], 'rgb', SIDE, quiet)[0]
    assert np.abs(x - colours / (2**bits - 1) * 255).max() <= 1


@pytest.mark.parametrize('mode', ['1', 'L', 'LA', 'P', 'RGB', 'RGBA', 'I;16'])
@pytest.mark.parametrize('inputs', ['rgb', 'grey', 'rgb(fast=True)'])
def test_a_png_has_the_same_bytes_with_and_without_libspng(data, mode, inputs, monkeypatch):
    "Whatever its mode."
    pytest.importorskip('imagecodecs')
    picture = Image.fromarray(np.dstack([NOISE, NOISE[..., 0]]))
    (picture.convert('RGB').convert('L').convert(mode) if mode == 'I;16' else picture.convert(mode)).save(
        data / 'a.png'
    )
    size = (20, 30)
    fast = read_one(inputs, data / 'a.png', size)
    monkeypatch.setattr('kagglekit.images.png._spng', lambda: None)
    np.testing.assert_array_equal(fast, read_one(inputs, data / 'a.png', size))


@pytest.mark.parametrize('at', [60, 2000, -20])
def test_a_damaged_png_is_named_with_libspng_too(data, at):
    "Pillow says what is wrong."
    body = bytearray((data / save(data / 'a.png', NOISE)).read_bytes())
    body[at] ^= 1
    (data / 'a.png').write_bytes(body)
    with pytest.raises(KitError, match=r'a\.png is damaged'):
        read_one('rgb', data / 'a.png', (20, 30))


def test_a_dark_image_is_scaled_by_the_range_of_its_data_set(data):
    "The range is that of all train and test pictures."
    names = [save(data / 'bright.png', deep(12)), save(data / 'dark.png', deep(12) // 8)]
    train, test = open_caches(data, [(names[:1], SIDE), (names[1:], SIDE)], 'grey', quiet)
    assert (train[0].max(), test[0].max()) == (255, 32)


def test_a_brighter_test_image_extends_the_range(data):
    "The same train files with another test file are another cache."
    names = [save(data / 'a.png', deep(10)), save(data / 'b.png', deep(14))]
    alone = open_cache(data, names[:1], 'grey', SIDE, quiet)
    train, test = open_caches(data, [(names[:1], SIDE), (names[1:], SIDE)], 'grey', quiet)
    assert (alone[0].max(), train[0].max(), test[0].max()) == (255, 16, 255)


def test_a_data_set_of_full_16_bits_is_unchanged(data):
    "Values above 32,767 are divided by 257, as ever."
    values = (NOISE[..., 0].astype(np.uint16) << 8) + NOISE[..., 1]
    x = open_cache(data, [save(data / 'a.png', values)], 'grey', SIDE, quiet)[0, ..., 0]
    np.testing.assert_array_equal(x, (values.astype(np.float32) / 257).round().astype(np.uint8))


def test_a_black_16_bit_image_belongs_to_its_data_set(data):
    "It is as deep as the others."
    names = [save(data / 'black.png', np.zeros(SIDE, np.uint16)), save(data / 'a.png', deep(12))]
    assert open_cache(data, names, 'grey', SIDE, quiet)[:, 0, -1, 0].tolist() == [0, 255]
    assert open_cache(data, names[:1], 'grey', SIDE, quiet).max() == 0


def test_the_page_reports_the_range(data):
    "A window of values, clipped at both ends; floats and negative values too."

    @input_format('windowed', 1, range=(-100, 300))
    def windowed(path, size):
        return kagglekit.images.formats.read_image(path, size, 'L')

    values = (RAMP * 800 - 200).astype(np.float32)
    names = [save(data / 'f.tif', values), save(data / 'i.tif', values.round().astype(np.int32))]
    want = ((values + 100) / 400 * 255).clip(0, 255)
    for x in open_cache(data, names, 'windowed', SIDE, quiet)[..., 0]:
        assert np.abs(x - want).max() <= 1
    for name in names:
        with pytest.raises(KitError, match='name the range'):
            open_cache(data, [name], 'grey', SIDE, quiet)


def test_32_bit_integers_are_scaled_by_their_own_range(data):
    "0 … 100,000 does not end at white after a quarter."
    name = save(data / 'a.tif', (RAMP * 100_000).astype(np.int32))
    x = open_cache(data, [name], 'grey', SIDE, quiet)[0, ..., 0]
    assert np.abs(x - RAMP * 100_000 / (2**18 - 1) * 255).max() <= 1


# what is transparent


def with_alpha(kind, hidden, path):
    "The same visible picture, with `hidden` (0 or 255) where it is fully transparent."
    alpha = (255 * (np.arange(64) < 40)).astype(np.uint8)[None].repeat(48, 0)
    grey = np.where(alpha > 0, (RAMP * 200).astype(np.uint8), np.uint8(hidden))
    if kind == 'LA':
        return save(path, np.dstack([grey, alpha]))
    if kind == 'RGBA':
        return save(path, np.dstack([grey] * 3 + [alpha]))
    if kind == 'half':
        return save(path, np.dstack([grey] * 3 + [alpha // 2]))
    indexed = Image.fromarray(np.where(alpha > 0, grey // 4, np.uint8(63)))
    indexed = Image.fromarray(np.asarray(indexed), 'P')
    indexed.putpalette([c for i in range(63) for c in [4 * i] * 3] + [hidden] * 3)
    indexed.save(path, transparency=63)
    return path.name


@pytest.mark.parametrize('kind', ['LA', 'RGBA', 'half', 'palette'])
def test_transparent_pixels_are_not_seen(data, kind):
    "Hidden black and hidden white are the same picture."
    names = [with_alpha(kind, hidden, data / f'{hidden}.png') for hidden in (0, 255)]
    black, white = open_cache(data, names, 'rgb', (24, 32), quiet)
    np.testing.assert_array_equal(black, white)
    assert black[:, :16].std() > 5


def test_an_opaque_alpha_channel_changes_nothing(data):
    "RGBA with alpha 255 has the bytes of RGB."
    names = [save(data / 'a.png', NOISE), save(data / 'b.png', np.dstack([NOISE, np.full(SIDE, 255, np.uint8)]))]
    a, b = open_cache(data, names, 'rgb', (24, 32), quiet)
    np.testing.assert_array_equal(a, b)


# files that are not what they seem


def jpeg(array=NOISE):
    "The bytes of a JPEG picture."
    f = io.BytesIO()
    Image.fromarray(array).save(f, 'JPEG', quality=95)
    return f.getvalue()


STRANGE = dict(  # name → bytes, words of the message
    dicom_jpg=(b'\0' * 128 + b'DICM' + b'\0' * 200, 'DICOM'),
    page_jpg=(b'\n <!doctype HTML><title>403</title>', 'web page'),
    json_png=(b'{"error": "not signed in"}', 'text file'),
    lfs_png=(b'version https://git-lfs.github.com/spec/v1\noid sha256:1', 'Git LFS'),
    gz_png=(gzip.compress(jpeg()), 'gzip'),
    zip_png=(b'PK\x03\x04' + b'\0' * 60, 'zip archive'),
    pdf_jpg=(b'%PDF-1.7\n', 'PDF'),
    eps_png=(b'%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n', 'PostScript'),
    fits_png=(b'SIMPLE  =                    T' + b' ' * 2850, 'FITS'),
    npy_png=(b'\x93NUMPY\x01\0v\0{}', 'NumPy array'),
    empty_jpg=(b'', 'empty'),
    zeros_jpg=(bytes(500), 'zero bytes'),
    cut_jpg=(jpeg()[:700], 'damaged'),
    head_jpg=(jpeg()[:30], 'damaged'),
    noise_png=(bytes(range(128, 256)) * 4, 'not a picture'),
)


def test_all_unreadable_files_are_named_at_once_each_with_its_remedy(data):
    "Of train and test, and the good ones are kept."
    for name, (body, _) in STRANGE.items():
        (data / name.replace('_', '.')).write_bytes(body)
    (data / 'folder.png').mkdir()
    os.mkfifo(data / 'pipe.png')
    names = [name.replace('_', '.') for name in STRANGE] + ['folder.png', 'pipe.png', save(data / 'good.png', NOISE)]
    with pytest.raises(KitError) as e:
        open_caches(data, [(names[:9], SIDE), (names[9:], SIDE)], 'rgb', quiet)
    text = str(e.value) + (root() / '.cache' / 'unreadable.txt').read_text()
    assert f'{len(names) - 1} of {len(names)} files cannot be read' in text
    for name, words in [
        *((k, v[1]) for k, v in STRANGE.items()),
        ('folder_png', 'is a folder'),
        ('pipe_png', 'a pipe'),
    ]:
        assert any(name.replace('_', '.') in line and words in line for line in text.splitlines()), name
    assert 'Traceback' not in text and 'allow_pickle' not in text


def test_missing_files_are_named_before_the_first_is_decoded(data):
    "A link that leads nowhere is called so; a name that leads out of the data folder is refused."
    (data / 'link.png').symlink_to('nowhere.png')
    names = [save(data / 'a.png', NOISE), 'none.png', 'link.png']
    with pytest.raises(KitError, match='2 of 3 files are missing.*\n.*none.png is not there\n.*link to nowhere.png'):
        open_cache(data, names, 'rgb', SIDE, quiet)
    for name in ('../out.png', str(data / 'a.png'), 'x/../../y.png'):
        with pytest.raises(KitError, match='leads out of'):
            open_cache(data, [name], 'rgb', SIDE, quiet)


@pytest.mark.parametrize('limit', [3000, 1000])
def test_an_image_of_too_many_pixels_is_refused_until_the_limit_is_raised(data, limit):
    "With the file, its pixels and the setting; also beyond twice the limit, where Pillow has an error of its own."
    name = save(data / 'a.png', NOISE)
    (root() / 'settings.ini').write_text(f'[DEFAULT]\nmax_pixels = {limit}\n')
    with pytest.raises(KitError, match=rf'a.png has 3,072 pixels, and at most {limit:,} .*max_pixels'):
        open_cache(data, [name], 'rgb', SIDE, quiet)
    (root() / 'settings.ini').write_text('[DEFAULT]\nmax_pixels = 3072\n')
    np.testing.assert_array_equal(open_cache(data, [name], 'rgb', SIDE, quiet)[0], NOISE)


@pytest.mark.parametrize('kind', ['GIF', 'TIFF', 'PNG', 'WEBP'])
def test_the_first_of_several_frames_is_taken_with_a_note(data, kind):
    "Once for a data set."
    frames = [Image.fromarray(np.full(SIDE, level, np.uint8)) for level in (50, 90, 200)]
    options = dict(lossless=True) if kind == 'WEBP' else {}
    frames[0].save(data / 'a', kind, save_all=True, append_images=frames[1:], **options)
    said = []
    x = open_cache(data, ['a'], 'grey', SIDE, said.append)
    assert abs(int(x.max()) - 50) <= 1 and any('first is taken' in line for line in said)


def npy_header(text):
    "A .npy file with this header and no values."
    return b'\x93NUMPY\x01\0' + struct.pack('<H', 90) + text.encode().ljust(89) + b'\n'


WIDE = npy_header("{'descr': '<f2', 'fortran_order': False, 'shape': (9**18, 9, 9)}")
HUGE = npy_header("{'descr': '<f2', 'fortran_order': False, 'shape': (6000000, 273, 256)}")
ARRAYS = dict(  # how it is written, words of the message
    archive=(lambda path: np.savez(open(path, 'wb'), x=np.zeros(3)), 'npz'),
    pickled=(lambda path: path.write_bytes(pickle.dumps(np.zeros(3))), 'pickle'),
    objects=(lambda path: np.save(path, np.array([{}], object), allow_pickle=True), 'Python objects'),
    flat=(lambda path: np.save(path, np.zeros((273, 256), np.float16)), r'\(273, 256\)'),
    whole=(lambda path: np.save(path, np.zeros((6, 273, 256), np.int16)), 'int16'),
    wide=(lambda path: path.write_bytes(WIDE), 'damaged'),
    huge=(lambda path: path.write_bytes(HUGE), 'cut short'),
    picture=(lambda path: path.write_bytes(jpeg()), 'not an array but a JPEG picture'),
    page=(lambda path: path.write_text('<html>'), 'web page'),
    empty=(lambda path: path.touch(), 'empty'),
)


@pytest.mark.parametrize('case', ARRAYS)
def test_a_file_that_is_no_array_is_named_by_its_format(data, case):
    "Without NumPy's advice to allow pickles."
    write, words = ARRAYS[case]
    write(data / 'x.npy')
    with pytest.raises(KitError, match=words) as e:
        open_cache(data, ['x.npy'], 'abacad', (64, 32), quiet)
    assert 'allow_pickle' not in str(e.value)


WRONG = dict(  # what a reader of a page returns, words of the message
    shape=(lambda path, size: np.zeros((1, 1, 3), np.uint8), r'gave \(1, 1, 3\)'),
    floats=(lambda path, size: np.full((*size, 3), 0.5), 'gave float64'),
    large=(lambda path, size: np.full((*size, 3), 300), 'gave int64'),
    error=(lambda path, size: {}['crop'], "KeyError: 'crop'"),
    nothing=(lambda path, size: None, 'gave'),
)


@pytest.mark.parametrize('case', WRONG)
def test_a_reader_must_return_the_declared_channels_and_type(data, case):
    "NumPy would stretch (1, 1, 3) over the picture, and cut floats to integers."
    read, words = WRONG[case]
    input_format('promised', 3)(read)
    with pytest.raises(KitError, match=words):
        open_cache(data, [save(data / 'a.png', NOISE)], 'promised', SIDE, quiet)


# caches that know what they hold


def page(text):
    "Register the input format `mine` as a page with this source does."
    exec(text, dict(input_format=input_format, np=np, Image=Image, __name__='__main__'))


SOURCE = """
GAIN = 1
TABLE = np.arange(4)
def helper(x, add=0): return x * GAIN + add + TABLE[0]
@input_format('mine', 1)
def mine(path, size):
    return helper(np.asarray(Image.open(path)).astype(np.uint8)[..., :1] // 4)
"""


@pytest.mark.parametrize(
    'old, new, what',
    [
        ('// 4', '// 4 + 1', 'the function'),
        ('GAIN = 1', 'GAIN = 2', 'a constant'),
        ('arange(4)', 'arange(4) + 3', 'a table'),
        ('add=0', 'add=5', "a helper's default"),
        ('* GAIN +', '* GAIN + 1 +', 'a helper'),
    ],
)
def test_an_edited_reader_decodes_again(data, old, new, what):
    "The old pixels do not come back."
    name = save(data / 'a.png', NOISE)
    page(SOURCE)
    before = np.array(open_cache(data, [name], 'mine', SIDE, quiet))
    page(SOURCE.replace(old, new))
    after = open_cache(data, [name], 'mine', SIDE, quiet)
    assert (after != before).any()


def test_a_replaced_image_is_noticed_whatever_its_size_and_date(data):
    "The content decides."
    names = [save(data / f'{i}.bmp', NOISE + np.uint8(i)) for i in range(5)]
    before = open_cache(data, names, 'rgb', SIDE, quiet)
    times = os.stat(data / '3.bmp')
    save(data / '3.bmp', NOISE[::-1])
    os.utime(data / '3.bmp', ns=(times.st_atime_ns, times.st_mtime_ns))
    after = open_cache(data, names, 'rgb', SIDE, quiet)
    assert after.content != before.content
    np.testing.assert_array_equal(after[3], NOISE[::-1])
    np.testing.assert_array_equal(after[[0, 1, 2, 4]], before[[0, 1, 2, 4]])


def test_copied_data_have_the_same_content_and_keep_their_cache(data, capsys):
    "Other dates and inodes, the same bytes."
    names = [save(data / f'{i}.png', NOISE + np.uint8(i)) for i in range(5)]
    before = open_cache(data, names, 'rgb', SIDE, quiet)
    for name in names:
        body = (data / name).read_bytes()
        (data / name).unlink()
        (data / name).write_bytes(body)
    assert open_cache(data, names, 'rgb', SIDE, print).content == before.content
    assert capsys.readouterr().out == ''  # nothing was decoded
    assert open_cache(data, names[::-1], 'rgb', SIDE, quiet).content != before.content


def caches(ending):
    "The files of the workspace's caches with this ending."
    return sorted((root() / '.cache').glob(f'*-*x*-*{ending}'))


def cut(path):
    os.truncate(path, path.stat().st_size // 2)


def spoil(path):
    with open(path, 'r+b') as f:
        f.seek(path.stat().st_size // 2)
        f.write(b'spoilt')


def longer(path):
    path.write_bytes(path.read_bytes() + b'more')


def other(path):
    np.save(open(path, 'wb'), np.zeros((2, 2)))


def emptied(path):
    path.write_bytes(b'')


@pytest.mark.parametrize('harm', [cut, spoil, longer, other, emptied, os.remove])
@pytest.mark.parametrize('ending', ['.npy', '.rows', '.json'])
def test_a_damaged_cache_is_noticed_and_rebuilt(data, harm, ending):
    "Whatever of it was cut, spoilt, replaced or deleted."
    names = [save(data / f'{i}.png', NOISE + np.uint8(i)) for i in range(5)]
    want = np.array(open_cache(data, names, 'rgb', SIDE, quiet))
    (path,) = caches(ending)
    harm(path)
    np.testing.assert_array_equal(open_cache(data, names, 'rgb', SIDE, quiet), want)
    np.testing.assert_array_equal(np.load(caches('.npy')[0]), want)


def test_a_large_cache_is_checked_in_part_and_wholly_if_modified(data, monkeypatch):
    "The last one is among them; one in the middle is seen by the time of the file."
    monkeypatch.setattr('kagglekit.images.cache_file.WHOLE', 0)
    monkeypatch.setattr('kagglekit.images.cache_file.SOME', 2)
    names = [save(data / f'{i}.png', NOISE + np.uint8(i)) for i in range(5)]
    want = np.array(open_cache(data, names, 'rgb', SIDE, quiet))
    for at, keep_time in ((128, True), (-9, True), (len(NOISE.tobytes()) * 2 + 500, False)):
        (path,) = caches('.npy')
        times = os.stat(path)
        with open(path, 'r+b') as f:
            f.seek(at, os.SEEK_END if at < 0 else os.SEEK_SET)
            f.write(b'spoilt')
        if keep_time:
            os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        np.testing.assert_array_equal(open_cache(data, names, 'rgb', SIDE, quiet), want)


def test_a_folder_can_be_a_sample(data):
    "Its content is that of all its files."

    @input_format('volume', 2)
    def volume(path, size):
        slices = [kagglekit.images.formats.read_image(path / name, size, 'L') for name in ('a.png', 'b.png')]
        return np.concatenate(slices, -1)

    for name in 'xy':
        (data / name).mkdir()
        for level, part in enumerate('ab'):
            save(data / name / f'{part}.png', np.full(SIDE, 50 * level + (name == 'y'), np.uint8))
    before = open_cache(data, ['x', 'y'], 'volume', (8, 8), quiet)
    assert before[:, 0, 0].tolist() == [[0, 50], [1, 51]]
    save(data / 'y' / 'b.png', np.full(SIDE, 99, np.uint8))
    after = open_cache(data, ['x', 'y'], 'volume', (8, 8), quiet)
    assert after[:, 0, 0].tolist() == [[0, 50], [1, 99]] and after.content != before.content


class Stop:
    "When a reader is to be interrupted: after so many files."

    after = 0


LEVELS = np.arange(300, dtype=np.uint8)[:, None, None, None].repeat(8, 1).repeat(8, 2)


@pytest.fixture(scope='module')
def many(tmp_path_factory):
    "A folder of 300 pictures, each of one grey level."
    folder = tmp_path_factory.mktemp('many')
    for i, level in enumerate(LEVELS):
        save(folder / f'{i:03d}.bmp', level[..., 0])
    return folder


def stoppable(read):
    "Register `stoppable`, which is interrupted as `Stop` says."
    stop = Stop()
    stop.after = read

    @input_format('stoppable', 1)
    def stoppable(path, size):
        stop.after -= 1
        if stop.after == 0:
            raise KeyboardInterrupt
        return kagglekit.images.formats.read_image(path, size, 'L')


def interrupted(folder):
    "An interruption after 256 rows are done; the names."
    names = sorted(p.name for p in folder.glob('*.bmp'))
    stoppable(280)
    with pytest.raises(KeyboardInterrupt):
        open_cache(folder, names, 'stoppable', (8, 8), quiet)
    return names


@pytest.mark.parametrize('harm', [cut, spoil, longer, other, emptied, os.remove])
@pytest.mark.parametrize('ending', ['.part', '.done'])
def test_an_interrupted_cache_is_trusted_only_where_it_is_intact(data, many, harm, ending):
    "As after a power failure: 113 of 240 rows were wrong."
    names = interrupted(many)
    harm(caches(ending)[-1])
    np.testing.assert_array_equal(open_cache(many, names, 'stoppable', (8, 8), quiet), LEVELS)


def test_an_interrupted_cache_resumes_where_it_stopped(data, many):
    "256 rows are done, 44 are decoded."
    names, said = interrupted(many), []
    np.testing.assert_array_equal(open_cache(many, names, 'stoppable', (8, 8), said.append), LEVELS)
    assert '44 of 300' in said[0]


def test_an_image_replaced_during_an_interruption_is_decoded_again(data, many):
    "Rows of the old and the new file are not mixed."
    shutil.copytree(many, data, dirs_exist_ok=True)
    names, times = interrupted(data), os.stat(data / '007.bmp')
    save(data / '007.bmp', np.full((8, 8), 99, np.uint8))
    os.utime(data / '007.bmp', ns=(times.st_atime_ns, times.st_mtime_ns))
    want = LEVELS.copy()
    want[7] = 99
    np.testing.assert_array_equal(open_cache(data, names, 'stoppable', (8, 8), quiet), want)


@pytest.mark.parametrize('error', ['ENOSPC', 'EDQUOT', 'EFBIG'])
def test_a_full_disk_is_an_error_before_the_first_image(data, monkeypatch, error):
    "And not a SIGBUS in the middle."
    import errno

    number = getattr(errno, error)

    def full(*args):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, 'posix_fallocate', full)
    name = save(data / 'a.png', NOISE)
    with pytest.raises(KitError, match='the disk is full.*cache = no'):
        open_cache(data, [name], 'rgb', SIDE, quiet)
    assert caches('.npy') == caches('.part') == []


def test_the_whole_cache_is_reserved_before_it_is_written(data):
    "No holes that a full disk could not fill."
    stoppable(1)
    name = save(data / 'a.png', NOISE)
    with pytest.raises(KeyboardInterrupt):
        open_cache(data, [name], 'stoppable', (1024, 1024), quiet)
    (part,) = caches('.part')
    assert part.stat().st_blocks * 512 >= part.stat().st_size >= 1024**2


SLOW = """
import sys, time
from pathlib import Path
import kagglekit.images.cache_file, kagglekit.images.formats as inputs
kagglekit.images.cache_file.CHUNK = 16
folder = Path(sys.argv[1])
@inputs.input_format('slow', 1)
def slow(path, size):
    time.sleep(.002)
    return inputs.read_image(path, size, 'L')
print('ready', flush=True)
inputs.open_cache(folder, sorted(p.name for p in folder.glob('*.png')), 'slow', (8, 8), lambda line: None)
"""


def test_a_cache_killed_at_any_moment_has_no_wrong_row(data):
    "SIGKILL again and again, until the cache is complete."
    for i in range(400):
        save(data / f'{i:03d}.png', np.full((8, 8), i % 256, np.uint8))
    moments, kills = np.random.default_rng().uniform(0.02, 0.25, 3), 0
    for moment in [*moments, None]:
        process = Forked(['-c', SLOW, str(data)])
        until(lambda fork=process: fork.communicate()[0] == 'ready\n', process, every=0.005)
        if moment is not None:
            time.sleep(moment)
            process.kill()
        kills += process.wait() == -signal.SIGKILL
    assert process.wait() == 0 and kills
    (path,) = caches('.npy')
    np.testing.assert_array_equal(np.load(path)[:, 0, 0, 0], np.arange(400) % 256)


# no cache, and other workspaces


def test_images_and_hashes_are_the_same_without_a_cache(data):
    "cache = no reads the same pixels, with the same range."
    names = [save(data / 'a.png', deep(12)), save(data / 'b.png', deep(12) // 8)]
    cached = open_cache(data, names, 'grey', SIDE, quiet)
    (root() / 'settings.ini').write_text('[DEFAULT]\ncache = no\n')
    loose = open_cache(data, names, 'grey', SIDE, quiet)
    np.testing.assert_array_equal(loose[[0, 1]], cached)
    assert (loose.content, loose.pixels) == (cached.content, cached.pixels)


def test_only_cores_that_the_process_may_use_are_counted():
    "Not as the machine has them."
    from kagglekit.core.threads import usable_cores

    mine = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {max(mine)})
        assert usable_cores() == 1
    finally:
        os.sched_setaffinity(0, mine)
