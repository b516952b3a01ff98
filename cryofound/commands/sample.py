"""`cryofound sample`: an ensemble of a protein that has no map, with a verdict on how far to trust it."""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryofound.home import default_home

if TYPE_CHECKING:
    from cryofound.commands.sample_run import Sampled, SampleRequest


def add_to(nouns: Any) -> None:
    """Add the noun to the argparse subparsers of `cryofound`."""
    sample = nouns.add_parser("sample", help="conformations of a protein without a map, from the motions of its family")
    sample.add_argument(
        "--reference", type=Path, required=True, help="output folder of Boltz-2, or a structure: .cif, .pdb"
    )
    sample.add_argument("--name", help="which prediction of a folder that holds several")
    sample.add_argument("--chains", nargs="+", help="protein chains to sample (default: all)")
    sample.add_argument("--fasta", type=Path, help="the sequences that the reference must have")
    sample.add_argument("--out", type=Path, required=True, help="folder to make")
    add_sampling_arguments(sample)
    sample.set_defaults(run=sample_command)


def add_sampling_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments that jobs/sample.py has as well."""
    parser.add_argument(
        "--model", required=True, help="models:/NAME@ALIAS, models:/NAME/VERSION, runs:/RUN, or a model's folder"
    )
    parser.add_argument("--n", type=int, metavar="SAMPLES", help="how many (default: the model's recipe, mostly 16)")
    parser.add_argument(
        "--symmetry", choices=("kept", "released"), default="kept", help="of oligomers (default: %(default)s)"
    )
    parser.add_argument("--steps", type=int, help="of the solver (default: the model's recipe)")
    parser.add_argument("--solver", choices=("euler", "midpoint", "heun"), help="default: the model's recipe")
    parser.add_argument("--guidance", type=float, help="strength of the condition, 1 is plain (default: the recipe)")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--force", action="store_true", help="sample also outside every family; every file is marked")
    parser.add_argument("--home", type=Path, help="of the registered models (default: $CRYOFOUND_HOME)")


def sample_command(given: argparse.Namespace) -> None:
    """Sample, print the verdict and where everything is; or raise a CryoFoundError."""
    from cryofound.commands.sample_run import require_new, require_sense, sample_reference
    from cryofound.registry import load_model

    request = sample_request(given, given.reference, given.name, given.fasta, given.chains)
    require_sense(request)  # before a model is loaded, which takes a while
    require_new(given.out)
    model = load_model(given.model, (given.home or default_home()).resolve())
    show_sampled(sample_reference(model, request, given.out))


def sample_request(
    given: argparse.Namespace,
    reference: Path,
    name: str | None = None,
    fasta: Path | None = None,
    chains: Sequence[str] | None = None,
) -> "SampleRequest":
    """What `add_sampling_arguments` was given, for one reference."""
    from cryofound.commands.sample_run import SampleRequest

    return SampleRequest(
        reference=reference,
        model=given.model if ":/" in given.model else str(Path(given.model).resolve()),
        name=name,
        fasta=fasta,
        chains=tuple(chains) if chains else None,
        samples=given.n,
        steps=given.steps,
        solver=given.solver,
        guidance=given.guidance,
        seed=given.seed,
        symmetry=given.symmetry,
        force=given.force,
    )


def show_sampled(sampled: "Sampled") -> None:
    """Print the verdict and where everything is."""
    print(f"verdict: {sampled.grade}")
    for sentence in sampled.sentences:
        print(f"  {sentence}")
    print(
        f"out={sampled.folder} samples={sampled.samples} dropped={sampled.dropped} "
        f"report={sampled.folder / 'report.html'}"
    )
