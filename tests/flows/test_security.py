"""Nobody's name leaves the private index; nobody but the owner reads the store; deployments read configured folders alone."""

from __future__ import annotations

import io
import json
import os
import shutil
import stat
from pathlib import Path

import pydicom
import pytest
from rich.console import Console

from artifacts.errors import UsageError
from artifacts.home import SHIPPED_WEIGHTS
from artifacts.private_index import PrivateIndex
from artifacts.store import Ref, Store
from flows import deployed
from flows.console import TerminalWatcher
from tasks.stage import Outcome
from tests.flows.conftest import Cli
from tests.flows.in_process import InProcess

SECRETS = ("Zzyxdoe", "ZZYXID77", "19510203", "Zzyxhospital", "Zzyxstreet", "Zzyxdoctor", "Zzyxstudy", "zzyxfolder", "zzyxfile")
DATES = ("19870605", "1987-06-05", "051423.77")  # of the examination; a UID that its maker built of a time stays what it is
SECRETS += DATES
SCRIPT = "<script>alert('zzyxseries')</script>"


@pytest.fixture(scope="module")
def identified(phantom_series, tmp_path_factory) -> Path:
    """The phantom with every tag that names a patient filled in, in folders and files named after them."""
    folder = tmp_path_factory.mktemp("archive") / "zzyxfolder^jane" / "Zzyxdoe_19510203"
    folder.mkdir(parents=True)
    for number, path in enumerate(sorted(phantom_series.iterdir())):
        ds = pydicom.dcmread(path)
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "Zzyxdoe^Jane", "ZZYXID77", "19510203", "F"
        ds.InstitutionName, ds.InstitutionAddress, ds.ReferringPhysicianName = "Zzyxhospital", "Zzyxstreet 1", "Zzyxdoctor^A"
        ds.StudyDescription, ds.SeriesDescription, ds.ProtocolName = "Zzyxstudy", SCRIPT, "Zzyxdoe chest"
        ds.AccessionNumber, ds.StudyID, ds.OperatorsName = "ZZYXID77", "ZZYXID77", "Zzyxdoctor"
        ds.PatientComments, ds.ImageComments, ds.OtherPatientIDs = "Zzyxdoe was here", "Zzyxdoe", "ZZYXID77"
        for day in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate", "InstanceCreationDate", "DateOfLastCalibration"):
            setattr(ds, day, DATES[0])
        for time in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime", "InstanceCreationTime"):
            setattr(ds, time, DATES[2])
        ds.AcquisitionDateTime, ds.AcquisitionNumber = DATES[0] + DATES[2], "7"
        ds.ConvolutionKernel = "<b>B70f</b>"
        ds.save_as(folder / f"zzyxfile-{DATES[0]}-{number:03d}.dcm")
    return folder


def leaks(folder: Path, but: tuple[str, ...] = ("private",)) -> list[str]:
    """Files and names under ``folder`` in which a secret stands; the private index may know."""
    found = []
    for path in folder.rglob("*"):
        inside = path.relative_to(folder)
        if inside.parts[0] in but:
            continue
        body = path.read_bytes() if path.is_file() else b""
        text = str(inside).encode() + body
        found += [f"{inside}: {s}" for s in (*SECRETS, "zzyxseries") if s.lower().encode() in text.lower()]
    return found


@pytest.mark.slow
@pytest.mark.server
def test_no_identity_in_artifacts_reports_logs_or_prefects_database(cli: Cli, identified, tmp_path):
    cut = shutil.copytree(identified, tmp_path / "zzyxfolder-cut")
    for path in sorted(cut.iterdir())[10:20]:
        path.write_bytes(path.read_bytes()[:700])
    hostile = tmp_path / "zzyxfolder-hostile"
    hostile.mkdir()
    (hostile / "zzyxfile.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"Zzyxdoe" * 40)
    whole = cli("screen", identified.parent, "--out", cli.home / "out")
    assert whole.code == 0, whole.err
    refused, broken = cli("screen", cut, "--out", cli.home / "cut"), cli("screen", hostile)
    assert refused.code in (3, 4)
    assert broken.code == 3
    again = cli("screen", identified, "--direct", "--refresh", "report", "--out", cli.home / "out2")
    assert again.code == 0
    for done in (whole, refused, broken, again):
        said = done.out + "\n".join(line for line in done.err.splitlines() if "[" not in line)  # in brackets: the terminal's own
        assert not [s for s in SECRETS if s.lower() in said.lower().replace(str(tmp_path).lower(), "")]
    assert (cli.home / "prefect" / "prefect.db").stat().st_size > 0
    assert leaks(cli.home) == []


@pytest.fixture(scope="module")
def home(identified, tmp_path_factory) -> Path:
    """A home in which the identified phantom was screened once."""
    home = tmp_path_factory.mktemp("home")
    done = InProcess(home)("screen", identified, "--direct", "--out", home / "out")
    assert done.code == 0, done.err
    return home


def test_no_identity_with_every_command_that_shows_something(identified, home):
    (report,) = (home / "store" / "artifacts" / "report").iterdir()
    ref = f"report:{report.name}"
    for command in (("show", ref), ("lineage", ref), ("lineage", identified), ("plan", identified), ("gc", "--dry-run")):
        for more in ((), ("--json",)):
            done = InProcess(home)(*command, *more)
            assert done.code == 0, done.err
            assert not [s for s in SECRETS if s.lower() in (done.out + done.err).lower()]
    assert leaks(home) == []


def test_what_pictures_and_pages_are_drawn_from_holds_no_text_that_names_and_no_markup(home):
    """Pictures are compressed, so that looking for letters in them says nothing: what they are drawn from must hold none."""
    from artifacts.volume import Volume

    (folder,) = (home / "store" / "artifacts" / "volume").iterdir()
    volume = Volume.read(folder)
    assert not [s for s in SECRETS if s.lower() in repr(volume.series).lower() + repr(volume.qc).lower()]
    assert "<b>" not in (folder / "preview.md").read_text()
    page = (home / "out" / "report.html").read_text()
    assert "<b>B70f" not in page
    assert "<script" not in page


def test_a_series_description_with_a_script_stays_text_in_the_report():
    from artifacts.volume import Series
    from tasks.report import ReportParams, report
    from tests.artifacts.small_scans import chest, grid

    assert not any("description" in field for field in Series.__dataclass_fields__)  # it is not even kept
    inputs = chest(grid((70, 60, 40), (3.0, 3.5, 5.0)), kernel=SCRIPT, manufacturer=SCRIPT)
    html = report(**inputs, params=ReportParams(title=SCRIPT, series_choice=SCRIPT)).html
    assert "<script" not in html
    assert html.count("&lt;script&gt;") >= 3


def test_store_index_and_what_is_in_them_are_their_owners_alone(tmp_path, monkeypatch):
    before = os.umask(0o000)
    try:
        monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path / "home"))
        store = Store(tmp_path / "home" / "store")
        PrivateIndex(tmp_path / "home" / "private").token(tmp_path)
        store.workspace(store.ref("trained", "aa" * 16))
        store.use(store.ref("volume", "bb" * 16))
    finally:
        os.umask(before)
    folders = [p for p in (tmp_path / "home").rglob("*") if p.is_dir()]
    assert folders
    assert {stat.S_IMODE(p.stat().st_mode) for p in folders if p.parent in (tmp_path / "home", store.root)} == {0o700}
    mine = {stat.S_IMODE((tmp_path / "home" / n).stat().st_mode) for n in ("store", "private")}
    assert mine == {0o700}


# -- paths of deployments ---------------------------------------------------------------------------------------------------


@pytest.fixture
def index(tmp_path):
    (tmp_path / "open" / "scan").mkdir(parents=True)
    (tmp_path / "closed").mkdir()
    return PrivateIndex(tmp_path / "private", [tmp_path / "open"])


def test_paths_inside_the_roots_and_tokens_are_opened(index, tmp_path):
    assert index.path(str(tmp_path / "open" / "scan")) == tmp_path / "open" / "scan"
    assert index.path(index.token(tmp_path / "closed")) == tmp_path / "closed"  # the owner made the token
    assert index.path("cifar10") == Path("cifar10")  # a word, no path


@pytest.mark.parametrize(
    "how", ["absolute", "dots", "link", "beside", "home", "missing", "unknown token", "name of a refused path"]
)
def test_paths_outside_the_roots_are_refused_without_being_named(index, tmp_path, how):
    (tmp_path / "open" / "link").symlink_to(tmp_path / "closed")
    (tmp_path / "open-beside").mkdir()
    text = {
        "absolute": str(tmp_path / "closed"),
        "dots": str(tmp_path / "open" / ".." / "closed"),
        "link": str(tmp_path / "open" / "link"),
        "beside": str(tmp_path / "open-beside"),
        "home": "~/x",
        "missing": str(tmp_path / "closed" / "nothing"),
        "unknown token": "source-/../../etc",
        "name of a refused path": index.name(tmp_path / "closed"),
    }[how]
    with pytest.raises(UsageError) as refused:
        index.path(text)
    assert "\n" not in str(refused.value)
    assert str(tmp_path) not in str(refused.value)


def test_without_roots_a_deployment_opens_nothing(tmp_path):
    with pytest.raises(UsageError, match="no folder is open"):
        PrivateIndex(tmp_path / "private", []).path(str(tmp_path))


def test_the_roots_are_those_of_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOUNSFIELD_ROOTS", f"{tmp_path}/a{os.pathsep}{tmp_path}/b")
    monkeypatch.setenv("HOUNSFIELD_INBOX", f"{tmp_path}/inbox")
    assert deployed.roots() == [tmp_path / "a", tmp_path / "b", tmp_path / "inbox"]
    monkeypatch.delenv("HOUNSFIELD_ROOTS")
    monkeypatch.delenv("HOUNSFIELD_INBOX")
    assert deployed.roots() == []
    assert deployed.deployed_run() is None  # a test is no run


def test_a_defect_tells_no_path_at_the_terminal_either(tmp_path, monkeypatch):
    def broken(as_json: bool) -> None:
        raise FileNotFoundError(2, "No such file", "/archive/Zzyxdoe^Jane")

    monkeypatch.setattr("flows.weights.list_sets", broken)
    done = InProcess(tmp_path)("weights", "list")
    assert done.code == 1
    assert done.err.startswith("hounsfield: unexpected FileNotFoundError; details in $HOUNSFIELD_HOME/private/failures/")
    assert "Zzyxdoe" not in done.err
    assert "Zzyxdoe^Jane" in next((tmp_path / "private" / "failures").iterdir()).read_text()


def test_what_a_card_says_is_text_at_the_terminal(tmp_path):
    own = shutil.copytree(SHIPPED_WEIGHTS / "phantom", tmp_path / "weights" / "evil")
    card = json.loads((own / "nodule.json").read_text())
    (own / "nodule.json").write_text(json.dumps(card | {"licence": "[/red] free", "training": {"data": "[bold]mine[/x]"}}))
    done = InProcess(tmp_path)("weights", "list")
    assert done.code == 0, done.err
    assert "[/red] free" in done.out
    assert "[bold]mine[/x]" in done.out


def test_what_an_artifact_says_of_itself_is_text_at_the_terminal():
    said = io.StringIO()
    watcher = TerminalWatcher(Console(file=said, width=200))
    watcher.finished("load", Ref("volume", "ab" * 16, Path()), Outcome("volume", "ab" * 16, False, "series 1.2[/x]", ""), 1.0)
    assert "series 1.2[/x]" in said.getvalue()


def test_weights_that_are_not_there_are_said_before_a_server_starts(tmp_path):
    done = InProcess(tmp_path)("screen", tmp_path, "--weights", "../phantom")
    assert done.code == 5
    assert len(done.err.splitlines()) == 1


class Page:
    """A deployed run, and the client that changes its page."""

    def __init__(self, parameters):
        self.flow_run, self.deployment_id = self, "d"
        self.id, self.parameters = "r", parameters

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def read_flow_run(self, run):
        return self

    def update_flow_run(self, run, parameters):
        self.shown = parameters
        return self

    def raise_for_status(self):
        pass


def test_a_typed_path_stands_neither_on_the_page_nor_in_the_failure(tmp_path, monkeypatch):
    """In whatever field: somebody pastes a folder where an artifact is asked for."""
    typed = f"{tmp_path}/MUELLER_HANS/0a1b2c"
    page = Page({"ref": typed, "inputs": {"volume": typed}, "paths": [typed, "best"], "dask": "tcp://host:8786", "n": 3})
    monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(deployed, "deployed_run", lambda: page)
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda sync_client: page)
    with pytest.raises(UsageError) as refused, deployed.hidden_paths():
        Store(tmp_path / "home" / "store").resolve(typed)
    assert "MUELLER" not in str(page.shown)
    assert "MUELLER" not in str(refused.value)
    token = page.shown["ref"]
    assert PrivateIndex(tmp_path / "home" / "private").known_path(token) is None  # it lies outside, so its name opens nothing
    assert str(refused.value).startswith(f"no artifact '{token}")
    assert token.startswith("source-")
    assert page.shown == {"ref": token, "inputs": {"volume": token}, "paths": [token, "best"], "dask": "tcp://host:8786", "n": 3}


def test_a_typed_path_is_hidden_before_anyone_looks_at_the_parameters(tmp_path, monkeypatch):
    """Where another field is wrong Prefect never calls the flow; the first step of the deployment has run by then."""
    page = Page({"data": f"{tmp_path}/MUELLER_HANS", "train": {"network": "resnt"}})
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOUNSFIELD_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "00000000-0000-0000-0000-000000000001")
    monkeypatch.setattr("prefect.client.orchestration.get_client", lambda sync_client: page)
    deployed.code_of_this_machine()
    assert page.shown["data"].startswith("source-")
    assert page.shown["train"] == {"network": "resnt"}
    assert PrivateIndex(tmp_path / "home" / "private").known_path(page.shown["data"]) is None  # no root is open
