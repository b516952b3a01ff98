"""A job for `ray job submit`: fits the toy stage, slowly, in a folder.

python -m tests.jobs.toy_job FOLDER
"""

import sys
from functools import partial
from pathlib import Path

import ray

from cryofound.config import EngineConfig
from jobs import training
from tests.jobs.toy_stage import ToyStage

if __name__ == "__main__":
    ray.init(log_to_driver=False)
    make_stage = partial(ToyStage, seconds_per_step=0.05)
    training.fit(make_stage, Path(sys.argv[1]), "toy", EngineConfig(threads=1), 0, {})
