"""Images a second into training: kagglekit's decoded cache beside the loaders of torchvision, timm and fastai.

    python bench/loader.py             # two minutes; writes 2,000 JPEGs of 384 × 512 into a temporary folder

Epoch 1 of kagglekit decodes every file; from epoch 2 on it gathers whole batches from the memory map. The others decode
in every epoch, with two workers. All give batches of 64 at 224 pixels as bytes or floats, in their library's layout.
"""

import os
import statistics
import tempfile
import time
import warnings
from pathlib import Path
import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset


def write_pictures(folder, n=2000):
    "JPEGs with the structure of photographs: smooth noise at several scales."
    g, made = np.random.default_rng(0), []
    for i in range(n):
        layers = [
            np.asarray(
                Image.fromarray(g.integers(0, 256, (s, s, 3), np.uint8)).resize((512, 384), Image.BICUBIC), np.float32
            )
            for s in (4, 16, 64)
        ]
        path = folder / f'{i % 4}' / f'{i:05d}.jpg'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.mean(layers, 0).astype(np.uint8)).save(path, quality=90)
        made.append(path)
    return made


class Files(Dataset):
    "Files through a transform, and a label."

    def __init__(self, files, transform=None):
        self.files, self.transform = files, transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, i):
        return self.transform(Image.open(self.files[i]).convert('RGB')), 0


def torchvision_epoch(files):
    "torchvision v2: resize, antialiased, to a tensor of bytes."
    from torchvision.transforms import v2

    change = v2.Compose([v2.Resize((224, 224), antialias=True), v2.PILToTensor()])
    made = DataLoader(Files(files, change), batch_size=64, num_workers=2)
    return lambda: sum(len(b[0]) for b in made)


def timm_epoch(files):
    "timm's loader with its own transform and collation."
    from timm.data import create_loader

    made = create_loader(
        Files(files),
        (3, 224, 224),
        64,
        is_training=False,
        use_prefetcher=False,
        num_workers=2,
        device=torch.device('cpu'),
    )
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


def ours(files):
    "The first call decodes into the cache; every call gathers."
    from kagglekit.images.loaders import BatchLoader
    from kagglekit.images.formats import open_cache

    names = [str(Path(f).relative_to('/')) for f in files]

    def epoch():
        cache = open_cache(Path('/'), names, 'rgb', (224, 224), say=lambda line: None)
        return sum(
            len(b[0]) for b in BatchLoader(cache, torch.zeros(len(files), 1), np.arange(len(files)), 64, shuffle=True)
        )

    return epoch


def main(times=3):
    warnings.simplefilter('ignore')
    from kagglekit.core.paths import workspace

    with tempfile.TemporaryDirectory() as folder, workspace():
        files = write_pictures(Path(folder))
        mine, start = ours(files), time.perf_counter()
        assert mine() == len(files)
        first, speeds = len(files) / (time.perf_counter() - start), {'kagglekit, from epoch 2': []}
        others = dict(torchvision=torchvision_epoch(files), timm=timm_epoch(files), fastai=fastai_epoch(files)) | {
            'kagglekit, from epoch 2': mine
        }
        for _ in range(times):
            for name, epoch in others.items():
                start = time.perf_counter()
                n = epoch()
                speeds.setdefault(name, []).append(n / (time.perf_counter() - start))
        best = max(statistics.median(s) for name, s in speeds.items() if not name.startswith('kagglekit'))
        print(f'{len(files):,} JPEGs of 384 × 512 → 224 px, {os.cpu_count()} cores')
        for name, speed in [('kagglekit, epoch 1', first)] + [(n, statistics.median(s)) for n, s in speeds.items()]:
            print(f'{name:26s} {speed:9.0f} pictures/s   ×{speed / best:5.1f} the best of the others')


if __name__ == '__main__':
    main()
