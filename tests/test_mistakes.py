"Published mistakes of the SETI and mask competitions. Each must stay impossible."

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
import kagglekit.training.augment_cadence  # noqa: F401  registers its augmentations
from kagglekit.training.augmentations import AUGMENTS, N_UNIFORMS
from kagglekit.images.loaders import fold_loaders, one_hot
from kagglekit.images.cadence import arrange
from kagglekit.data.competition import Competition
from kagglekit.core.paths import workspace
from kagglekit.core.randomness import uniforms
from kagglekit.core.storage import write_json, write_table
from kagglekit.core.validation import KitError
from kagglekit.runs.recipe import Recipe
from kagglekit.data.folds import fold_hash, make_folds
from kagglekit.models.heads import OutputSpec, Head, heads_loss
from kagglekit.training.learner import PrepareBatch, fold_learner, label_rows
from kagglekit.models.losses import find_loss
from kagglekit.models.build import build_model
from kagglekit.runs.run import Run
from kagglekit.runs.scores import score_oof
from kagglekit.runs.lineage import pseudo_rows
from kagglekit.runs.form import make_submission
from kagglekit.models.surgery import l2_norm_head
from running import copy_practice

# SETI


def needle(n=2):
    "A competition of n rows with one probability column."
    ids = [f'{i:03d}' for i in range(n)]
    table = pd.DataFrame(dict(id=ids, file='x.npy', sample_id=ids, target=np.arange(n) % 2))
    return Competition(
        'toy',
        table,
        table.assign(id='t' + table.id),
        pd.DataFrame(dict(id=ids, target='.5')),
        ('needle',),
        'auc',
        'probability',
    )


def test_three_channels_hold_abacad():
    "baseline_3.py used a variable after it had changed; its third channel was garbage."
    x = np.random.default_rng(0).normal(size=(6, 273, 256)).astype(np.float32)
    three = arrange(x, 'aaa_bcd_abacad', (64, 96))
    np.testing.assert_array_equal(three[..., 2], arrange(x, 'abacad', (64, 96))[..., 0])
    np.testing.assert_array_equal(three[..., :2], arrange(x, 'aaa_bcd', (64, 96)))


def test_a_constant_answer_is_refused():
    "exp020 subtracted a picture's score from itself, sent .5 for every row, and wrote: not so good."
    comp = needle()
    with pytest.raises(KitError, match='all 2 rows have the same prediction'):
        make_submission(comp, pd.DataFrame(dict(id=comp.test.id, p_needle=[0.5, 0.5])))
    make_submission(comp, pd.DataFrame(dict(id=comp.test.id, p_needle=[0.5, 0.6])))


@pytest.mark.parametrize('bs', [1, 7, 16, 64])
def test_validation_drops_no_row(bs):
    "drop_last=True scored a truncated fold."
    fold = np.arange(50) % 3
    for k in range(3):
        dls = fold_loaders(np.zeros((50, 4, 4, 1), np.uint8), one_hot(np.zeros(50), 1), fold, k, bs, 'cpu')
        assert np.concatenate([dls.valid.rows for _ in dls.valid]).tolist() == np.flatnonzero(fold == k).tolist()


def test_an_undefined_auc_is_not_zero():
    "A bare try … except turned it into 0.0."
    comp = needle(4)
    oof = pd.DataFrame(dict(id=comp.train.id, fold=[0, 0, 1, 1], target=[0, 0, 0, 1], p_needle=[0.1, 0.2, 0.3, 0.4]))
    score = score_oof(oof, comp)
    assert np.isnan(score['folds'][0]) and score['folds'][1] == 1 and np.isnan(score['mean']) and score['oof'] == 1


@pytest.mark.parametrize('name', ['gauss', 'chi2'])
def test_noise_keeps_the_scale_of_validation(name):
    "exp0018 divided by the deviation in training only."
    x = 2 * torch.randn(16, 1, 64, 64)
    u = torch.tensor(uniforms(range(16), N_UNIFORMS, 'noise')).float()
    made = AUGMENTS[name].apply(x, torch.zeros(16, 1), u, 1)[0]
    assert ((made.std((1, 2, 3)) / 2 - 1).abs() < 0.08).all() and (made - x).std() > 0.3


def test_the_auc_margin_learns():
    "exp0013 handed it raw logits, and did not learn at all."
    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(400, 8, generator=g), torch.randn(8, generator=g)
    y = (x @ w > 3).float()[:, None]
    net = torch.nn.Linear(8, 1)
    for p in net.parameters():
        torch.nn.init.constant_(p, 0.0)
    opt, loss = torch.optim.Adam(net.parameters(), 0.05), find_loss('auc_margin')
    for _ in range(200):
        opt.zero_grad()
        loss(net(x), y).backward()
        opt.step()
    assert roc_auc_score(y[:, 0], net(x).detach()[:, 0]) > 0.97


@pytest.mark.parametrize('name', ['time_reverse', 'shuffle_inv'])
def test_a_needle_in_the_wrong_panels_is_a_negative(name):
    "Flip(p=.5) put A panels where B, C and D belong, and kept the label."
    x, panels = torch.arange(6.0).repeat_interleave(4).expand(1, 1, 3, 24), (tuple(range(6)),)
    moved, label = AUGMENTS[name].apply(x, torch.ones(1, 1), torch.zeros(1, N_UNIFORMS), 1, panels)
    assert set(moved[0, 0, 0].reshape(6, 4)[::2].flatten().tolist()) == {1.0, 3.0, 5.0} and label.item() == 0


def test_features_are_scaled_row_by_row():
    "exp0016_n took one norm over the whole batch: an answer depended on its neighbours."
    net = build_model('tf_efficientnet_lite0', 1, 2, False).eval()
    l2_norm_head(net, 16.0)
    x = (
        torch.randn(4, 2, 32, 32, generator=torch.Generator().manual_seed(0))
        * torch.tensor([0.1, 1.0, 5.0, 20.0])[:, None, None, None]
    )
    with torch.no_grad():
        together, alone = net(x), torch.cat([net(row[None]) for row in x])
    torch.testing.assert_close(together, alone, atol=1e-4, rtol=1e-4)
    assert together.std() > 0


def test_pseudo_labels_of_a_fold_come_from_networks_that_never_saw_its_rows():
    "Each round of pseudo labels came from all folds together, which were trained on the validation rows of fold k."
    comp, folds = needle(6), pd.DataFrame(dict(id=needle(6).train.id, fold=[0, 1, 2, 0, 1, 2]))
    with workspace():
        run = Run('toy', 'exp0001')
        write_json(run.folder / 'params.json', dict(comp='toy', exp='exp0001', recipe={}, fold_hash=fold_hash(folds)))
        said = {
            k: [1.0 if f != k else 0.0 for f in folds.fold] for k in range(3)
        }  # 1 where the network of fold k had learnt the row
        write_table(
            run.folder / 'test_folds.parquet',
            pd.concat([pd.DataFrame(dict(fold=k, id=comp.test.id, p_needle=np.float32(p))) for k, p in said.items()]),
        )
        write_table(run.folder / 'oof.parquet', folds)
        run.set_status('done')
        for k in range(3):
            assert (
                pseudo_rows(Recipe(pseudo_labels='exp0001'), comp, folds, k)[1][:, 0].numpy() == np.array(said[k])
            ).all()
        with pytest.raises(KitError, match='has other folds'):
            pseudo_rows(Recipe(pseudo_labels='exp0001'), comp, folds.assign(fold=folds.fold.to_numpy()[::-1]), 0)


def test_labelled_rows_keep_their_labels_beside_test_rows():
    "exp025 read both batches into the same y, so that training rows got the labels of test rows."
    y, net = (
        torch.tensor([[1.0], [0.0], [float('nan')], [float('nan')]]),
        torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 1)),
    )
    new, keep = label_rows(net, torch.randn(4, 1, 2, 2), y, (1.0, 0.0), OutputSpec(1))
    assert new[:2].tolist() == [[1.0], [0.0]] and keep.all() and not new.isnan().any()


# Mask

THREE = (3, 2, 3)  # answers to mask, gender, age


@pytest.fixture(scope='module')
def people():
    "Thirty drawn people, 21 of them to train on, in the real layout; read twice."
    from kagglekit.competitions.mask import read_mask

    with workspace():
        copy_practice('mask-practice', 210)
        yield read_mask('mask-practice'), read_mask('mask-practice')


def test_reading_twice_does_not_double_the_data(people):
    "The lists of the data set were attributes of its class: a second instance had every row twice."
    first, second = people
    assert len(first.train) == len(second.train) == 21 * 7 and first.hash() == second.hash()


@pytest.mark.parametrize('seed', range(3))
def test_every_person_is_validated_once_and_never_split(people, seed):
    "The split by profile stood in a method that nobody called; and it drew people with replacement."
    comp, fold = people[0], make_folds(people[0], 3, seed).fold.to_numpy()
    assert sorted(set(fold)) == [0, 1, 2] and comp.train.groupby(fold).person.nunique().between(5, 9).all()
    for k in range(3):
        assert not set(comp.train.person[fold == k]) & set(comp.train.person[fold != k])


def test_the_boundary_of_an_age_moves_in_training_only(people):
    "The refactored branch cut at 59 on both sides, which is another competition."
    train = people[0].train
    assert (train.target % 3 == np.digitize(train.age, (30, 60))).all() and (
        train.old58 % 3 == np.digitize(train.age, (30, 58))
    ).all()
    assert people[0].labels == ('old58', 'old59') and 'target' not in people[0].labels


@pytest.mark.parametrize('eps', [0.1, 0.2])
def test_smoothing_counts_the_classes_of_its_head(eps):
    "LabelSmoothingLoss had 18 classes for a head of three, and ε = 0 by default."
    z, answer = torch.randn(5, 8), OutputSpec(18, THREE)
    t = answer.targets([0, 4, 8, 13, 17])
    mine = heads_loss([Head('mask', 'ce'), Head('gender', 'ce'), Head('age', 'ce', eps)], THREE)(z, t)
    spread = t[:, 5:] * (1 - eps) + (1 - t[:, 5:]) * eps / 2
    want = [torch.nn.functional.cross_entropy(a, b) for a, b in zip(z.split(THREE, 1), [t[:, :3], t[:, 3:5], spread])]
    torch.testing.assert_close(mine, sum(want) / 3)


@pytest.mark.parametrize('arch', ['resnet18', 'vit_tiny_patch16_224', 'tf_efficientnet_lite0', 'densenet121'])
def test_the_replaced_layer_is_the_one_in_the_forward_pass(arch):
    "ResNet152 got a new .head, and forward used .fc: it was trained on the logits of ImageNet."
    net = build_model(arch, 8, 3, False).eval()
    x = torch.zeros(1, 3, 224, 224)
    z = net(x)
    torch.nn.init.zeros_(net.get_classifier().weight)
    torch.nn.init.constant_(net.get_classifier().bias, 3.0)
    assert z.shape == (1, 8) and net(x).tolist() == [[3.0] * 8]


def test_no_prediction_is_outside_the_classes():
    "Ages were read from [:, 5:], thirteen numbers long, and classes above 17 came out."
    p = OutputSpec(18, THREE).probabilities(100 * torch.eye(8))
    assert p.shape == (8, 18) and p.argmax(1).max() < 18
    torch.testing.assert_close(p.sum(1), torch.ones(8))
    assert OutputSpec(18, THREE).probabilities(torch.tensor([[0, 0, 9.0, 0, 9.0, 0, 0, 9.0]])).argmax(1).item() == 17


def test_validation_sees_no_augmentation():
    "Both sides of a random split shared one data set, and with it the transforms of training."
    cache, answer = np.random.default_rng(0).integers(0, 255, (12, 16, 16, 3), np.uint8), OutputSpec(2)
    net = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(16 * 16 * 3, 2))

    class Look(torch.nn.Module):
        def forward(self, x):
            pictures.append(x.clone())
            return net(x)

    both = []
    for augment in ((), ('hflip 1', 'light .5')):
        pictures, dls = [], fold_loaders(cache, one_hot(np.arange(12) % 2, 2), np.arange(12) % 3, 0, 4, 'cpu')
        fold_learner(
            dls, Look(), find_loss('ce'), PrepareBatch((torch.zeros(1), torch.ones(1)), augment), answer
        ).validate()
        both.append(torch.cat(pictures))
    assert both[0].tolist() == both[1].tolist() == np.moveaxis(cache[::3], 3, 1).tolist()
