"""A structure as text with its positions left open: any number of models is written as it comes, one in memory."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import gemmi
import numpy as np

GROUPS = ("atoms", "group_pdb", "block_name", "entry", "entity", "entity_poly", "entity_poly_seq")
GROUPS += ("chem_comp", "struct_asym")
ATOM_SITE = "_atom_site."
# What is filled in, in the order in which gemmi writes it; occupancies are 1, as of whole conformations.
OPEN = {"id": "%d", "Cartn_x": "%.3f", "Cartn_y": "%.3f", "Cartn_z": "%.3f", "B_iso_or_equiv": "%.2f"}
OPEN |= {"pdbx_PDB_model_num": "%d"}


@dataclass(frozen=True)
class Stencil:
    """An mmCIF file of one structure, cut open at its atoms.

    head: what stands before the atoms' lines; lines: theirs, to be filled with numbers; order (atom,) int64: the row of
    an array of positions that each line takes.
    """

    head: str
    lines: str
    order: np.ndarray

    @classmethod
    def of(cls, structure: gemmi.Structure) -> "Stencil":
        """Of a structure with one model, each atom of which has as its serial its row in an array of positions.

        Its chains, numbers and sequences are kept; nothing else that was told of its own conformation is.
        """
        own = structure.clone()
        own.name = "cryofound"
        own.info = gemmi.InfoMap()
        own.entities = gemmi.EntityList([each for each in own.entities if each.entity_type == gemmi.EntityType.Polymer])
        own.setup_entities()
        own.assign_label_seq_id()
        for each in own[0].all():
            each.atom.aniso = gemmi.SMat33f(0, 0, 0, 0, 0, 0)
        order = np.array([each.atom.serial for each in own[0].all()])
        groups = gemmi.MmcifOutputGroups(False)
        for name in GROUPS:
            setattr(groups, name, True)
        block = own.make_mmcif_document(groups).sole_block()
        block.set_pairs(
            "_software.",
            {"pdbx_ordinal": "1", "name": "CryoFound", "version": gemmi.cif.quote(version("cryofound"))},
            raw=True,
        )
        table = block.find_mmcif_category(ATOM_SITE)
        tags = [tag.removeprefix(ATOM_SITE) for tag in table.tags]
        lines = [
            " ".join(
                OPEN.get(tag) or ("1.00" if tag == "occupancy" else cell.replace("%", "%%"))
                for tag, cell in zip(tags, row, strict=True)
            )
            for row in table
        ]
        table.erase()
        loop = "\nloop_\n" + "".join(f"{ATOM_SITE}{tag}\n" for tag in tags)
        return cls(block.as_string() + loop, "\n".join(lines) + "\n", order)

    def write(self, path: Path, models_xyz: Iterable[np.ndarray], title: str, b_factor: np.ndarray) -> None:
        """Write models (atom, 3) angstrom as 1, 2, ... of one file, taken one after another; whole or not at all.

        b_factor (atom,) of the positions' rows, as those of every model.
        """
        count = len(self.order)
        filled = np.empty((count, len(OPEN)))
        filled[:, 4] = np.asarray(b_factor)[self.order]
        aside = path.with_name(path.name + ".partial")
        with aside.open("w", encoding="utf-8") as stream:
            stream.write(self.head.replace("\n", f"\n_struct.title {gemmi.cif.quote(title)}\n", 1))
            for number, positions_xyz in enumerate(models_xyz, start=1):
                filled[:, 0] = np.arange(1, count + 1) + (number - 1) * count
                filled[:, 1:4] = positions_xyz[self.order]
                filled[:, 5] = number
                stream.write(self.lines % tuple(filled.ravel().tolist()))
        os.replace(aside, path)
