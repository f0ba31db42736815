"""The house has floors, and imports point down: every import of the package is read here.

The floors are algebra without time at the bottom, methods with time in the middle, names that
someone would say at the top. A room is a module or a package directly below `statespace`.
"""

import ast
import graphlib
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HOUSE = ROOT / "statespace"

FLOORS = {
    1: {"errors", "shapes", "files"},
    2: {"activations", "linalg", "parameters", "kernels", "beliefs"},
    3: {"gaussian", "particles", "discrete", "densities"},
    4: {"interface", "results", "sequences"},
    5: {"inference", "learning", "diagnostics", "nn"},
    6: {"models"},
    7: {"comparison", "storage", "check", "citation"},
}
BESIDE = {"datasets", "plot", "pyro", "cli"}  # use public names only; the house does not use them
FLOOR = {room: floor for floor, rooms in FLOORS.items() for room in rooms}
BLIND = {5}  # on this floor siblings may not see each other

HEAVY = {"pandas", "matplotlib", "pyro", "numba", "llvmlite"}  # loaded at first use
LATE = HEAVY | {"tqdm"}  # may be imported inside a function
ORACLES = {"statsmodels", "scipy", "mpmath"}  # belong to the tests


@dataclass(frozen=True)
class Import:
    """One name that one file imports: `from statespace.linalg import tria` in gaussian.py, say."""

    file: Path
    line: int
    module: str  # absolute, "statespace.linalg"
    name: str  # "tria"; empty for a plain `import`
    inside_function: bool

    def __str__(self) -> str:
        what = f"{self.module}.{self.name}" if self.name else self.module
        return f"{self.file.relative_to(ROOT)}:{self.line} imports {what}"

    @property
    def package(self) -> str:
        return self.module.partition(".")[0]

    @property
    def source(self) -> str:
        """The room that imports; empty for the front door, statespace/__init__.py."""
        first = self.file.relative_to(HOUSE).parts[0].removesuffix(".py")
        return "" if first == "__init__" else first

    @property
    def target(self) -> str:
        """The room that is imported; empty where it is the front door or another package."""
        if self.package != "statespace":
            return ""
        inner = self.module.split(".")[1:] or [self.name]
        return inner[0] if inner[0] in FLOOR.keys() | BESIDE else ""


def imports_of(file: Path) -> Iterator[Import]:
    """Every import of a file, wherever it stands, those for type checkers included."""

    def visit(node: ast.AST, inside: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, "", inside)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield Import(file, node.lineno, absolute(file, node), alias.name, inside)
        inside = inside or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from visit(child, inside)

    yield from visit(ast.parse(file.read_text(encoding="utf-8")), inside=False)


def absolute(file: Path, node: ast.ImportFrom) -> str:
    """The module of `from ... import`, with leading dots resolved."""
    if node.level == 0:
        return node.module or ""
    package = file.relative_to(ROOT).with_suffix("").parts[: -node.level]
    return ".".join([*package, *([node.module] if node.module else [])])


IMPORTS = [found for file in sorted(HOUSE.rglob("*.py")) for found in imports_of(file)]


def test_every_room_has_a_floor():
    """A new module at the top of the package is given its floor here before it is used."""
    rooms = {path.stem for path in HOUSE.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert rooms - {"__init__", "__pycache__", "py"} <= FLOOR.keys() | BESIDE


def test_imports_point_down():
    """No room imports from a floor above its own."""
    wrong = [
        f"{found} (floor {FLOOR[found.target]}) from floor {FLOOR[found.source]}"
        for found in IMPORTS
        if found.source in FLOOR and found.target in FLOOR
        if FLOOR[found.target] > FLOOR[found.source]
    ]
    assert not wrong, "\n".join(wrong)


def test_siblings_are_blind_to_each_other():
    """A learner is given a method and a diagnostic is given beliefs: neither imports the other."""
    wrong = [
        str(found)
        for found in IMPORTS
        if found.source in FLOOR and found.target in FLOOR and found.source != found.target
        if FLOOR[found.source] == FLOOR[found.target] and FLOOR[found.source] in BLIND
    ]
    assert not wrong, "\n".join(wrong)


def test_rooms_form_no_cycle():
    """Two rooms on one floor may know each other in one direction at most."""
    knows: dict[str, set[str]] = {}
    for found in IMPORTS:
        if found.source in FLOOR and found.target in FLOOR and found.source != found.target:
            knows.setdefault(found.source, set()).add(found.target)
    graphlib.TopologicalSorter(knows).prepare()  # raises CycleError with the cycle in its message


def test_the_house_does_not_use_what_stands_beside_it():
    """Data sets, plots and the bridge to Pyro are visitors: only the front door names them."""
    wrong = [str(found) for found in IMPORTS if found.source in FLOOR and found.target in BESIDE]
    assert not wrong, "\n".join(wrong)


def test_no_room_enters_by_the_front_door():
    """`from statespace import LDS` inside the house would be an import upwards in disguise."""
    wrong = [
        str(found)
        for found in IMPORTS
        if found.source in FLOOR and found.package == "statespace" and not found.target
    ]
    assert not wrong, "\n".join(wrong)


def test_visitors_use_public_names_only():
    """What stands beside the house imports no name that begins with an underscore."""
    wrong = [
        str(found)
        for found in IMPORTS
        if found.source in BESIDE and found.target != found.source
        if found.package == "statespace"
        if any(part.startswith("_") for part in (*found.module.split("."), found.name))
    ]
    assert not wrong, "\n".join(wrong)


def test_imports_stand_at_the_top():
    """An import inside a function hides a dependency; only heavy ones, loaded late, may."""
    wrong = [str(found) for found in IMPORTS if found.inside_function and found.package not in LATE]
    assert not wrong, "\n".join(wrong)


def test_heavy_packages_are_imported_late_only():
    """What takes a second to load stays out of the top of every file of the package."""
    wrong = [
        str(found)
        for found in IMPORTS
        if found.package in HEAVY and not found.inside_function
        if found.source not in {"kernels", "pyro"}  # themselves loaded at first use
        if not is_for_type_checkers(found)
    ]
    assert not wrong, "\n".join(wrong)


def is_for_type_checkers(found: Import) -> bool:
    """True where the import stands in an `if TYPE_CHECKING:` block, which never runs."""
    tree = ast.parse(found.file.read_text(encoding="utf-8"))
    return any(
        isinstance(node, ast.If)
        and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}
        and node.lineno <= found.line <= (node.end_lineno or node.lineno)
        for node in ast.walk(tree)
    )


def test_only_declared_packages_are_imported():
    """What is imported stands in pyproject.toml's dependencies, or in the standard library."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {line.split(">=")[0] for line in project["dependencies"]} - {"pyro-ppl"} | {"pyro"}
    allowed = declared | sys.stdlib_module_names | {"statespace"}
    assert not declared & ORACLES
    wrong = [str(found) for found in IMPORTS if found.package not in allowed]
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("heavy", sorted(HEAVY | ORACLES))
def test_importing_stays_light(heavy: str, modules_after_import: set[str]):
    """`import statespace` loads nothing heavy that is not needed before a model is used."""
    assert heavy not in modules_after_import


@pytest.fixture(scope="module")
def modules_after_import() -> set[str]:
    """The modules of a fresh interpreter that has imported the package and named all it offers."""
    program = (
        "import sys, statespace as ss; [getattr(ss, name) for name in ss.__all__]; "
        "print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def test_the_reader_of_imports_sees_what_it_should(tmp_path: Path, monkeypatch):
    """Relative, aliased, late and plain imports are all found, and with the right module."""
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "HOUSE", tmp_path / "statespace")
    file = tmp_path / "statespace" / "learning" / "em.py"
    file.parent.mkdir(parents=True)
    file.write_text(
        "import torch as t\n"
        "from .. import errors\n"
        "from ..models.lds import LDS\n"
        "from statespace.inference import kalman\n"
        "def fit():\n"
        "    import pandas\n"
    )
    found = list(imports_of(file))
    assert [(i.module, i.target, i.inside_function) for i in found] == [
        ("torch", "", False),
        ("statespace", "errors", False),
        ("statespace.models.lds", "models", False),
        ("statespace.inference", "inference", False),
        ("pandas", "", True),
    ]
    assert {i.source for i in found} == {"learning"}
