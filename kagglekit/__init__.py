__version__ = "0.0.1"
"The workspace in which image competitions are won."
import os
from importlib.metadata import version

# Torch's threads spin while they wait; beside any other busy process that makes training several times slower
# (bench/threads.py). libgomp reads this once, so it stands before torch is imported.
os.environ.setdefault('OMP_WAIT_POLICY', 'PASSIVE')
__version__ = version('kagglekit')
