"nbdev-test, whose workers are forks of a process that has imported the package; `python tests/pages.py --help`."

from nbdev.test import nbdev_test
from warm import warm

if __name__ == '__main__':
    warm()
    nbdev_test()
