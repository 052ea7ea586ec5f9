"""What a training step costs beside a plain torch loop: kagglekit's learner and fastai's own, on the same batches.

    python bench/step.py               # three minutes, one of them compiling

Each does the same: gather a batch of bytes, normalise, forward, cross-entropy, backward, AdamW. Epochs are run in turn,
and the medians of their times compared. The first epoch of each does not count; of the compiled network its seconds are
printed. Compare only ratios within one run.
"""

import statistics
import tempfile
import time
import warnings
from pathlib import Path
import numpy as np
import timm
import torch
from torch import nn
from fastai.learner import Learner
from fastai.optimizer import OptimWrapper
from kagglekit.images.loaders import fold_loaders, gather, one_hot
from kagglekit.models.heads import OutputSpec
from kagglekit.training.learner import PrepareBatch, fold_learner, pixel_stats
from kagglekit.models.losses import find_loss
from kagglekit.metrics.registry import find_metric
from kagglekit.training.fold_fit import FoldFit
from kagglekit.training.callbacks import fit_stages
from kagglekit.training.schedules import Stage


def tiny():
    return nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))


def resnet():
    return timm.create_model('resnet18', num_classes=4)


class Data:
    "A decoded cache, targets, and the fold of each row."

    def __init__(self, size, steps, bs=32):
        g = np.random.default_rng(0)
        self.n, self.bs, self.steps = bs * steps + 64, bs, steps
        self.cache, codes = g.integers(0, 256, (self.n, size, size, 3), np.uint8), g.integers(0, 4, self.n)
        self.y, self.fold = one_hot(codes, 4), np.r_[np.ones(bs * steps, int), np.zeros(64, int)]

    def loaders(self):
        return fold_loaders(self.cache, self.y, self.fold, 0, self.bs, 'cpu')


def plain(net, d):
    "An epoch as one would write it by hand."
    opt, loss, (mean, std) = (
        torch.optim.AdamW(net.parameters(), 1e-3),
        nn.CrossEntropyLoss(),
        pixel_stats(net, 3, 'uint8'),
    )

    def epoch():
        net.train()
        for rows in np.random.default_rng(0).permutation(d.bs * d.steps).reshape(-1, d.bs):
            x = gather(d.cache, rows).float().sub_(mean).div_(std)
            loss(net(x), d.y[rows]).backward()
            opt.step()
            opt.zero_grad()
        net.eval()
        with torch.no_grad():
            loss(net(gather(d.cache, np.arange(d.bs * d.steps, d.n)).float().sub_(mean).div_(std)), d.y[-64:])

    return epoch


def ours(net, d):
    "An epoch of a stage, with all that a run adds: history, state on the disk, guards."

    def epoch():
        learn = fold_learner(
            d.loaders(), net, find_loss('ce'), PrepareBatch(pixel_stats(net, 3, 'uint8')), OutputSpec(d.y.shape[1])
        )
        with tempfile.TemporaryDirectory() as folder:
            fit_stages(
                learn,
                FoldFit(
                    Path(folder),
                    [Stage(epochs=1, lr=1e-3, scheduler='flat', optimizer='AdamW')],
                    find_metric('macro_f1'),
                ),
                [str(i) for i in range(d.n)],
            )

    return epoch


def compiled(net, d):
    "The same through torch.compile, as `compile=True` of a recipe."
    net.compile(dynamic=False)
    return ours(net, d)


def fastai(net, d):
    "An epoch of fastai's Learner, with its recorder and no bar."

    def epoch():
        learn = Learner(
            d.loaders(),
            net,
            find_loss('ce'),
            opt_func=lambda p, lr: OptimWrapper(p, torch.optim.AdamW, lr=lr),
            cbs=[PrepareBatch(pixel_stats(net, 3, 'uint8'))],
        )
        with learn.no_bar(), learn.no_logging():
            learn.fit(1, 1e-3)

    return epoch


def seconds(epoch):
    "Of the clock."
    start = time.perf_counter()
    epoch()
    return time.perf_counter() - start


def main(times=5):
    warnings.simplefilter('ignore')
    peers = {'plain loop': plain, 'kagglekit': ours, 'compiled': compiled, 'fastai': fastai}
    print(f'{"":34s} ' + ' '.join(f'{name:>14s}' for name in peers) + '   milliseconds a step')
    for what, make, d in [
        ('tiny network, 16 px, batch 32', tiny, Data(16, 300)),
        ('resnet18, 64 px, batch 32', resnet, Data(64, 12)),
    ]:
        epochs = {name: contender(make(), d) for name, contender in peers.items()}
        first = {name: seconds(e) for name, e in epochs.items()}
        took = {name: [] for name in epochs}
        for _ in range(times):
            for name, e in epochs.items():
                took[name].append(seconds(e))
        ms = [1000 * statistics.median(t) / d.steps for t in took.values()]
        row = ' '.join(f'{m:7.2f} ×{m / ms[0]:5.2f}' for m in ms)
        print(f'{what:34s} {row}   the first compiled epoch took {first["compiled"]:.0f} s', flush=True)


if __name__ == '__main__':
    main()
