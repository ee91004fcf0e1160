"""What `needed=true` says about the results that it took over, or did not."""

from __future__ import annotations

from collections.abc import Collection
from types import SimpleNamespace
from typing import Any

import pytest

from hpcorch.journal.manifest import ManifestRun, SnapshotPlace
from hpcorch.launcher.earlier.reuse_report import reuse_told
from tests.support import entities

CODE = SnapshotPlace(digest="0" * 64, archive="/nowhere", root="/project")


def planned(number: int, config: str, seed: int, key: str = "") -> ManifestRun:
    return ManifestRun(
        run=number, base=0, overrides=[], params={}, changes={}, config_digest=config, seed=seed,
        seed_source="config", directory="/d", node={}, key=key,
    )  # fmt: skip


def told(*known: dict[str, Any], reused: Collection[int] = (), key: str = "") -> str:
    runs = [entities.run(**values) for values in known]
    ledger: Any = SimpleNamespace(
        completed_with_config=lambda digests: [run for run in runs if run.config_digest in digests],
        facts=lambda sweep, kind: [],
    )
    return reuse_told(ledger, [planned(0, "a", 1), planned(1, "b", 1, key)], CODE, reused=reused)


GONE = "its snapshot can no longer be read, so nobody knows which files differ"
NONE = "None of 2 runs has completed before with the same code, configuration and seed: "


@pytest.mark.parametrize(
    ("known", "cause"),
    [
        ([], "no completed run has such a configuration"),
        ([{"config_digest": "c"}], "no completed run has such a configuration"),
        (
            [{"config_digest": "b"}],
            "s/0 has the configuration of run 1, but the seed 7 instead of 1; 1 configuration is new",
        ),
        (
            [{"config_digest": "b"}, {"number": 4, "config_digest": "a", "seed": 1}],
            f"s/4 has the configuration and seed of run 0, but other code: {GONE}",
        ),
    ],
)
def test_it_says_what_is_not_as_it_was(known, cause):
    assert told(*known) == NONE + cause


def test_it_says_how_many_results_were_taken_over_and_why_the_others_were_not():
    assert told(reused=[0, 1]) == "2 of 2 runs have completed before; their results are reused"
    one = "1 of 2 runs has completed before; its result is reused. Of the other one, "
    assert told(reused=[0]) == f"{one}no completed run has such a configuration"
    same_seed = {"number": 4, "config_digest": "b", "seed": 1}
    assert told(same_seed, reused=[0]) == (
        f"{one}s/4 has the configuration and seed of run 1, but other code: {GONE}"
    )


def test_it_says_that_a_result_is_gone():
    known = {"number": 4, "config_digest": "b", "seed": 1, "key": "k"}
    assert told(known, reused=[0], key="k").endswith(
        "s/4 is the same as run 1, but its result can no longer be read"
    )
