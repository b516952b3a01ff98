"""Zero-shot sampling: an ensemble for a reference, with or without maps of its own."""

import ctypes
import math
import multiprocessing
import signal
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass

import numpy as np
import torch

from cryofound.config import SamplingConfig
from cryofound.ensemble.system import System
from cryofound.errors import SamplingError
from cryofound.sampling.drawing import HOME, Conditioned, SymmetryChoice, conditioned, decoded, draw_latents
from cryofound.sampling.flow_model import FlowModel
from cryofound.sampling.repair import RepairTables, repair, repair_tables
from cryofound.sampling.representatives import representatives
from cryofound.sampling.validity import faults, soundness, told
from cryofound.structure.symmetry import find_symmetry


@dataclass(frozen=True)
class Drawn:
    """Some valid samples of a system.

    number (sample,) int64, which draws they are; positions_xyz (sample, atom, 3) float32 angstrom, repaired; latent
    (sample, token, C) float32; moved (sample,) angstrom RMS over atoms by repair; outliers (sample,) share of residues
    that are Ramachandran outliers; clashes (sample,) per 1000 atoms, by our own count; dropped: draws that were not
    valid, all chunks so far taken together.
    """

    number: np.ndarray
    positions_xyz: np.ndarray
    latent: np.ndarray
    moved: np.ndarray
    outliers: np.ndarray
    clashes: np.ndarray
    dropped: int


_PER_SAMPLE = ("number", "positions_xyz", "latent", "moved", "outliers", "clashes")


def draw_valid(
    model: FlowModel, system: System, settings: SamplingConfig, seed: int, *, symmetry: SymmetryChoice = "kept"
) -> Iterator[Drawn]:
    """Draw, decode, repair and check until `settings.samples` are valid, chunk by chunk in the order of their numbers.

    With a pool, those that stand for all of it come first (`draw_order`). The system must be in the canonical frame of
    its family. Its symmetry holds for samples exactly if kept; released, copies of a chain move on their own. As many
    chunks are drawn side by side as torch has threads; memory does not grow with the number of samples. Raises
    SamplingError when `attempts_per_sample` times as many were drawn and fewer are valid, and where a process that
    draws was killed.
    """
    what = conditioned(model, system, symmetry)
    wanted, limit = settings.samples, settings.samples * settings.attempts_per_sample
    threads = torch.get_num_threads()
    chunk = min(what.chunk, math.ceil(wanted / threads))
    order = draw_order(what, settings, seed).number
    valid, dropped, started, reasons = 0, 0, 0, Counter[str]()
    under_way: deque[Future[tuple[Drawn, dict[str, np.ndarray]]]] = deque()
    with _side_by_side(threads, _Task(what, _tables(system, symmetry), settings, seed)) as pool:
        while valid < wanted:
            while len(under_way) < threads and (count := min(chunk, wanted + dropped - started, limit - started)) > 0:
                under_way.append(pool.submit(_drawn, _numbers(order, started, count)))
                started += count
            if not under_way:
                raise SamplingError(
                    f"{system.system_id}: {valid} of {wanted} samples are valid after {limit} draws "
                    f"({told(reasons)}); ask for fewer, or raise sampling.attempts_per_sample or the limits of "
                    "sampling.validity and sampling.repair.most_movement"
                )
            try:
                drawn, found = under_way.popleft().result()
            except BrokenProcessPool:
                raise SamplingError(
                    f"{system.system_id}: a process that draws samples was killed, mostly for want of memory; "
                    "OMP_NUM_THREADS=1 draws in one process"
                ) from None
            reasons.update({reason: int(wrong.sum()) for reason, wrong in found.items() if wrong.any()})
            sound = ~np.any(list(found.values()), axis=0)
            valid, dropped = valid + int(sound.sum()), dropped + int((~sound).sum())
            if sound.any():
                yield Drawn(*(getattr(drawn, name)[sound] for name in _PER_SAMPLE), dropped=dropped)


@dataclass(frozen=True)
class Order:
    """number (draw,) int64: which draws are taken first; share (sample,) of the pool that the first samples stand for,
    None without a pool. Later draws follow in their own order."""

    number: np.ndarray
    share: np.ndarray | None


def draw_order(what: Conditioned, settings: SamplingConfig, seed: int) -> Order:
    """The order in which draws are taken: with a pool of more draws than samples, its representatives first.

    The reference is one of them, as a conformation that is known: a model that does not know stays home.
    """
    if settings.pool <= settings.samples:
        return Order(np.zeros(0, dtype=np.int64), None)
    numbers = np.arange(HOME, settings.pool)
    drawn = decoded(what, draw_latents(what, settings, seed, numbers.tolist()))
    if not np.isfinite(drawn).all():
        raise SamplingError(f"model {what.model.recipe.name}: it draws positions that are no numbers; train it again")
    chosen = representatives(what.reference, drawn, settings.samples, kept=1)
    others = np.setdiff1d(numbers, numbers[chosen.row])
    return Order(np.concatenate([numbers[chosen.row], others]), chosen.share)


def _numbers(order: np.ndarray, start: int, count: int) -> np.ndarray:
    """(count,) the draws at these places of an order, which goes on with the numbers that it lacks."""
    first = len(order[order != HOME])  # the draws that an order has are the first ones
    later = np.arange(start, start + count)[max(0, len(order) - start) :] - len(order) + first
    return np.concatenate([order[start : start + count], later])


@dataclass(frozen=True)
class Ensemble:
    """positions_xyz (sample, atom, 3) float32 angstrom; share (sample,) float64 of the draws that each stands for."""

    positions_xyz: np.ndarray
    share: np.ndarray


def sample_system(model: FlowModel, system: System, seed: int) -> np.ndarray:
    """(sample, atom, 3) float32 angstrom: `sample_ensemble` without the shares."""
    return sample_ensemble(model, system, seed).positions_xyz


def sample_ensemble(model: FlowModel, system: System, seed: int) -> Ensemble:
    """Samples of a system, valid or not, decoded and repaired: the first draws, or a pool's representatives.

    Their number, the pool, solver steps and guidance are the recipe's. What a model is worth is told by all its draws:
    what a user is given comes from `draw_valid`. The system must be in the canonical frame of its family.
    """
    settings = model.recipe.sampling
    what = conditioned(model, system)
    order = draw_order(what, settings, seed)
    numbers = _numbers(order.number, 0, settings.samples)
    positions = decoded(what, draw_latents(what, settings, seed, numbers.tolist()))
    share = np.full(len(positions), 1 / len(positions)) if order.share is None else order.share
    if settings.repair.iterations:
        tables = _tables(system, "kept")
        rows = range(0, len(positions), what.chunk)
        repaired = [repair(positions[row : row + what.chunk], tables, settings.repair)[0] for row in rows]
        positions = np.concatenate(repaired)
    return Ensemble(positions, share)


def _tables(system: System, symmetry: SymmetryChoice) -> RepairTables:
    tied = symmetry == "kept" and system.symmetry != "C1"
    return repair_tables(system.reference, find_symmetry(system.reference, system.symmetry) if tied else None)


@dataclass(frozen=True)
class _Task:
    """What all chunks of a molecule share."""

    what: Conditioned
    tables: RepairTables
    settings: SamplingConfig
    seed: int


_held = threading.local()
_PARENT_DEATH_SIGNAL = 1  # PR_SET_PDEATHSIG of linux/prctl.h


def _side_by_side(number: int, task: _Task) -> Executor:
    """Workers of one thread each that hold a task. A chunk is many small steps, which threads within it, or beside it
    in one interpreter, would mostly wait for; so they are forked, where forking is safe, as torch's data loaders are.
    """
    if number > 1 and sys.platform == "linux":
        fork = multiprocessing.get_context("fork")
        return ProcessPoolExecutor(number, mp_context=fork, initializer=_hold_alone, initargs=(task,))
    return ThreadPoolExecutor(number, initializer=_hold, initargs=(task,))


def _hold_alone(task: _Task) -> None:
    """As `_hold`, in a process that heeds an interrupt as its parent does, and does not outlive it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    _hold(task)


def _hold(task: _Task) -> None:
    torch.set_num_threads(1)
    _held.task = task


def _drawn(numbers: np.ndarray) -> tuple[Drawn, dict[str, np.ndarray]]:
    """The samples with these numbers, and what is wrong with which of them."""
    task: _Task = _held.task
    what, tables, settings, seed = task.what, task.tables, task.settings, task.seed
    latent = draw_latents(what, settings, seed, numbers.tolist())
    start = decoded(what, latent)
    if not np.isfinite(start).all():
        raise SamplingError(f"model {what.model.recipe.name}: it draws positions that are no numbers; train it again")
    positions, moved = repair(start, tables, settings.repair)
    own = soundness(torch.from_numpy(positions), tables.terms)
    found = faults(own, tables.reference, moved, settings.repair, settings.validity)
    return Drawn(numbers, positions, latent.numpy(), moved, own.outliers, own.clashes, 0), found
