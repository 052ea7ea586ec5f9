__version__ = "0.0.1"
"The workspace in which image competitions are won."
from importlib.metadata import version
__version__ = version('kagglekit')
