"The workspace in which image competitions are won."


def __getattr__(name: str):  # '__version__' alone is found here
    "The version, looked up when it is asked for: that takes longer than most commands."
    if name != '__version__':
        raise AttributeError(f'module {__name__} has no attribute {name}')
    from importlib.metadata import version

    return version(__name__)
