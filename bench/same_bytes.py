"""Does a rewrite change a result? Tiny runs of every part of kagglekit, and the hashes of what they leave.

    python bench/same_bytes.py --out before.json       # at one commit; two to three minutes
    python bench/same_bytes.py --against before.json   # at another: a table; exit status 1 where anything differs

Weights are compared by their tensors, tables by their values, submissions by their bytes, scores without times and
memory. Beside `before.json` lies `before.npz` with the values themselves; without it a difference is found, but not
measured. Another processor or another version of torch rounds differently: compare within one machine and environment.

Where a later commit renames something, the imports, `RENAMED_FIELDS` and `RENAMED_RECORDS` follow it; words such as the
name of an augmentation stand in `RUNS` and `BLENDS`. What no run covers is named at the end.
"""

import argparse
import contextlib
import hashlib
import io
import json
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.metadata import version
from pathlib import Path

os.environ.update(OMP_NUM_THREADS='1', MKL_NUM_THREADS='1', PYTHONWARNINGS='ignore')  # before torch is imported
warnings.simplefilter('ignore')
import numpy as np
import pandas as pd
import torch
from safetensors.numpy import load_file

from kagglekit.blend.blend_run import run_blend
from kagglekit.blend.recipe import blend_recipe
from kagglekit.blend.methods import METHODS
from kagglekit.core.paths import data_dir, out_dir
from kagglekit.data.competition import find_comp
from kagglekit.images.formats import INPUTS
from kagglekit.fit.train import load_experiment, train
from kagglekit.models.losses import LOSSES
from kagglekit.practice.standins import write_practice
from kagglekit.runs.recipe import NOT_IDENTITY, PARAMS
from kagglekit.runs.setup import run_folds
from kagglekit.training.augmentations import AUGMENTS
from kagglekit.training.optimizers import OPTIMIZERS
from kagglekit.training.schedules import SCHEDULERS
from kagglekit.training.tta import VIEWS

ROOT = Path(__file__).parent.parent
REGISTRIES = (AUGMENTS, INPUTS, LOSSES, METHODS, OPTIMIZERS, SCHEDULERS, VIEWS)
SHAPES, ANOMALY, SETI, MASK = 'shapes-practice', 'anomaly-practice', 'seti-practice', 'mask-practice'
RENAMED_FIELDS = {}  # parameter of a run or a blend, as it is called below → as this commit calls it
RENAMED_RECORDS = {}  # file, column or key, as this commit calls it → as the older record calls it

# ---- what is run: competition, id, fields that differ from the page's exp0001

COMMON = dict(parent='exp0001', pretrained=False, folds=2, epochs=1, dead_after=0)
ARCFACE = dict(loss='arcface', margin=0.1, arc_scale=8.0)
HEADS = ('mask', 'gender', 'age smooth=.1 weight=2')
RUNS = [
    (
        SHAPES,
        'mirrors',
        dict(
            epochs=2,
            scheduler='onecycle',
            ema=0.9,
            augment=('hflip', 'vflip .3', 'flip', 'rot90', 'affine 20', 'light'),
            tta=('hflip', 'turn90'),
        ),
    ),
    (
        SHAPES,
        'stages',
        dict(
            arch='test_resnet',
            epochs=(1, 3),
            lr=(5e-3, 1e-3),
            scheduler=('cosine', 'restarts(T_0=1)'),
            freeze_epochs=1,
            swa=True,
            accumulate=2,
            grad_clip=1.0,
            label_smoothing=0.1,
        ),
    ),
    (
        SHAPES,
        'own-folds',
        dict(
            fold_file='folds.csv',
            optimizer='SGD',
            precision='bf16',
            augment=('turn45', 'tone', 'grey', 'gauss .5'),
            scheduler="warmup_restarts(T_0=2, T_up=1, by='epoch')",
            epochs=2,
        ),
    ),
    (SHAPES, 'two-processes', dict(train_all=True, gpus=2, seed=1)),
    (ANOMALY, 'pretrained', dict(pretrained=True, size=48, scheduler='cosine', drop_rate=0.2, drop_path_rate=0.1)),
    (
        ANOMALY,
        'margin',
        dict(
            **ARCFACE,
            margin_on='not *-good',
            label_smoothing=0.1,
            arch='test_efficientnet',
            size=48,
            infer_size=64,
            epochs=4,
            lr=5e-3,
            scheduler='plateau(patience=0)',
            optimizer='Adam',
            weight_decay=1e-4,
            grad_clip=2.0,
            patience=2,
            monitor='loss',
            checkpoint='best',
            augment=('turn45', 'vflip', 'affine 45', 'tone', 'blur_noise'),
        ),
    ),
    (
        ANOMALY,
        'heads',
        dict(
            heads=('class', 'state smooth=.1 weight=2'),
            arch='test_efficientnet',
            size=48,
            gem=3.0,
            feature_norm=16.0,
            stem_stride1=True,
            sampling='label .5',
            lr=5e-3,
            scheduler='step(1, gamma=.5)',
            epochs=2,
            optimizer='NAdam',
        ),
    ),
    (
        ANOMALY,
        'focal',
        dict(
            loss='focal 1',
            class_weight_power=0.5,
            arch='test_resnet',
            size=48,
            epochs=2,
            lr=5e-3,
            mixup=0.4,
            mixup_off=0.5,
            augment=('hflip not *-good', 'vflip .5 on poly-*', 'perspective', 'cutout', 'holes', 'grid', 'chi2'),
            tta=('vflip', 'hvflip', 'turn180', 'turn270'),
        ),
    ),
    (
        ANOMALY,
        'student',
        dict(
            arch='test_resnet',
            size=48,
            init_from='focal',
            pseudo_labels='pretrained',
            pseudo_threshold=(0.1, 0.3),
            ema=0.5,
            scheduler='flat',
        ),
    ),
    (
        ANOMALY,
        'one-object',
        dict(
            **ARCFACE,
            margin_on='not null',
            single_object='mono',
            snapshots='both',
            patience=3,
            train_all=True,
            epochs=5,
            lr=0.02,
            arch='test_efficientnet',
            size=48,
            scheduler='plateau(on=train)',
        ),
    ),
    (
        SETI,
        'or-mixup',
        dict(
            inputs='abacad',
            size=(64, 128),
            arch='test_efficientnet',
            loss='bce_auc',
            mixup=1.0,
            mixup_label='or',
            clip_input=3.0,
            augment=('holes .1', 'flip', 'shuffle_cons', 'lines', 'chirps'),
            epochs=2,
            checkpoint='best',
            tta=('vflip',),
        ),
    ),
    (
        SETI,
        'two-channels',
        dict(
            inputs='aaa_bcd',
            size=64,
            arch='test_resnet',
            loss='focal .5',
            swa=True,
            epochs=3,
            optimizer='RAdam',
            augment=('panel_reverse', 'shuffle_inv', 'time_reverse'),
        ),
    ),
    (
        SETI,
        'one-class',
        dict(
            inputs='abacad_lines',
            size=64,
            arch='test_resnet',
            loss='one_class',
            pseudo_labels='or-mixup',
            fold_seed=2021,
        ),
    ),
    (
        SETI,
        'itself',
        dict(
            inputs='aaa_bcd',
            size=64,
            arch='test_resnet',
            loss='auc_margin',
            init_from='two-channels',
            pseudo_labels='itself',
            pseudo_threshold=(0.48, 0.52),
            epochs=2,
        ),
    ),
    *(
        (SETI, f'input-{name}', dict(inputs=name, size=32, arch='test_resnet', loss='bce', train_all=True))
        for name in ('aaa', 'aaabcd', 'a_b_a_c_a_d', 'aaa_bcd_abacad', 'less_off', 'abacad_max', 'abacad_clean')
    ),
    (
        MASK,
        'apart',
        dict(
            heads=HEADS,
            separate_nets=True,
            train_labels='old58',
            sampling='target .5',
            arch='test_efficientnet',
            epochs=2,
            scheduler="restarts(T_0=2, eta_min=1e-7, by='epoch')",
            freeze_epochs=1,
        ),
    ),
    (MASK, 'middle', dict(inputs='rgb_centre', loss='ce_f1', arch='test_vit', augment=('perspective .2', 'grey .1'))),
    (MASK, 'leaky', dict(grouped=False, loss='soft_f1', arch='test_convnext', bs=16, fold_seed=7)),
]

THREE = ('pretrained', 'margin', 'focal')
RULES = dict(
    sources=dict(soft=dict(mix=dict(margin=2, heads=1), space='logit'), loud=dict(vote=['margin', 'focal', 'heads'])),
    base='blend',
    rules=[
        dict(take='loud', where=dict(class_in=['mono'], confidence=0.5), name='votes'),
        dict(take='soft', where=dict(now_state_in=['crack1'])),
        dict(take='second margin', where=dict(confidence_below=0.2)),
        dict(take='snapshots', where=dict(state_not=['good']), tie='current'),
    ],
)
CHOSEN = dict(
    base='blend', rules=[dict(take='heads', where=dict(state_in=[s])) for s in ('good', 'crack1', 'crack2', 'crack3')]
)
BLENDS = [
    (ANOMALY, 'blend-mean', dict(members=(*THREE, dict(exp='student', folds=(0,)), 'heads'), space='rank')),
    (ANOMALY, 'blend-weighted', dict(members=THREE, method='weighted', weights=(2, 1, 0.5), space='log')),
    (ANOMALY, 'blend-climb', dict(members=THREE, method='climb')),
    (ANOMALY, 'blend-caruana', dict(members=THREE, method='caruana', rounds=20, seed=3)),
    (ANOMALY, 'blend-nelder', dict(members=THREE, method='nelder', steps=40)),
    (ANOMALY, 'blend-stack', dict(members=THREE, method='stack', C=0.1)),
    (ANOMALY, 'blend-classes', dict(members=THREE, method='classes')),
    (ANOMALY, 'blend-heads', dict(members=THREE, method='heads')),
    (ANOMALY, 'blend-prior', dict(members=('pretrained', 'margin'), method='likelihood', prior='normal')),
    (
        ANOMALY,
        'blend-rules',
        dict(
            members=(*THREE, dict(exp='heads', mix=False), dict(votes='one-object', name='snapshots')),
            rules=json.dumps(RULES),
        ),
    ),
    (
        ANOMALY,
        'blend-chosen',
        dict(members=(*THREE, dict(exp='heads', mix=False)), rules=json.dumps(CHOSEN), choose=True),
    ),
    (
        SETI,
        'blend-climb',
        dict(members=('or-mixup', 'two-channels', 'itself'), method='climb', space='rank', negative=True),
    ),
    (MASK, 'blend-mean', dict(members=('apart', 'middle'), method='heads_mean')),
    (
        MASK,
        'blend-heads',
        dict(
            members=('apart', 'middle'), method='heads_weighted', weights=dict(mask=(1, 1), gender=(2, 1), age=(1, 3))
        ),
    ),
]

# ---- the workspace and its small data


def keep_rows(table, ids, column):
    "Rewrite a table of a stand-in with some of its rows."
    if table.suffix == '.parquet':
        df = pd.read_parquet(table)
        df[df[column].isin(ids)].reset_index(drop=True).to_parquet(table)
    else:
        df = pd.read_csv(table, dtype=str)
        df[df[column].isin(ids)].to_csv(table, index=False)


def write_data():
    "The four stand-ins, the one of photographs cut down to 12 train and about 4 test rows of each class."
    for comp, rows in ((SHAPES, None), (ANOMALY, None), (SETI, 90), (MASK, 210)):
        write_practice(comp, rows)
    shapes, solar = data_dir(SHAPES), data_dir(ANOMALY)
    ids = pd.read_csv(shapes / 'train.csv', dtype=str).id
    pd.DataFrame(dict(id=ids, fold=np.arange(len(ids)) % 2)).to_csv(shapes / 'folds.csv', index=False)
    train_rows = pd.read_csv(solar / 'train_df.csv', dtype=str).groupby('label').head(12)
    tested = pd.read_csv(solar / 'test_df.csv', dtype=str)['index'][::20]
    keep_rows(solar / 'train_df.csv', train_rows['index'], 'index')
    for name in ('test_df.csv', 'sample_submission.csv'):
        keep_rows(solar / name, tested, 'index')
    keep_rows(solar / '.answers.parquet', tested, 'id')


@contextlib.contextmanager
def scratch_space():
    "A temporary workspace, deleted at the end."
    with tempfile.TemporaryDirectory() as folder:
        shutil.copy(ROOT / 'settings.ini', folder)
        os.environ.update(KAGGLEKIT_ROOT=folder, KAGGLEKIT_DATA='')
        yield


# ---- the runs


def named(fields):
    "Parameters under the names that this commit has for them."
    return {RENAMED_FIELDS.get(name, name): value for name, value in fields.items()}


def run_training(comp, exp, fields):
    "Train as the page train.ipynb does."
    competition, recipe = load_experiment(dict(comp=comp, exp=exp, reason='same bytes?') | named(COMMON | fields))
    train(recipe, competition, run_folds(recipe, competition))


def run_mix(comp, exp, fields):
    "Blend as the page blend.ipynb does."
    run_blend(blend_recipe(dict(comp=comp, exp=exp) | named(fields)), find_comp(comp))


def run_all():
    "All runs and blends; run and file → content."
    found = {}
    for run, table in ((run_training, RUNS), (run_mix, BLENDS)):
        for comp, exp, fields in table:
            start, printed = time.time(), io.StringIO()
            try:
                with contextlib.redirect_stdout(printed):
                    run(comp, exp, fields)
            except BaseException:
                print(printed.getvalue(), f'{comp}/{exp} failed', sep='\n', file=sys.stderr)
                raise
            found |= {f'{comp}/{exp}/{file}': content for file, content in read_run(out_dir(comp, exp)).items()}
            print(f'{comp}/{exp}: {time.time() - start:.1f} s', file=sys.stderr, flush=True)
    return found


def find_gaps():
    "The fields of a recipe that no run sets, and what is registered that no run and no blend names."
    used = {name for _, _, fields in RUNS for name in named(COMMON | fields)}
    records = [(out_dir(comp, exp) / 'params.json').read_text() for comp, exp, _ in RUNS + BLENDS]
    words = set(re.findall(r'\w+', ' '.join(records)))
    return [name for name in PARAMS if name not in used and name not in NOT_IDENTITY] + [
        name for registry in REGISTRIES for name in registry if name not in words
    ]


# ---- what they leave: a file is a dict of arrays

LEFT_OUT = (
    'seal',  # a hash of all of score.json
    'seconds',
    'images_per_second',
    'peak_memory_mb',
    'when',
    'files',  # of scores and histories
    'members',
    'options',
    'rules_asked',
    'choose',
    'seed',
)  # of blend.json: what was asked for


def read_columns(df):
    "The columns of a table that do not tell the time."
    return {str(c): df[c].to_numpy() for c in df if c not in LEFT_OUT}


def read_text(path):
    "The lines of a text; joined again, they are its bytes."
    return dict(lines=np.array(path.read_bytes().decode().split('\n')))


def read_json(content, at=''):
    "The numbers and words of a JSON file, under their path."
    if isinstance(content, dict):
        parts = [read_json(v, f'{at}.{k}' if at else str(k)) for k, v in content.items() if k not in LEFT_OUT]
        return {name: value for part in parts for name, value in part.items()}
    if isinstance(content, list) and not is_numbers(content):
        return read_json(dict(enumerate(content)), at)
    return {at: np.array(content if is_numbers(content) else str(content))}


def is_numbers(content):
    "Whether it is a number, or a list of numbers or of equally long lists of them."
    try:
        return np.array(content).dtype.kind in 'fiu'
    except ValueError:
        return False


READERS = {  # pattern in a run folder → path → dict of arrays
    '*.parquet': lambda path: read_columns(pd.read_parquet(path)),
    'fold*/*.safetensors': load_file,
    'history.csv': lambda path: read_columns(pd.read_csv(path, float_precision='round_trip')),
    'submission.csv': read_text,
    'rules.csv': read_text,
    '*board.json': lambda path: read_json(json.loads(path.read_text())),
    'score.json': lambda path: read_json(json.loads(path.read_text())),
    'blend.json': lambda path: read_json(json.loads(path.read_text())),
}


def read_run(folder):
    "File → content, of a run folder."
    old_name = lambda name: RENAMED_RECORDS.get(name, name)
    found = {}
    for pattern, read in READERS.items():
        for path in sorted(folder.glob(pattern)):
            parts = read(path)
            name = '/'.join(map(old_name, path.relative_to(folder).parts))
            found[name] = {'.'.join(map(old_name, part.split('.'))): parts[part] for part in sorted(parts)}
    return found


# ---- hashes, and differences


def plain(array):
    "An array that NumPy stores without pickling: text as unicode."
    array = np.asarray(array)
    return array if array.dtype.kind in 'fiub' else array.astype(str)


def content_hash(content):
    "The hash of a file's arrays: their names, types, shapes and bits."
    h = hashlib.sha256()
    for name, array in content.items():
        array = plain(array)
        text = array.dtype.kind == 'U'
        kind = 'text' if text else array.dtype.str
        h.update(f'{name} {kind} {array.shape}\0'.encode())
        h.update('\0'.join(array.ravel().tolist()).encode() if text else np.ascontiguousarray(array).tobytes())
    return h.hexdigest()[:16]


def about():
    "What decides the last bits, beside the code."
    names = ('torch', 'timm', 'fastai', 'numpy', 'pandas', 'scikit-learn', 'scipy', 'pillow')
    found = Path('/proc/cpuinfo')
    model = re.search(r'model name\s*: (.*)', found.read_text() if found.exists() else '')
    cpu = model[1] if model else platform.processor() or platform.machine()
    return dict(python=platform.python_version(), cpu=cpu) | {n: version(n) for n in names}


def commit():
    "The commit of this checkout, with + where files differ from it."
    git = lambda *a: subprocess.run(['git', '-C', str(ROOT), *a], capture_output=True, text=True).stdout.strip()
    return git('rev-parse', 'HEAD') + '+' * bool(git('status', '--porcelain', '-uno'))


def save(path, found, seconds):
    "Write the hashes, and the values beside them."
    files = {key: content_hash(content) for key, content in found.items()}
    record = dict(commit=commit(), about=about(), seconds=round(seconds, 1), files=files)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + '\n')
    np.savez(path.with_suffix('.npz'), **{f'{k}//{name}': plain(a) for k, v in found.items() for name, a in v.items()})


def array_difference(old, new):
    "How far two arrays of one shape are apart: rows of text, or the largest difference."
    if 'U' in old.dtype.kind + new.dtype.kind:
        return float((old.astype(str) != new.astype(str)).sum())
    a, b = old.astype(float), new.astype(float)
    gap = np.where(np.isnan(a) & np.isnan(b), 0, np.abs(a - b))
    return float(np.where(np.isnan(gap), np.inf, gap).max(initial=0))


def words_of_difference(old, new):
    "How two contents of a file differ."
    if lost := [name for name in old if name not in new]:
        return f'{lost[0]} is gone'
    if more := [name for name in new if name not in old]:
        return f'{more[0]} is new'
    new = {name: plain(array) for name, array in new.items()}
    moved = [name for name in old if old[name].shape != new[name].shape]
    if moved:
        return f'{moved[0]} has the shape {new[moved[0]].shape}, not {old[moved[0]].shape}'
    gaps = {name: array_difference(old[name], new[name]) for name in old}
    worst = max(gaps, key=gaps.get)
    if not gaps[worst]:
        return 'equal values, of another type or sign of zero'
    if 'U' in old[worst].dtype.kind + new[worst].dtype.kind:
        return f'{gaps[worst]:.0f} of {old[worst].size} texts in {worst}'
    return f'largest difference {gaps[worst]:.3g} in {worst}'


def read_values(path, wanted):
    "File → dict of arrays, from the values beside a record; {} where they are not there."
    if not path.exists():
        return {}
    found = {key: {} for key in wanted}
    with np.load(path, allow_pickle=False) as values:
        for entry in values.files:
            key, _, name = entry.partition('//')
            if key in found:
                found[key][name] = values[entry]
    return found


def compare(path, found):
    "Print a line a file; whether all are the same as in a record."
    record, new = json.loads(path.read_text()), {k: content_hash(v) for k, v in found.items()}
    other = [k for k, h in record['files'].items() if new.get(k) != h]
    values = read_values(path.with_suffix('.npz'), other)
    for key in [*record['files'], *(k for k in new if k not in record['files'])]:
        print(f'{key:62s} {verdict(key, record["files"], found, other, values)}')
    changed = {k: (v, about().get(k)) for k, v in record['about'].items() if v != about().get(k)}
    if changed:
        print(f'another environment, in which the last bits may differ: {changed}')
    same, n = len(record['files']) - len(other), len(record['files'])
    print(f'{same} of {n} files are as at {record["commit"][:9]}')
    return not other


def verdict(key, old, found, other, values):
    "What is said of a file."
    if key not in old:
        return 'not in the record'
    if key not in other:
        return 'same'
    if key not in found:
        return 'DIFFERENT (not there)'
    return f'DIFFERENT ({words_of_difference(values[key], found[key])})' if key in values else 'DIFFERENT'


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--out', type=Path, help='write the hashes here, and the values beside it as .npz')
    p.add_argument('--against', type=Path, help='compare with this record; exit 1 on a difference')
    a = p.parse_args()
    torch.set_num_threads(1)
    start = time.time()
    with scratch_space():
        with contextlib.redirect_stdout(io.StringIO()):
            write_data()
        found, gaps = run_all(), find_gaps()
    if gaps:
        print(f'not covered: {", ".join(gaps)}', file=sys.stderr)
    print(f'{len(RUNS)} runs and {len(BLENDS)} blends in {time.time() - start:.0f} s', file=sys.stderr)
    if a.out:
        save(a.out, found, time.time() - start)
    if a.against:
        return int(not compare(a.against, found))
    if not a.out:
        print(json.dumps({k: content_hash(v) for k, v in found.items()}, indent=1))
    return 0


if __name__ == '__main__':
    sys.exit(main())
