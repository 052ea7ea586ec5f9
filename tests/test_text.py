"Names, reasons and notes are shown verbatim: no HTML, no mathematics in figures."

import base64
import re
from html.parser import HTMLParser
from xml.etree import ElementTree
import numpy as np
import pandas as pd
import pytest
from kagglekit.eda.findings import Finding
from kagglekit.report.curves import curve_table, plot_pair
from kagglekit.report.pairs import Pair, by_class, plot_by_class
from kagglekit.report.records import params_diff
from kagglekit.core.paths import workspace
from kagglekit.core.secrets import hide_secrets
from kagglekit.core.storage import write_json, write_table
from kagglekit.eda.overview import show_findings
from kagglekit.report.journal import journal
from kagglekit.report.journal_html import seeds_html, write_page
from kagglekit.report.journal_plots import plot_curves, tree_svg
from kagglekit.report.leaderboard import plot_leaderboard
from kagglekit.eda.samples import plot_classes
from kagglekit.metrics.registry import find_metric
from kagglekit.core.plots import plt
from kagglekit.runs.run import Run
from kagglekit.core.html import html_page, html_table, show_table
from kagglekit.core.text import one_line

HOSTILE = [
    '<img src=x onerror=alert(1)>',
    '</script><script>alert(1)</script>',
    '" onmouseover="alert(1)',
    "' onfocus='alert(1)' autofocus='",
    '</style><svg onload=alert(1)>',
    '</pre></td></table><iframe src=javascript:alert(1)>',
    '<a href="javascript:alert(1)">look</a>',
    '{title}{body}%s{0.__class__}',
    '&lt;b&gt; &amp; <!-- ]]> -->',
]
DRAWN = [
    r'$\frac{1$ and $5 of \alpha_{',
    '$',
    'line\nbreak\r\n_^ %s {0}',
    '균열 亀裂 ひび 裂缝 \u202etxt.exe',
    'long name ' * 60,
]
ELEMENTS = {
    'html',
    'head',
    'meta',
    'title',
    'style',
    'body',
    'h1',
    'h2',
    'pre',
    'table',
    'caption',
    'thead',
    'tbody',
    'tr',
    'th',
    'td',
    'b',
    'small',
    'div',
    'span',
    'img',
    'p',
}
ATTRIBUTES = {'lang', 'charset', 'class', 'alt', 'src', 'http-equiv', 'content'}


class Seen(HTMLParser):
    "The elements and attributes of a page, as a browser finds them."

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.attributes, self.text = set(), set(), []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.add(tag)
        self.attributes |= {name for name, _ in attrs}
        assert all(value.startswith('data:image/') for name, value in attrs if name in ('src', 'href'))

    def handle_data(self, data):
        self.text.append(data)


def assert_plain(page):
    "No foreign element and no foreign attribute."
    seen = Seen(page)
    assert seen.elements <= ELEMENTS, seen.elements - ELEMENTS
    assert seen.attributes <= ATTRIBUTES, seen.attributes - ATTRIBUTES
    return ' '.join(seen.text)


def svg_of(image):
    "The SVG file that an img element holds."
    return base64.b64decode(re.search(r'data:image/svg\+xml;base64,([^"]+)', image)[1]).decode()


def write_run(exp, text, mean, parent='', diff=None, **more):
    "The record of a run in which every free text is the given one."
    run = Run('toy', exp)
    write_json(
        run.folder / 'params.json',
        dict(
            exp=exp,
            parent=parent,
            diff=diff or {text: text},
            reason=text,
            metric=text,
            classes=[text, text + '2'],
            data_hash='d',
            fold_hash='f',
            recipe=dict(arch=text),
        )
        | more,
    )
    write_json(
        run.folder / 'score.json',
        dict(metric=text, direction='greater', mean=mean, sd=0.01, oof=mean, seconds=9, folds=[mean]),
    )
    write_json(run.folder / 'status.json', dict(state='failed', error=text))
    (run.folder / 'notes.md').write_text(f'- 2026-11-23 09:00 {text}\n', encoding='utf8')
    run.set_leaderboard(public=mean - 0.01, private=mean - 0.02)
    rows = [
        dict(fold=k, stage=s, epoch=0, train_loss=1.0, valid_loss=1.0, metric=mean) for k in range(2) for s in range(2)
    ]
    write_table(run.folder / 'history.csv', pd.DataFrame(rows))
    return run


def test_no_text_of_a_record_becomes_an_element_of_the_journal():
    with workspace():
        for i, text in enumerate(HOSTILE):
            write_run(f'exp{i}', text, 0.8 + i / 100, f'exp{i - 1}' if i else '')
            write_run(f'again{i}', text, 0.8 + i / 100, f'exp{i}', dict(seed=1))
            (Run('toy', 'exp0').folder.parent / text.replace('/', '∕')).mkdir()
        page, table = write_page('toy').read_text(encoding='utf8'), journal('toy')
        seeds = seeds_html(table)
    words = assert_plain(page)
    for text in HOSTILE:
        assert one_line(text) in words  # it is shown, and as it was written
    assert (table.state == 'broken').sum() == len(HOSTILE) and 'seeds' in assert_plain(seeds.data)
    images = re.findall(r'<img [^>]+>', page)
    assert len(images) == 3  # the tree, the curves, the leaderboards
    nodes = [node for image in images for node in ElementTree.fromstring(svg_of(image)).iter()]
    elements = {node.tag.split('}')[1] for node in nodes}
    assert elements <= {'svg', 'rect', 'line', 'path', 'text', 'tspan'}


@pytest.mark.parametrize('text', HOSTILE)
def test_no_class_or_column_becomes_an_element_of_a_table(text):
    table = pd.DataFrame({text: [text, 'b'], 'rows': [1.0, np.nan]})
    assert one_line(text) in assert_plain(show_table(table, 3, text).data)
    assert_plain(html_table([text], [(text, [text])], text, {text: text}).data)
    assert_plain(html_page(text, [text]))
    assert_plain(show_findings([Finding(text, 1.0, text, True, text)]).data)


@pytest.mark.parametrize('text', DRAWN)
def test_every_figure_draws_text_as_it_is_written(text):
    with workspace():
        for i in range(3):
            write_run(f'exp{i}', text, 0.8 + i / 100, f'exp{i - 1}' if i else '')
        table, one, two = journal('toy'), Run('toy', 'exp0'), Run('toy', 'exp1')
        images = [plot_curves('toy', 'exp0').data, plot_leaderboard(table).data]
        figures = [plot_pair(one, two)]
        assert len(params_diff(one, two)) <= 1 and len(curve_table([one, two])) == 2
    for svg in [tree_svg(table), *map(svg_of, images)]:
        ElementTree.fromstring(svg)
    y, P = np.arange(8) % 2, np.random.default_rng(0).dirichlet([1, 1], (2, 8))
    figures.append(plot_by_class(by_class(Pair('a', 'b', y, P, (text, text + '2'), find_metric('accuracy'), []))))
    for fig in figures:
        fig.canvas.draw()
    plot_classes(pd.DataFrame({'class': [text, text + '2'], 'rows': [3, 9]}))
    plt.gcf().canvas.draw()
    plt.close('all')


def test_a_custom_figure_draws_names_verbatim():
    "The settings are matplotlib's own, so that they hold for every figure of the process."
    fig, ax = plt.subplots()
    for text in DRAWN[:5]:
        ax.set(title=text, xlabel=text)
        ax.set_xticks([0, 1], [text, text])
        ax.plot([0, 1], [0, 1], label=f'x{text}')
    ax.legend()
    fig.canvas.draw()
    plt.close(fig)


SECRET = [
    'KGAT_0123456789abcdef',
    'hf_AbCdEfGhIjKlMnOpQr',
    'ghp_0123456789abcdefghij',
    'my key is 0123456789abcdef0123456789abcdef',
    '{"username": "kim", "key": "0123456789abcdef0123456789abcdef"}',
    'token=AbC0123456789xyzAbC',
    'https://kim:hunter2@host/x',
    'API_KEY: 0123456789abcdef01',
    'password: hunter22',
]


@pytest.mark.parametrize('text', SECRET)
def test_a_secret_is_removed(text):
    secret = re.search(r'KGAT_\w+|hf_\w+|ghp_\w+|hunter2+|AbC\w+|0123456789abcdef\w*', text)[0]
    assert secret not in hide_secrets(text) and '…' in hide_secrets(text)


@pytest.mark.parametrize(
    'text',
    [
        'the key idea: larger pictures',
        f'commit {"0a1b" * 10}',
        'token labeling, 16 heads',
        '열쇠 key 3',
        'exp0001 0123456789abcdef: sent',
    ],
)
def test_plain_text_keeps_every_letter(text):
    assert hide_secrets(text) == text
