"""Commands as a person meets them: answers on stdout, one line and the right exit code when something is wrong."""

import json
import subprocess
import sys

import pytest

from earwitness.store import Bundle, PlannedStep


def earwitness(*arguments, cwd=None):
    command = [sys.executable, "-m", "earwitness.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd)


def one_line(done, code, word):
    assert done.returncode == code, done
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("earwitness: ")
    assert word in done.stderr


@pytest.fixture
def study(tmp_path):
    assert earwitness("init", tmp_path / "study", "--seed", 5).returncode == 0
    return tmp_path / "study"


def collected(study, value):
    with Bundle.open(study, write=True) as bundle, bundle.step("before/p01/1", "crawl") as step:
        path = step.partial("events.jsonl")
        path.write_text("{}")
        step.write("cookies", [{"cookie": "c", "value": value, "evidence": step.seal(path, "browser_events")}])


def test_help_names_every_command():
    done = earwitness("--help")
    assert done.returncode == 0
    for name in "demo init plan run analyse report inspect sql score verify lab".split():  # noqa: SIM905
        assert f" {name} " in done.stdout


def test_wrong_use_is_2():
    assert earwitness("inspekt").returncode == 2
    assert earwitness("inspect").returncode == 2
    assert earwitness("init").returncode == 2


def test_init_writes_a_study_that_plan_understands(study):
    done = earwitness("plan", study, "--json")
    assert done.returncode == 0, done.stderr
    view = json.loads(done.stdout)
    assert (view["profiles"], view["visits"]) == (9, 36)
    assert view["hypotheses"][0]["confirmatory"]
    assert "confirmatory" in earwitness("plan", study).stdout
    one_line(earwitness("init", study), 2, "there is a study already")


def test_an_unknown_world_is_told_which_there_are(tmp_path):
    one_line(earwitness("init", tmp_path / "x", "--world", "tinny"), 2, "there are: demo")
    assert not (tmp_path / "x").exists()


def test_a_mistake_in_study_yaml_is_one_line(study):
    text = (study / "study.yaml").read_text()
    (study / "study.yaml").write_text(text.replace("role: interest", "role: intrest"))
    one_line(earwitness("plan", study), 2, "did you mean 'interest'?")


def test_no_study_there(tmp_path):
    for command in (["plan"], ["run"], ["analyse"], ["report"], ["verify"], ["sql"]):
        done = earwitness(*command, tmp_path / "none", *(["select 1"] if command == ["sql"] else []))
        one_line(done, 2, "earwitness init")


def test_run_does_not_start_twice(study):
    collected(study, "v")
    with Bundle.open(study, write=True) as bundle:
        bundle.plan([PlannedStep("enrol", "study", 0)])
    one_line(earwitness("run", study), 2, "--resume")


def test_a_locked_study_is_said_to_be(study):
    with Bundle.open(study, write=True):
        one_line(earwitness("analyse", study), 2, "another earwitness process")


def test_sql_in_three_formats_never_a_formula_nor_markup(study):
    hostile = "=cmd|' /C calc'!A0[red]\x1b[31m"
    collected(study, hostile)
    query = "select value from cookies"
    assert json.loads(earwitness("sql", study, query, "--format", "json").stdout) == [{"value": hostile}]
    assert earwitness("sql", study, query, "--format", "csv").stdout.splitlines()[1].startswith("'=cmd")
    table = earwitness("sql", study, query).stdout
    assert "\x1b" not in table
    assert "[red]" in table
    one_line(earwitness("sql", study, "select nothing from cookies"), 2, "nothing")


def test_verify_says_what_was_changed(study):
    collected(study, "v")
    assert earwitness("verify", study).returncode == 0
    (shard,) = (study / "tables" / "cookies").iterdir()
    shard.write_bytes(b"changed")
    done = earwitness("verify", study, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["problems"] == [f"tables/cookies/{shard.name}: changed"]
    one_line(earwitness("sql", study, "select 1"), 1, "cookies")


def test_the_lab_is_listed_and_shown():
    assert "tiny" in [w["world"] for w in json.loads(earwitness("lab", "list", "--json").stdout)]
    shown = json.loads(earwitness("lab", "show", "tiny", "--seed", 3, "--json").stdout)
    assert shown["seed"] == 3
    assert "tiny" in earwitness("lab", "list").stdout
    one_line(earwitness("lab", "show", "nowhere"), 2, "nowhere")


def test_score_without_truth_is_one_line(study):
    done = earwitness("score", study)
    assert done.returncode == 2, done.stderr
    assert done.stderr.count("\n") == 1


def test_the_doctor_finds_everything_here_and_names_the_mend_elsewhere(monkeypatch):
    done = earwitness("doctor", "--json")
    assert done.returncode == 0, done.stdout
    checks = {check["what"]: check for check in json.loads(done.stdout)}
    assert checks.keys() == {"chromium", "espeak-ng", "dumpcap", "public lists", "disk", "memory", "prebid.js"}
    assert "Chromium" in checks["chromium"]["found"]
    monkeypatch.setenv("PATH", "/nowhere")
    done = earwitness("doctor")
    assert done.returncode == 3
    assert "apt-get install --no-install-recommends chromium" in " ".join(done.stdout.split())


def test_a_missing_tool_is_3_with_the_command_that_installs_it(study, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    done = earwitness("run", study)
    assert done.returncode == 3, done.stderr
    assert "earwitness: chromium is not installed; run: sudo apt-get" in done.stderr
    assert "Traceback" not in done.stderr
