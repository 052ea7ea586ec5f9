"""How long torch's threads should spin while they wait: images a second in training, alone and on a busy machine.

    python bench/threads.py            # eight minutes
    python bench/threads.py --busy 2   # beside two busy processes instead of one

Threads that never spin pay for a wake-up at every operation. Threads that always spin look busy to the system, and the
one with work to do waits for its turn. Short turns of the same share, which Linux grants from 6.12 on, bring it sooner.
kagglekit takes short turns, and chooses when a page begins, before torch is imported: 100,000 rounds of spinning on a
quiet machine, none beside busy processes. The number of threads is not changed, since results depend on it in their
last bits. A fair share is the best speed alone, times the part of the cores that threads of one process and busy
processes leave each other. Compare only ratios within one run.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from kagglekit.core.threads import short_turns, usable_cores

SETTINGS = {  # name → environment, and whether it takes short turns
    'no spinning': (dict(GOMP_SPINCOUNT='0'), False),
    'no spinning, short turns': (dict(GOMP_SPINCOUNT='0'), True),
    'spin 100,000': (dict(GOMP_SPINCOUNT='100000'), False),
    'spin 100,000, short turns': (dict(GOMP_SPINCOUNT='100000'), True),
    "libgomp's own": ({}, False),
    'one thread': (dict(OMP_NUM_THREADS='1'), False),
}
CHOSEN = ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT', 'OMP_NUM_THREADS', 'OMP_PROC_BIND')  # by the settings alone


def step_speed(seconds, bs=16, size=96):
    "Images a second of training steps of tf_efficientnet_lite0, for about so many seconds."
    import timm
    import torch

    net = timm.create_model('tf_efficientnet_lite0', num_classes=8).train().to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(net.parameters(), 1e-3)
    x, y = torch.randn(bs, 3, size, size).to(memory_format=torch.channels_last), torch.randint(0, 8, (bs,))

    def step():
        torch.nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
        opt.zero_grad()

    for _ in range(3):
        step()
    start, n = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        step()
        n += bs
    return n / (time.perf_counter() - start)


def measure(setting, seconds, busy):
    "The speed in a process of its own, beside so many processes that only count."
    env, short = setting
    command = [sys.executable, __file__, '--step', str(seconds)] + ['--short'] * short
    clean = {name: value for name, value in os.environ.items() if name not in CHOSEN}
    others = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(busy)]
    try:
        done = subprocess.run(command, env=clean | env, check=True, capture_output=True, text=True)
        return float(done.stdout)
    finally:
        for p in others:
            p.kill()


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--step', type=float, help=argparse.SUPPRESS)
    p.add_argument('--short', action='store_true', help=argparse.SUPPRESS)
    p.add_argument('--seconds', type=float, default=5)
    p.add_argument('--times', type=int, default=3)
    p.add_argument('--busy', type=int, default=1, help='busy processes beside it')
    a = p.parse_args()
    if a.step:
        if a.short:
            assert short_turns(), 'this system takes no short turns'
        return print(step_speed(a.step))
    took = {(name, busy): [] for busy in (0, a.busy) for name in SETTINGS}
    for _ in range(a.times):  # in turn, so that a slow minute hits all
        for name, busy in took:
            took[name, busy].append(measure(SETTINGS[name], a.seconds, busy))
    cores, best = usable_cores(), max(statistics.median(took[name, 0]) for name in SETTINGS)
    fair = best * cores / (cores + a.busy)
    print(f'{"images a second":26s} {"alone":>8s} {f"beside {a.busy} busy":>18s} {"of a fair share":>18s}')
    for name in SETTINGS:
        quiet, beside = statistics.median(took[name, 0]), statistics.median(took[name, a.busy])
        print(f'{name:26s} {quiet:8.1f} {beside:18.1f} {beside / fair:18.2f}')


if __name__ == '__main__':
    main()
