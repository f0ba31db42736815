"""What the documentation shows is run: the Python of the pages here, the docstrings by pytest."""

import inspect
import re
from pathlib import Path

import pytest

import statespace as ss

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.DOTALL | re.MULTILINE)
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def program(page: Path) -> str:
    """The page's blocks as one program, each on its own lines, so that tracebacks point at them."""
    text = page.read_text(encoding="utf-8")
    lines: list[str] = []
    for found in BLOCK.finditer(text):
        first = text.count("\n", 0, found.start(1))
        lines += [""] * (first - len(lines)) + found[1].splitlines()
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("page", [p for p in PAGES if program(p).strip()], ids=named)
def test_the_python_of_a_page_runs(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The blocks marked `python` run from top to bottom in one namespace, asserts included."""
    monkeypatch.chdir(tmp_path)  # what a page writes is gone with the test
    exec(compile(program(page), str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path):
    """Every relative link and picture of a page exists."""
    targets = LINK.findall(page.read_text(encoding="utf-8"))
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page.name} links to {missing}"


def test_the_readme_is_read():
    """Guards the two tests above: the README has Python and pictures for them to find."""
    assert "ss.LDS(" in program(ROOT / "README.md")
    assert LINK.search((ROOT / "README.md").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ss.__all__)
def test_a_public_name_shows_an_example(name: str):
    """Every public class and function has an example that runs as a doctest; a module, a text."""
    thing = getattr(ss, name)
    told = inspect.getdoc(thing) or ""
    assert told, f"{name} has no docstring"
    assert inspect.ismodule(thing) or ">>>" in told, f"the docstring of {name} shows no example"
