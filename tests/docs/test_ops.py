"""The files around the code fit the code: containers, alert rules, data and scripts."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import commands
import pytest
import yaml

from streamer.adapters.memory import ManualClock
from streamer.config import Settings
from streamer.datasets import load
from streamer.telemetry import Telemetry, describe

ROOT = Path(__file__).resolve().parents[2]
PROMETHEUS = ROOT / "ops/prometheus"
SCRIPTS = [
    *(".ci/run", "ops/bench/ablation", "ops/bench/fuzz", "ops/bench/run", "ops/bench/soak"),
    *("ops/demo", "ops/setup", "ops/test"),
]


@pytest.fixture
def compose() -> dict[str, Any]:
    """docker-compose.yml as data."""
    return yaml.safe_load((ROOT / "docker-compose.yml").read_text())


def test_the_worker_s_command_is_one_the_cli_takes(compose: dict[str, Any]) -> None:
    """Flags in docker-compose.yml exist."""
    commands.parse(" ".join(["streamer", *compose["services"]["worker"]["command"]]))


def test_the_containers_serve_loopback_only(compose: dict[str, Any]) -> None:
    """Nothing here asks for a password, so nothing is reachable from outside."""
    ports = [port for service in compose["services"].values() for port in service.get("ports", [])]
    assert ports
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_the_containers_make_every_topic(compose: dict[str, Any]) -> None:
    """Topics are not created on use; those of the default settings are there before the worker starts."""
    script = compose["services"]["topics"]["command"][0]
    made = set(re.findall(r"^\s*create (\S+) ", script, re.MULTILINE))
    assert made == {
        field.default for name, field in Settings.model_fields.items() if name.startswith("topic_")
    }
    assert compose["services"]["worker"]["depends_on"]["topics"] == {
        "condition": "service_completed_successfully"
    }


def test_the_readme_keeps_dead_letters_as_long_as_the_containers_do(compose: dict[str, Any]) -> None:
    """By Kafka's default a letter is gone after a week."""
    script = compose["services"]["topics"]["command"][0]
    (kept,) = re.findall(r"create dead-letters 1 (--config \S+)", script)
    assert f"--topic dead-letters {kept}\n" in (ROOT / "README.md").read_text()


def test_the_worker_is_not_the_first_process_of_its_container(compose: dict[str, Any]) -> None:
    """The kernel passes over a SIGTERM that the first process does not listen for yet: a worker that starts would be killed."""
    assert compose["services"]["worker"]["init"] is True


def test_the_containers_fit_together(compose: dict[str, Any]) -> None:
    """Services that are waited for exist and have a health check; mounts and the Dockerfile are there."""
    services = compose["services"]
    for service in services.values():
        for name, condition in service.get("depends_on", {}).items():
            assert name in services
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[name]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (ROOT / source).exists() if source.startswith(".") else source in compose["volumes"]
    build = services["worker"]["build"]
    assert (ROOT / build["context"] / build["dockerfile"]).is_file()


def test_the_image_is_not_run_by_root() -> None:
    """The last user of the Dockerfile is an ordinary one, and what it copies is let through .dockerignore."""
    dockerfile = (ROOT / "ops/Dockerfile").read_text()
    assert re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)[-1] != "root"
    let_through = {
        line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")
    }
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
        for word in line.split()
    }
    assert copied == let_through
    assert all((ROOT / name).exists() for name in copied)


def test_rules_name_only_metrics_that_exist() -> None:
    """An alert on a metric that was renamed would stay silent for ever."""
    names = {metric.name for metric in describe()}
    rules = (PROMETHEUS / "rules.yml").read_text()
    used = set(re.findall(r"\bstreamer_[a-z0-9_]+", rules))
    assert used
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in used} <= names
    of_process = {family.name for family in Telemetry(ManualClock()).registry.collect()} - names
    assert set(re.findall(r"\bprocess_[a-z0-9_]+", rules)) <= of_process


def test_rules_fire_and_hold_still() -> None:
    """promtool runs every alert over made-up series, once to fire and once not to."""
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    for arguments in (["check", "config", "prometheus.yml"], ["test", "rules", "rules.test.yml"]):
        done = subprocess.run(
            [promtool, *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False, timeout=110
        )
        assert done.returncode == 0, done.stdout + done.stderr


def descriptions() -> dict[str, str]:
    """Alert -> what it says, before figures are put in."""
    rules = yaml.safe_load((PROMETHEUS / "rules.yml").read_text())
    return {
        rule["alert"]: rule["annotations"]["description"]
        for group in rules["groups"]
        for rule in group["rules"]
    }


def fired() -> list[tuple[str, str]]:
    """Each alert that a case expects, and what it is expected to say."""
    cases = yaml.safe_load((PROMETHEUS / "rules.test.yml").read_text())["tests"]
    return [
        (test["alertname"], alert["exp_annotations"]["description"])
        for case in cases
        for test in case["alert_rule_test"]
        for alert in test.get("exp_alerts", [])
    ]


def test_every_alert_is_tested() -> None:
    """Each alert has a case in which it fires."""
    assert {name for name, _ in fired()} == set(descriptions())


def test_what_alerts_say_is_what_their_cases_expect() -> None:
    """Where promtool is missing, a text that was changed in one file alone would pass."""
    says = {name: text for name, text in descriptions().items() if "{{" not in text}
    expected = [(name, text) for name, text in fired() if name in says]
    assert expected
    assert [(name, text) for name, text in expected if text != says[name]] == []


def test_the_demo_s_data_is_whole() -> None:
    """The set of the demo has its licence beside it and as many events, users and items as it says."""
    directory = ROOT / "ops/data/online-retail"
    dataset = load(directory, catalog_first=True)
    licence = (directory / "LICENSE.md").read_text()
    assert (
        f"{dataset.n_interactions:,} events of {len(dataset.profiles):,} users on {len(dataset.catalog):,}"
        in licence
    )
    assert "CC BY 4.0" in licence


@pytest.mark.parametrize("script", SCRIPTS)
def test_scripts_are_sound(script: str) -> None:
    """Executable, strict, and bash can read them."""
    path = ROOT / script
    text = path.read_text()
    assert os.access(path, os.X_OK)
    assert text.startswith("#!/usr/bin/env bash\n")
    assert "\nset -euo pipefail\n" in text
    subprocess.run(["bash", "-n", path], check=True, timeout=10)


def test_setup_refuses_what_it_does_not_know() -> None:
    """A typing error is a sentence and exit code 2, not an environment."""
    done = subprocess.run(
        [ROOT / "ops/setup", "everything"], capture_output=True, text=True, check=False, timeout=10
    )
    assert done.returncode == 2
    assert done.stderr == "ops/setup: expected demo or dev, got 'everything'\n"


FAKE_PYTHON = """#!/usr/bin/env bash
case "$*" in
  "-m venv "*)
    echo venv >>"$CALLS"
    sleep 0.3
    mkdir -p "$3/bin"
    cp "$0" "$3/bin/python"
    ;;
  "-m pip "*) echo "$3" >>"$CALLS" ;;
  -) cat >/dev/null ;;
  *) exec "$REAL_PYTHON" "$@" ;;
esac
"""


class Checkout:
    """A checkout whose Python notes what it is asked to install, and installs nothing. Its path has a space."""

    def __init__(self, root: Path) -> None:
        self.root = root
        (root / "ops").mkdir(parents=True)
        shutil.copy(ROOT / "ops/setup", root / "ops/setup")
        (root / "pyproject.toml").touch()
        self.python = root / "python"
        self.python.write_text(FAKE_PYTHON)
        self.python.chmod(0o755)

    def setup(self, python: Path | None = None) -> subprocess.Popen[str]:
        """`ops/setup`, begun."""
        env = {
            **os.environ,
            "PYTHON": str(python or self.python),
            "REAL_PYTHON": sys.executable,
            "CALLS": str(self.root / "calls"),
        }
        return subprocess.Popen(
            [self.root / "ops/setup"], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def calls(self) -> list[str]:
        """What was made and installed."""
        path = self.root / "calls"
        made = path.read_text().split() if path.exists() else []
        return [call for call in made if call != "--version"]


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    """An empty one."""
    return Checkout(tmp_path / "a checkout")


def _succeeds(setup: subprocess.Popen[str]) -> None:
    output = setup.communicate(timeout=60)
    assert setup.returncode == 0, output


def test_setup_begins_anew_after_an_interruption(checkout: Checkout) -> None:
    """A .venv with a Python and without pip is what Ctrl-C leaves: it is made again, not installed into."""
    subprocess.run(
        [sys.executable, "-m", "venv", "--without-pip", checkout.root / ".venv"], check=True, timeout=60
    )
    _succeeds(checkout.setup())
    assert checkout.calls() == ["venv", "install", "install"]


def test_setups_at_once_do_not_break_each_other(checkout: Checkout) -> None:
    """`ops/demo` and `ops/test` may be started together: one installs, the other waits and has nothing to do."""
    setups = [checkout.setup() for _ in range(2)]
    for setup in setups:
        _succeeds(setup)
    assert checkout.calls() == ["venv", "install", "install"]


def test_setup_does_not_pass_over_the_python_that_is_named(checkout: Checkout) -> None:
    """Where PYTHON is none, another one would be a surprise."""
    setup = checkout.setup(checkout.root / "no python")
    message = setup.communicate(timeout=60)[1]
    assert (setup.returncode, checkout.calls()) == (1, [])
    assert "PYTHON: expected a Python 3.11 or newer, got" in message
    assert "no python" in message
