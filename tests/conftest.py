"""What every test stands on: no display, repeatable examples, torch left as it was found."""

import os

import pytest
import torch
from hypothesis import settings

# The benchmarks are programs, run by `make bench`, and import libraries that the tests do without.
collect_ignore = ["benchmarks"]

# matplotlib reads this at its first import; figures are drawn on machines without a display.
os.environ.setdefault("MPLBACKEND", "Agg")

# The same examples in every run, and no deadline: a shared machine's pauses are not failures.
settings.register_profile("repeatable", derandomize=True, deadline=None, print_blob=True)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def torch_as_found():
    """No test may leave torch's default dtype or number of threads changed for the next one."""
    dtype, threads = torch.get_default_dtype(), torch.get_num_threads()
    yield
    assert torch.get_default_dtype() == dtype, "a test changed torch's default dtype"
    assert torch.get_num_threads() == threads, "a test changed torch's number of threads"


@pytest.fixture
def generator() -> torch.Generator:
    """A seeded generator, so that a failure repeats."""
    return torch.Generator().manual_seed(20)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests marked `cuda` are skipped, with the reason, where there is no device."""
    if torch.cuda.is_available():
        return
    for item in items:
        if "cuda" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))
