"One module a competition: its reader and its recipes."

from kagglekit.data import pages as _pages  # noqa: F401  finds the pages of a workspace, which are notebooks
