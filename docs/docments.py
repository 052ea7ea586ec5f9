"Extension of griffe: comments beside parameters, results and fields (docments) become their documentation."

import ast
import io
import textwrap
import tokenize
import griffe

UNTYPED = dict(warn_missing_types=False)  # such as **options: their comment is all there is to say


def comments(source):  # line → its comment
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {t.start[0]: t.string.lstrip('# ').strip() for t in tokens if t.type == tokenize.COMMENT}


def documented(source):  # name → comment of each parameter, and the comment of the line that ends the header
    node, said = ast.parse(source).body[0], comments(source)
    args = node.args
    every = [*args.posonlyargs, *args.args, args.vararg, *args.kwonlyargs, args.kwarg]
    last = {arg.lineno: arg for arg in every if arg}  # of several on a line, the last one has the comment
    end = max([node.lineno, *last, *[n.end_lineno for n in [node.returns, *args.defaults] if n]])
    names = {arg.arg: said[line] for line, arg in last.items() if line in said and line != end}
    return names, said.get(end, ''), last.get(end)


def text_of(names, ending, last, returns):  # sections as Google's style has them
    if ending and last and not returns:
        names = names | {last.arg: ending}
    parts = ['Parameters:\n' + '\n'.join(f'    {name}: {words}' for name, words in names.items())] if names else []
    if ending and returns:
        parts.append(f'Returns:\n    {ending}')
    return '\n\n'.join(parts)


class Docments(griffe.Extension):
    "Adds what stands beside parameters to the docstrings."

    def on_function(self, *, func, **kw):
        "Parameters and result of a function."
        if func.filepath is None or not func.lineno:
            return
        source = textwrap.dedent(''.join(line + '\n' for line in func.lines))
        try:
            more = text_of(*documented(source), func.returns)
        except (SyntaxError, tokenize.TokenError):
            return
        if not more:
            return
        text = f'{func.docstring.value}\n\n{more}' if func.docstring else more
        func.docstring = griffe.Docstring(text, parent=func, parser='google', parser_options=UNTYPED)

    def on_attribute(self, *, attr, **kw):
        "A field of a class, or a value of a module."
        if attr.docstring or not attr.lineno:
            return
        try:
            said = comments(textwrap.dedent('\n'.join(attr.lines) + '\n')).get(1)
        except tokenize.TokenError:
            return
        if said:
            attr.docstring = griffe.Docstring(said, parent=attr, parser='google')
