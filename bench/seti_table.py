"""Seconds that a competition of 100,000 files takes before its first image: its tables, and what is known of the files.

    python bench/seti_table.py              # a minute or two, most of it for 100,000 small files in a temporary folder

The files have one byte each: none of these steps reads them. A second start finds their hashes in the workspace.
"""

import hashlib
import sys
import time
from kagglekit.competitions.seti import read_seti
from kagglekit.core.paths import data_dir, workspace
from kagglekit.core.tables import missing_files
from kagglekit.images.files import Contents


def write_seti(n):
    "SETI's layout: a folder for each first character, 60 % of the files in train."
    ids = [hashlib.md5(str(i).encode()).hexdigest()[:12] for i in range(n)]
    train, test = ids[: n * 6 // 10], ids[n * 6 // 10 :]
    folder = data_dir('seti')
    for part, names in dict(train=train, test=test).items():
        for first in '0123456789abcdef':
            (folder / part / first).mkdir(parents=True, exist_ok=True)
        for name in names:
            (folder / part / name[0] / f'{name}.npy').write_bytes(b'x')
    labels = [f'{name},{i % 2}' for i, name in enumerate(train)]
    (folder / 'train_labels.csv').write_text('\n'.join(['id,target', *labels]) + '\n')
    (folder / 'sample_submission.csv').write_text('\n'.join(['id,target', *(f'{name},0.5' for name in test)]) + '\n')


def timed(what, f):
    "What `f` gives; prints its CPU seconds and those of the clock."
    cpu, start = time.process_time(), time.perf_counter()
    found = f()
    print(f'{what:44s} {time.process_time() - cpu:6.2f} CPU s {time.perf_counter() - start:6.2f} s', flush=True)
    return found


def learn(contents):
    "As if every file had been decoded."
    for name in contents.stats:
        contents.learn(name, hashlib.blake2b(name.encode(), digest_size=16).hexdigest(), 0)
    contents.racy.clear()
    contents.save()


def main(n):
    with workspace():
        write_seti(n)
        print(f'{n:,} files')
        comp = timed('the tables, checked', lambda: read_seti('seti'))
        files = [*comp.train.file, *comp.test.file]
        timed('are all files there?', lambda: missing_files(comp.folder, comp.train.file))
        learn(timed('their sizes and times', lambda: Contents(comp.folder, files)))
        known = timed('the same, with the hashes of an earlier run', lambda: Contents(comp.folder, files))
        timed('the hash of the data set', lambda: known.content(files))


if __name__ == '__main__':
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
