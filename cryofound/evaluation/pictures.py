"""The picture of a sampled ensemble against the true states of its system."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from cryofound.ensemble.system import System
from cryofound.evaluation.metrics import known_states, state_distances
from cryofound.structure.alignment import superpose

# Okabe and Ito's colours, which most colour-blind readers can tell apart; grey is the reference.
STATE_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
SAMPLE_COLOUR = "#7F7F7F"
REFERENCE_COLOUR = "#000000"
STATE_LINE_WIDTH = 2.4


@dataclass(frozen=True)
class Motions:
    """CA displacements (conformation, residue, 3) from the reference, angstrom, after superposition on it.

    residues (shown,) rows of the reference's residues that every drawn state knows; labels of the states; nearest
    (sample,) column of each sample's nearest state.
    """

    samples: np.ndarray
    states: np.ndarray
    residues: np.ndarray
    labels: tuple[str, ...]
    nearest: np.ndarray


def ensemble_picture(system: System, samples_xyz: np.ndarray) -> Figure:
    """Figure of two panels for samples (sample, atom, 3): displacement along the chain, and two principal components.

    Left: for every residue how far its CA has gone from the reference (the zero line) in the direction that this
    residue has in the states' leading motion. Right: states and samples on the two leading principal components of
    their displacements. A sample has the colour of its nearest state.
    """
    motions = collect_motions(system, samples_xyz)
    figure = Figure(figsize=(12.0, 4.8), layout="constrained")
    FigureCanvasAgg(figure)
    profile, projection = figure.subplots(1, 2, width_ratios=(3, 2))
    held_out = "never seen in training" if system.split == "held_out" else "in training"
    figure.suptitle(f"{system.system_id} ({held_out}): {len(samples_xyz)} samples, {len(motions.labels)} known states")
    _draw_profile(profile, system, motions)
    _draw_projection(projection, motions)
    figure.legend(frameon=False, fontsize=9, markerscale=0.7, loc="outside right center")
    return figure


def save_ensemble_picture(path: Path, system: System, samples_xyz: np.ndarray) -> None:
    """Write `ensemble_picture` as PNG (or what the suffix says); equal input gives equal bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    ensemble_picture(system, samples_xyz).savefig(path, dpi=130, metadata={"Software": None})


def collect_motions(system: System, samples_xyz: np.ndarray) -> Motions:
    """Superpose samples and known states on the reference, over the CA atoms that all of them have."""
    known = known_states(system)
    ca = system.reference.backbone_index()[:, 1]
    in_all = system.truth_mask[known][:, ca].all(0) if known else np.ones(len(ca), dtype=bool)
    shown = ca[in_all]
    start = system.reference.positions_xyz[shown].astype(np.float64)
    nearest = state_distances(system, samples_xyz).argmin(1) if known else np.zeros(len(samples_xyz), dtype=np.int64)
    return Motions(
        samples=_displacements(samples_xyz[:, shown], start),
        states=_displacements(system.truth_xyz[known][:, shown], start),
        residues=np.flatnonzero(in_all),
        labels=tuple(system.states[row].state_id for row in known),
        nearest=nearest,
    )


def leading_direction(displacements: np.ndarray) -> np.ndarray:
    """(residue, 3) unit vectors: where the leading motion of displacements (state, residue, 3) takes each residue."""
    motion = np.linalg.svd(displacements.reshape(len(displacements), -1), full_matrices=False)[2][0].reshape(-1, 3)
    # The sign of a singular vector is arbitrary; the first state is put on the positive side.
    if (motion * displacements[0]).sum() < 0:
        motion = -motion
    length = np.linalg.norm(motion, axis=1, keepdims=True)
    return np.divide(motion, length, out=np.zeros_like(motion), where=length > 0)


def principal_components(displacements: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean (3 residue,), two components (2, 3 residue), shares of variance (2,) of (conformation, residue, 3)."""
    flat = displacements.reshape(len(displacements), -1)
    mean = flat.mean(0)
    _, singular, axes = np.linalg.svd(flat - mean, full_matrices=False)
    variance = singular**2
    # A lone conformation has a mean and no variance: its axes are empty rather than undefined.
    components, shares = np.zeros((2, flat.shape[1])), np.zeros(2)
    found = min(2, int((variance > 1e-12 * max(float(variance.max()), 1e-12)).sum()))
    components[:found] = axes[:found]
    shares[:found] = variance[:found] / variance.sum()
    return mean, components, shares


def state_colours(n_states: int) -> list[str]:
    """One colour per state: distinct ones for a few, a ramp from dark to light for the frames of a path."""
    if n_states <= len(STATE_COLOURS):
        return list(STATE_COLOURS[:n_states])
    return [to_hex(colormaps["viridis"](share)) for share in np.linspace(0.0, 0.92, n_states)]


def _displacements(conformations_xyz: np.ndarray, start_xyz: np.ndarray) -> np.ndarray:
    """(conformation, atom, 3) float64: what moves `start_xyz` (atom, 3) to each conformation superposed on it."""
    moved = [superpose(conformation, start_xyz).apply(conformation) - start_xyz for conformation in conformations_xyz]
    return np.array(moved, dtype=np.float64).reshape(-1, len(start_xyz), 3)


def _state_labels(motions: Motions) -> list[str | None]:
    """Legend entries: all of a few states, the first and last of many."""
    labels: list[str | None] = [f"state {label}" for label in motions.labels]
    if len(labels) > len(STATE_COLOURS):
        labels[1:-1] = [None] * (len(labels) - 2)
    return labels


def _draw_profile(axes: Axes, system: System, motions: Motions) -> None:
    direction = leading_direction(motions.states if len(motions.states) else motions.samples)
    # Gaps and chain ends break the line, so that no stroke joins residues which are not neighbours.
    rows = np.arange(system.reference.n_residues)
    colours = state_colours(len(motions.labels))
    for displacement, column in zip(motions.samples, motions.nearest, strict=True):
        colour = colours[column] if colours else SAMPLE_COLOUR
        profile = _broken(motions, system, displacement, direction)
        axes.plot(rows, profile, color=colour, alpha=0.45, linewidth=0.8, zorder=2)
    for column, displacement in enumerate(motions.states):
        profile = _broken(motions, system, displacement, direction)
        axes.plot(rows, profile, color=colours[column], linewidth=STATE_LINE_WIDTH, zorder=1)
    axes.axhline(0.0, color=REFERENCE_COLOUR, linewidth=1.2, linestyle="--")
    axes.set_xlim(0, len(rows) - 1)
    ticks = np.unique(np.linspace(0, len(rows) - 1, min(8, len(rows))).round().astype(int))
    chains = system.reference.chain_id
    several = len(np.unique(chains)) > 1
    numbers = system.reference.residue_number
    axes.set_xticks(ticks, [f"{chains[row]}{numbers[row]}" if several else str(numbers[row]) for row in ticks])
    axes.set_xlabel("chain and residue" if several else "residue")
    axes.set_ylabel("CA displacement along the states' motion (Å)")
    axes.set_title("Each residue against the reference: states bold, samples thin, reference dashed", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)


def _broken(motions: Motions, system: System, displacement: np.ndarray, direction: np.ndarray) -> np.ndarray:
    """(residue,) component along `direction` (residue, 3) for all residues of the reference, NaN where not known."""
    profile = np.full(system.reference.n_residues, np.nan)
    profile[motions.residues] = (displacement * direction).sum(-1)
    return profile


def _draw_projection(axes: Axes, motions: Motions) -> None:
    mean, components, shares = principal_components(np.concatenate([motions.states, motions.samples]))
    # Dividing by the root of the number of residues turns the distance in this plane into an RMSD over CA atoms.
    scale = 1.0 / np.sqrt(motions.samples.shape[1])

    def project(displacements: np.ndarray) -> np.ndarray:
        return (displacements.reshape(-1, len(mean)) - mean) @ components.T * scale

    samples, states = project(motions.samples), project(motions.states)
    reference = project(np.zeros_like(motions.samples[:1]))
    colours = state_colours(len(motions.labels))
    nearest = [colours[column] if colours else SAMPLE_COLOUR for column in motions.nearest]
    axes.scatter(*samples.T, c=nearest, s=34, alpha=0.75, edgecolors="white", linewidths=0.6)
    axes.scatter([], [], c=SAMPLE_COLOUR, s=34, label="sample (colour: nearest state)")
    size = 190 if len(states) <= len(STATE_COLOURS) else 70
    for (x, y), colour, label in zip(states, colours, _state_labels(motions), strict=True):
        axes.scatter([x], [y], c=colour, s=size, marker="*", edgecolors="black", linewidths=0.6, zorder=3, label=label)
    axes.scatter(*reference.T, c=REFERENCE_COLOUR, s=60, marker="X", zorder=3, label="reference")
    axes.set_xlabel(f"principal component 1 ({100 * shares[0]:.0f} %, Å RMSD)")
    axes.set_ylabel(f"principal component 2 ({100 * shares[1]:.0f} %, Å RMSD)")
    axes.set_title("Principal components of the CA displacements", fontsize=10)
    axes.set_aspect("equal", adjustable="datalim")
    axes.spines[["top", "right"]].set_visible(False)
