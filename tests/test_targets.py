"""The commands: each target of the Makefile exists and sets itself up; versions are pinned once."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
RULES = {
    name: prerequisites.split()
    for name, prerequisites in re.findall(
        r"^([a-z-]+):(?!=)(.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
    )
}
PINS = dict(
    line.split("==")
    for line in (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    if "==" in line and not line.lstrip().startswith("#")
)


@pytest.mark.parametrize("target", ["install", "demo", "test", "lint", "docs", "bench"])
def test_a_target_sets_itself_up(target: str) -> None:
    """Each one depends on an environment that is made where there is none."""
    assert target in RULES
    assert RULES[target], f"make {target} needs no environment?"


def test_what_is_run_before_a_change_goes_in() -> None:
    """lint, test and docs, and the script ends at the first that fails."""
    script = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make (\w+)$", script, re.MULTILINE) == ["lint", "test", "docs"]
    assert "set -e" in script


def test_versions_are_exact_in_one_file_and_bounds_in_the_other() -> None:
    """Every dependency has a lower bound and no exact version, and a pin that honours the bound."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["test"], *extras["lint"], *extras["docs"]]
    pins = {name.strip().lower().replace("_", "-"): v for name, v in PINS.items()}

    def number(version: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", version)]

    for requirement in wanted:
        name, bound = re.split(r">=", requirement)
        name = re.sub(r"\[.*\]", "", name).strip().lower()
        assert name in pins, f"{name} is not pinned"
        assert number(pins[name]) >= number(re.split(r"[,;]", bound)[0]), requirement
    assert pins["torch"].startswith("2.13.0")
