"""Path and solver against closed forms."""

import math

import pytest
import torch

from cryofound.generative.paths import linear_path
from cryofound.generative.solvers import guided, solve_ode


def test_path_runs_from_noise_to_data_with_constant_velocity():
    x_0, x_1 = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0))
    for time, wanted in ((0.0, x_0), (1.0, x_1), (0.25, 0.75 * x_0 + 0.25 * x_1)):
        x_t, velocity = linear_path(x_0, x_1, torch.full((4,), time))
        torch.testing.assert_close(x_t, wanted)
        torch.testing.assert_close(velocity, x_1 - x_0)


def test_euler_has_first_order_error_on_exponential_growth():
    errors = []
    for steps in (50, 100):
        end = solve_ode(lambda x, time: x, torch.ones(1, 1, dtype=torch.float64), steps)
        errors.append(abs(end.item() - math.e))
    assert errors[0] / errors[1] == pytest.approx(2.0, rel=0.05)


def test_exact_velocity_of_a_gaussian_target_transports_its_moments():
    """For data N(m, s^2) the marginal velocity of the straight path is known; its flow must end at that Gaussian."""
    mean, std = 1.5, 0.4

    def velocity(x, time):
        t = time[:, None]
        variance = t**2 * std**2 + (1 - t) ** 2
        return mean + (t * std**2 - (1 - t)) / variance * (x - t * mean)

    x_0 = torch.randn(20000, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x_1 = solve_ode(velocity, x_0, 200)
    assert x_1.mean().item() == pytest.approx(mean, abs=0.01)
    assert x_1.std().item() == pytest.approx(std, abs=0.01)


def test_no_steps_is_refused():
    with pytest.raises(ValueError, match="steps"):
        solve_ode(lambda x, time: x, torch.ones(1, 1), 0)


def test_guidance_of_one_is_the_conditional_field():
    a, b = torch.randn(2, 5, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(guided(a, b, 1.0), a)
    torch.testing.assert_close(guided(a, b, 0.0), b)
