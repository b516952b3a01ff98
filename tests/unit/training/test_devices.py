"""Clusters are told in one word."""

import pytest

from cryofound.errors import RecipeError
from cryofound.training.devices import parse_cluster


@pytest.mark.parametrize(
    ("text", "nodes", "per_node", "name"),
    [("8xA100-80", 1, 8, "A100-80"), ("4x8xa100-80", 4, 8, "A100-80"), ("H200", 1, 1, "H200"), ("cpu", 1, 3, "cpu")],
)
def test_words_are_understood(text: str, nodes: int, per_node: int, name: str) -> None:
    cluster = parse_cluster(text, workers=3)
    assert (cluster.nodes, cluster.per_node, cluster.device.name) == (nodes, per_node, name)
    assert cluster.world == nodes * per_node


def test_workers_on_the_cpu_share_its_memory() -> None:
    assert parse_cluster("cpu", 4).device.memory == pytest.approx(parse_cluster("cpu", 1).device.memory / 4)


@pytest.mark.parametrize("text", ["8", "0xH200", "8xTPU", "2x2x2xH200", "xH200"])
def test_others_are_refused_with_what_is_known(text: str) -> None:
    with pytest.raises(RecipeError, match=r"not understood; give for example .*A100-80, H100-80, H200"):
        parse_cluster(text, 1)
