"nbdev-test, whose notebooks run in forks of a process that has imported the package; `python tests/pages.py --help`."

from functools import partial, wraps
from multiprocessing import get_context
from pathlib import Path

import nbdev.test
from warm import warm
from zygote import lend_spares

test_notebook = nbdev.test.test_nb
run_all = nbdev.test.parallel
STARTED = {'01_kernel': 3, '03_sweep': 2, '16_workers': 2}  # page → kernels, runs and torchruns that it starts
RUN_PAGES = Path('nbs').absolute()  # blend trains the practice runs that the others show


def send_result(pipe, path, *args, **kwargs):
    lend_spares(STARTED.get(path.stem, 0))
    pipe.send(test_notebook(path, *args, **kwargs))


@wraps(test_notebook)
def in_fork(*args, **kwargs):
    "Test a notebook in a process of its own, as a kernel would: what another has registered is not there."
    ours, theirs = get_context('fork').Pipe(duplex=False)
    process = get_context('fork').Process(target=send_result, args=(theirs, *args), kwargs=kwargs)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        print(f'{args[0]}: its process ended with {process.exitcode}')
        return False, 0
    finally:
        process.join()


def turn(path):
    "When a page is tested: none waits for a run that another page is training."
    return (path.stem != 'blend', path.parent == RUN_PAGES, path)


def in_turn(test, paths, **how):
    "Test the pages by their turn; the results in the order in which they are given."
    order = sorted(range(len(paths)), key=lambda i: turn(paths[i]))
    results = dict(zip(order, run_all(test, [paths[i] for i in order], **how)))
    return [results[i] for i in range(len(paths))]


if __name__ == '__main__':
    warm()
    nbdev.test.CaptureShell = partial(nbdev.test.CaptureShell, mpl_format='png')  # not four times the pixels
    nbdev.test.test_nb = in_fork
    nbdev.test.parallel = in_turn
    nbdev.test.nbdev_test()
