"""Run a recipe on this machine: start a Ray head, `ray job submit` jobs/pretrain.py to it, stop the head.

    .venv/bin/python jobs/local.py --recipe configs/pretrain/demo.yaml

A cluster runs the same job: `ray job submit --working-dir . -- python jobs/pretrain.py --recipe RECIPE`.
"""

import argparse
import os
from pathlib import Path

from cryofound.revision import git_revision
from jobs.local_cluster import LocalCluster, submit

ROOT = Path(__file__).resolve().parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--recipe", required=True, type=Path, help="YAML recipe, for example configs/pretrain/demo.yaml"
    )
    parser.add_argument("--home", type=Path, help="where everything is kept (default: $CRYOFOUND_HOME, else runs/)")
    given = parser.parse_args()
    home = (given.home or Path(os.environ.get("CRYOFOUND_HOME") or ROOT / "runs")).resolve()
    recipe = given.recipe.resolve()
    if recipe.is_relative_to(ROOT):
        recipe = recipe.relative_to(ROOT)  # it travels with the working directory
    env_vars = {name: value for name, value in os.environ.items() if name.startswith(("CRYOFOUND_", "BOLTZ_"))}
    for name in ("CRYOFOUND_MIRROR", "CRYOFOUND_SHARED"):
        if name in env_vars:
            env_vars[name] = str(Path(env_vars[name]).resolve())
    env_vars |= {"CRYOFOUND_HOME": str(home), "CRYOFOUND_REVISION": git_revision(ROOT)}
    excludes = [f"/{home.relative_to(ROOT)}/"] if home.is_relative_to(ROOT) else []
    print("starting a Ray head on this machine", flush=True)
    with LocalCluster() as cluster:
        return submit(
            cluster,
            ["python", "jobs/pretrain.py", "--recipe", str(recipe), "--home", str(home)],
            working_dir=ROOT,
            env_vars=env_vars,
            excludes=excludes,
        )


if __name__ == "__main__":
    raise SystemExit(main())
