"""prefect.yaml: unknown keys are silently ignored by Prefect, so they are looked for here; entry points, parameters, forms."""

import inspect
from importlib import import_module
from pathlib import Path

import pytest
import yaml

from artifacts.errors import ServerError
from tests.conftest import ROOT

FILE = yaml.safe_load((ROOT / "prefect.yaml").read_text())
DEPLOYMENTS = {d["name"]: d for d in FILE["deployments"]}
KNOWN = {"name", "description", "entrypoint", "parameters", "schedules", "tags", "work_pool", "concurrency_limit", "version"}


def flow_of(deployment):
    path, name = deployment["entrypoint"].split(":")
    return getattr(import_module(path.removesuffix(".py").replace("/", ".")), name)


def test_the_top_has_only_keys_that_prefect_reads():
    assert FILE.keys() <= {"name", "prefect-version", "build", "push", "pull", "definitions", "deployments"}


def test_screen_every_stage_and_the_inbox_are_deployed():
    from flows.nodule_line import SLOTS

    assert DEPLOYMENTS.keys() >= {"screen", "inbox", "backfill", "tidy", "diff", "lineage", "cifar", "cache", *SLOTS}


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_each_deployment_names_what_exists(name):
    deployment = DEPLOYMENTS[name]
    assert deployment.keys() <= KNOWN
    flow = flow_of(deployment)
    assert deployment.get("parameters", {}).keys() <= inspect.signature(flow.fn).parameters.keys()
    for schedule in deployment.get("schedules", []):
        assert schedule.keys() <= {"cron", "interval", "timezone", "active", "slug"}


def test_what_needs_one_machines_ledger_and_index_is_taken_by_no_further_worker(monkeypatch, tmp_path):
    from flows import ui

    class Ended:
        pid = 0

        def wait(self, *_):
            return 0

        def terminate(self): ...

    started = []
    monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path))
    monkeypatch.setattr(ui, "answers", lambda url: True)
    monkeypatch.setattr(ui, "same_version", lambda url: None)
    monkeypatch.setattr("flows.slots.make_slots", lambda api_url: [])
    monkeypatch.setattr(ui, "start", lambda *command, **_: started.append(command) or Ended())
    with pytest.raises(ServerError, match="ended by itself"):
        ui.work("http://server:4200/api")
    assert started == [("worker", "start", "--pool", "hounsfield", "--work-queue", "default")]
    of_home = {n for n, d in DEPLOYMENTS.items() if d["work_pool"].get("work_queue_name", "default") != "default"}
    assert of_home == {"inbox", "backfill"}
    assert all(d["work_pool"].keys() <= {"name", "work_queue_name"} for d in DEPLOYMENTS.values())


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_each_takes_what_its_form_sends(name):
    from prefect.utilities.callables import parameter_schema

    flow = flow_of(DEPLOYMENTS[name])
    schema = parameter_schema(flow).model_dump()
    sent = {k: ["abcd"] if schema["properties"][k].get("type") == "array" else "abcd" for k in schema["required"]}
    assert sent.keys() <= flow.validate_parameters(sent).keys()


def test_the_form_of_a_training_of_images_fills_in_no_networks_recipe():
    """Else whoever asks for another network in the form would train it by the convnet's recipe."""
    from prefect.utilities.callables import parameter_schema

    from tasks.images.recipes import RECIPES, TrainParams

    cifar, compared = (parameter_schema(flow_of(DEPLOYMENTS[n])).model_dump()["properties"] for n in ("cifar", "cifar-compare"))
    for filled in (cifar["train"]["default"], *compared["variants"]["default"]):
        assert {filled[k] for k in RECIPES["fast"]} == {None}
        assert TrainParams(**filled | {"network": "fast"}).epochs == RECIPES["fast"]["epochs"]
        assert TrainParams.model_construct(**filled).settled() == TrainParams(loss=filled["loss"])


@pytest.mark.parametrize("name", DEPLOYMENTS)
def test_each_form_has_titles_and_descriptions(name):
    from prefect.utilities.callables import parameter_schema

    schema = parameter_schema(flow_of(DEPLOYMENTS[name])).model_dump()
    for parameter, field in schema["properties"].items():
        assert field["title"] != parameter
        assert field["description"]
    models = schema.get("definitions") or schema.get("$defs") or {}
    for title, model in models.items():
        for field_name, field in model.get("properties", {}).items():
            assert field.get("description"), f"{title}.{field_name} has no description"


def test_numbers_in_the_forms_are_bounded():
    from flows.nodule_line import STAGES

    for stage in STAGES.values():
        for name, field in stage.params.model_json_schema()["properties"].items():
            if field.get("type") in ("number", "integer"):
                bounds = {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} & field.keys()
                assert len(bounds) == 2, f"{stage.name}.{name} needs a lower and an upper bound"


def test_a_run_starts_in_the_code_of_the_machine_that_takes_it(tmp_path, monkeypatch):
    """Also where that lies elsewhere than on the machine that deployed, so no path stands in the file."""
    from prefect.utilities.importtools import import_object

    monkeypatch.chdir(tmp_path)
    ((step, inputs),) = FILE["pull"][0].items()
    assert import_object(step)(**inputs) == {"directory": str(ROOT)}
    assert Path.cwd() == ROOT
