"nbdev-test, whose notebooks run in forks of a process that has imported the package; `python tests/pages.py --help`."

from functools import wraps
from multiprocessing import get_context

import nbdev.test
from warm import warm

test_notebook = nbdev.test.test_nb


def send_result(pipe, args, kwargs):
    pipe.send(test_notebook(*args, **kwargs))


@wraps(test_notebook)
def in_fork(*args, **kwargs):
    "Test a notebook in a process of its own, as a kernel would: what another has registered is not there."
    ours, theirs = get_context('fork').Pipe(duplex=False)
    process = get_context('fork').Process(target=send_result, args=(theirs, args, kwargs))
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


if __name__ == '__main__':
    warm()
    nbdev.test.test_nb = in_fork
    nbdev.test.nbdev_test()
