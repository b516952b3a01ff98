"""`cryofound reference`: predicted structures, read, checked and made."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cryofound.reference.runner import PredictionJob
    from cryofound.reference.sequences import ProteinChain


def add_to(nouns: Any) -> None:
    """Add the noun and its verbs to the argparse subparsers of `cryofound`."""
    verbs = nouns.add_parser("reference", help="predicted structures").add_subparsers(required=True, metavar="VERB")
    show = verbs.add_parser("show", help="print what a Boltz folder, an AlphaFold model or a structure file holds")
    _add_path(show)
    show.set_defaults(run=lambda given: show_reference(given.path, given.name))
    check = verbs.add_parser("check", help="compare a reference's chains with the sequences they should have")
    _add_path(check)
    check.add_argument("--entry", type=Path, help="catalog entry whose chains are meant")
    _add_chains(check)
    check.set_defaults(run=check_reference)
    predict = verbs.add_parser("predict", help="predict a complex with Boltz-2 on this machine")
    add_prediction_arguments(predict)
    predict.set_defaults(run=predict_reference)


def _add_path(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("path", type=Path, help="boltz_results_<stem>, its parent, predictions/<id>, or a .cif or .pdb")
    verb.add_argument("--name", help="which prediction of a folder that holds several")


def _add_chains(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--sequences", type=Path, help="FASTA file, each protein once, instead of an entry")
    verb.add_argument("--stoichiometry", nargs="*", default=[], metavar="NAME=COPIES", help="default: one of each")


def add_prediction_arguments(verb: argparse.ArgumentParser) -> None:
    """The arguments of a prediction, here and in jobs/predict.py."""
    verb.add_argument("entry", type=Path, nargs="?", help="catalog entry whose chains are meant")
    _add_chains(verb)
    verb.add_argument(
        "--msa", nargs="*", default=[], metavar="NAME=FILE", help="alignments (.a3m, .csv); default: none"
    )
    verb.add_argument("--out", type=Path, required=True, help="folder to make")
    verb.add_argument("--samples", type=int, default=1, help="models to predict (default: %(default)s)")
    verb.add_argument("--sampling-steps", type=int, default=200, help="default: %(default)s")
    verb.add_argument("--recycling-steps", type=int, default=3, help="default: %(default)s")
    verb.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    verb.add_argument("--accelerator", choices=("gpu", "cpu"), default="gpu", help="default: %(default)s")


def show_reference(path: Path, name: str | None) -> None:
    """Print chains, sequences, confidence, domains and files of a reference."""
    from rich.console import Console
    from rich.table import Column, Table

    from cryofound.reference.domains import domain_ranges
    from cryofound.reference.reading import read_reference
    from cryofound.reference.sequences import chain_sequences

    prediction = read_reference(path, name, samples="all")
    atoms, confidence = prediction.best.atoms, prediction.residue_confidence()
    console = Console(width=120, highlight=False, soft_wrap=True)
    console.print(
        f"{prediction.name}: {prediction.program}, {len(prediction.models)} models, {atoms.n_residues} residues, "
        f"{len(prediction.tokens)} tokens, embeddings {'written' if prediction.embeddings else 'not written'}"
    )
    chains = Table("chain", "residues", "pLDDT", Column("sequence", overflow="fold"))
    for chain, sequence in chain_sequences(atoms).items():
        mean = "" if confidence is None else f"{confidence[atoms.chain_id == chain].mean():.2f}"
        chains.add_row(chain, str(len(sequence)), mean, sequence)
    console.print(chains)
    others = [chain for chain in prediction.tokens.chains if chain not in atoms.chain_id]
    if others:
        console.print(f"no protein: chains {', '.join(others)}")
    scores = Table("model", "file", *(names := ("confidence_score", "ptm", "iptm", "complex_plddt")))
    for model in prediction.models:
        told = {} if model.confidence is None else model.confidence.scores
        scores.add_row(str(model.rank), model.path.name, *(f"{told[key]:.3f}" if key in told else "" for key in names))
    console.print(scores)
    domains = prediction.domains()
    if domains is None:
        console.print("domains: no predicted aligned error was written")
    else:
        for number, text in enumerate(domain_ranges(domains, atoms.chain_id, atoms.residue_number)):
            console.print(f"domain {number}: {text}")
    for file, sha256 in prediction.files.items():
        console.print(f"{sha256[:12]}  {file}")


def check_reference(given: argparse.Namespace) -> None:
    """Print what was compared, or raise a CryoFoundError."""
    from cryofound.reference.reading import read_reference
    from cryofound.reference.sequences import check_chains

    prediction = read_reference(given.path, given.name, samples="all")
    chains = wanted_chains(given)
    check_chains(prediction, chains)
    print(f"{prediction.name}: {len(chains)} chains, {prediction.best.atoms.n_residues} residues, all as stated")


def predict_reference(given: argparse.Namespace) -> None:
    """Run the prediction and print what it is."""
    from cryofound.reference.runner import predict

    prediction = predict(prediction_job(given), given.out)
    show_reference(prediction.folder, None)


def wanted_chains(given: argparse.Namespace) -> tuple["ProteinChain", ...]:
    """The chains that `--sequences` and `--stoichiometry`, or the entry, state."""
    from cryofound.errors import RecipeError
    from cryofound.reference.sequences import chains_of, read_fasta

    if (given.sequences is None) == (given.entry is None):
        raise RecipeError("which chains? give a catalog entry, or --sequences with a FASTA file")
    if given.entry is not None:
        return _entry_chains(given.entry)
    copies = {}
    for name, count in _pairs(given.stoichiometry, "--stoichiometry"):
        if not count.isdecimal() or int(count) < 1:
            raise RecipeError(f"--stoichiometry {name}={count}: the number of copies must be 1 or more")
        copies[name] = int(count)
    return chains_of(read_fasta(given.sequences), copies)


def prediction_job(given: argparse.Namespace) -> "PredictionJob":
    """What `add_prediction_arguments` was given; raises a CryoFoundError if it makes no sense."""
    from cryofound.errors import RecipeError
    from cryofound.reference.runner import BoltzOptions, PredictionJob

    chains = wanted_chains(given)
    alignments = {name: Path(file) for name, file in _pairs(given.msa, "--msa")}
    proteins = dict.fromkeys(chain.protein for chain in chains)
    unknown = sorted(set(alignments) - set(proteins))
    if unknown:
        raise RecipeError(f"--msa names {unknown[0]}, the proteins are {', '.join(proteins)}")
    options = {name: getattr(given, name) for name in BoltzOptions.model_fields}
    for name in ("samples", "sampling_steps"):
        if options[name] < 1:
            raise RecipeError(f"--{name.replace('_', '-')} {options[name]}: must be 1 or more")
    stem = (given.entry or given.sequences).name.split(".")[0]
    return PredictionJob(stem, chains, alignments, BoltzOptions(**options))


def _entry_chains(path: Path) -> tuple["ProteinChain", ...]:
    from cryofound.catalog.entry import load_entry
    from cryofound.errors import RecipeError
    from cryofound.reference.sequences import ProteinChain

    entry = load_entry(path)
    if entry.sequence is not None:
        return (ProteinChain(entry.system_id, entry.sequence),)
    silent = [group.names[0] for group in entry.chains if group.sequence is None]
    if silent or not entry.chains:
        raise RecipeError(f"{path}: states no sequence{f' of chain {silent[0]}' if silent else ''}; add it to chains")
    return tuple(
        ProteinChain(group.names[0], group.sequence or "", name) for group in entry.chains for name in group.names
    )


def _pairs(given: list[str], option: str) -> list[tuple[str, str]]:
    from cryofound.errors import RecipeError

    pairs = []
    for each in given:
        name, equals, value = each.partition("=")
        if not (name and equals and value):
            raise RecipeError(f"{option} {each}: write it as NAME=VALUE")
        pairs.append((name, value))
    return pairs
