"""What it gains that freed memory stays with the process: images a second of a plain torch loop, with and without.

    python bench/freed_memory.py        # about two minutes of a quiet machine with two cores

Both sides of a case have a process of their own, and take turns: one keeps freed memory, one returns it to the system,
as glibc does by itself. Medians are compared; compare only ratios within one run.
"""

import resource
import statistics
import subprocess
import sys
import time

CASES = {  # name → architecture, size, rows of a batch, whether it is trained
    'train resnet18@64, batch of 32': ('resnet18', 64, 32, True),
    'train tf_efficientnet_lite0@128, batch of 16': ('tf_efficientnet_lite0', 128, 16, True),
    'train resnet50@224, batch of 16': ('resnet50', 224, 16, True),
    'predict tf_efficientnet_lite0@128, batch of 32': ('tf_efficientnet_lite0', 128, 32, False),
    'predict resnet50@224, batch of 32': ('resnet50', 224, 32, False),
}
ROUNDS, SECONDS = 5, 2


def steps(arch, size, bs, trained):
    "A function that computes one batch."
    import timm
    import torch

    net = timm.create_model(arch, num_classes=8).to(memory_format=torch.channels_last).train(trained)
    x = torch.randn(bs, 3, size, size).to(memory_format=torch.channels_last)
    opt = torch.optim.AdamW(net.parameters())

    def step():
        with torch.set_grad_enabled(trained):
            loss = net(x).logsumexp(1).mean()
        if trained:
            loss.backward()
            opt.step()
            opt.zero_grad()

    return step


def child(case, keep):
    "Wait for a line, compute for some seconds, say how many images a second; to the end of the input."
    from kagglekit.core.freed_memory import keep_freed_memory
    from kagglekit.core.threads import calm_threads

    calm_threads()
    assert not keep or keep_freed_memory(), 'not glibc, or the environment sets how it keeps memory'
    step = steps(*CASES[case])
    for _ in range(3):
        step()
    for _ in sys.stdin:
        n, start = 0, time.perf_counter()
        while n < 2 or time.perf_counter() - start < SECONDS:
            step()
            n += 1
        rate = n * CASES[case][2] / (time.perf_counter() - start)
        print(rate, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, flush=True)


def start(case, keep):
    "A process for one side of a case."
    command = [sys.executable, __file__, case, str(int(keep))]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def compare(case):
    "Print the medians of both sides, and the most memory that each held."
    sides = {keep: start(case, keep) for keep in (False, True)}
    rates, held = {False: [], True: []}, {}
    for _ in range(ROUNDS):
        for keep, process in sides.items():
            process.stdin.write('go\n')
            process.stdin.flush()
            rate, held[keep] = process.stdout.readline().split()
            rates[keep].append(float(rate))
    for process in sides.values():
        process.stdin.close()
        process.wait()
    before, after = (statistics.median(rates[keep]) for keep in (False, True))
    print(f'{case:48s} {before:7.1f} → {after:7.1f} img/s  ×{after / before:.2f}  {held[False]} → {held[True]} MB')


def main():
    if len(sys.argv) == 3:
        return child(sys.argv[1], sys.argv[2] == '1')
    for case in CASES:
        compare(case)


if __name__ == '__main__':
    main()
