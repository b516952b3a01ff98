"""Which training systems share weights: one pair of networks (VAE and flow) for each group of the recipe's scope."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryofound.config import Scope
from cryofound.ensemble.system import System


@dataclass(frozen=True)
class Group:
    """Training systems that share one pair of networks; `name` is their family's or system's, empty for all."""

    name: str
    training_ids: tuple[str, ...]

    def folder(self, step: Path) -> Path:
        """Where the group's part of a training step's folder lies."""
        return Path(step) / self.name


def groups(scope: Scope, systems: Mapping[str, System]) -> list[Group]:
    """The groups of a store's training systems, sorted by name."""
    members: dict[str, list[str]] = {}
    for system_id in sorted(systems):
        if systems[system_id].split == "train":
            members.setdefault(_group_name(scope, systems[system_id]), []).append(system_id)
    return [Group(name, tuple(members[name])) for name in sorted(members)]


def group_of(scope: Scope, system: System, among: list[Group]) -> Group | None:
    """The group whose networks are for a system, held out or not; None if it has none to borrow from."""
    name = _group_name(scope, system)
    return next((group for group in among if group.name == name), None)


def _group_name(scope: Scope, system: System) -> str:
    return {"all": "", "family": system.family, "system": system.system_id}[scope]
