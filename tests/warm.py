"What a process imports before others fork from it."

import gc
import os
from importlib import import_module

PACKAGE = (
    'kagglekit.blend.blend_run',
    'kagglekit.blend.diagnostics',
    'kagglekit.fit.plots',
    'kagglekit.fit.train',
    'kagglekit.launch.kernel',
    'kagglekit.report.reproduce',
)


def warm(*more):
    "Import the package and more, in which no fork looks for garbage; and never wait for the disk, as in conftest.py."
    gc.disable()
    for name in PACKAGE + more:
        import_module(name)
    gc.freeze()
    gc.enable()
    os.fsync = lambda file: None


def read_package_pages():
    "Read the pages of competitions that the package holds, as every command does, and none of a workspace."
    from kagglekit.core.paths import workspace
    from kagglekit.data.competition import load_pages

    with workspace():
        assert not load_pages()
