"Hooks of mkdocs.yml: which files are pages of the site, and where they stand in its navigation."

import json
import posixpath
import re
from pathlib import Path
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
TEXTS = ('README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', 'data/README.md', 'docs/*.md')
ASSETS = ('docs/*.png', 'docs/*.css', 'docs/*.js')
READ = ROOT / 'build/pages'  # notebooks as they are read
STYLES = 'assets/notebooks.css'  # what mkdocs-jupyter would write into every page
ROOMS = re.findall(r'^\| `(\w+)` \|', (ROOT / 'CONTRIBUTING.md').read_text(encoding='utf8'), re.M)


def found(*patterns):  # paths below the repository, sorted
    return sorted(p.relative_to(ROOT).as_posix() for pattern in patterns for p in ROOT.glob(pattern))


def notebooks():  # all of them
    return found('nbs/*.ipynb', 'nbs/*/*.ipynb')


def modules():  # all exported ones
    return [p for p in found('kagglekit/*.py', 'kagglekit/*/*.py') if not Path(p).name.startswith('_')]


def order(room):  # rooms from the lowest, then those that are not named here
    return (ROOMS.index(room) if room in ROOMS else len(ROOMS), room)


def title(path):  # 'nbs/data/09_folds.ipynb' → 'folds'
    return 'the map' if path == 'nbs/index.ipynb' else re.sub(r'^\d\w*?_', '', Path(path).stem)


def by_room(paths, top):  # navigation: the paths directly in a folder under a heading of their own, then a room each
    rooms = {}
    for path in paths:
        rooms.setdefault(path.split('/')[1] if path.count('/') > 1 else '', []).append(path)
    first = [{top: [{title(p): p} for p in rooms.pop('', [])]}]
    return first + [{room: [{title(p): p} for p in rooms[room]]} for room in sorted(rooms, key=order)]


def api_page(module):  # 'kagglekit/data/folds.py' → the path of its page
    return 'api/' + module.removeprefix('kagglekit/').removesuffix('.py') + '.md'


def api_text(module):  # Markdown
    name = module.removesuffix('.py').replace('/', '.')
    source = re.search(r'File to edit: (?:\.\./)+(\S+\.ipynb)', (ROOT / module).read_text(encoding='utf8'))
    up = '../' * api_page(module).count('/')
    link = f'Written in [{source[1]}]({up}{source[1]}).\n\n' if source else ''
    return f'# {name}\n\n{link}::: {name}\n'


def on_config(config):
    "Notebooks and API after the guides."
    pages = notebooks()
    run = [p for p in pages if p.count('/') == 1 and not Path(p).stem[0].isdigit()]
    rooms = [p for p in pages if p not in run]
    run.sort(key=lambda p: (p != 'nbs/index.ipynb', p))
    reading = [{'Run these': [{title(p): p} for p in run]}, *by_room(rooms, 'numbered')]
    reference = by_room([api_page(m) for m in modules()], 'kagglekit')
    config.nav[2:2] = [
        {'Notebooks': [part for part in reading if any(part.values())]},
        {'API': [part for part in reference if any(part.values())]},
    ]
    return config


def readable(cell):  # False for a cell that only nbdev reads
    return not re.match(r'#\| *(default_exp|hide)\b', ''.join(cell['source']))


def plain(cell):  # without the lines that only nbdev reads
    lines = [line for line in ''.join(cell['source']).splitlines(True) if not line.startswith('#|')]
    return cell | dict(source=lines)


def title_first(cells):  # the imports of a notebook may stand above its title
    at = next((i for i, cell in enumerate(cells) if cell['cell_type'] == 'markdown'), 0)
    return [cells[at], *cells[:at], *cells[at + 1 :]]


def write_readable(path):  # a notebook without what only nbdev reads
    page = json.loads((ROOT / path).read_text(encoding='utf8'))
    cells = [plain(cell) if cell['cell_type'] == 'code' else cell for cell in page['cells'] if readable(cell)]
    page['cells'] = title_first(cells)
    (READ / path).parent.mkdir(parents=True, exist_ok=True)
    (READ / path).write_text(json.dumps(page, ensure_ascii=False), encoding='utf8')


@event_priority(100)  # before mkdocs-jupyter looks for notebooks
def on_files(files, config):
    "The repository's own texts and notebooks under their own paths, and a page for each module."
    theirs = [f for f in files if f.src_dir != config.docs_dir]
    for path in notebooks():
        write_readable(path)
    homes = [(p, ROOT) for p in found(*TEXTS, *ASSETS)] + [(p, READ) for p in notebooks()]
    ours = [File(p, str(home), config.site_dir, config.use_directory_urls) for p, home in homes]
    api = [File.generated(config, api_page(m), content=api_text(m)) for m in modules()]
    return Files(theirs + ours + api)


def to_html(link, page):  # the link of a notebook to another one or to a text, as it is on the site
    path, hash, part = link.partition('#')
    target = posixpath.normpath(posixpath.join(posixpath.dirname(page), path))
    if not (ROOT / target).exists():
        return link
    here = posixpath.dirname(page)
    html = re.sub(r'README\.md$', 'index.md', target).rpartition('.')[0] + '.html'
    return posixpath.relpath(html, here) + hash + part


def mend_contents(links, headings):  # of headings with code mkdocs-jupyter knows but the beginning
    for link in links:
        whole = next((id for id in headings if link.id and id.startswith(link.id)), link.id)
        if link.id not in headings and whole in headings:
            link.id, link.title = whole, re.sub('<[^>]+>', '', headings[whole])
        mend_contents(link.children, headings)


CODE = '|'.join(  # in cells: the copy of the code that a button takes, code, output as text; not what Markdown shows
    (
        '<clipboard-copy',
        '<div class="clipboard-copy-txt"',
        '(?<=hl-python">)<pre',
        '(?<=tabindex="0">\n)<pre',
    )
)
styles = {}  # the style sheets of notebooks, each once, in their order


def on_page_content(html, page, config, files):
    "In notebooks: links between files, no script from elsewhere, no style sheet of half a megabyte, no code in search."
    path = page.file.src_uri
    if not path.endswith('.ipynb'):
        return html
    html = re.sub(r'<script\b[^>]*>(?:(?!</script>).)*?</script>', own_script, html, flags=re.S)
    html = re.sub(r'<style\b[^>]*>((?:(?!</style>).)*)</style>', shared_style, html, flags=re.S)
    html = re.sub(r'href="([^":]+\.(?:ipynb|md)(?:#[^"]*)?)"', lambda m: f'href="{to_html(m[1], path)}"', html)
    html = re.sub(CODE, r'\g<0> data-search-exclude', html)
    found = re.findall(r'<h\d id="([^"]+)">(.*?)<a class="anchor-link"', html, flags=re.S)
    mend_contents(page.toc, dict(found))
    sheet = posixpath.relpath(STYLES, posixpath.dirname(path))
    return f'<link rel="stylesheet" href="{sheet}">{html}'


def own_script(m):  # '' for one that fetches something
    return '' if re.search(r'(src=|import\()"https?:', m[0]) else m[0]


def shared_style(m):  # '' for a long one, which every notebook has
    if len(m[1]) < 5000:
        return m[0]
    styles[m[1]] = True
    return ''


def on_post_build(config):
    "The style sheets of notebooks, in one file."
    (Path(config.site_dir) / STYLES).write_text('\n'.join(styles), encoding='utf8')
