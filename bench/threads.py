"""How long torch's threads should spin while they wait: images a second in training, alone and on a busy machine.

    python bench/threads.py            # five minutes
    python bench/threads.py --busy 2   # beside two busy processes instead of one

Threads that never spin pay for a wake-up at every operation. Threads that always spin look busy to the system, and the
one with work to do waits for its turn. Short turns of the same share, which Linux grants from 6.12 on, bring it sooner.
kagglekit chooses when a page begins, before torch is imported: 100,000 rounds of spinning on a quiet machine, none and
short turns beside busy processes. The number of threads is not changed, since results depend on it in their
last bits. A fair share is the best speed alone, times the part of the cores that threads of one process and busy
processes leave each other. Compare only ratios within one run.
"""

import argparse
import os
import signal
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


def training(bs=16, size=96):
    "A training step of tf_efficientnet_lite0."
    import timm
    import torch

    net = timm.create_model('tf_efficientnet_lite0', num_classes=8).train().to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(net.parameters(), 1e-3)
    x, y = torch.randn(bs, 3, size, size).to(memory_format=torch.channels_last), torch.randint(0, 8, (bs,))

    def step():
        torch.nn.functional.cross_entropy(net(x), y).backward()
        opt.step()
        opt.zero_grad()
        return bs

    return step


def answer():
    "For each line of standard input, a number of seconds: train for so long, and print images a second."
    step = training()
    for line in sys.stdin:
        step()
        start, n = time.perf_counter(), 0
        while time.perf_counter() - start < float(line):
            n += step()
        print(n / (time.perf_counter() - start), flush=True)


class Worker:
    "A process that trains when it is asked, with threads of one setting."

    def __init__(self, env, short):
        clean = {name: value for name, value in os.environ.items() if name not in CHOSEN}
        command = [sys.executable, __file__, '--answer'] + ['--short'] * short
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.process = subprocess.Popen(command, env=clean | env, **pipes)
        self.speed(1)  # until it is warm

    def speed(self, seconds):
        "Images a second."
        self.process.stdin.write(f'{seconds}\n')
        return float(self.process.stdout.readline())


def take_turns(workers, others, seconds, times):
    "Images a second of each worker, alone and beside the others, in turn, so that a slow minute hits all."
    took = {(name, busy): [] for busy in (False, True) for name in workers}
    for _ in range(times):
        for name, busy in took:
            for p in others:
                p.send_signal(signal.SIGCONT if busy else signal.SIGSTOP)
            took[name, busy].append(workers[name].speed(seconds))
    return took


def print_table(took, n):
    "Medians, and the part of a fair share beside n busy processes."
    cores, alone = usable_cores(), {name: statistics.median(v) for (name, busy), v in took.items() if not busy}
    fair = max(alone.values()) * cores / (cores + n)
    print(f'{"images a second":26s} {"alone":>8s} {f"beside {n} busy":>18s} {"of a fair share":>18s} {"each":>12s}')
    for name, quiet in alone.items():
        beside = statistics.median(took[name, True])
        each = ' '.join(f'{v / fair:.2f}' for v in took[name, True])
        print(f'{name:26s} {quiet:8.1f} {beside:18.1f} {beside / fair:18.2f}   {each}')


def main():
    p = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    p.add_argument('--answer', action='store_true', help=argparse.SUPPRESS)
    p.add_argument('--short', action='store_true', help=argparse.SUPPRESS)
    p.add_argument('--seconds', type=float, default=5)
    p.add_argument('--times', type=int, default=5)
    p.add_argument('--busy', type=int, default=1, help='busy processes beside it')
    a = p.parse_args()
    if a.short:
        assert short_turns(), 'this system takes no short turns'
    if a.answer:
        return answer()
    others = [subprocess.Popen([sys.executable, '-c', 'while True: pass']) for _ in range(a.busy)]
    workers = {}
    try:
        for p in others:
            p.send_signal(signal.SIGSTOP)
        for name, setting in SETTINGS.items():
            workers[name] = Worker(*setting)
        print_table(take_turns(workers, others, a.seconds, a.times), a.busy)
    finally:
        for p in [*others, *(w.process for w in workers.values())]:
            p.kill()


if __name__ == '__main__':
    main()
