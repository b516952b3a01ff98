"""What computers a run is planned for: how many, and what each can hold and do."""

import os
import re
from dataclasses import dataclass

from cryofound.errors import RecipeError

GIB = 2**30


@dataclass(frozen=True)
class Device:
    """memory in GiB that programs can have; bandwidth GB/s of that memory; fp32 and bf16 10^12 operations a second."""

    name: str
    memory: float
    bandwidth: float = 0.0
    fp32: float = 0.0
    bf16: float = 0.0


# Peaks of the makers' data sheets (dense, fp32 without TF32, SXM boards where there are several), read November 2026.
# Memory is what the driver leaves of the nominal size, about 1 GiB less.
DEVICES = (
    Device("A100-40", 39, 1555, 19.5, 312),
    Device("A100-80", 79, 2039, 19.5, 312),
    Device("H100-80", 78, 3350, 67, 989),
    Device("H200", 139, 4800, 67, 989),
    Device("L40S", 44, 864, 91.6, 362),
)
CPU = "cpu"


@dataclass(frozen=True)
class Cluster:
    """`nodes` computers with `per_node` devices each; on CPUs a device is a worker's share of this machine."""

    nodes: int
    per_node: int
    device: Device

    @property
    def world(self) -> int:
        """Workers: one for each device."""
        return self.nodes * self.per_node

    @property
    def on_cpu(self) -> bool:
        return self.device.name == CPU


def parse_cluster(text: str, workers: int) -> Cluster:
    """`8xA100-80`, `4x8xA100-80` (nodes, devices a node), `H200`, or `cpu`: `workers` on this machine.

    Raises RecipeError that lists the devices that are known.
    """
    if text.lower() == CPU:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / GIB
        return Cluster(1, workers, Device(CPU, memory / workers))
    match = re.fullmatch(r"(?:(?:([1-9]\d*)x)?([1-9]\d*)x)?([A-Za-z]\S*)", text)
    known = {device.name.lower(): device for device in DEVICES}
    if match is None or match[3].lower() not in known:
        names = ", ".join(device.name for device in DEVICES)
        raise RecipeError(f"--gpus {text}: not understood; give for example 8xA100-80, 4x8xA100-80 or cpu ({names})")
    return Cluster(int(match[1] or 1), int(match[2] or 1), known[match[3].lower()])
