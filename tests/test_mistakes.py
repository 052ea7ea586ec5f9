"Mistakes that were published with the SETI competition, and cost their authors verdicts. Each must stay impossible."
import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score
import kagglekit.panels
from kagglekit.augment import AUGMENTS, CHANCES
from kagglekit.batches import fold_loaders, one_hot
from kagglekit.cadence import arrange
from kagglekit.competition import Competition
from kagglekit.core import KitError, uniforms
from kagglekit.loss import find_loss
from kagglekit.run import score_oof
from kagglekit.submit import make_submission

def needle(n=2):
    "A competition of n rows with one probability column."
    ids = [f'{i:03d}' for i in range(n)]
    table = pd.DataFrame(dict(id=ids, file='x.npy', sample_id=ids, target=np.arange(n) % 2))
    return Competition('toy', table, table.assign(id='t' + table.id), pd.DataFrame(dict(id=ids, target='.5')), ('needle',), 'auc', 'probability')

def test_three_channels_hold_abacad():
    "baseline_3.py used a variable after it had changed; its third channel was garbage."
    x = np.random.default_rng(0).normal(size=(6, 273, 256)).astype(np.float32)
    three = arrange(x, 'aaa_bcd_abacad', (64, 96))
    np.testing.assert_array_equal(three[..., 2], arrange(x, 'abacad', (64, 96))[..., 0])
    np.testing.assert_array_equal(three[..., :2], arrange(x, 'aaa_bcd', (64, 96)))

def test_a_constant_answer_is_refused():
    "exp020 subtracted a picture's score from itself, sent .5 for every row, and wrote: not so good."
    comp = needle()
    with pytest.raises(KitError, match='all 2 rows get the same answer'): make_submission(comp, pd.DataFrame(dict(id=comp.test.id, p_needle=[.5, .5])))
    make_submission(comp, pd.DataFrame(dict(id=comp.test.id, p_needle=[.5, .6])))

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
    oof = pd.DataFrame(dict(id=comp.train.id, fold=[0, 0, 1, 1], target=[0, 0, 0, 1], p_needle=[.1, .2, .3, .4]))
    score = score_oof(oof, comp)
    assert np.isnan(score['folds'][0]) and score['folds'][1] == 1 and np.isnan(score['mean']) and score['oof'] == 1

@pytest.mark.parametrize('name', ['gauss', 'chi2'])
def test_noise_keeps_the_scale_of_validation(name):
    "exp0018 divided by the deviation in training only."
    x = 2 * torch.randn(16, 1, 64, 64)
    made = AUGMENTS[name].apply(x, torch.zeros(16, 1), torch.tensor(uniforms(range(16), CHANCES, 'noise')).float(), 1)[0]
    assert ((made.std((1, 2, 3)) / 2 - 1).abs() < .08).all() and (made - x).std() > .3

def test_the_auc_margin_learns():
    "exp0013 handed it raw logits, and did not learn at all."
    g = torch.Generator().manual_seed(0)
    x, w = torch.randn(400, 8, generator=g), torch.randn(8, generator=g)
    y = (x @ w > 3).float()[:, None]
    net = torch.nn.Linear(8, 1)
    for p in net.parameters(): torch.nn.init.constant_(p, 0.)
    opt, loss = torch.optim.Adam(net.parameters(), .05), find_loss('auc_margin')
    for _ in range(200): opt.zero_grad(); loss(net(x), y).backward(); opt.step()
    assert roc_auc_score(y[:, 0], net(x).detach()[:, 0]) > .97

@pytest.mark.parametrize('name', ['time_reverse', 'shuffle_inv'])
def test_a_needle_in_the_wrong_panels_is_none(name):
    "Flip(p=.5) put A panels where B, C and D belong, and kept the label."
    x, panels = torch.arange(6.).repeat_interleave(4).expand(1, 1, 3, 24), (tuple(range(6)),)
    moved, label = AUGMENTS[name].apply(x, torch.ones(1, 1), torch.zeros(1, CHANCES), 1, panels)
    assert set(moved[0, 0, 0].reshape(6, 4)[::2].flatten().tolist()) == {1., 3., 5.} and label.item() == 0
