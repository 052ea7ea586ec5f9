"Zips that are odd, damaged, or not for Python: what is refused, and in which words."

import io
import shutil
import stat
import struct
import zipfile
import zlib
import pytest
from kagglekit.core.validation import KitError
from kagglekit.data.unpack import CorruptZip, check_zip, unpack


def zip_of(*entries):  # of (name, text); a name may be a ZipInfo
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', zipfile.ZIP_DEFLATED) as z:
        for name, text in entries:
            z.writestr(name, text)
    return out.getvalue()


def raw_zip(name, text=b'x', flags=0):  # one stored entry whose name is exactly these bytes
    crc, n = zlib.crc32(text), len(text)
    head = struct.pack('<4s5H3I2H', b'PK\3\4', 20, flags, 0, 0, 33, crc, n, n, len(name), 0) + name + text
    numbers = (20, 20, flags, 0, 0, 33, crc, n, n, len(name), 0, 0, 0, 0, 0, 0)
    entry = struct.pack('<4s6H3I5H2I', b'PK\1\2', *numbers) + name
    return head + entry + struct.pack('<4s4H2IH', b'PK\5\6', 0, 0, 1, 1, len(entry), len(head), 0)


def deflate64(raw):  # the same zip, with the number of a compression that Python lacks
    return raw.replace(struct.pack('<5H', 20, 0, 0, 0, 33), struct.pack('<5H', 20, 0, 9, 0, 33))


def link(name, target):
    info = zipfile.ZipInfo(name)
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    return info, target


def damaged(method):  # one file, with wrong bytes in the middle
    out = io.BytesIO()
    with zipfile.ZipFile(out, 'w', method) as z:
        z.writestr('a.npy', bytes(range(256)) * 9)
    raw, at = out.getvalue(), 60
    return raw[:at] + bytes([raw[at] ^ 255]) * 4 + raw[at + 4 :]


def names(raw):
    return ', '.join(check_zip(zipfile.ZipFile(io.BytesIO(raw)), 'open.zip'))


@pytest.fixture
def refusal(tmp_path):
    "The error of an unpacking."

    def _refusal(raw):
        (tmp_path / 'open.zip').write_bytes(raw)
        with pytest.raises(KitError) as error:
            unpack(tmp_path / 'open.zip', tmp_path / 'data', lambda line: None)
        assert not (tmp_path / 'data').exists()
        return error.value

    return _refusal


@pytest.mark.parametrize(
    'raw, wanted',
    [
        (zip_of(('train/', ''), ('train/1.png', 'a'), ('./test.csv', 'b'), ('./', '')), 'train/1.png, test.csv'),
        (raw_zip(b'train\\a\\1.png'), 'train/a/1.png'),
        (raw_zip(b'train\\', b''), ''),
    ],
)
def test_separators_and_folders(raw, wanted):
    assert names(raw) == wanted


@pytest.mark.parametrize(
    'raw, words',
    [
        (zip_of(('/etc/passwd', 'x')), 'absolute'),
        (zip_of(('C:/x', 'x')), 'absolute'),
        (zip_of(('a/../../x', 'x')), 'leaves the folder'),
        (raw_zip(b'..\\x'), 'leaves the folder'),
        (raw_zip(b'a\\..\\..\\x'), 'leaves the folder'),
        (raw_zip(b'.'), 'without a name'),
        (raw_zip(b''), 'without a name'),
        (raw_zip(b'.\\.'), 'without a name'),
        (zip_of(('a/.unpacking', 'x')), 'named as what is being unpacked'),
        (zip_of(('a/' + '긴' * 86 + '.png', 'x')), 'too long a name (262 bytes'),
        (deflate64(raw_zip(b'x')), 'packed by deflate64 (no. 9), which Python cannot unpack'),
        (zip_of(link('out', '/etc')), 'a link'),
        (raw_zip(b'x', flags=1), 'encrypted'),
        (zip_of(('a', 'x'), ('./a', 'y')), 'comes twice'),
        (zip_of(('a', 'x'), ('a/b', 'y')), 'a file and a folder'),
    ],
)
def test_an_entry_that_must_not_be_written_refuses_the_zip(raw, words):
    with pytest.raises(KitError) as error:
        names(raw)
    assert words in str(error.value) and 'nothing was unpacked' in str(error.value)


@pytest.mark.parametrize('method', [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_damage_of_any_compression_is_a_corrupt_zip(refusal, method):
    error = refusal(damaged(method))
    assert isinstance(error, CorruptZip) and "'a.npy' is damaged" in str(error)


@pytest.mark.parametrize(
    'raw, words',
    [
        (zip_of(('/'.join(['x' * 250] * 17), 'x')), 'is too long for the disk'),
        (deflate64(raw_zip(b'x')), 'take another program'),
        (raw_zip(b'x').replace(b'PK\1\2\24\0\24\0', b'PK\1\2\24\0\143\0'), 'take another program'),
    ],
    ids=['path', 'deflate64', 'version'],
)
def test_what_another_program_could_unpack_is_not_corrupt(refusal, raw, words):
    error = refusal(raw)
    assert not isinstance(error, CorruptZip) and words in str(error)


def test_a_full_disk_is_found_before_anything_is_written(refusal, monkeypatch):
    raw = raw_zip(b'a', b'x' * 9).replace(b'\t\0\0\0', b'\0\0\0\xff', 4)  # says that it holds 4 GB
    monkeypatch.setattr(shutil, 'disk_usage', lambda path: type('Usage', (), dict(free=10**9)))
    assert 'GB are free' in str(refusal(raw))
