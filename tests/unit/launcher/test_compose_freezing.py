"""What a submission settles once for each run, and what it leaves to the node."""

from __future__ import annotations

import json

import pytest
from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf
from omegaconf.basecontainer import BaseContainer

from hpcorch.errors import UsageError
from hpcorch.model.values import patched
from hpcorch.runtime.program.configuration import digest, register_resolver, task_plain
from tests.support.composing import Sweep, rebuilt, resolvers


@pytest.fixture(autouse=True)
def _registered():
    with resolvers():
        yield


@pytest.fixture
def composed(tmp_path):
    """Compose one run of the configuration given as text."""

    def compose(text, overrides=(), sweep_overrides=()):
        (tmp_path / "config.yaml").write_text(text)
        return Sweep(tmp_path, sweep_overrides).composer.compose(overrides, 4)

    return compose


def test_random_value_is_drawn_once_and_shared_by_what_names_it(composed):
    run = composed(
        """
        both: ${test.join:${link},${drawn}}
        link: ${drawn}
        drawn: ${test.count:}
        hydra: {sweep: {subdir: "${drawn}_${both}"}}
        """
    )
    assert run.frozen["drawn"] == 0
    assert run.frozen["both"] == "0+0"
    assert run.output_dir.endswith("/0_0+0")
    assert rebuilt(run).both == rebuilt(run).both == "0+0"


def test_each_run_draws_its_own_random_value():
    sweep = Sweep()
    drawn = [sweep.composer.compose([f"seed={i}"], i).frozen["drawn"] for i in range(3)]
    assert len(set(drawn)) == 3


@pytest.mark.parametrize("overrides", [["+value=${test.count:}"], ["+value=${test.count:}", "~width"]])
def test_drawn_value_in_the_name_of_the_overrides_is_drawn_once_a_run(composed, overrides):
    text = 'a: 1\nwidth: ${a}\nhydra: {sweep: {subdir: "${hydra.job.override_dirname}"}}'
    run = composed(text, overrides)
    assert run.frozen["hydra.job.override_dirname"].startswith("+value=")
    assert "${" not in run.frozen["hydra.job.override_dirname"]
    assert run.output_dir.endswith("/" + run.frozen["hydra.job.override_dirname"])
    assert rebuilt(run).hydra.job.override_dirname == run.frozen["hydra.job.override_dirname"]


def test_timestamp_resolved_for_the_sweep_holds_for_every_run(tmp_path):
    (tmp_path / "config.yaml").write_text("at: ${now:%f}\nseed: 1")
    sweep = Sweep(tmp_path)
    at = sweep.master.at
    assert {sweep.composer.compose([f"seed={i}"], i).frozen["at"] for i in range(3)} == {at}


def test_values_only_the_node_knows_stay_as_written(composed, monkeypatch):
    monkeypatch.setenv("SLURM_PROCID", "3")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    text = {
        "id": "${hydra:job.id}",
        "id2": "${hydra.job.id}",
        "num": "${hydra:job.num}",
        "dir": "${hydra:runtime.output_dir}",
        "rank": "${oc.env:SLURM_PROCID}",
        "gpus": "${oc.env:CUDA_VISIBLE_DEVICES,none}",
        "tmp": "${oc.env:TMPDIR,/tmp}",
        "own": "${hpcorch:checkpoint_dir}",
        "derived": "${test.join:${hydra:job.id},x}",
        "swallowed": "${oc.select:hydra.job.id,none}",
        "reference": "${num}",
    }
    run = composed(json.dumps(text))
    assert [path for path in run.frozen if not path.startswith("hydra.")] == []
    assert patched(run.base.config, run.changes) == text
    monkeypatch.setenv("SLURM_PROCID", "5")
    config = rebuilt(run, job_id="99_4")
    HydraConfig.instance().set_config(config)
    assert (config.id, config.id2, config.num, config.rank) == ("99_4", "99_4", 4, "5")
    assert (config.derived, config.swallowed, config.reference) == ("99_4+x", "99_4", 4)


def test_environment_of_submission_reaches_the_node(composed, monkeypatch):
    monkeypatch.setenv("COMPOSE_TEST_USER", "submitter ${x} \\${y}")
    run = composed("user: ${oc.env:COMPOSE_TEST_USER}")
    monkeypatch.delenv("COMPOSE_TEST_USER")
    assert rebuilt(run).user == "submitter ${x} \\${y}"


def test_what_can_be_frozen_inside_something_late_is_frozen(composed, monkeypatch):
    monkeypatch.setenv("COMPOSE_TEST_USER", "it is me")
    run = composed(
        """
        mixed: "${oc.env:COMPOSE_TEST_USER}-${hydra:job.id}"
        nested: ${oc.env:SLURM_NOT_SET,${oc.env:COMPOSE_TEST_USER}}
        number: ${oc.decode:${test.join:4}}
        part: ${section.${test.join:a}}
        section: {a: 7}
        """
    )
    assert run.frozen["mixed"] == "it is me-${hydra:job.id}"
    assert run.frozen["nested"] == "${oc.env:SLURM_NOT_SET,'it is me'}"
    assert run.frozen["part"] == "${section.a}"
    monkeypatch.delenv("COMPOSE_TEST_USER")
    config = rebuilt(run)
    HydraConfig.instance().set_config(config)
    assert (config.mixed, config.nested, config.number, config.part) == ("it is me-77_4", "it is me", 4, 7)


def test_value_that_cannot_be_written_inside_a_late_call_is_refused(composed):
    text = 'bad: ${oc.env:SLURM_NOT_SET,${test.join:"it\'s"}}'
    with pytest.raises(UsageError, match="a key of its own"):
        composed(text)


def test_results_that_are_lists_and_numbers_keep_their_type(composed):
    register_resolver("test.value", lambda: {"a": [1, 2.5, None], "b": "${x}"}, replace=True)
    try:
        run = composed("value: ${test.value:}\nnumber: ${test.count:}")
        config = rebuilt(run)
        assert OmegaConf.to_container(config.value, resolve=True) == {"a": [1, 2.5, None], "b": "${x}"}
        assert config.number == 0
        assert digest(task_plain(config)) == run.config_digest
    finally:
        OmegaConf.clear_resolver("test.value")


def test_result_without_a_plain_form_is_left_to_the_node(composed):
    register_resolver("test.object", lambda: Exception, replace=True)
    try:
        run = composed("value: ${test.object:}")
        assert "value" not in run.frozen
        assert rebuilt(run).value is Exception
    finally:
        OmegaConf.clear_resolver("test.object")


def test_missing_value_stays_missing(composed):
    run = composed("needed: ???\nuser: ${test.join:${needed},x}")
    assert run.frozen.keys().isdisjoint({"needed", "user"})
    assert OmegaConf.is_missing(rebuilt(run), "needed")


@pytest.mark.parametrize(
    ("text", "cause"),
    [
        ("${oc.env:COMPOSE_TEST_UNSET}", "COMPOSE_TEST_UNSET"),
        ("${test.unknown:1}", "test.unknown"),
        ("${test.join:${no.such.key}}", "no.such.key"),
    ],
)
def test_failing_resolver_is_refused_naming_key_text_and_cause(composed, text, cause):
    with pytest.raises(UsageError) as caught:
        composed(json.dumps({"part": {"broken": text}}))
    assert "'part.broken'" in str(caught.value)
    assert text in str(caught.value)
    assert cause in str(caught.value)


@pytest.mark.parametrize(
    "subdir",
    ["${hydra.job.id}", "a_${hydra:job.id}", "${oc.env:SLURM_JOB_ID}", "${named}", "${test.join:${hydra.job.id}}"],
)
def test_output_directory_that_needs_the_job_is_refused_with_the_cure(composed, monkeypatch, subdir):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    text = {"named": "x${hydra:job.id}", "hydra": {"sweep": {"subdir": subdir}}}
    with pytest.raises(UsageError, match=r"use \$\{hydra\.job\.num\} or the swept values"):
        composed(json.dumps(text))


def test_output_directory_follows_number_values_choices_and_overrides():
    overrides = ["hydra.sweep.subdir=${hydra.job.num}/${hydra:job.override_dirname}/${hydra:runtime.choices.model}"]
    sweep = Sweep(overrides=overrides)
    run = sweep.composer.compose(["model=cnn", "optim.lr=0.5", "seed=3"], 12)
    assert run.output_dir == f"{sweep.master.hydra.sweep.dir}/12/model=cnn,optim.lr=0.5/cnn"
    assert rebuilt(run).hydra.sweep.subdir == "12/model=cnn,optim.lr=0.5/cnn"
    assert run.base.choices["model"] == "cnn"
    assert run.params == {"model": "cnn", "optim.lr": 0.5, "seed": 3}


def test_composing_leaves_resolvers_and_hydras_configuration_as_they_were():
    sweep = Sweep()
    before = HydraConfig.instance().cfg
    resolvers = dict(BaseContainer._resolvers)
    sweep.composer.compose(["seed=2"], 0)
    assert HydraConfig.instance().cfg is before
    assert BaseContainer._resolvers == resolvers
