"The workspace in which image competitions are won."
from importlib.metadata import version

__version__ = version('kagglekit')
