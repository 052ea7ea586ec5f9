"Final answers of real teams, each against a plain script: means of files, folds of logits, votes, rules, heads."

import json
import sys
from pathlib import Path
import numpy as np
import pandas as pd
import pytest
from kagglekit.blend.blend_run import replay, run_blend
from kagglekit.blend.methods import METHODS
from kagglekit.data.competition import Competition, find_comp, load_pages, prob_columns
from kagglekit.core.paths import workspace
from kagglekit.core.randomness import rng
from kagglekit.core.storage import write_json, write_table
from kagglekit.core.validation import KitError
from kagglekit.blend.recipe import BlendRecipe, blend_recipe
from kagglekit.blend.join import join_members
from kagglekit.blend.members import read_member
from kagglekit.practice.registry import STAND_INS
from kagglekit.practice.standins import write_practice
from kagglekit.runs.run import Run
from kagglekit.blend.diagnostics import compare_methods, gain_table, leave_one_out, plot_members, reported_score

REAL = Path(__file__).parent.parent.parent / 'shared' / 'real'
CLASSES = (
    'cable-combined',
    'cable-cut',
    'cable-good',
    'carpet-good',
    'carpet-hole',
    'tile-good',
    'tile-oil',
    'wood-good',
    'wood-scratch',
    'zipper-good',
)
HEADS = (('mask', ('wear', 'wrong', 'none')), ('gender', ('male', 'female')), ('age', ('young', 'middle', 'old')))


@pytest.fixture
def root(tmp_path):
    "A workspace of this test's own."
    with workspace(tmp_path):
        yield tmp_path


def several(n=200, t=120, classes=CLASSES, **more):
    "A competition of labels; nothing of it lies on the disk, not even a picture."
    g = rng('several', n)
    train = pd.DataFrame(dict(id=[f'a{i:04d}' for i in range(n)], file='no.png', target=np.arange(n) % len(classes)))
    test = pd.DataFrame(
        dict(
            id=[f't{i:04d}' for i in range(t)],
            file=[f'{i:05d}.png' for i in g.permutation(t)],
            sample_id=[str(i) for i in range(t)],
        )
    )
    return Competition(
        'ends', train, test, pd.DataFrame(dict(index=test.sample_id, label=classes[0])), classes, 'macro_f1', **more
    )


def yes_or_no(n=400, t=3000):
    "A competition scored by AUC, with a column of probabilities."
    train = pd.DataFrame(
        dict(id=[f'a{i}' for i in range(n)], file='no.npy', target=(np.arange(n) % 4 == 0).astype(int))
    )
    test = pd.DataFrame(dict(id=[f'{i:05d}' for i in range(t)], file='no.npy')).assign(sample_id=lambda d: d.id)
    return Competition(
        'yes',
        train,
        test,
        pd.DataFrame(dict(id=test.sample_id, target='0.5')),
        ('needle',),
        'auc',
        answer='probability',
    )


def softmax(z):
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def answers(run):
    return pd.read_csv(run.folder / 'submission.csv', dtype=str, keep_default_na=False).iloc[:, 1].to_numpy()


def probs(run, comp, side='test'):
    return pd.read_parquet(run.folder / f'{side}.parquet')[prob_columns(comp.classes)].to_numpy()


def page(comp, exp='exp0101', **given):
    "A blend as the page makes it: everything as text, as papermill gives it."
    said = {k: json.dumps(v) if isinstance(v, list | dict) else v for k, v in given.items()}
    return run_blend(blend_recipe(dict(comp=comp.name, exp=exp, **said)), comp)


def trained(comp, exp, skill=1.5, folds=4, heads=(), **params):
    "A run as training leaves it: float32, with folds."
    run, g, cols = Run(comp.name, exp), rng('trained', exp), prob_columns(comp.classes)
    k, y, n = len(comp.classes), comp.train.target.to_numpy(), len(comp.train)

    def _table(codes, ids):
        z = g.normal(size=(len(ids), k)) + skill * (np.eye(k)[codes] if k > 1 else codes[:, None])
        return pd.DataFrame((softmax(z) if k > 1 else 1 / (1 + np.exp(-z))).astype(np.float32), columns=cols).assign(
            id=ids.to_numpy()
        )[['id', *cols]]

    oof = _table(y, comp.train.id)
    oof.insert(1, 'fold', np.arange(n) % folds)
    oof.insert(2, 'target', y)
    parts = [_table(np.arange(len(comp.test)) % max(k, 2), comp.test.id).assign(fold=f) for f in range(folds)]
    mean = parts[0][['id']].assign(
        **pd.DataFrame(np.mean([p[cols] for p in parts], 0).astype(np.float32), columns=cols)
    )
    for name, df in [('oof', oof), ('test', mean), ('test_folds', pd.concat(parts))]:
        write_table(run.folder / f'{name}.parquet', df)
    write_json(run.folder / 'params.json', dict(comp=comp.name, exp=exp, recipe={}, data_hash=comp.hash()) | params)
    write_json(run.folder / 'score.json', dict(folds=[0.0] * folds))
    return run


# ---- means ---------------------------------------------------------------------------------------------------------


def test_the_mean_of_five_files_is_exact_in_the_file(root):
    "SETI's second place: the plain mean of five CSVs; ties are those of the exact mean."
    comp, g = yes_or_no(), rng('five')
    P = np.round(g.random((5, 3000)) * 10.0 ** -g.integers(0, 3, 3000), 16)
    for i, p in enumerate(P):
        write_table(
            root / f'{i}.csv',
            pd.DataFrame(dict(id=comp.test.id, target=[repr(float(v)) for v in p])).sample(frac=1, random_state=i),
        )
    run = page(comp, members=[dict(file=f'{i}.csv') for i in range(5)], method='mean')
    exact, got = P.mean(0), answers(run).astype(float)
    assert np.abs(got - exact).max() < 1e-15 and len(set(got)) >= len(set(exact))
    assert (probs(run, comp)[:, 0] == got).all()
    assert reported_score(run) == 'not scored: there are no out-of-fold predictions of 0, 1, 2, 3, 4'
    assert replay(run, comp) == ['test.parquet']


def test_scores_of_any_range_are_blended_by_rank_for_a_ranking_metric(root):
    comp, g = yes_or_no(), rng('scores')
    S = g.normal(size=(2, 3000)) * [[1], [40]] + [[0], [-300]]
    for i, s in enumerate(S):
        write_table(root / f'{i}.csv', pd.DataFrame(dict(id=comp.test.id, target=s)))
    both = [dict(file='0.csv'), dict(file='1.csv')]
    ranks = pd.DataFrame(S.T).rank().mean(axis=1)
    mixed = pd.Series(answers(page(comp, members=both, method='mean', space='rank')).astype(float))
    assert (mixed.round(9).rank() == ranks.rank()).all()
    plain = answers(page(comp, 'exp0102', members=both, method='mean')).astype(float)
    assert (plain.argsort() == S.mean(0).argsort()).all() and 0 <= plain.min() < plain.max() <= 1
    for wrong in (dict(space='logit'), dict(space='power 2')):
        with pytest.raises(KitError, match='0, 1: scores beyond 0 … 1 are no probabilities; take the space rank'):
            page(comp, 'exp0103', members=both, method='mean', **wrong)


def test_scores_for_labels_are_refused_unless_they_are_ranked(root):
    comp = several()
    write_table(
        root / 's.csv',
        pd.DataFrame(rng('s').normal(size=(120, 10)) * 9, columns=prob_columns(CLASSES)).assign(index=range(120)),
    )
    trained(comp, 'exp0001')
    with pytest.raises(KitError, match='s: scores beyond 0 … 1'):
        page(comp, members=['exp0001', dict(file='s.csv')], method='mean')
    assert page(comp, members=['exp0001', dict(file='s.csv')], method='mean', space='rank').state() == 'done'


@pytest.mark.parametrize(
    'space, there, back',
    [('prob', lambda p: p, lambda s: s), ('log', np.log, np.exp), ('power 3', lambda p: p**3, lambda s: s ** (1 / 3))],
)
def test_chosen_folds_of_a_run_are_averaged_in_a_space(root, space, there, back):
    comp = several()
    table = pd.read_parquet(trained(comp, 'exp0001').folder / 'test_folds.parquet')
    parts = [table[table.fold == f][prob_columns(CLASSES)].to_numpy(float) for f in (3, 1)]
    want = back(np.mean([there(p) for p in parts], 0))
    run = page(comp, members=[dict(exp='exp0001', folds=[3, 1], space=space)], method='mean')
    assert np.abs(probs(run, comp) - want / want.sum(1, keepdims=True)).max() < 1e-12
    assert probs(run, comp).dtype == np.float64


def test_logits_are_averaged_as_logits_in_any_file_format(root):
    "Folds in one array, a file a fold, a tensor; weights over runs; far apart, where probabilities are 0."
    import torch

    comp, g = several(), rng('logits')
    Z = g.normal(size=(3, 4, 120, 10)) * 60
    order = comp.test.file.argsort(kind='stable').to_numpy()  # one is in the order of sorted file names
    np.save(root / 'a.npy', Z[0])
    torch.save(torch.tensor(Z[1][:, order][:, :, ::-1].copy()), root / 'b.pth')
    for f in range(4):
        np.save(root / f'c{f}.npy', Z[2][f].astype(np.float64))
    rows = dict(rows='sample', classes='sorted')
    members = [
        dict(logits='a.npy', folds=[0, 2], **rows),
        dict(logits='b.pth', rows='files', classes=list(CLASSES[::-1]), name='b'),
        dict(logits=[f'c{f}.npy' for f in range(4)], folds=[1], name='c', **rows),
    ]
    run = page(comp, members=members, method='weighted', weights=[0.6, 0.1, 0.25])
    mean = 0.6 * Z[0][[0, 2]].mean(0) + 0.1 * Z[1].mean(0) + 0.25 * Z[2][1]
    assert run.read('blend.json')['params']['space'] == 'logits'
    assert (answers(run) == np.array(CLASSES)[mean.argmax(1)]).all()
    assert np.abs(probs(run, comp) - softmax(mean / 0.95)).max() < 1e-12
    soft = page(comp, 'exp0102', members=members, method='weighted', weights=[0.6, 0.1, 0.25], space='prob')
    assert (answers(soft) != answers(run)).any()


def test_logits_with_out_of_fold_rows_can_be_fitted_and_scored(root):
    comp, g = several(), rng('oof logits')
    y = comp.train.target.to_numpy()
    for name, skill in [('a', 2.0), ('b', 1.5)]:
        np.save(root / f'{name}.npy', g.normal(size=(2, 120, 10)))
        np.save(root / f'{name}_oof.npy', g.normal(size=(200, 10)) + skill * np.eye(10)[y])
    run = page(
        comp,
        members=[
            dict(logits=f'{n}.npy', rows='test', classes='competition', oof=f'{n}_oof.npy', oof_rows='train')
            for n in 'ab'
        ],
        method='caruana',
    )
    score = run.read('score.json')
    assert score['oof'] >= score['nested']['oof'] > 0.3 and run.read('params.json')['fold_hash'] is None
    assert replay(run, comp) == ['oof.parquet', 'test.parquet']


# ---- rules ---------------------------------------------------------------------------------------------------------

CASCADE = """
sources:
  baseline1: {mix: [r66, r85]}
  soft: {mix: {baseline1: 0.6, r39: 0.2, r92: 0.15}}
base: baseline1
rules:
  - {name: H1, take: soft, where: {state_not: [good], now_state_not: [combined]}}
  - {name: H2, take: r146, where: {any: [{class_in: [tile, carpet, zipper]}, {state_in: [combined]}]}}
  - {name: H3 cable, take: cable, where: {now_class_in: [cable], state_not: [good]}}
  - {name: H3 wood, take: wood, where: {now_class_in: [wood], state_not: [good]}}
"""


def ballots(root, g, thing, ids, classes, voters=7):
    "A table of votes in the published form: ids, a placeholder, a column a snapshot with labels or null."
    own = [c for c in classes if c.startswith(thing)] + ['null']
    table = pd.DataFrame({f'{thing}-{v}': np.array(own)[g.integers(0, len(own), len(ids))] for v in range(voters)})
    write_table(root / f'{thing}.csv', pd.concat([pd.DataFrame(dict(index=ids, label=classes[0])), table], axis=1))
    return table


def cascade_by_hand(base, soft, second, votes, classes):
    "The winner's three corrections as a loop over rows."
    out = []
    for i, label in enumerate(base):
        if soft[i] != label and not soft[i].endswith('-good') and not label.endswith('-combined'):
            label = soft[i]
        if second[i] != label and (
            second[i].split('-')[0] in ('tile', 'carpet', 'zipper') or second[i].endswith('-combined')
        ):
            label = second[i]
        for thing, table in votes.items():
            vote = sorted(table.loc[i].mode())[0]
            if label.split('-')[0] == thing and vote not in (label, 'null') and not vote.endswith('-good'):
                label = vote
        out.append(label)
    return np.array(out)


def test_the_cascade_of_the_first_place_equals_a_plain_script_row_by_row(root):
    comp, g = several(t=1500), rng('cascade')
    Z = {
        n: g.normal(size=(f, 1500, 10)).astype(np.float32) for n, f in dict(r66=4, r85=2, r39=3, r92=5, r146=10).items()
    }
    for n, z in Z.items():
        np.save(root / f'{n}.npy', z)
    votes = {thing: ballots(root, g, thing, comp.test.sample_id, CLASSES) for thing in ('cable', 'wood')}
    members = [dict(logits=f'{n}.npy', rows='sample', classes='sorted', name=n, mix=False) for n in Z] + [
        dict(votes=f'{v}.csv') for v in votes
    ]
    members[3]['folds'] = [0]
    run = page(comp, members=members, method='mean', rules=CASCADE)
    M = {n: z.astype(float).mean(0) for n, z in Z.items()} | dict(r92=Z['r92'][0].astype(float))
    base = (M['r66'] + M['r85']) / 2
    name = lambda z: np.array(CLASSES)[z.argmax(1)]
    want = cascade_by_hand(
        name(base), name(0.6 * base + 0.2 * M['r39'] + 0.15 * M['r92']), name(M['r146']), votes, CLASSES
    )
    assert (answers(run) != want).sum() == 0 and (want != name(base)).sum() > 300
    assert (
        reported_score(run).startswith('not scored: there are no out-of-fold predictions of r66')
        and run.read('score.json')['oof'] is None
    )
    table = pd.read_csv(run.folder / 'rules.csv')
    assert (
        table.rule.tolist() == ['H1', 'H2', 'H3 cable', 'H3 wood']
        and table.verdict.str.startswith('not scored; changes').all()
    )
    assert replay(run, comp) == ['test.parquet']


def test_a_gate_with_its_own_classes_changes_exactly_its_rows(root):
    "Dacon's third place: softmax files, a gate of good and bad, an expert that replaces one object."
    comp, g = several(t=900), rng('gate')
    P = softmax(g.normal(size=(3, 900, 10)) * 2)
    for i, p in enumerate(P):
        write_table(root / f'p{i}.csv', pd.DataFrame(p, columns=prob_columns(CLASSES)).assign(index=range(900)))
    names = sorted({f'{c.split("-")[0]}-{s}' for c in CLASSES for s in ('good', 'bad')})
    gate = softmax(g.normal(size=(900, len(names))) * 12)
    write_table(
        root / 'gate.csv',
        pd.DataFrame(gate, columns=prob_columns(names)).assign(index=range(900)).sample(frac=1, random_state=1),
    )
    tile = g.integers(0, 3, 900)
    write_table(
        root / 'tile.csv',
        pd.DataFrame(dict(index=range(900), label=np.array(['other', 'tile-good', 'tile-oil'])[tile])),
    )
    unsure = [dict(source='gate', state_in=['bad']), dict(source='gate', confidence_below=0.999)]
    gate_rule = dict(name='gate', take='second blend', where=dict(now_state_in=['good'], any=unsure))
    tile_rule = dict(name='tile', take='tile', where=dict(now_class_in=['tile']))
    rules = json.dumps(dict(base='blend', rules=[gate_rule, tile_rule]))
    members = [dict(file=f'p{i}.csv') for i in range(3)] + [
        dict(file='gate.csv', classes='own'),
        dict(file='tile.csv', classes='own'),
    ]
    run = page(comp, members=members, method='mean', rules=rules)
    mean = P.mean(0)
    first, second = mean.argsort(1)[:, -1], mean.argsort(1)[:, -2]
    good = np.array([c.endswith('good') for c in CLASSES])
    bad = np.array([n.endswith('bad') for n in names])
    asks = good[first] & (bad[gate.argmax(1)] | (gate.max(1) < 0.999))
    want = np.array(CLASSES)[np.where(asks, second, first)]
    replaced = np.char.startswith(want.astype(str), 'tile') & (tile > 0)
    want[replaced] = np.array(['other', 'tile-good', 'tile-oil'])[tile[replaced]]
    assert (answers(run) != want).sum() == 0
    assert (answers(run) != np.array(CLASSES)[first]).sum() == (want != np.array(CLASSES)[first]).sum() > 100


def vote_by_hand(row, weights, current, own, tie):
    "A ballot counted with fractions, so that ties are ties."
    from fractions import Fraction

    count = {}
    for label, w in [*zip(row, weights), *([(current, own)] if own else [])]:
        count[label] = count.get(label, 0) + Fraction(str(w))
    top = sorted(c for c, v in count.items() if v == max(count.values()))
    winner = current if tie == 'current' and len(top) > 1 else top[0]
    return current if winner == 'null' else winner


@pytest.mark.parametrize('tie', ['first', 'current'])
@pytest.mark.parametrize('own', [0, 0.2, 0.3])
@pytest.mark.parametrize('weights', [None, {'cable-0': 0.1, 'cable-1': 0.2, 'cable-2': 0.3, 'cable-3': 0.3}])
def test_votes_agree_with_a_plain_count(root, tie, own, weights):
    comp, g = several(t=500), rng('votes')
    p = softmax(g.normal(size=(500, 10)))
    write_table(root / 'p.csv', pd.DataFrame(p, columns=prob_columns(CLASSES)).assign(index=range(500)))
    table = ballots(root, g, 'cable', comp.test.sample_id, CLASSES, voters=4)
    rule = dict(name='vote', take='cable', tie=tie) | (dict(current_votes=own) if own else {})
    member = dict(votes='cable.csv') | (dict(weights=weights) if weights else {})
    run = page(comp, members=[dict(file='p.csv'), member], method='mean', rules=dict(base='blend', rules=[rule]))
    now = np.array(CLASSES)[p.argmax(1)]
    want = [vote_by_hand(table.loc[i], [*(weights or {}).values()] or [1] * 4, now[i], own, tie) for i in range(500)]
    assert (answers(run) != np.array(want)).sum() == 0 and (answers(run) != now).any()


def test_rules_on_test_rows_alone_are_not_scored(root):
    comp = several()
    for exp in ('exp0001', 'exp0002'):
        trained(comp, exp)
    ballots(root, rng('x'), 'wood', comp.test.sample_id, CLASSES)
    rules = dict(
        base='blend',
        rules=[
            dict(name='seen', take='exp0002', where=dict(class_in=['tile'])),
            dict(name='asked', take='exp0002', where=dict(source='wood', state_in=['scratch'])),
            dict(name='vote', take='wood'),
        ],
    )
    run = page(comp, members=['exp0001', 'exp0002', dict(votes='wood.csv')], method='mean', rules=rules)
    assert run.read('blend.json')['unscored'] == ['asked', 'vote'] and run.read('score.json')['oof'] is not None
    with pytest.raises(KitError, match='asked, vote takes from a member without out-of-fold predictions'):
        page(
            comp,
            'exp0102',
            members=['exp0001', 'exp0002', dict(votes='wood.csv')],
            method='mean',
            rules=rules,
            choose=True,
        )


def test_a_base_without_out_of_fold_rows_is_blended_without_a_score(root):
    comp = several()
    trained(comp, 'exp0001')
    write_table(
        root / 'p.csv',
        pd.DataFrame(softmax(rng('p').normal(size=(120, 10))), columns=prob_columns(CLASSES)).assign(index=range(120)),
    )
    run = page(
        comp,
        members=['exp0001', dict(file='p.csv', mix=False)],
        method='mean',
        rules=dict(base='p', rules=[dict(take='exp0001', where=dict(class_in=['tile']))]),
    )
    assert (
        reported_score(run) == 'not scored: there are no out-of-fold predictions of p'
        and read_member('exp0101', comp).oof is None
    )


# ---- heads ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def masks(root):
    "Eighteen answers to three questions, named by numbers as the site wants them; two networks on all rows."
    comp = several(n=180, t=400, classes=tuple(str(c) for c in range(18)), heads=HEADS)
    for exp in ('b4', 'resnet'):
        run = trained(comp, exp, skill=0.3)
        for name in ('oof.parquet', 'test_folds.parquet'):
            (run.folder / name).unlink()
    return comp


def by_head(P, weights):
    "The likeliest answer of each head, from the mean of the heads' probabilities."
    cube = P.reshape(len(P), -1, 3, 2, 3)
    heads = [cube.sum((3, 4)), cube.sum((2, 4)), cube.sum((2, 3))]
    best = [np.tensordot(np.array(w) / sum(w), h, 1).argmax(1) for w, h in zip(weights, heads)]
    return best[0] * 6 + best[1] * 3 + best[2]


@pytest.mark.parametrize(
    'method, weights, plain',
    [
        ('heads_mean', None, [[1, 1]] * 3),
        ('heads_weighted', [3, 1], [[3, 1]] * 3),
        ('heads_weighted', dict(mask=[1, 0], gender=[0, 1], age=[1, 2]), [[1, 0], [0, 1], [1, 2]]),
    ],
)
def test_two_networks_trained_on_all_rows_are_blended_by_head(masks, method, weights, plain):
    run = page(masks, members=['b4', 'resnet'], method=method, weights=weights)
    P = np.stack([probs(Run('ends', e), masks).astype(float) for e in ('b4', 'resnet')])
    assert (answers(run).astype(int) != by_head(P, plain)).sum() == 0
    assert (answers(run).astype(int) != P.mean(0).argmax(1)).any()  # the mean of classes is something else
    assert run.read('score.json')['why'] == 'there are no out-of-fold predictions of b4, resnet'


def test_weights_a_head_need_heads_of_the_competition(root):
    comp = several(n=180, classes=tuple(str(c) for c in range(18)), heads=HEADS)
    for exp in ('exp0001', 'exp0002'):
        trained(comp, exp)
    run = page(comp, members=['exp0001', 'exp0002'], method='heads')
    assert len(run.read('blend.json')['params']['heads']) == 3 and run.read('score.json')['nested']['oof'] > 0
    with pytest.raises(KitError, match="unknown head with weights 'mas' .did you mean mask"):
        page(
            comp,
            'exp0102',
            members=['exp0001', 'exp0002'],
            method='heads_weighted',
            weights=dict(mas=[1, 1], gender=[1, 1], age=[1, 1]),
        )


# ---- members that cannot be ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    'change, words',
    [
        (
            lambda run, comp: run.set_status('failed', error='KitError: no room'),
            'exp0001 is failed .KitError: no room.; finish it first',
        ),
        (
            lambda run, comp: write_json(
                run.folder / 'status.json',
                dict(state='running', pid=1, host='x', boot='y', started=0, heartbeat='2020-01-01 00:00:00'),
            ),
            'exp0001 is interrupted',
        ),
        (
            lambda run, comp: write_json(
                run.folder / 'params.json', run.read('params.json') | dict(data_hash='0' * 16)
            ),
            'another training table',
        ),
        (
            lambda run, comp: write_table(
                run.folder / 'oof.parquet',
                pd.read_parquet(run.folder / 'oof.parquet').assign(target=lambda d: d.target.where(d.id != 'a0007', 0)),
            ),
            'such as id a0007; the target was edited',
        ),
        (
            lambda run, comp: write_json(run.folder / 'score.json', dict(folds=[0.1, 0.5], dead=[0])),
            'nothing was learnt in fold 0',
        ),
        (
            lambda run, comp: write_json(run.folder / 'params.json', run.read('params.json') | dict(trial=True)),
            'is a trial',
        ),
        (
            lambda run, comp: (run.folder / 'test.parquet').write_bytes(b'PAR1 and then nothing'),
            'test.parquet cannot be read',
        ),
        (
            lambda run, comp: write_table(
                run.folder / 'oof.parquet', pd.read_parquet(run.folder / 'oof.parquet').drop(columns='id')
            ),
            'has no column id',
        ),
        (
            lambda run, comp: write_table(
                run.folder / 'test.parquet', pd.read_parquet(run.folder / 'test.parquet')[::-1]
            ),
            'another order',
        ),
    ],
)
def test_a_member_that_has_changed_is_refused(root, change, words):
    comp = several()
    run = trained(comp, 'exp0001')
    trained(comp, 'exp0002')
    change(run, comp)
    with pytest.raises(KitError, match=words):
        page(comp, members=['exp0001', 'exp0002'], method='mean')
    assert not Run(comp.name, 'exp0101').folder.exists()


@pytest.mark.parametrize(
    'asked, words',
    [
        (dict(members=['exp0001', dict(file='nowhere.csv')]), 'nowhere.csv is not there'),
        (dict(members=['exp0001', dict(logits='z.npy')]), 'names no classes'),
        (dict(members=['exp0001', dict(logits='z.npy', classes='sorted')]), 'names no ids'),
        (
            dict(members=['exp0001', dict(logits='z.npy', classes='sorted', rows='sample', folds=[7])]),
            "unknown fold of .* '7'",
        ),
        (dict(members=['exp0001', dict(logits='z.npy', classes=['a', 'b'], rows='sample')]), 'shape'),
        (dict(members=['exp0001', dict(exp='exp0002', folds=[0, 0])]), 'name each once'),
        (dict(members=['exp0001', dict(votes='votes.csv', weights=dict(nobody=1))]), 'unknown voter'),
        (dict(members=['exp0001', dict(file='gate.csv')]), "'bad'.*not among the 10 classes"),
        (dict(members=[dict(file='gate.csv', classes='own')]), 'every member is for rules alone'),
        (dict(members=['exp0001', dict(file='gate.csv', classes='own', name='exp0001')]), 'a member twice'),
        (dict(members=['exp0001', dict(exp='exp0002', name='blend')]), 'another name'),
        (dict(members='["exp0001", 3]'), 'members'),
        (dict(members=['exp0001', 'exp0002'], weights=[1, -1], method='weighted'), 'a sum other than 0'),
        (dict(members=['exp0001', 'exp0002'], weights=[1], method='weighted'), '1 for 2 members'),
        (dict(members=['exp0001', 'exp0002'], space='logits'), 'write logit'),
        (dict(members=['exp0001', 'exp0002'], rules='{base: blend, rules: [3]}'), 'rule 1: a rule is a mapping'),
        (dict(members=['exp0001', 'exp0002'], method='mean', weights=[1, 2]), "the method mean takes no 'weights'"),
        (dict(members=['exp0001', 'exp0002'], method='weighted'), "the method weighted needs 'weights'"),
        (dict(members=['exp0001', 'exp0002'], method='weighted', weights={'a': [1, 2]}), 'are for heads_weighted'),
        (dict(members=['exp0001', 'exp0002'], rules='{base: nobody, rules: []}'), "unknown base of the rules 'nobody'"),
        (
            dict(
                members=['exp0001', 'exp0002'], rules='{base: blend, rules: [{take: exp0001, where: {state_in: [no]}}]}'
            ),
            'in quotes',
        ),
        (
            dict(
                members=['exp0001', 'exp0002'],
                rules='{base: blend, rules: [{take: exp0001, where: {confidence: high}}]}',
            ),
            'confidence is a number',
        ),
        (
            dict(members=['exp0001', 'exp0002'], rules='{base: blend, rules: [{take: exp0001, current_votes: 1}]}'),
            'is for votes',
        ),
        (
            dict(members=['exp0001', 'exp0002'], rules='{base: blend, sources: {s: {mix: [exp0001, s]}}, rules: []}'),
            'member of the source s',
        ),
        (
            dict(members=['exp0001', dict(file='gate.csv', classes='own')], rules='{base: gate, rules: []}'),
            'classes of its own',
        ),
        (dict(members=['exp0001', 'exp0002'], rules='../../rules.yaml'), 'leads out of'),
    ],
)
def test_an_impossible_blend_is_refused_and_leaves_nothing(root, asked, words):
    comp = several()
    for exp in ('exp0001', 'exp0002'):
        trained(comp, exp)
    np.save(root / 'z.npy', np.zeros((2, 120, 10)))
    ballots(root, rng('v'), 'cable', comp.test.sample_id, CLASSES)
    (root / 'cable.csv').rename(root / 'votes.csv')
    write_table(root / 'gate.csv', pd.DataFrame(dict(index=range(120), label=['bad', 'good'] * 60)))
    with pytest.raises(KitError, match=words):
        page(comp, **dict(method='mean') | asked)
    assert not Run(comp.name, 'exp0101').folder.exists()


def test_only_files_with_out_of_fold_rows_are_scored_nested_and_compared(root):
    "Nobody knows their folds, so the competition's own split says which rows a weight has not seen."
    comp, g = several(), rng('files')
    y = comp.train.target.to_numpy()
    for name in 'ab':
        write_table(
            root / f'{name}.csv',
            pd.DataFrame(softmax(g.normal(size=(120, 10))), columns=prob_columns(CLASSES)).assign(index=range(120)),
        )
        write_table(
            root / f'{name}_oof.csv',
            pd.DataFrame(softmax(g.normal(size=(200, 10)) + 1.5 * np.eye(10)[y]), columns=prob_columns(CLASSES)).assign(
                id=comp.train.id
            ),
        )
    r = BlendRecipe('exp0101', [dict(file=f'{n}.csv', oof=f'{n}_oof.csv') for n in 'ab'], 'caruana')
    run, t = run_blend(r, comp), join_members([read_member(m, comp) for m in r.members], comp)
    assert run.read('score.json')['nested']['oof'] > 0.2 and len(gain_table(run, t, comp)) == 3
    assert leave_one_out(r, t, comp).adds.notna().all() and len(compare_methods(t, comp)) == 5
    trained(comp, 'exp0001')  # a blend of them claims no folds of its own
    assert page(comp, 'exp0102', members=['exp0101', 'exp0001'], method='mean').state() == 'done'


def test_a_weight_of_zero_does_not_fail_the_page(root):
    comp = several()
    for exp in ('exp0001', 'exp0002'):
        trained(comp, exp)
    r = BlendRecipe('exp0101', ['exp0001', 'exp0002'], 'weighted', dict(weights='[1, 0]'))
    t = join_members([read_member(m, comp) for m in r.members], comp)
    assert np.isnan(leave_one_out(r, t, comp).adds[0]) and plot_members(r, t, comp)
    assert np.abs(probs(run_blend(r, comp), comp) - probs(Run('ends', 'exp0001'), comp)).max() < 1e-7


def test_an_older_blend_in_single_precision_is_replayed(root):
    comp = several()
    for exp in ('exp0001', 'exp0002'):
        trained(comp, exp)
    run = page(comp, members=['exp0001', 'exp0002'], method='mean')
    for name in ('oof', 'test'):
        df = pd.read_parquet(run.folder / f'{name}.parquet')
        write_table(run.folder / f'{name}.parquet', df.astype({c: np.float32 for c in prob_columns(CLASSES)}))
    assert replay(run, comp) == [
        f'{n}.parquet (within the single precision that it was stored in)' for n in ('oof', 'test')
    ]
    df.iloc[3, -1] += 0.01
    write_table(run.folder / 'test.parquet', df)
    with pytest.raises(KitError, match='test.parquet is not what its recipe gives'):
        replay(run, comp)


# ---- the published files -------------------------------------------------------------------------------------------

needs_real = pytest.mark.skipif(not (REAL / 'anomaly').exists(), reason="the first place's artefacts are not at hand")


@pytest.fixture
def dacon(root):
    "Dacon's test rows and 88 class names: those of five objects from the votes, the others invented."
    named = sorted(
        {
            c
            for f in (REAL / 'anomaly').glob('validation_*.csv')
            for c in pd.read_csv(f, dtype=str, keep_default_na=False).iloc[:, 2:].stack().unique()
        }
        - {'null'}
    )
    things = [f'thing{i:02d}-{s}' for i in range(30) for s in ('combined', 'good', 'tile')]
    classes = tuple(sorted([*named, *things][:88]))
    train = pd.DataFrame(dict(id=[str(10000 + i) for i in range(4277)], file='no.png', target=np.arange(4277) % 88))
    test = pd.DataFrame(
        dict(
            id=[str(20000 + i) for i in range(2154)],
            file=[f'test/{20000 + i}.png' for i in range(2154)],
            sample_id=[str(i) for i in range(2154)],
        )
    )
    return Competition(
        'dacon', train, test, pd.DataFrame(dict(index=test.sample_id, label=classes[0])), classes, 'macro_f1'
    )


@needs_real
def test_published_logits_and_votes_agree_with_a_plain_script(dacon):
    "Chosen folds with weights, and four priorities over the real files: no row differs."
    import torch

    path, c = REAL / 'anomaly' / 'features_92(576).pth', np.array(dacon.classes)
    z = torch.load(path, weights_only=True, map_location='cpu').double().numpy()
    rows = dict(logits=str(path), rows='files', classes='sorted', mix=False)
    members = [
        dict(rows, folds=[1, 2], name='one'),
        dict(rows, folds=[3, 4], name='two'),
        dict(rows, folds=[0], name='r92'),
    ]
    votes = {t: REAL / 'anomaly' / f'validation_E6_87_{t}.csv' for t in ('cable', 'grid', 'metal_nut', 'pill', 'wood')}
    members += [dict(votes=str(f), name=f'vote_{t}') for t, f in votes.items()]
    rules = [
        dict(name='H1', take='soft', where=dict(state_not=['good'], now_state_not=['combined'])),
        dict(name='H2', take='two', where=dict(any=[dict(class_in=['thing01', 'grid']), dict(state_in=['combined'])])),
    ]
    rules += [dict(name=f'H3 {t}', take=f'vote_{t}', where=dict(now_class_in=[t], state_not=['good'])) for t in votes]
    run = page(
        dacon,
        members=members,
        method='mean',
        rules=dict(base='one', sources=dict(soft=dict(mix=dict(one=0.6, two=0.1, r92=0.15))), rules=rules),
    )
    one, two = z[[1, 2]].mean(0), z[[3, 4]].mean(0)
    label, soft, second = (
        c[one.argmax(1)].astype(object),
        c[(0.6 * one + 0.1 * two + 0.15 * z[0]).argmax(1)],
        c[two.argmax(1)],
    )
    state = lambda s: s.partition('-')[2]
    for i in range(2154):
        if soft[i] != label[i] and state(soft[i]) != 'good' and state(label[i]) != 'combined':
            label[i] = soft[i]
        if second[i] != label[i] and (second[i].split('-')[0] in ('thing01', 'grid') or state(second[i]) == 'combined'):
            label[i] = second[i]
    for t, f in votes.items():
        table = pd.read_csv(f, dtype=str, keep_default_na=False).iloc[:, 2:]
        for i, vote in enumerate(table.apply(lambda r: sorted(r.mode())[0], axis=1)):
            if label[i].startswith(f'{t}-') and vote not in (label[i], 'null') and state(vote) != 'good':
                label[i] = vote
    assert (answers(run) != label).sum() == 0
    assert (label != c[one.argmax(1)]).sum() > 50


@needs_real
def test_a_mean_of_published_logits_is_the_mean_of_logits_in_the_file(dacon):
    import torch

    path = REAL / 'anomaly' / 'features_92(576).pth'
    z = torch.load(path, weights_only=True, map_location='cpu').double().numpy()
    run = page(dacon, members=[dict(logits=str(path), rows='files', classes='sorted', folds=[0, 1, 3])], method='mean')
    assert np.abs(probs(run, dacon) - softmax(z[[0, 1, 3]].mean(0))).max() < 1e-12
    assert (answers(run) == np.array(dacon.classes)[z[[0, 1, 3]].mean(0).argmax(1)]).all()
    soft = np.array(dacon.classes)[softmax(z[[0, 1, 3]]).mean(0).argmax(1)]
    assert 0 < (answers(run) != soft).sum() < 60


# ---- the page ------------------------------------------------------------------------------------------------------

OWN_PAGE = """
from kagglekit.blend.methods import weights_method

@weights_method('first_only')
def first_only(Z, y, goal):
    return [1.0] + [0.0] * (len(Z) - 1)
"""


def test_the_blend_page_knows_the_methods_of_competition_pages(tmp_path, monkeypatch):
    "The page's own cell, with a competition page that registers a blending method."
    import kagglekit.competitions as pages

    (tmp_path / 'own_page.py').write_text(OWN_PAGE)
    monkeypatch.setattr(pages, '__path__', [*pages.__path__, str(tmp_path)])
    monkeypatch.delitem(sys.modules, 'kagglekit.competitions.own_page', raising=False)
    cells = json.loads((Path(__file__).parent.parent / 'nbs' / 'blend.ipynb').read_text())['cells']
    (begin,) = [s for c in cells if 'recipe = blend_recipe(given)' in (s := ''.join(c['source']))]
    given = dict(comp='shapes-practice', exp='exp0101', members=['exp0001', 'exp0002'], method='first_only')
    names = dict(given=given, comp=given['comp'], STAND_INS=STAND_INS, write_practice=write_practice)
    try:
        with workspace(tmp_path):
            exec(begin, names | dict(load_pages=load_pages, find_comp=find_comp, blend_recipe=blend_recipe))
    finally:
        METHODS.pop('first_only', None)
