"""From noise to decoded positions: latents of one molecule from the flow, and what the decoder makes of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from cryofound.config import SamplingConfig
from cryofound.ensemble.system import System
from cryofound.generative.solvers import guided, solve_ode
from cryofound.models.latent_grid import TokenGrid
from cryofound.models.molecule import MoleculeBatch
from cryofound.sampling.flow_model import FlowModel
from cryofound.structure.atomic_model import AtomicModel
from cryofound.training.molecules import molecule_batch, reference_density
from cryofound.training.noise import seed_of

SymmetryChoice = Literal["kept", "released"]
HOME = -1  # the number of the draw that is none: the reference's own code
HOME_RESOLUTION = 6.0  # angstrom of the reference's density, which is compared with itself alone
CHUNK_ATOMS = 20_000  # drawn at once: enough to fill matrix products, few enough for the processor's cache


@dataclass(frozen=True)
class Conditioned:
    """A molecule as the networks of a model see it: batches of one, which serve any number of samples.

    home (1, token, C): the code of no motion, of the reference's own density.
    """

    model: FlowModel
    reference: AtomicModel
    molecule: MoleculeBatch
    tokens: TokenGrid
    residues: Tensor
    home: Tensor

    @property
    def chunk(self) -> int:
        """Samples that are drawn at once."""
        return max(1, CHUNK_ATOMS // self.molecule.reference_xyz.shape[1])


@torch.no_grad()
def conditioned(model: FlowModel, system: System, symmetry: SymmetryChoice = "kept") -> Conditioned:
    """A system in the canonical frame of its family; one that was trained on has its residual, any other one zero.

    Released, copies of a chain move on their own.
    """
    if symmetry == "released":
        system = replace(system, symmetry="C1")
    row = model.training_ids.index(system.system_id) if system.system_id in model.training_ids else -1
    molecule = molecule_batch([system], [row], model.recipe.model)
    tokens = model.vae.tokens(molecule, system.grid.shape_zyx[0])
    density = reference_density(molecule, [system], [HOME_RESOLUTION])
    home, _ = model.vae.encode(density, density, tokens)
    return Conditioned(model, system.reference, molecule, tokens, model.velocity.condition(molecule), home)


@torch.no_grad()
def draw_latents(what: Conditioned, settings: SamplingConfig, seed: int, numbers: Sequence[int]) -> Tensor:
    """Latents (sample, token, C) of the samples with these numbers, each from noise of its own seed (seed, number).

    A sample is the same, to rounding, whichever are drawn beside it. Number HOME is the code of no motion.
    """
    if HOME in numbers:
        drawn = draw_latents(what, settings, seed, [number for number in numbers if number != HOME])
        rest = iter(drawn)
        return torch.stack([what.home[0] if number == HOME else next(rest) for number in numbers])
    if not numbers:
        return what.home[:0]
    velocity_of, tokens, mask = what.model.velocity, what.tokens, what.molecule.residue_mask
    kept, dropped = torch.zeros(1, dtype=torch.bool), torch.ones(1, dtype=torch.bool)

    def velocity(x_t: Tensor, time: Tensor) -> Tensor:
        conditional = velocity_of(x_t, time, tokens, what.residues, mask, kept)
        if settings.guidance == 1:
            return conditional
        return guided(conditional, velocity_of(x_t, time, tokens, what.residues, mask, dropped), settings.guidance)

    shape = (tokens.mask.shape[1], what.model.recipe.model.latent_channels)
    noise = [
        np.random.default_rng(seed_of(seed, number)).standard_normal(shape, dtype=np.float32) for number in numbers
    ]
    x_0 = torch.from_numpy(np.stack(noise)) * tokens.mask[..., None]
    x_1 = solve_ode(velocity, x_0, settings.solver_steps, settings.solver)
    return velocity_of.unwhiten(x_1) * tokens.mask[..., None]


@torch.no_grad()
def decoded(what: Conditioned, latent: Tensor, residual: Tensor | None = None) -> np.ndarray:
    """Positions (sample, atom, 3) float32 angstrom of latents (sample, token, C), not repaired.

    residual (sample, width) in place of the molecule's own. In the order of the latents, a chunk at a time.
    """
    vae = what.model.vae
    own = vae.residuals(what.molecule).expand(len(latent), -1) if residual is None else residual
    found = []
    for codes, residuals in zip(latent.split(what.chunk), own.split(what.chunk), strict=True):
        rows = torch.zeros(len(codes), dtype=torch.long)
        displacement = vae.decoder(codes, residuals, what.molecule.rows(rows), what.tokens.rows(rows))
        found.append((what.molecule.reference_xyz + displacement).numpy())
    return np.concatenate(found)


def decode_latents(
    model: FlowModel, system: System, latent: np.ndarray, *, symmetry: SymmetryChoice = "kept"
) -> np.ndarray:
    """Positions (sample, atom, 3) float32 angstrom of latents (sample, token, C) of a system, not repaired."""
    return decoded(conditioned(model, system, symmetry), torch.from_numpy(np.asarray(latent, dtype=np.float32)))


def residual_spread(
    model: FlowModel,
    system: System,
    latent: np.ndarray,
    seed: int,
    draws: int,
    *,
    symmetry: SymmetryChoice = "kept",
) -> np.ndarray:
    """The same latents (sample, token, C) under residuals as members have them: (draw, sample, atom, 3) float32.

    Residuals are normal with the members' second moments about zero, which is what a newcomer has: those of its family
    where there are two of it or more, else those of all. Without members all draws are the same. Not repaired.
    """
    what = conditioned(model, system, symmetry)
    codes = torch.from_numpy(np.asarray(latent, dtype=np.float32))
    relatives = [each for each in model.members if each.outline.family == system.family]
    chosen = relatives if len(relatives) > 1 else model.members
    width = model.recipe.model.system_residual_width
    theirs = np.stack([each.residual for each in chosen]) if chosen else np.zeros((1, width), dtype=np.float32)
    generator = np.random.default_rng(seed_of(seed, "residual"))
    shares = generator.standard_normal((draws, len(theirs)), dtype=np.float32) / np.sqrt(np.float32(len(theirs)))
    drawn = torch.from_numpy(shares @ theirs)
    return np.stack([decoded(what, codes, each.expand(len(codes), -1)) for each in drawn])
