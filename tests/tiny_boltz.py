"""The real `boltz predict` without its weights: a cache that RDKit and a randomly initialised Boltz-2 model fill.

Coordinates and confidence mean nothing, but every file is written by boltz's own code.
"""

import os
import pickle
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import yaml

TOKEN_WIDTH, PAIR_WIDTH = 32, 8
SEQUENCES = {"hinge": "MKTAYIAKQR", "clamp": "GSHWLDEP"}
STOICHIOMETRY = {"hinge": 2, "clamp": 1}
LIGAND = "CC(=O)O"  # four heavy atoms, so four tokens
TOKENS = 2 * 10 + 4 + 8
_TRAINING = ("max_lr", "weight_decay", "diffusion_multiplicity", "recycling_steps")  # read when a checkpoint is loaded
_PAIRFORMER = {"num_blocks": 64, "num_heads": 16, "dropout": 0.0, "v2": True}  # `boltz predict` sets 64 blocks itself


def write_cache(folder: Path) -> Path:
    """Fill a BOLTZ_CACHE: components, and two checkpoints of the smallest model that the command loads."""
    (folder / "mols").mkdir(parents=True)
    _write_components(folder / "mols")
    with tarfile.open(folder / "mols.tar", "w") as archive:
        archive.add(folder / "mols", "mols")
    _write_checkpoint(folder / "boltz2_conf.ckpt")
    (folder / "boltz2_aff.ckpt").touch()  # only asked whether it exists
    return folder


def _write_components(folder: Path) -> None:
    from boltz.data import const
    from rdkit import Chem
    from rdkit.Chem import AllChem

    Chem.SetDefaultPickleProperties(Chem.PropertyPickleOptions.AllProps)
    for name in const.canonical_tokens:
        # RDKit names the atoms of a sequence as the wwPDB does. An unknown residue has the atoms of alanine.
        molecule = Chem.AddHs(Chem.MolFromSequence("A" if name == "UNK" else const.prot_token_to_letter[name]))
        AllChem.EmbedMolecule(molecule, randomSeed=7)
        molecule = Chem.RemoveHs(molecule)
        for atom in molecule.GetAtoms():
            atom.SetProp("name", atom.GetPDBResidueInfo().GetName().strip())
        # boltz reads its components as pickles; these are ours and stay in the test's folder
        (folder / f"{name}.pkl").write_bytes(pickle.dumps(molecule))


def _write_checkpoint(path: Path) -> None:
    import pytorch_lightning
    import torch
    from boltz.main import Boltz2DiffusionParams, MSAModuleArgs
    from boltz.model.models.boltz2 import Boltz2
    from omegaconf import OmegaConf

    torch.manual_seed(7)
    transformers = {
        f"{part}_{what}": 1
        for part in ("atom_encoder", "token_transformer", "atom_decoder")
        for what in ("depth", "heads")
    }
    model = Boltz2(
        atom_s=16,
        atom_z=4,
        token_s=TOKEN_WIDTH,
        token_z=PAIR_WIDTH,
        num_bins=64,
        training_args=OmegaConf.create(dict.fromkeys(_TRAINING, 0)),
        validation_args={},
        embedder_args={"atom_encoder_depth": 1, "atom_encoder_heads": 1, "add_method_conditioning": True},
        msa_args=vars(MSAModuleArgs(use_paired_feature=True)),
        pairformer_args=_PAIRFORMER,
        score_model_args={**transformers, "sigma_data": 16, "dim_fourier": 8, "conditioning_transition_layers": 1},
        diffusion_process_args=vars(Boltz2DiffusionParams()),
        diffusion_loss_args={},
        confidence_model_args={
            "num_dist_bins": 64,
            "max_dist": 22,
            "pairformer_args": {**_PAIRFORMER, "num_blocks": 1},
            "confidence_args": {"num_plddt_bins": 50, "num_pde_bins": 64, "num_pae_bins": 64},
        },
        atom_feature_dim=388,
        alpha_pae=1.0,
        validate_structure=False,
    )
    torch.save(
        {
            "state_dict": model.state_dict(),
            "hyper_parameters": dict(model.hparams),
            "pytorch-lightning_version": pytorch_lightning.__version__,
        },
        path,
    )


def write_input(path: Path) -> Path:
    """The input of two copies of one chain, a ligand and another chain, in this order."""
    proteins = [
        {"protein": {"id": chains, "sequence": SEQUENCES[name], "msa": "empty"}}
        for name, chains in (("hinge", ["A", "B"]), ("clamp", ["D"]))
    ]
    ligand = {"ligand": {"id": "C", "smiles": LIGAND}}
    path.write_text(yaml.safe_dump({"version": 1, "sequences": [proteins[0], ligand, proteins[1]]}))
    return path


@pytest.fixture(scope="session")
def boltz_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BOLTZ_CACHE of a randomly initialised model."""
    folder = tmp_path_factory.mktemp("boltz") / "cache"
    # In a process of its own: this one is to be spared boltz's imports and its warnings.
    _run([sys.executable, __file__, str(folder)])
    return folder


@pytest.fixture(scope="session")
def boltz_results(boltz_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`boltz_results_made` with two samples and embeddings, written by the real command. Copy it to change it."""
    folder = tmp_path_factory.mktemp("prediction")
    options = "--accelerator cpu --no_kernels --write_embeddings --sampling_steps 2 --recycling_steps 0"
    more = f"--diffusion_samples 2 --num_workers 0 --preprocessing-threads 1 --seed 1 --cache {boltz_cache}"
    boltz = str(Path(sys.executable).with_name("boltz"))
    given = str(write_input(folder / "made.yaml"))
    _run([boltz, "predict", given, *options.split(), *more.split(), "--out_dir", str(folder)])
    return folder / "boltz_results_made"


def _run(command: list[str]) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr


if __name__ == "__main__":
    write_cache(Path(sys.argv[1]))
