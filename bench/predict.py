"""CPU time and memory of `kagglekit predict` on test sets of several sizes, beside a training's own test prediction.

python bench/predict.py --rows 200 2000
python bench/predict.py --rows 2000 20000 --side 64 --size 32  # memory alone matters: small images
"""

import argparse
import contextlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
COMP, EXP = 'shapes-practice', 'exp0001'
NETWORK = dict(arch='tf_efficientnet_lite0', inputs='rgb', epochs=1, folds=2)
HEAD = (
    '| rows | the command, CPU s | peak, MB | networks in a training, CPU s | its decoding, CPU s |\n'
    + '|---' * 5
    + '|'
)
KIT = str(Path(sys.executable).with_name('kagglekit'))


def train_once(size):
    "A run of two folds and one epoch."
    from kagglekit.data.competition import load_pages
    from kagglekit.fit.train import load_experiment, train
    from kagglekit.practice.standins import write_practice
    from kagglekit.runs.setup import run_folds

    write_practice(COMP)
    load_pages()
    comp, recipe = load_experiment(dict(comp=COMP, exp=EXP))
    recipe = recipe.but('exp0090', 'for the benchmark', size=size, **NETWORK)
    train(recipe, comp, run_folds(recipe, comp))
    return comp, recipe


def hidden_rows(comp, folder, n, side):
    "A test set of n rows: the drawn ones at another size, again and again, under other names."
    import pandas as pd
    from PIL import Image
    from kagglekit.core.paths import data_dir

    home, images = data_dir(COMP), folder / 'images'
    images.mkdir(parents=True)
    some = comp.test.file[:40].tolist()
    for i, file in enumerate(some):
        Image.open(home / file).resize((side, side)).save(folder / f'{i}.png')
    ids = [f'h{i:06}' for i in range(n)]
    for i, id in enumerate(ids):
        os.link(folder / f'{i % len(some)}.png', images / f'{id}.png')
    table = pd.DataFrame(dict(id=ids))
    table.to_csv(folder / 'test.csv', index=False)
    table.assign(label=comp.classes[0]).to_csv(folder / 'sample_submission.csv', index=False)


def own_seconds(recipe, data, n):
    "What a training takes for the same rows: both networks, and the decoding into its cache."
    import numpy as np
    from kagglekit.data.competition import find_comp
    from kagglekit.images.formats import open_cache
    from kagglekit.images.parts import rows_of
    from kagglekit.predict.networks import make_predictors, read_trained
    from kagglekit.predict.new_data import read_data
    from kagglekit.runs.run import Run
    from kagglekit.training.learner import predict

    new = read_data(COMP, data)
    trained = read_trained(Run(COMP, recipe.exp), find_comp(COMP))
    networks = make_predictors(trained, {f'fold{k}': path for k, path in trained.weights.items()})
    start = time.process_time()
    cache = open_cache(data, rows_of(new.comp.test), recipe.inputs, trained.form.size, lambda line: None)
    decoded = time.process_time()
    for network in networks.values():
        predict(network.learn, cache, np.arange(n), network.views)
    return time.process_time() - decoded, decoded - start


def by_command(data, out):
    "CPU seconds and peak memory, MB, of the command, in a process of its own."
    process = subprocess.Popen([KIT, 'predict', f'{COMP}/exp0090', '--data', str(data), '--out', str(out)])
    _, status, usage = os.wait4(process.pid, 0)
    assert status == 0
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--rows', type=int, nargs='+', default=[200, 2000])
    parser.add_argument('--side', type=int, default=300, help='of the image files, pixels')
    parser.add_argument('--size', type=int, default=96, help='of the images that the networks see, pixels')
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        shutil.copy(ROOT / 'settings.ini', home)
        os.environ |= dict(KAGGLEKIT_ROOT=home, KAGGLEKIT_DATA='')
        with contextlib.redirect_stdout(io.StringIO()):
            comp, recipe = train_once(args.size)
        print(HEAD)
        for n in args.rows:
            data = Path(home) / f'hidden{n}'
            hidden_rows(comp, data, n, args.side)
            networks, decoding = own_seconds(recipe, data, n)
            seconds, peak = by_command(data, Path(home) / 'out.csv')
            print(f'| {n:,} | {seconds:.1f} | {peak:.0f} | {networks:.1f} | {decoding:.1f} |', flush=True)


if __name__ == '__main__':
    main()
