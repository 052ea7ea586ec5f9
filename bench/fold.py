"""One fold of the demo, from files to predictions of its validation and test rows, by kagglekit and by others.

    python bench/fold.py                            # four to six minutes on two cores
    python bench/fold.py --rows .2 --epochs 2       # a minute
    python bench/fold.py --only synthetic kagglekit

All train the same network on the same rows, for the same epochs, with AdamW: a loop of torch with two loader workers,
fastai, Lightning where it is installed, and kagglekit. The limit is a loop over one batch that is in memory: nothing
is read. Each is a process of its own; imports do not count. On a busy machine compare CPU seconds.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
import warnings
from contextlib import suppress
from importlib.util import find_spec
from typing import NamedTuple

COMP = 'anomaly-practice'
WORKERS = 2


class Job(NamedTuple):
    "What is to be done."

    files: list  # of all train rows
    codes: list  # their classes
    train: list  # positions of the fold's training rows
    valid: list  # and of its validation rows
    test: list  # files
    recipe: object
    columns: int


def parameters(rows, epochs):
    "The run of kagglekit: the first fold of exp0001."
    about = dict(comp=COMP, exp='fold', parent='exp0001', reason='one fold', fit_folds=(0,))
    return about | (dict(rows=rows) if rows < 1 else {}) | (dict(epochs=epochs) if epochs else {})


def read_job(given):
    "The same for the others."
    import numpy as np
    from kagglekit.data.competition import find_comp
    from kagglekit.runs.looks import trained_rows
    from kagglekit.runs.recipe import resolve
    from kagglekit.runs.setup import run_folds

    comp = find_comp(COMP)  # loads the page, with its recipes
    recipe = resolve(**given)
    folds = run_folds(recipe, comp)
    files = [str(comp.folder / name) for name in comp.train.file]
    train, valid = (np.flatnonzero(which).tolist() for which in (trained_rows(recipe, comp, folds, 0), folds.fold == 0))
    test = [str(comp.folder / name) for name in comp.test.file]
    return Job(files, comp.train.target.tolist(), train, valid, test, recipe, len(comp.classes))


def network(job):
    "The recipe's network, which sees channels last, as kagglekit gives them."
    import torch
    from kagglekit.models.build import build_model

    class ChannelsLast(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.net = build_model(job.recipe.arch, job.columns, 3, job.recipe.pretrained)

        def forward(self, x):
            return self.net(x.contiguous(memory_format=torch.channels_last))

    torch.manual_seed(0)
    return ChannelsLast()


def loaders(job):
    "torch's loaders of train, valid and test, each image read and resized by Pillow."
    import torch
    from PIL import Image
    from torchvision.transforms import v2

    side = (job.recipe.size, job.recipe.size) if isinstance(job.recipe.size, int) else tuple(job.recipe.size)
    change = v2.Compose(
        [
            v2.Resize(side, antialias=True),
            v2.PILToTensor(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.5] * 3, [0.5] * 3),
        ]
    )

    class Photos(torch.utils.data.Dataset):
        def __init__(self, files, codes):
            self.files, self.codes = files, codes

        def __len__(self):
            return len(self.files)

        def __getitem__(self, i):
            with Image.open(self.files[i]) as image:
                return change(image.convert('RGB')), self.codes[i]

    def loader(files, codes, **how):
        how |= dict(num_workers=WORKERS, persistent_workers=True)
        return torch.utils.data.DataLoader(Photos(files, codes), **how)

    pick = lambda rows: ([job.files[i] for i in rows], [job.codes[i] for i in rows])
    bs = job.recipe.bs
    return (
        loader(*pick(job.train), batch_size=bs, shuffle=True, drop_last=len(job.train) % bs == 1),
        loader(*pick(job.valid), batch_size=2 * bs),
        loader(job.test, [0] * len(job.test), batch_size=2 * bs),
    )


def loop(job, train, valid, test, ends):
    "A loop as one would write it by hand."
    import torch

    net, stage = network(job), job.recipe.stages()[-1]
    opt = torch.optim.AdamW(net.parameters(), stage.lr, weight_decay=job.recipe.weight_decay)
    rate = torch.optim.lr_scheduler.CosineAnnealingLR(opt, stage.epochs * len(train))
    for _ in range(stage.epochs):
        net.train()
        for x, y in train:
            torch.nn.functional.cross_entropy(net(x), y).backward()
            opt.step()
            opt.zero_grad()
            rate.step()
        net.eval()
        with torch.no_grad():
            [net(x) for x, _ in valid]
        ends.append(time.perf_counter())
    with torch.no_grad():
        [net(x) for x, _ in test]


def plain(job, ends):
    "torch, its loaders with workers, and a loop."
    loop(job, *loaders(job), ends)


def synthetic(job, ends):
    "The same loop over one batch in memory."
    import torch

    side = (job.recipe.size, job.recipe.size) if isinstance(job.recipe.size, int) else tuple(job.recipe.size)

    def batches(n, bs):
        x, y = torch.randn(bs, 3, *side), torch.randint(0, job.columns, (bs,))
        sizes = [bs] * (n // bs) + [n % bs] * (n % bs > 1)
        return [(x[:size], y[:size]) for size in sizes]

    bs = job.recipe.bs
    loop(job, batches(len(job.train), bs), batches(len(job.valid), 2 * bs), batches(len(job.test), 2 * bs), ends)


def fastai(job, ends):
    "fastai's blocks and Learner."
    from functools import partial
    import torch
    from fastai.callback.core import Callback
    from fastai.vision.all import CategoryBlock, DataBlock, ImageBlock, Learner, OptimWrapper, Resize, ResizeMethod

    class Ends(Callback):
        def after_epoch(self):
            ends.append(time.perf_counter())

    rows, stage = job.train + job.valid, job.recipe.stages()[-1]
    block = DataBlock(
        (ImageBlock, CategoryBlock(vocab=list(range(job.columns)))),
        get_x=lambda i: job.files[i],
        get_y=lambda i: job.codes[i],
        splitter=lambda items: (list(range(len(job.train))), list(range(len(job.train), len(items)))),
        item_tfms=Resize(job.recipe.size, method=ResizeMethod.Squish),
    )
    dls = block.dataloaders(rows, bs=job.recipe.bs, num_workers=WORKERS, device=torch.device('cpu'))
    optimizer = partial(OptimWrapper, opt=torch.optim.AdamW)
    learn = Learner(dls, network(job), torch.nn.CrossEntropyLoss(), optimizer, cbs=[Ends()])
    with learn.no_bar(), learn.no_logging():
        learn.fit_one_cycle(stage.epochs, stage.lr)
        learn.remove_cb(Ends)  # predicting ends in the same event
        learn.get_preds(ds_idx=1)
        job.files.extend(job.test)
        test = list(range(len(job.files) - len(job.test), len(job.files)))
        learn.get_preds(dl=dls.test_dl(test, num_workers=WORKERS))


def lightning(job, ends):
    "Lightning's module and Trainer, with torch's loaders."
    import lightning
    import torch

    stage = job.recipe.stages()[-1]

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = network(job)

        def training_step(self, batch):
            return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def validation_step(self, batch):
            self.net(batch[0])

        def predict_step(self, batch):
            return self.net(batch[0])

        def on_train_epoch_end(self):  # after validation
            ends.append(time.perf_counter())

        def configure_optimizers(self):
            opt = torch.optim.AdamW(self.parameters(), stage.lr, weight_decay=job.recipe.weight_decay)
            steps = self.trainer.estimated_stepping_batches
            rate = torch.optim.lr_scheduler.CosineAnnealingLR(opt, steps)
            return dict(optimizer=opt, lr_scheduler=dict(scheduler=rate, interval='step'))

    train, valid, test = loaders(job)
    quiet = dict(logger=False, enable_progress_bar=False, enable_checkpointing=False, enable_model_summary=False)
    trainer = lightning.Trainer(max_epochs=stage.epochs, accelerator='cpu', num_sanity_val_steps=0, **quiet)
    module = Module()
    trainer.fit(module, train, valid)
    trainer.predict(module, valid)
    trainer.predict(module, test)


def kagglekit(given, ends):
    "A run of one fold, with all that a run leaves; decoded images are not there yet."
    from kagglekit.fit.train import load_experiment, train
    import pandas as pd
    from kagglekit.runs.run import Run
    from kagglekit.runs.setup import run_folds

    comp, recipe = load_experiment(given)
    train(recipe, comp, run_folds(recipe, comp))
    for seconds in pd.read_csv(Run(COMP, recipe.exp).folder / 'history.csv').seconds:
        ends.append(ends[-1] + seconds)


PEERS = dict(synthetic=synthetic, plain=plain, fastai=fastai, lightning=lightning)


def cpu_seconds():
    "Of this process and of its workers that have ended."
    each = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in each)


def one(name, given):
    "Run one of them in this process, and print its figures."
    warnings.simplefilter('ignore')
    from kagglekit.core.freed_memory import keep_freed_memory
    from kagglekit.core.threads import calm_threads

    if name == 'kagglekit':
        calm_threads()  # as each of its pages begins
        keep_freed_memory()
    import kagglekit.fit.train  # noqa: F401  imports do not count

    with suppress(ImportError):
        import lightning  # noqa: F401
    import fastai.vision.all  # noqa: F401

    job = given if name == 'kagglekit' else read_job(given)
    start, cpu, ends = time.perf_counter(), cpu_seconds(), []
    ends.append(start)
    (PEERS | dict(kagglekit=globals()['kagglekit']))[name](job, ends)
    took = dict(seconds=time.perf_counter() - start, cpu=cpu_seconds() - cpu)
    epochs = [b - a for a, b in zip(ends, ends[1:])]
    print(json.dumps(took | dict(epochs=epochs)))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument('--one', help=argparse.SUPPRESS)
    p.add_argument('--only', nargs='*', default=[*PEERS, 'kagglekit'], metavar='NAME')
    p.add_argument('--rows', type=float, default=1.0, help='share of the training rows')
    p.add_argument('--epochs', type=int, help="instead of the recipe's")
    a = p.parse_args()
    if a.one:
        return one(a.one, parameters(a.rows, a.epochs))
    from kagglekit.core.paths import workspace
    from kagglekit.practice.standins import write_practice

    with workspace():
        write_practice(COMP, say=lambda line: None)
        race(a)


def race(a):
    "All of them, one after the other, as a table."
    print(
        f'{"":12}{"seconds":>9}{"× limit":>9}{"CPU s":>9}{"× limit":>9}{"later epoch, s":>16}{"× limit":>9}', flush=True
    )
    limit = None
    for name in a.only:
        if name == 'lightning' and not find_spec('lightning'):
            print('lightning   is not installed')
            continue
        args = [sys.executable, __file__, '--one', name, '--rows', str(a.rows)]
        args += ['--epochs', str(a.epochs)] * bool(a.epochs)
        done = subprocess.run(args, capture_output=True, text=True, env=os.environ | dict(PYTHONWARNINGS='ignore'))
        if done.returncode:
            raise SystemExit(done.stdout + done.stderr)
        seen = json.loads(done.stdout.splitlines()[-1])
        later = seen['epochs'][1:] or seen['epochs']
        figures = (seen['seconds'], seen['cpu'], sum(later) / len(later))
        limit = limit or figures
        print(
            f'{name:12}' + ''.join(f'{x:{w}.1f}{x / y:9.2f}' for x, y, w in zip(figures, limit, (9, 9, 16))), flush=True
        )


if __name__ == '__main__':
    main()
