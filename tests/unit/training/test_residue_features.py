"""What is told of a residue: BLOSUM62, geometry that does not turn with the reference, a predictor's embedding."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from biotite.sequence import ProteinSequence
from biotite.sequence.align import SubstitutionMatrix

from cryofound.config import ModelConfig
from cryofound.ensemble.system import System
from cryofound.errors import RecipeError
from cryofound.maps.density_map import Grid
from cryofound.models.layers import SequenceEncoder
from cryofound.models.molecule import BLOSUM_FEATURES, GEOMETRY_FEATURES
from cryofound.structure.atomic_model import ATOM_NAMES, RESIDUE_TYPES, AtomicModel
from cryofound.structure.chains import joined
from cryofound.structure.reading import read_model
from cryofound.training.molecules import molecule_batch
from cryofound.training.residue_features import BURIAL, BURIAL_REACH, CA_SPANS, blosum62, residue_geometry
from tests.made_proteins import made_protein, random_rotation


def system_of(model: AtomicModel, **optional: np.ndarray) -> System:
    position = np.arange(model.n_residues, dtype=np.float32)
    none = np.zeros((0, model.n_atoms))
    return System(
        "made", "made", "train", model, position, (), none[..., None].repeat(3, 2), none.astype(bool),
        Grid.centred(32, 2.0), **optional,
    )  # fmt: skip


def encoder(embedding_width: int = 0) -> SequenceEncoder:
    """An encoder none of whose weights is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = SequenceEncoder(16, len(RESIDUE_TYPES), embedding_width)
        for weight in network.parameters():
            if not weight.any():
                torch.nn.init.normal_(weight)
    return network.eval()


def ideal_chain(phi: float, psi: float, residues: int = 24) -> AtomicModel:
    """A backbone with these torsions in degrees, omega 180 and Engh and Huber's bonds and angles."""
    atoms = [np.array([0.0, 0.0, 0.0]), np.array([1.458, 0.0, 0.0])]
    angle = np.radians(111.2)
    atoms.append(atoms[1] + 1.525 * np.array([-np.cos(angle), np.sin(angle), 0.0]))
    inner = ((1.329, 116.2, psi), (1.458, 121.7, 180.0), (1.525, 111.2, phi))
    while len(atoms) < 3 * residues:
        atoms.append(placed(atoms[-3:], *inner[len(atoms) % 3]))
    backbone = np.array(atoms).reshape(residues, 3, 3)
    oxygen = backbone[:, 2] + 1.23 * (backbone[:, 2] - backbone[:, 1]) / 1.525
    xyz = np.concatenate([backbone, oxygen[:, None]], axis=1).reshape(-1, 3)
    names = np.array([ATOM_NAMES.index(name) for name in ("N", "CA", "C", "O")])
    return AtomicModel(
        xyz.astype(np.float32), np.tile(names, residues), np.tile([1, 0, 0, 2], residues),
        np.repeat(np.arange(residues), 4), np.zeros(residues, dtype=np.int64), np.arange(residues),
        np.array(["A"] * residues),
    )  # fmt: skip


def placed(last: list[np.ndarray], length: float, angle: float, torsion: float) -> np.ndarray:
    """The atom at this distance, angle and torsion (degrees) from the three before it."""
    a, b, c = last
    axis = (c - b) / np.linalg.norm(c - b)
    normal = np.cross(b - a, axis)
    normal /= np.linalg.norm(normal)
    bend, turn = np.radians(180 - angle), np.radians(torsion)
    along = np.array([np.cos(bend), np.sin(bend) * np.cos(turn), np.sin(bend) * np.sin(turn)])
    return c + length * np.stack([axis, np.cross(normal, axis), normal], axis=1) @ along


def test_blosum_rows_are_biotites_scores():
    matrix = SubstitutionMatrix(
        ProteinSequence.alphabet, ProteinSequence.alphabet, SubstitutionMatrix.dict_from_db("BLOSUM62")
    )
    rows = blosum62(np.arange(len(RESIDUE_TYPES)))
    assert rows.shape == (21, BLOSUM_FEATURES)
    for name, other, known in (("TRP", "TRP", 11), ("LEU", "ILE", 2), ("GLU", "PHE", -3)):
        first, second = (ProteinSequence.convert_letter_3to1(each) for each in (name, other))
        value = 4 * rows[RESIDUE_TYPES.index(name), RESIDUE_TYPES.index(other)]
        assert value == matrix.get_score(first, second) == known
    assert 4 * rows[RESIDUE_TYPES.index("UNK"), RESIDUE_TYPES.index("PRO")] == matrix.get_score("X", "P") == -2


@pytest.mark.parametrize(
    ("phi", "psi", "spans"),
    [(-57.8, -47.0, (5.5, 5.0, 6.2)), (-139.0, 135.0, (6.8, 10.2, 13.6))],
    ids=["helix", "strand"],
)
def test_torsions_and_distances_of_ideal_chains(phi: float, psi: float, spans: tuple[float, float, float]):
    geometry = residue_geometry(ideal_chain(phi, psi))
    for column, angle, inside in ((0, phi, slice(1, None)), (2, psi, slice(None, -1))):
        wanted = [np.sin(np.radians(angle)), np.cos(np.radians(angle))]
        np.testing.assert_allclose(geometry[inside, column : column + 2], np.tile(wanted, (23, 1)), atol=1e-4)
    assert not geometry[0, :2].any()
    assert not geometry[-1, 2:4].any()
    for column, ((span, middle, spread), wanted) in enumerate(zip(CA_SPANS, spans, strict=True), start=6):
        defined = geometry[span // 2 : len(geometry) - (span - span // 2), column]
        np.testing.assert_allclose(defined * spread + middle, wanted, rtol=0.05)
        assert np.ptp(defined) < 1e-4
        assert np.count_nonzero(geometry[:, column]) == 24 - span
    # the virtual dihedral of CA atoms is 50 degrees in an alpha helix, about 180 in a strand
    dihedral = np.degrees(np.arctan2(geometry[1:-2, 4], geometry[1:-2, 5]))
    np.testing.assert_allclose(np.cos(np.radians(dihedral - (50 if phi > -100 else 180))), 1, atol=0.01)


def test_geometry_stays_when_the_reference_moves_and_changes_in_its_mirror_image():
    model = ideal_chain(-60, -30)
    shift = np.array([11.0, -4.0, 7.0])
    moved = model.moved(model.positions_xyz @ random_rotation(3).T + shift)
    np.testing.assert_allclose(residue_geometry(moved), residue_geometry(model), atol=1e-4)
    mirrored = residue_geometry(model.moved(model.positions_xyz * [1, 1, -1]))
    np.testing.assert_allclose(mirrored[:, [0, 2, 4]], -residue_geometry(model)[:, [0, 2, 4]], atol=1e-4)


def test_a_gap_breaks_torsions_and_distances_but_not_burial():
    model = ideal_chain(-60, -45)
    other = replace(model, chain_id=np.array(["B"] * 24))
    complex_ = joined([model, other.moved(model.positions_xyz + [6.0, 0.0, 0.0])])
    alone, together = residue_geometry(model), residue_geometry(complex_)
    np.testing.assert_allclose(together[:24, :9], alone[:, :9], atol=1e-5)
    np.testing.assert_allclose(together[24:, :9], alone[:, :9], atol=1e-4)
    ca = complex_.ca_xyz()
    near = (np.linalg.norm(ca[:, None] - ca, axis=-1) < BURIAL_REACH).sum(1) - 1
    np.testing.assert_allclose(together[:, 9] * BURIAL[1] + BURIAL[0], near, atol=1e-4)
    assert (together[:24, 9] > alone[:, 9]).all()


@pytest.mark.shared
def test_features_of_real_receptors_are_of_order_one(shared_data: Path):
    files = sorted((shared_data / "families").rglob("*.cif.gz"))[::40]
    assert files
    for file in files:
        geometry = residue_geometry(read_model(file))
        assert geometry.shape[1] == GEOMETRY_FEATURES
        assert np.isfinite(geometry).all()
        assert np.abs(geometry).max() < 6
        assert (np.abs(geometry[:, 6:10].mean(0)) < 1.5).all()
        assert (geometry[:, 6:10].std(0) < 2).all()


def test_confidence_and_embedding_reach_the_networks_with_their_flags():
    confidence = np.linspace(0.2, 1, 20, dtype=np.float32)
    embedding = np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32)
    predicted = system_of(made_protein(20), confidence=confidence, embedding=embedding)
    batch = molecule_batch([predicted, system_of(made_protein(30))], [-1, -1], ModelConfig(embedding_width=6))
    np.testing.assert_array_equal(batch.embedding[0, :20].numpy(), embedding)
    np.testing.assert_allclose(batch.residue_geometry[0, :20, 10].numpy(), (confidence - 0.8) / 0.2, rtol=1e-5)
    assert batch.embedding_mask.sum(1).tolist() == [20, 0]
    assert batch.residue_geometry[..., 11].sum(1).tolist() == [20, 0]
    assert molecule_batch([predicted], [-1]).embedding.shape == (1, 20, 0)
    with pytest.raises(RecipeError, match=r"made: its embedding has width 6, model\.embedding_width is 384"):
        molecule_batch([predicted], [-1], ModelConfig(embedding_width=384))


def test_tokens_are_those_of_each_molecule_alone():
    rng = np.random.default_rng(1)
    small = system_of(made_protein(20), embedding=rng.standard_normal((20, 6)), confidence=rng.random(20))
    large = system_of(made_protein(50, seed=1))
    network = encoder(6)
    together = network(molecule_batch([small, large], [-1, -1], ModelConfig(embedding_width=6)))
    for row, system in enumerate((small, large)):
        count = system.reference.n_residues
        alone = network(molecule_batch([system], [-1], ModelConfig(embedding_width=6)))
        torch.testing.assert_close(together[row, :count], alone[0], rtol=1e-5, atol=1e-5)
        assert not together[row, count:].any()


def test_a_hidden_molecule_is_known_by_its_geometry_alone():
    """Two sequences with one backbone, one with an embedding: apart when seen, the same when hidden."""
    model = made_protein(40)
    other = replace(model, residue_type=(model.residue_type + 5) % 20)
    embedding = np.random.default_rng(2).standard_normal((40, 6)).astype(np.float32)
    bent = made_protein(40, hinge_degrees=180)  # the neighbours across the hinge change
    systems = [system_of(model), system_of(other, embedding=embedding), system_of(bent)]
    systems[1] = replace(systems[1], family_position=systems[1].family_position + 100)
    batch, network = molecule_batch(systems, [-1] * 3, ModelConfig(embedding_width=6)), encoder(6)
    yes, no = torch.ones(3, dtype=torch.bool), torch.zeros(3, dtype=torch.bool)
    seen = network(batch)
    assert (seen[0] - seen[1]).abs().mean() > 0.1
    hidden = network(batch.hiding(yes, no))
    torch.testing.assert_close(hidden[0], hidden[1], rtol=0, atol=0)
    assert (hidden[0] - hidden[2]).abs().max() > 0.1
    nothing = network(batch.hiding(yes, yes))
    torch.testing.assert_close(nothing[0], nothing[2], rtol=0, atol=0)
    # rows are hidden one by one
    mixed = network(batch.hiding(torch.tensor([True, False, False]), no))
    torch.testing.assert_close(mixed[0], hidden[0])
    torch.testing.assert_close(mixed[1:], seen[1:])


def test_a_missing_embedding_is_not_an_embedding_of_zeros():
    network, model = encoder(6), made_protein(20)
    zeros = system_of(model, embedding=np.zeros((20, 6), dtype=np.float32))
    batch = molecule_batch([system_of(model), zeros], [-1, -1], ModelConfig(embedding_width=6))
    assert (network(batch)[0] - network(batch)[1]).abs().mean() > 0.1
    taken = replace(batch, embedding_mask=torch.zeros_like(batch.embedding_mask))
    torch.testing.assert_close(network(taken)[1], network(batch)[0])
