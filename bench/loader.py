"""Images a second into training: kagglekit's decoded cache beside the loaders of torchvision, timm and fastai.

    python bench/loader.py                       # four minutes; writes its files into a temporary folder
    python bench/loader.py --only png --files 200

JPEGs and PNGs of 384 × 512 become 224 × 224 bytes, SETI's arrays of 6 × 273 × 256 halves become 512 × 512. Epoch 1 of
kagglekit decodes every file into a fresh cache, hashes it and keeps a checksum; from epoch 2 on it gathers whole
batches from the memory map. The others decode in every epoch, with two workers. Batches hold 64 (SETI: 16), as bytes or
floats, in the layout of the library. fastai and timm read no arrays, so a torch loader with Pillow stands for them.

Epochs are run in turn, and the best of each counts. CPU seconds include those of worker processes; on a busy machine
they say more than the clock. Compare only ratios within one run.
"""

import argparse
import resource
import tempfile
import time
import warnings
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset


def photograph(g):
    "An array with the structure of a photograph: smooth noise at several scales."
    noise = [Image.fromarray(g.integers(0, 256, (s, s, 3), np.uint8)) for s in (4, 16, 64)]
    layers = [np.asarray(im.resize((512, 384), Image.Resampling.BICUBIC), np.float32) for im in noise]
    return np.mean(layers, 0).astype(np.uint8)


def write_pictures(folder, n, kind='jpg'):
    "Pictures in four folders, as fastai expects classes."
    g, made = np.random.default_rng(0), []
    for i in range(n):
        made.append(folder / f'{i % 4}' / f'{i:05d}.{kind}')
        made[-1].parent.mkdir(exist_ok=True)
        Image.fromarray(photograph(g)).save(made[-1], quality=90)
    return made


def write_arrays(folder, n):
    "SETI's cadences."
    g, made = np.random.default_rng(0), [folder / f'{i:05d}.npy' for i in range(n)]
    for path in made:
        np.save(path, g.normal(size=(6, 273, 256)).astype(np.float16))
    return made


class Files(Dataset):
    "Files through a transform, and a label."

    def __init__(self, files, transform=None):
        self.files, self.transform = files, transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return self.transform(Image.open(self.files[i]).convert('RGB')), 0


class Arrays(Files):
    "The same of cadences, panel below panel."

    def __getitem__(self, i):
        return self.transform(np.load(self.files[i]).reshape(-1, 256).astype(np.float32)), 0


def torchvision_epoch(files):
    "torchvision v2: resize, antialiased, to a tensor of bytes."
    from torchvision.transforms import v2

    change = v2.Compose([v2.Resize((224, 224), antialias=True), v2.PILToTensor()])
    made = DataLoader(Files(files, change), batch_size=64, num_workers=2)
    return lambda: sum(len(b[0]) for b in made)


def timm_epoch(files):
    "timm's loader with its own transform and collation."
    from timm.data import create_loader

    how = dict(is_training=False, use_prefetcher=False, num_workers=2, persistent_workers=False)
    made = create_loader(Files(files), (3, 224, 224), 64, **how)
    return lambda: sum(len(b[0]) for b in made)


def fastai_epoch(files):
    "fastai's blocks: PIL, resize an item, batches of numbers."
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, ResizeMethod, Resize, parent_label

    block = DataBlock(
        (ImageBlock, CategoryBlock),
        get_y=parent_label,
        item_tfms=Resize(224, method=ResizeMethod.Squish),
        splitter=lambda items: (list(range(len(items))), [0]),
    )
    dls = block.dataloaders(files, bs=64, num_workers=2, device=torch.device('cpu'))
    return lambda: sum(len(b[0]) for b in dls.train)


def by_torchvision(x):
    "A cadence as a tensor, resized by torchvision."
    from torchvision.transforms import v2

    bicubic = v2.InterpolationMode.BICUBIC
    return v2.functional.resize(torch.from_numpy(x)[None], [512, 512], bicubic, antialias=True)


def by_pillow(x):
    "A cadence as a tensor, resized by Pillow."
    return torch.from_numpy(np.array(Image.fromarray(x).resize((512, 512), Image.Resampling.BICUBIC)))[None]


def array_epoch(change, files):
    "A torch loader of cadences."
    made = DataLoader(Arrays(files, change), batch_size=16, num_workers=2)
    return lambda: sum(len(b[0]) for b in made)


def our_epochs(files, inputs, size, bs):
    "kagglekit: an epoch that decodes into a fresh workspace, and one over the cache that this left."
    from kagglekit.core.paths import workspace
    from kagglekit.images.formats import open_cache
    from kagglekit.images.loaders import BatchLoader

    names, held = [str(Path(f).relative_to('/')) for f in files], []

    def first():
        with workspace():
            held[:] = [open_cache(Path('/'), names, inputs, (size, size), say=lambda line: None)]
            return later()

    def later():
        y, rows = torch.zeros(len(files), 1), np.arange(len(files))
        return sum(len(b[0]) for b in BatchLoader(held[0], y, rows, bs, shuffle=True))

    return {f'kagglekit, {inputs}': first}, {f'kagglekit, {inputs}, from epoch 2': later}


def cpu_seconds():
    "Of this process and of its workers that have ended."
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in each)


def race(epochs, n, times):
    "Name → (the least seconds, the least CPU seconds) of an epoch, run in turn."
    best = dict.fromkeys(epochs, (np.inf, np.inf))
    for _ in range(times):
        for name, epoch in epochs.items():
            start, cpu = time.perf_counter(), cpu_seconds()
            assert epoch() == n, name
            took = time.perf_counter() - start, cpu_seconds() - cpu
            best[name] = tuple(map(min, best[name], took))
    return best


def show(title, epochs, n, times):
    "The race as a table, against the best of the others."
    best = race(epochs, n, times)
    peers = [times for name, times in best.items() if not name.startswith('kagglekit')]
    wall, cpu = (min(column) for column in zip(*peers))
    print(f'\n{title:44s} {"images/s":>9s} {"× best peer":>12s} {"CPU ms":>9s} {"× best peer":>12s}')
    for name, (t, c) in best.items():
        print(f'{name:44s} {n / t:9.0f} {wall / t:12.2f} {1000 * c / n:9.2f} {cpu / c:12.2f}', flush=True)


def compete(kind, folder, n, times):
    "Write the files of a kind, and race."
    if kind == 'npy':
        files, size, bs, plain = write_arrays(folder, n), 512, 16, 'abacad'
        peers = {
            'torchvision': array_epoch(by_torchvision, files),
            'torch loader and Pillow': array_epoch(by_pillow, files),
        }
    else:
        files, size, bs, plain = write_pictures(folder, n, kind), 224, 64, 'rgb'
        peers = dict(torchvision=torchvision_epoch(files), timm=timm_epoch(files), fastai=fastai_epoch(files))
    first, later = our_epochs(files, plain, size, bs)
    if kind != 'npy':
        fast, later = our_epochs(files, f'{plain}(fast=True)', size, bs)
        first |= fast
    show(f'{n:,} files, {kind} → {size} px', first | later | peers, n, times)


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--only', nargs='*', default=['jpg', 'png', 'npy'])
    p.add_argument('--files', type=int, default=640, help='a multiple of 64')
    p.add_argument('--times', type=int, default=3)
    a = p.parse_args()
    warnings.simplefilter('ignore')
    import kagglekit.images.cadence  # noqa: F401  registers abacad

    for kind in a.only:
        with tempfile.TemporaryDirectory() as folder:
            compete(kind, Path(folder), a.files // (2 if kind == 'npy' else 1), a.times)


if __name__ == '__main__':
    main()
