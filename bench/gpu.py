"""Training on a GPU, end to end beside the same steps on one batch that stays on the device; synchronisations a step.

    python bench/gpu.py        # three minutes on a GPU; without one a dry run of a tiny network on the CPU

Both go through `fit_stages`, with history, checkpoint and guard, in 16 bits. They are run in
turn, and the best of each counts. Aim: 95 % of the synthetic speed, and no synchronisation a step. The places that
synchronise are listed with how often they did so in a stage. It has been run without a GPU only.
"""

import tempfile
import time
import warnings
from collections import Counter
from pathlib import Path
import numpy as np
import timm
import torch
from kagglekit.images.loaders import BatchLoader, fold_loaders, one_hot
from kagglekit.metrics.registry import find_metric
from kagglekit.models.heads import OutputSpec
from kagglekit.models.losses import find_loss
from kagglekit.training.callbacks import fit_stages
from kagglekit.training.fold_fit import FoldFit
from kagglekit.training.gradients import half_type
from kagglekit.training.learner import PrepareBatch, find_device, fold_learner, pixel_stats
from kagglekit.training.schedules import Stage

DEVICE = find_device()
CASES = [('resnet50', 224, 128), ('efficientnet_b3', 288, 64)] if DEVICE.type == 'cuda' else [('test_resnet', 32, 16)]
STEPS = 60 if DEVICE.type == 'cuda' else 8
CLASSES = 8


class OneBatch(BatchLoader):
    "The first batch, again and again, on the device."

    def create_batches(self, samps):
        held = None
        for batch in super().create_batches(samps):
            held = held or tuple(t.to(DEVICE) for t in batch)
            break
        rows = self.rows
        for _ in range(len(self)):
            self.rows = rows
            yield held


def make_learner(arch, size, bs, synthetic):
    "A learner over made-up images, and the ids of its rows."
    g = np.random.default_rng(0)
    n = STEPS * bs + bs
    cache = g.integers(0, 256, (n, size, size, 3), np.uint8)
    y, fold = one_hot(g.integers(0, CLASSES, n), CLASSES), np.r_[np.ones(STEPS * bs, int), np.zeros(bs, int)]
    dls = fold_loaders(cache, y, fold, 0, bs, DEVICE)
    if synthetic:
        dls.loaders[0] = OneBatch(cache, y, np.flatnonzero(fold), bs, shuffle=True, device=DEVICE)
    net = timm.create_model(arch, num_classes=CLASSES).to(memory_format=torch.channels_last)
    prepare = PrepareBatch(pixel_stats(net, 3, 'uint8'))
    half = half_type('auto', DEVICE)
    return fold_learner(dls, net, find_loss('ce'), prepare, OutputSpec(CLASSES), half), list(map(str, range(n)))


def train(learn, ids):
    "Seconds of a stage of one epoch, with its small validation and its checkpoint."
    stage = Stage(epochs=1, lr=1e-4, scheduler='flat', optimizer='AdamW')
    with tempfile.TemporaryDirectory() as folder:
        fit = FoldFit(Path(folder), [stage], find_metric('macro_f1'))
        if DEVICE.type == 'cuda':
            torch.cuda.synchronize()
        start = time.perf_counter()
        fit_stages(learn, fit, ids)
        if DEVICE.type == 'cuda':
            torch.cuda.synchronize()
        return time.perf_counter() - start


def synchronisations(learn, ids):
    "Place → how often a stage waited there for the GPU."
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter('always')
        torch.cuda.set_sync_debug_mode('warn')
        try:
            train(learn, ids)
        finally:
            torch.cuda.set_sync_debug_mode('default')
    found = [w for w in seen if 'synchronizing' in str(w.message)]
    return Counter(f'{Path(w.filename).name}:{w.lineno}' for w in found)


def main(times=3):
    warnings.simplefilter('ignore')
    name = torch.cuda.get_device_name() if DEVICE.type == 'cuda' else 'no GPU: a dry run, whose figures mean nothing'
    print(f'{name}, {half_type("auto", DEVICE) or torch.float32}')
    for arch, size, bs in CASES:
        learners = [make_learner(arch, size, bs, synthetic) for synthetic in (False, True)]
        best = [np.inf, np.inf]
        for i in range(times + 1):  # the first to warm up
            took = [train(*each) for each in learners]
            best = [min(b, t) if i else b for b, t in zip(best, took)]
        images = STEPS * bs
        speeds = ', '.join(f'{what} {images / t:,.0f} images/s' for what, t in zip(('end to end', 'synthetic'), best))
        print(f'{arch}@{size}, batch {bs}: {speeds}, ratio {best[1] / best[0]:.1%}', flush=True)
        if DEVICE.type == 'cuda':
            counts = synchronisations(*learners[0])
            print(f'  synchronisations a step: {counts.total() / STEPS:.2f}')
            for place, n in counts.most_common(8):
                print(f'    {n:4d} × {place}')


if __name__ == '__main__':
    main()
