"""A program of its own: a cluster of three nodes on this machine fits the toy stage and loses the one that trains.

    python -m tests.jobs.lost_node FOLDER

The head has no CPU to lend, the others have one each. Prints the step of the checkpoint after which a node was lost.
"""

import sys
import threading
import time
from functools import partial
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster

from cryofound.config import EngineConfig
from jobs import training
from tests.jobs.toy_stage import ToyStage

STEP = 20
# The head takes a node for dead after two seconds of silence, not after half a minute.
_SYSTEM = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500, "health_check_failure_threshold": 4}


def lose_the_training_node(cluster: Cluster, checkpoint: Path) -> None:
    """Kill the raylet above the training worker as soon as the checkpoint is there."""
    while not checkpoint.exists():
        time.sleep(0.002)
    for node in cluster.worker_nodes:
        raylet = psutil.Process(node.all_processes["raylet"][0].process.pid)
        if any(child.name().startswith("ray::RayTrainWo") for child in raylet.children(recursive=True)):
            raylet.kill()
            print(f"lost after step {STEP}", flush=True)


def main(folder: Path) -> None:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "_system_config": _SYSTEM})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=1)
        ray.init(address=cluster.address, log_to_driver=False)
        checkpoint = folder / training.CHECKPOINTS / f"step-{STEP:08d}" / "manifest.json"
        threading.Thread(target=lose_the_training_node, args=(cluster, checkpoint), daemon=True).start()
        make_stage = partial(ToyStage, seconds_per_step=0.05)
        training.fit(make_stage, folder, "toy", EngineConfig(threads=1), 0, {})
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
