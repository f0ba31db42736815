"""The same contract on a GPU: everything stays on the device, and the numbers are the CPU's."""

import pytest
import torch
from contract.tiny import MODELS, READ_Y, ragged_case
from torch.testing import assert_close

from statespace.inference import ParticleFilter
from statespace.shapes import leaves, tmap


@pytest.mark.cuda
@pytest.mark.parametrize("name", MODELS)
def test_the_verbs_on_a_device(name):
    """log_joint equals the CPU's; the sampled verbs run there and leave both generators alone."""
    here = MODELS[name]()
    y, u, lengths = ragged_case(here, missing=name not in READ_Y)
    z = here.sample(5, inputs=u, seed=8).z
    there = MODELS[name]().to("cuda")
    y_there, u_there, lengths_there = (x.to("cuda") for x in (y, u, lengths))
    with torch.no_grad():
        wanted = here.log_joint(z, y, u, lengths=lengths)
        found = there.log_joint(
            tmap(lambda x: x.to("cuda"), z), y_there, u_there, lengths=lengths_there
        )
    assert_close(found.cpu(), wanted)
    before = torch.get_rng_state(), torch.cuda.get_rng_state()
    f, again = (there.filter(y_there, u_there, lengths=lengths_there, seed=3) for _ in range(2))
    assert torch.equal(f.log_likelihood, again.log_likelihood)
    assert all(x.device.type == "cuda" for x in leaves(f.state.belief))
    s = there.smooth(y_there, u_there, method=ParticleFilter(50), seed=3)
    assert next(leaves(s.sample(3, seed=1))).device.type == "cuda"
    fc = there.forecast(horizon=2, inputs=u_there[:, :2], state=f.state)
    assert fc.mean.device.type == "cuda"
    there.log_likelihood(y_there, u_there, seed=0).sum().backward()
    after = torch.get_rng_state(), torch.cuda.get_rng_state()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
