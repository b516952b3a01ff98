"""Path and solver against closed forms."""

import math
from typing import Literal

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


@pytest.mark.parametrize("method", ["midpoint", "heun"])
def test_better_solvers_have_second_order_error(method: Literal["midpoint", "heun"]):
    """dx/dt = cos(t) x + 1 - t cos(t) from x(0) = 1 has the solution x = exp(sin t) + t."""
    errors = []
    for steps in (20, 40):
        start = torch.ones(1, 1, dtype=torch.float64)
        end = solve_ode(lambda x, time: time.cos() * x + 1 - time * time.cos(), start, steps, method)
        errors.append(abs(end.item() - math.exp(math.sin(1)) - 1))
    assert errors[0] / errors[1] == pytest.approx(4.0, rel=0.1)
    assert errors[0] < 2e-3


@pytest.mark.parametrize(("method", "growth", "square"), [("euler", 2, 6), ("midpoint", 3, 18), ("heun", 3, 22)])
def test_one_step_of_each_solver_is_its_formula(method: Literal["euler", "midpoint", "heun"], growth: int, square: int):
    """From 2: dx/dt = x t gives 2 by Euler, 2 + 2/2 by the others; x^2 gives 2 + 4, 2 + (2 + 4/2)^2, 2 + (4 + 36)/2."""
    start = torch.full((1, 1), 2.0)
    assert solve_ode(lambda x, time: x * time, start, 1, method).item() == growth
    assert solve_ode(lambda x, time: x**2, start, 1, method).item() == square


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
