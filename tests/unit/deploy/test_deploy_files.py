"""Image, compose, Kubernetes and Slurm files: one set of names, ports and options for all."""

import ast
import importlib.util
import os
import re
import shutil
import stat
import subprocess
import time
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

from deploy.launching import command_line
from efficientzero.config.preset_files import load_preset
from learner.__main__ import _EXIT_GRACE_S

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
COMPOSE = DEPLOY / "docker-compose.yml"
OVERRIDES = sorted({*DEPLOY.glob("docker-*.yml")} - {COMPOSE})
MANIFESTS = sorted({*(DEPLOY / "kubernetes").glob("*.yaml")})
MODULES = {
    "replay": "replay",
    "learner": "learner",
    "reanalyzer": "reanalyzer",
    "actor": "actor",
    "evaluator": "actor.evaluator",
}
WORKERS = {"reanalyzer", "actor", "evaluator"}
WORKER_FILES = {"ca.pem", "token"}
HEAD_FILES = {"ca.pem", "token", "read_token", "learner.pem", "learner.key"}
PORTS = {"--cluster.learner-port": "7400", "--cluster.replay-port": "7401"}


@pytest.fixture(scope="module")
def compose():
    return yaml.safe_load(COMPOSE.read_text())


def documents(*names):
    paths = [DEPLOY / "kubernetes" / name for name in names] or MANIFESTS
    found = [d for path in paths for d in yaml.safe_load_all(path.read_text())]
    return [d for d in found if d["kind"] != "Kustomization"]


def words(service):
    """Return a compose service's or a container's command as words, a shell's taken apart."""
    return " ".join(service["command"]).replace("$$", "$").split()


def run_module(command):
    return [command[i + 1] for i, word in enumerate(command) if word == "-m"]


def containers():
    """Yield pod, container, and whether it is the run's own process, of every workload."""
    for document in documents():
        pod = document.get("spec", {}).get("template", {}).get("spec")
        for container in (*pod.get("initContainers", ()), *pod["containers"]) if pod else ():
            yield pod, container


# compose


def test_compose_has_every_role_and_runs_it_as_its_module(compose):
    assert compose["services"].keys() == MODULES.keys()
    for role, service in compose["services"].items():
        assert run_module(words(service)) == [MODULES[role]]
        assert importlib.util.find_spec(MODULES[role])


def test_compose_keeps_to_what_every_reader_of_it_accepts(compose):
    assert compose["version"] == "3.8"  # docker stack 20.10 wants one
    for name, service in compose["services"].items():
        assert isinstance(service.get("depends_on", []), list), name  # docker stack
        assert "ports" not in service, name  # Swarm would listen on every address
        assert "container_name" not in service, name  # could not be scaled
        assert service["deploy"]["endpoint_mode"] == "dnsrr", name


def test_every_service_is_restarted_after_a_failure_and_only_then_and_has_limits(compose):
    for name, service in compose["services"].items():
        assert service["restart"] == "on-failure", name
        assert service["deploy"]["restart_policy"]["condition"] == "on-failure", name
        assert service["deploy"]["resources"]["limits"].keys() == {"cpus", "memory"}, name
        assert service["read_only"], name
        assert service["cap_drop"] == ["ALL"], name
        # As a mount: docker stack ignores "tmpfs:".
        scratch = {"type": "tmpfs", "target": "/tmp"}
        # A worker cannot change, nor fill the disk of, a run's folder.
        folder = "workers:/workers" if name in WORKERS else "runs:/runs"
        assert service["volumes"] == [folder, scratch], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert not {"privileged", "cap_add", "user", "pid", "network_mode"} & service.keys(), name
        assert "tmpfs" not in service, name
    assert compose["volumes"].keys() == {"runs", "workers"}


def test_learner_and_replay_stay_where_the_run_folder_is(compose):
    learner, replay = compose["services"]["learner"], compose["services"]["replay"]
    assert learner["deploy"]["placement"] == replay["deploy"]["placement"]
    assert learner["deploy"]["replicas"] == replay["deploy"]["replicas"] == 1


def test_learner_gets_the_time_that_its_last_save_may_take(compose):
    assert int(compose["services"]["learner"]["stop_grace_period"].rstrip("s")) > _EXIT_GRACE_S
    (head,) = documents("head.yaml")
    assert head["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] > _EXIT_GRACE_S


def test_credentials_are_given_to_those_who_need_them(compose):
    targets = {
        name: {secret["target"] for secret in service.get("secrets", ())}
        for name, service in compose["services"].items()
    }
    assert targets == {
        "replay": HEAD_FILES,
        "learner": HEAD_FILES,
        **dict.fromkeys(WORKERS, WORKER_FILES),
    }
    for service in compose["services"].values():
        for secret in service.get("secrets", ()):
            assert secret["source"] in compose["secrets"]
            assert compose["secrets"][secret["source"]]["file"].endswith("/" + secret["target"])
            assert stat.filemode(secret["mode"]) == "?r--------"


@pytest.mark.parametrize("path", OVERRIDES, ids=lambda path: path.name)
def test_override_adds_no_service_and_takes_no_protection_away(path, compose):
    override = yaml.safe_load(path.read_text())
    kept = {"volumes", "security_opt", "cap_drop", "cap_add", "privileged", "user", "read_only"}
    assert not any(kept & service.keys() for service in override["services"].values())
    assert override["version"] == compose["version"]
    assert override["services"].keys() <= compose["services"].keys()


def test_ports_are_published_at_a_named_address_only():
    for path in OVERRIDES:
        for service in yaml.safe_load(path.read_text())["services"].values():
            for port in service.get("ports", ()):
                assert re.match(r"(127\.0\.0\.1|\$\{EFFICIENTZERO_ADDRESS:\?.*\}):74", port), port


@pytest.mark.parametrize("variables", [(), ("docker-stack.gpu.yml",)], ids=["plain", "gpu"])
def test_docker_itself_reads_the_stack(variables, tmp_path):
    if shutil.which("docker") is None:
        pytest.skip("needs docker's client: apt-get install docker.io")
    for name in HEAD_FILES:
        (tmp_path / name).touch()
    files = [str(COMPOSE), *(str(DEPLOY / name) for name in variables)]
    command = ["docker", "stack", "config", *(w for file in files for w in ("-c", file))]
    environment = {**os.environ, "EFFICIENTZERO_CREDENTIALS_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    if "unknown" in done.stderr.lower() and "config" in done.stderr:
        pytest.skip("this docker has no `stack config` (23 or later has)")
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(done.stdout)["services"].keys() == MODULES.keys()


# Kubernetes


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
def test_manifest_fits_its_schema(path):
    for document in documents(path.name):
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_kustomization_names_every_file_and_what_the_pods_refer_to():
    kustomization = yaml.safe_load((DEPLOY / "kubernetes" / "kustomization.yaml").read_text())
    others = {path.name for path in MANIFESTS} - {"kustomization.yaml"}
    assert set(kustomization["resources"]) == others
    files = {
        generated["name"]: {Path(file).name for file in generated["files"]}
        for generated in kustomization["secretGenerator"]
    }
    assert files == {"head-credentials": HEAD_FILES, "worker-credentials": WORKER_FILES}
    (config,) = kustomization["configMapGenerator"]
    for pod, container in containers():
        assert container["envFrom"] == [{"configMapRef": {"name": config["name"]}}]
        assert container["image"] == kustomization["images"][0]["name"]
        secrets = {v["secret"]["secretName"] for v in pod["volumes"] if "secret" in v}
        assert secrets <= files.keys()
        mounted = {mount["name"] for mount in container["volumeMounts"]}
        assert mounted == {volume["name"] for volume in pod["volumes"]}


def test_kubernetes_runs_every_role_as_its_module_and_knows_stuck_from_busy():
    found = {container["name"]: container for _, container in containers()}
    assert found.keys() == {*MODULES, "prepare"}
    for role, module in MODULES.items():
        assert run_module(words(found[role])) == [module]
        assert words({"command": found[role]["livenessProbe"]["exec"]["command"]}) == [
            *("python", "-m", "deploy.health")
        ]


def test_no_pod_can_gain_a_right_and_only_the_head_has_the_run_folder():
    for pod, container in containers():
        assert pod["securityContext"]["runAsNonRoot"], container["name"]
        assert pod["securityContext"]["runAsUser"] == 10001, container["name"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container["name"]
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        claims = [v["name"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
        assert claims == ([] if container["name"] in WORKERS else ["runs"]), container["name"]
        assert not any("hostPath" in volume for volume in pod["volumes"])


def test_selectors_find_the_pods_that_they_are_meant_for():
    labels = {
        document["metadata"]["name"]: document["spec"]["template"]["metadata"]["labels"]
        for document in documents()
        if document["kind"] in {"Job", "Deployment"}
    }
    (service,) = documents("service.yaml")
    head, workers = documents("network-policy.yaml")
    wanted = [service["spec"]["selector"], head["spec"]["podSelector"]["matchLabels"]]
    for selector in wanted:
        assert [name for name, has in labels.items() if selector.items() <= has.items()] == ["head"]
    allowed = head["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert allowed == workers["spec"]["podSelector"]["matchLabels"]
    assert {name for name, has in labels.items() if allowed.items() <= has.items()} == WORKERS
    ports = {str(port["port"]) for port in head["spec"]["ingress"][0]["ports"]}
    assert ports == {str(port["port"]) for port in service["spec"]["ports"]} == {*PORTS.values()}


# All of them


def launch_options():
    """Yield each file's options for launch.py, as words."""
    yield words(yaml.safe_load(COMPOSE.read_text())["services"]["learner"])
    yield words(next(c for _, c in containers() if c["name"] == "prepare"))


def test_launch_takes_the_options_and_the_ports_are_the_same_everywhere():
    for command in launch_options():
        start = command.index("launch.py") + 1
        end = command.index("&&") if "&&" in command else len(command)
        options = [word.strip('"') for word in command[start:end]]
        assert options[-1] == "$EFFICIENTZERO_RUN_OPTIONS"
        parsed = command_line.parse(options[:-1], load_preset("catch"))
        assert parsed.prepare
        cluster = parsed.config.cluster
        assert (cluster.learner_port, cluster.replay_port) == (7400, 7401)
        assert cluster.bind_host == "0.0.0.0"


def test_environment_variables_are_read_by_someone():
    files = [COMPOSE, *OVERRIDES, *MANIFESTS, DEPLOY / "Dockerfile"]
    given = set()
    for path in files:
        given |= set(re.findall(r"(EFFICIENTZERO_[A-Z_]+)\s*[:=,]", path.read_text()))
    sources = [*(ROOT / "efficientzero").rglob("*.py"), *DEPLOY.rglob("*.py"), *files]
    text = "\n".join(path.read_text() for path in sources)
    for name in given:
        read = rf'"{name}"|\$\{{?{name}\b|\$\({name}\)'
        assert re.search(read, text), f"{name} is set and never read"


def test_the_page_lists_the_variables_of_the_compose_files_and_no_others():
    page = ROOT / "docs" / "guide" / "machines.md"
    used = set()
    for path in (COMPOSE, *OVERRIDES):
        used |= set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", path.read_text()))
    table = re.findall(r"^\| `([A-Z_]+)` \|", page.read_text(), re.MULTILINE)
    assert sorted(table) == sorted(used)


def test_dockerfile_copies_what_exists_and_is_not_ignored():
    text = (DEPLOY / "Dockerfile").read_text()
    assert "syntax=" not in text.splitlines()[0]
    sent = set(re.findall(r"^!(\S+)$", (ROOT / ".dockerignore").read_text(), re.MULTILINE))
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.+)$", text, re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert copied == sent
    assert all((ROOT / name).exists() for name in copied)
    roles = {module.partition(".")[0] for module in MODULES.values()}
    assert {*roles, "deploy", "efficientzero", "mcts_cpp", "launch.py"} <= copied


def test_what_the_image_imports_to_check_itself_exists():
    text = (DEPLOY / "Dockerfile").read_text().replace("\\\n", "")
    (code,) = re.findall(r'^RUN python -c "(import torch.*)"$', text, re.MULTILINE)
    names = []
    for statement in ast.parse(code).body:
        if isinstance(statement, ast.Import | ast.ImportFrom):
            front = f"{statement.module}." if isinstance(statement, ast.ImportFrom) else ""
            names += [front + alias.name for alias in statement.names]
    assert {"launch", "replay.driver.reverb_lite"} <= {*names}
    assert [name for name in names if importlib.util.find_spec(name) is None] == []


def test_no_key_gets_into_an_image_or_a_commit():
    for name in (".dockerignore", ".gitignore"):
        assert re.search(r"^(\*\*/)?credentials/?$", (ROOT / name).read_text(), re.MULTILINE), name


def test_image_does_not_run_as_root():
    stages = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")
    assert re.findall(r"^USER (\S+)$", stages[-1], re.MULTILINE) == ["10001:10001"]


def test_image_has_no_program_that_gives_rights_and_a_folder_for_every_volume(compose):
    last = (DEPLOY / "Dockerfile").read_text().split("\nFROM ")[-1]
    # After the last package is installed, in the same layer.
    assert re.search(r"apt-get install.*?-perm /6000 -exec chmod a-s \{\} \+", last, re.DOTALL)
    assert last.count("apt-get install") == 1
    (made,) = re.findall(r"install -d -o efficientzero -g efficientzero (.+)$", last, re.MULTILINE)
    mounted = {v.partition(":")[2] for s in compose["services"].values() for v in s["volumes"][:1]}
    assert set(made.split()) == mounted


# Slurm

FAKE = """#!/bin/bash
name=${0##*/}
case $name in
  scontrol) [[ $1 = show ]] && printf '%s\\n' n1 n2 n3 || echo "scontrol $*" >> "$CALLS" ;;
  getent) echo "10.0.0.1 STREAM n1"
          if [[ -p $CALLS.hold ]]; then echo getent >> "$CALLS"; read -r < "$CALLS.hold"; fi ;;
  srun) while [[ $1 = --* ]]; do echo "$1"; shift; done | grep nodelist | tr '\\n' ' ' > "$CALLS.$$"
        while [[ $1 = --* ]]; do shift; done
        [[ "$*" != *--serve* ]] || trap 'echo "asked $$" >> "$CALLS"; asked=yes' TERM
        echo "$(cat "$CALLS.$$")${*:2}" >> "$CALLS"; rm "$CALLS.$$"
        [[ "$*" = *--serve* ]] || exit 0
        for ((i = 0; i < SERVES_S * 10; i++)); do [[ -z $asked ]] || break; sleep 0.1; done
        [[ -n $asked ]] || exit 0
        for ((i = 0; i < SAVES_S * 10; i++)); do sleep 0.1; done
        exit 143 ;;
esac
"""


@pytest.fixture
def slurm(tmp_path):
    """Return a function that runs the script with stand-ins for Slurm; the calls they got."""
    for name in ("srun", "scontrol", "getent"):
        (tmp_path / name).write_text(FAKE)
        (tmp_path / name).chmod(0o755)

    def start(*arguments, serves_s="2", saves_s="0"):
        environment = {
            **os.environ,
            "PATH": f"{tmp_path}:{os.environ['PATH']}",
            "CALLS": str(tmp_path / "calls"),
            "SERVES_S": serves_s,
            "SAVES_S": saves_s,
            "SLURM_JOB_ID": "7",
            "SLURM_JOB_NODELIST": "n[1-3]",
            "SLURM_SUBMIT_DIR": str(tmp_path),
            "EFFICIENTZERO_CREDENTIALS": "/secret",
            "PYTHON": "python",
            "ACTORS_PER_NODE": "2",
        }
        script = str(DEPLOY / "slurm" / "train.sbatch")
        return subprocess.Popen(
            [script, *arguments], env=environment, stderr=subprocess.PIPE, text=True
        )

    return start, tmp_path / "calls"


def test_slurm_puts_the_head_on_the_first_node_and_workers_on_the_others(slurm):
    start, calls = slurm
    assert start("pong", "--preset", "catch").wait(60) == 0
    lines = calls.read_text().splitlines()
    (head,) = [line for line in lines if "--serve" in line]
    assert head.startswith("--nodelist=n1 launch.py --serve --runs-dir runs --run-id pong ")
    assert head.endswith(" --preset catch")
    options = head.partition("--serve ")[2].split()
    cluster = command_line.parse(["--serve", *options], load_preset("catch")).config.cluster
    assert (cluster.bind_host, cluster.learner_port, cluster.replay_port) == (
        "10.0.0.1",
        7400,
        7401,
    )
    workers = sorted(line for line in lines if "--join" in line)
    join = "--join 10.0.0.1:7400"
    assert workers == [
        f"--nodelist=n1 -m actor.evaluator {join}",
        *(f"--nodelist=n2 -m {role} {join}" for role in ("actor", "actor", "reanalyzer")),
        *(f"--nodelist=n3 -m {role} {join}" for role in ("actor", "actor", "reanalyzer")),
    ]
    assert not any(line.startswith("scontrol requeue") for line in lines)


def wait_for_call(job, calls, words):
    while not (calls.exists() and words in calls.read_text()):
        assert job.poll() is None
        time.sleep(0.01)


def test_slurm_job_that_is_asked_to_end_is_queued_again(slurm):
    start, calls = slurm
    job = start("pong", serves_s="600")
    wait_for_call(job, calls, "--serve")
    job.terminate()
    assert job.wait(60) == 143
    lines = calls.read_text().splitlines()
    assert "scontrol requeue 7" in lines
    # The signal has reached srun itself, else the learner would not hear of it and save.
    (asked,) = [line for line in lines if line.startswith("asked ")]
    assert not Path("/proc", asked.removeprefix("asked ")).exists()


def test_slurm_learner_gets_one_signal_only_while_it_saves(slurm):
    start, calls = slurm
    job = start("pong", serves_s="600", saves_s="1")
    wait_for_call(job, calls, "--serve")
    job.terminate()
    wait_for_call(job, calls, "asked")
    job.terminate()
    assert job.wait(60) == 143
    lines = calls.read_text().splitlines()
    assert [line.split()[0] for line in lines].count("asked") == 1
    assert lines[-1] == "scontrol requeue 7"


def test_slurm_job_that_is_asked_to_end_while_it_starts_is_queued_again(slurm):
    start, calls = slurm
    hold = calls.with_name("calls.hold")
    os.mkfifo(hold)
    job = start("pong", serves_s="600")
    wait_for_call(job, calls, "getent")
    job.terminate()
    hold.write_text("go\n")
    assert job.wait(60) == 143
    assert calls.read_text().splitlines() == ["getent", "scontrol requeue 7"]


@pytest.mark.parametrize("arguments", [(), ("--preset", "catch")])
def test_slurm_script_without_a_name_shows_its_usage(slurm, arguments):
    start, calls = slurm
    job = start(*arguments)
    assert job.wait(60) == 2
    assert job.stderr.read().startswith("usage: sbatch deploy/slurm/train.sbatch NAME")
    assert not calls.exists()
