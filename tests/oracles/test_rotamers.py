"""The Ramachandran and rotamer terms against ramalyze and rotalyze, residue by residue."""

from pathlib import Path

import pytest

from benchmarks.agreement import KINDS, cctbx_verdicts, compared, our_verdicts

# A good crystal structure, one with alternative conformations, and a cryo-EM model of four chains.
NAMES = ("ras/1ctq_final.cif.gz", "adenylate_kinase/4ake_final.cif.gz", "trp_channel/6o1p_trpv5.pdb.gz")


def test_disagreement_is_counted():
    a, b, c, d = ((name, 1, 0, 0, 0) for name in "ABCD")
    counts = compared("rotamer", {a: 0, b: 2, c: 1}, {a: 0, b: 0, d: 2})
    assert dict(counts) == {
        "residues_rotamer": 2,
        "agreed_rotamer": 1,
        "only_ours_rotamer": 1,
        "only_cctbx_rotamer": 1,
        "outliers_rotamer": 2,
        "outliers_found_rotamer": 1,
    }


@pytest.mark.shared
@pytest.mark.slow
def test_verdicts_agree_residue_by_residue(shared_data: Path):
    files = [shared_data / "families" / name for name in NAMES]
    archive = shared_data / "molprobity" / "chem_data" / "chem_data_min.tar.xz"
    totals = dict.fromkeys(KINDS, 0)
    for path, theirs in zip(files, cctbx_verdicts(archive, files), strict=True):
        ours = our_verdicts(path)
        for kind in KINDS:
            counts = compared(kind, ours[kind], theirs[kind])
            assert counts[f"only_ours_{kind}"] == counts[f"only_cctbx_{kind}"] == 0
            assert counts[f"agreed_{kind}"] >= 0.995 * counts[f"residues_{kind}"] > 100
            totals[kind] += counts[f"outliers_{kind}"]
    assert totals["rotamer"] > 10
