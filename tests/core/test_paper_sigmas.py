"""The paper's noise levels, against what diffusers 0.30.3 itself prints."""

from __future__ import annotations

import math

import numpy as np
import pytest

from ecad_search.core import paper_sigmas
from ecad_search.errors import ScheduleError

# DPMSolverMultistepScheduler() of diffusers 0.30.3 after set_timesteps(20) and set_timesteps(5):
# its defaults are the scheduler_config.json of PixArt-XL-2-1024-MS. It computes in float32.
TIMESTEPS_20 = "999 949 899 849 799 749 699 649 599 549 500 450 400 350 300 250 200 150 100 50"
PIXART_20 = [
    157.4072723388672, 96.17609405517578, 60.27141571044922, 38.73640441894531, 25.528484344482422,
    17.24698257446289, 11.939519882202148, 8.463006973266602, 6.135210037231445, 4.54123592376709,
    3.442967414855957, 2.6356542110443115, 2.0410873889923096, 1.5910032987594604,
    1.2401612997055054, 0.9580338597297668, 0.7235912084579468, 0.5219652652740479,
    0.34226012229919434, 0.1760101169347763, 0.0,
]  # fmt: skip
PIXART_5 = [157.4072723388672, 25.528484344482422, 6.135210037231445, 2.0410873889923096,
            0.7235912084579468, 0.0]  # fmt: skip
# FlowMatchEulerDiscreteScheduler of FLUX.1-dev's config after
# set_timesteps(sigmas=linspace(1, 1 / 20, 20), mu=calculate_shift(tokens)), tokens 256 and 4096.
FLUX_256 = [
    1.0, 0.9690648913383484, 0.9368626475334167, 0.903313934803009, 0.8683324456214905,
    0.8318243622779846, 0.7936875224113464, 0.753810465335846, 0.7120712995529175,
    0.6683364510536194, 0.622459352016449, 0.5742785334587097, 0.5236161351203918,
    0.47027528285980225, 0.414037823677063, 0.3546612560749054, 0.29187512397766113,
    0.2253771424293518, 0.15482810139656067, 0.07984616607427597, 0.0,
]  # fmt: skip
FLUX_1024 = [
    1.0, 0.983608067035675, 0.9660138487815857, 0.9470799565315247, 0.9266473650932312,
    0.9045307636260986, 0.880513072013855, 0.8543381690979004, 0.8257016539573669,
    0.7942392826080322, 0.7595109343528748, 0.7209802865982056, 0.677986741065979,
    0.6297071576118469, 0.5751029253005981, 0.5128440856933594, 0.44119974970817566,
    0.3578745722770691, 0.2597584128379822, 0.14252935349941254, 0.0,
]  # fmt: skip


def test_pixart_levels_are_those_of_diffusers():
    assert pytest.approx(PIXART_20, rel=2e-5) == paper_sigmas.pixart_levels(20).tolist()
    assert pytest.approx(PIXART_5, rel=2e-5) == paper_sigmas.pixart_levels(5).tolist()


def test_pixart_levels_follow_from_the_betas_of_their_timesteps():
    """Each level by the product itself, step by step, and not by a table."""
    expected = []
    for timestep in map(int, TIMESTEPS_20.split()):
        signal = 1.0
        for step in range(timestep + 1):
            signal *= 1.0 - (1e-4 + (0.02 - 1e-4) * step / 999)
        expected.append(math.sqrt((1.0 - signal) / signal))
    found = paper_sigmas.pixart_levels(20)
    assert pytest.approx([*expected, 0.0], rel=1e-9) == found.tolist()


@pytest.mark.parametrize(
    ("side", "shift", "expected"), [(256, 0.5, FLUX_256), (1024, 1.15, FLUX_1024)]
)
def test_flux_levels_are_those_of_diffusers(side, shift, expected):
    assert pytest.approx(shift, abs=1e-12) == paper_sigmas.flux_shift(side, side)
    found = paper_sigmas.flux_levels(20, side, side)
    assert pytest.approx(expected, abs=1e-6) == found.tolist()


def test_flux_halves_of_noise_by_hand():
    """At s = 1/2 the level is e^mu / (e^mu + 1); with mu 0.5 that is 0.62246, step 10 of 20."""
    assert pytest.approx(1 / (1 + math.exp(-0.5))) == paper_sigmas.flux_levels(20, 256, 256)[10]
    assert pytest.approx(1 / (1 + math.exp(-0.5))) == paper_sigmas.flux_levels(2, 256, 256)[1]


def test_flux_counts_whole_tokens_of_any_shape():
    assert paper_sigmas.flux_shift(512, 128) == paper_sigmas.flux_shift(271, 256)
    assert pytest.approx(0.5 + 0.65 * (2048 - 256) / 3840) == paper_sigmas.flux_shift(512, 1024)
    assert paper_sigmas.flux_shift(1536, 1536) > 1.15


@pytest.mark.parametrize("steps", [1, 2, 7, 28, 50, 999])
def test_levels_of_any_number_of_steps_fall_to_zero(steps):
    for levels in (paper_sigmas.pixart_levels(steps), paper_sigmas.flux_levels(steps, 512, 512)):
        assert (steps + 1,) == levels.shape
        assert 0.0 == levels[-1]
        assert (np.diff(levels) < 0).all()


def test_denoise_counts_as_the_host_s_samplers_do():
    assert [20, 40, 28, 26] == [paper_sigmas.whole_steps(20, d) for d in (1.0, 0.5, 0.7, 0.75)]


@pytest.mark.parametrize("denoise", [0.0, -1.0, 1.5, float("nan"), 0.001])
def test_a_denoise_that_leaves_nothing_to_do_is_refused(denoise):
    with pytest.raises(ScheduleError, match="denoise"):
        paper_sigmas.whole_steps(20, denoise)


@pytest.mark.parametrize("steps", [0, -3, 2.0, True, 10_001])
def test_a_number_of_steps_that_cannot_be_is_refused(steps):
    with pytest.raises(ScheduleError, match="steps is"):
        paper_sigmas.pixart_levels(steps)


def test_a_picture_without_a_token_is_refused():
    with pytest.raises(ScheduleError, match="no image token"):
        paper_sigmas.flux_levels(20, 8, 512)
