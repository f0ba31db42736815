"""A hook of mkdocs: formulas become MathML while the pages are built.

Browsers draw MathML themselves, so that the pages load no script from elsewhere and can be read
without a network.
"""

import re
from html import unescape

from latex2mathml.converter import convert

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">'
    r"(?:\\\((?P<inline>.*?)\\\)|\\\[(?P<block>.*?)\\\])</(?P=tag)>",
    re.DOTALL,
)


def on_page_content(html: str, **_: object) -> str:
    """Replaces every formula of a page, as arithmatex marks them, with its MathML."""
    return FORMULA.sub(_mathml, html)


def _mathml(found: re.Match[str]) -> str:
    if found["inline"] is not None:
        return convert(unescape(found["inline"]).strip())
    return f"<div>{convert(unescape(found['block']).strip(), display='block')}</div>"
