"""What a failed sbatch means. The texts are Slurm's, seen on real clusters."""

from __future__ import annotations

import pytest

from hpcorch.errors import SlurmUnavailableError, SubmissionRejectedError, SubmissionUnknownError
from hpcorch.slurm.error_texts import Meaning, explain

PREFIX = "sbatch: error: Batch job submission failed: "


@pytest.mark.parametrize(
    ("text", "asked", "words"),
    [
        (
            "Invalid license specification",
            {"licenses": "matlb:1"},
            ["--licenses=matlb:1", "scontrol show licenses"],
        ),
        ("Invalid qos specification", {"qos": "fast"}, ["--qos=fast", "sacctmgr show assoc"]),
        (
            "Invalid job array specification",
            {"array": "0-5000"},
            ["--array=0-5000", "MaxArraySize", "max_array_tasks"],
        ),
        (
            "Requested node configuration is not available",
            {"gres": "gpu:h100:1", "mem": "4GB", "array": "0-1"},
            ["--gres=gpu:h100:1, --mem=4GB", "sinfo"],
        ),
        (
            "Job violates accounting/QOS policy (job submit limit, user's size and/or time limits)",
            {"array": "0-999"},
            ["--array=0-999", "sacctmgr show qos"],
        ),
        (
            "Pathname of a file, directory or other parameter too long",
            {"job-name": "n" * 1025, "comment": "short"},
            ["the value of --job-name (1025 bytes) is longer than Slurm takes (1024 bytes)"],
        ),
        ("Invalid partition name specified", {}, ["by the site's defaults", "sinfo -o %P"]),
    ],
)
def test_a_rejection_names_value_and_cure(text, asked, words):
    failure = explain(PREFIX + text, asked)
    assert isinstance(failure.error(), SubmissionRejectedError)
    assert all(word in failure.sentence for word in [*words, text])


def test_sbatchs_own_complaints_name_the_flag():
    assert "--time" in explain("sbatch: error: Invalid --time specification", {}).sentence
    assert "no flag --frob=1" in explain("sbatch: unrecognized option '--frob=1'\nTry --help", {}).sentence


def test_the_more_telling_of_two_lines_wins():
    text = (
        "sbatch: error: Failed to validate job spec. --gpus-per-task used without either --gpus or -n/--ntasks is "
    )
    failure = explain(text + "not allowed.\nsbatch: error: Invalid generic resource (gres) specification", {})
    assert "tasks_per_node" in failure.sentence


def test_only_a_controller_that_was_not_reached_is_unavailable():
    failure = explain(PREFIX + "Unable to contact slurm controller (connect failure)", {})
    assert isinstance(failure.error(), SlurmUnavailableError)
    assert failure.error().transient


@pytest.mark.parametrize(
    "text", ["", "Socket timed out on send/recv operation", "Zero Bytes were transmitted", "?"]
)
def test_every_other_text_is_unknown(text):
    failure = explain(PREFIX + text if text else "", {"licenses": "x:1"})
    assert failure.meaning is Meaning.UNKNOWN
    assert isinstance(failure.error(), SubmissionUnknownError)
