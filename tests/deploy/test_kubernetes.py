"""The Kubernetes manifests: valid by the schemas of Kubernetes and KubeRay, and as closed as the README says.

tests/deploy/schemas/kuberay.json has KubeRay's part, written after its API reference; the pods inside are checked against
Kubernetes' own schema, in which unknown fields are errors.
"""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import jsonschema
import kubernetes_validate
import pytest
import yaml
from ray.scripts.scripts import start as ray_start

import dbp
from dbp.workers.local_ray import embedded_ray

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "deploy" / "kubernetes"
SCHEMA = json.loads((Path(__file__).parent / "schemas" / "kuberay.json").read_text())
OLDEST, NEWEST = "1.30", "1.37"  # of Kubernetes


def documents() -> list[dict]:
    """All objects of all files, but for Kustomize's own."""
    found = []
    for path in sorted(FOLDER.glob("*.yaml")):
        if path.name != "kustomization.yaml":
            found += list(yaml.safe_load_all(path.read_text()))
    return found


def name_of(document: dict) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def of_kind(kind: str) -> list[dict]:
    return [document for document in documents() if document["kind"] == kind]


RAY = [*of_kind("RayCluster"), *of_kind("RayJob")]
CORE = [document for document in documents() if document not in RAY]


def cluster_of(document: dict) -> dict:
    return document["spec"] if document["kind"] == "RayCluster" else document["spec"]["rayClusterSpec"]


def groups(document: dict) -> list[dict]:
    cluster = cluster_of(document)
    return [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]


def pods() -> list[tuple[str, dict]]:
    found = []
    for document in RAY:
        for group in groups(document):
            found.append((f"{name_of(document)} {group.get('groupName', 'head')}", group["template"]))
        if "submitterPodTemplate" in document["spec"]:
            found.append((f"{name_of(document)} submitter", document["spec"]["submitterPodTemplate"]))
    return found


PODS = [pytest.param(template, id=name) for name, template in pods()]


def test_there_is_all_that_is_needed():
    kinds = {document["kind"] for document in documents()}
    assert kinds == {"Namespace", "PersistentVolumeClaim", "NetworkPolicy", "RayCluster", "RayJob", "ConfigMap"}


@pytest.mark.parametrize("document", RAY, ids=name_of)
def test_ray_objects_are_valid_by_kuberays_schema(document):
    jsonschema.Draft202012Validator(SCHEMA).validate(document)


def test_the_schema_refuses_what_kuberay_refuses():
    """A schema that lets everything through would prove nothing."""
    validator = jsonschema.Draft202012Validator(SCHEMA)
    good = of_kind("RayCluster")[0]

    def spoilt(*path: str | int, value: object) -> dict:
        document = copy.deepcopy(good)
        place = document
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        return document

    for bad in (
        spoilt("apiVersion", value="ray.io/v1alpha1"),
        spoilt("spec", "authOptions", "mode", value="none"),
        spoilt("spec", "headGroupSpec", "rayStartParams", "num-cpus", value=0),
        spoilt("spec", "workerGroupSpecs", 0, "replicas", value="2"),
        spoilt("spec", "headGroup", value={}),
        spoilt("spec", "headGroupSpec", "serviceType", value="Public"),
    ):
        with pytest.raises(jsonschema.ValidationError):
            validator.validate(bad)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("document", CORE, ids=name_of)
def test_other_objects_are_valid_by_kubernetes_schema(document, version):
    kubernetes_validate.validate(document, version, strict=True)


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("template", PODS)
def test_pods_are_valid_by_kubernetes_schema(template, version):
    metadata = {"name": "any", **template.get("metadata", {})}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
    kubernetes_validate.validate(pod, version, strict=True)


@pytest.mark.parametrize("template", PODS)
def test_pods_keep_the_restricted_standard(template):
    """Which the namespace demands: not root, no new privileges, no capabilities, the runtime's seccomp profile."""
    spec = template["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] > 0
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    assert not any(spec.get(key) for key in ("hostNetwork", "hostPID", "hostIPC"))
    for container in spec["containers"]:
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
        assert container["resources"]["requests"].keys() == container["resources"]["limits"].keys() == {"cpu", "memory"}
        assert not container["image"].endswith(":latest")


@pytest.mark.parametrize("document", RAY, ids=name_of)
def test_every_node_has_probes_the_storage_and_labels_for_the_policy(document):
    for group in groups(document):
        (container,) = group["template"]["spec"]["containers"]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            assert container[probe]["httpGet"]["path"].endswith("healthz")
        assert {"name": "storage", "mountPath": "/storage"} in container["volumeMounts"]
        claims = [
            volume.get("persistentVolumeClaim", {}).get("claimName") for volume in group["template"]["spec"]["volumes"]
        ]
        assert claims[0] == of_kind("PersistentVolumeClaim")[0]["metadata"]["name"]
        (policy,) = of_kind("NetworkPolicy")
        wanted = policy["spec"]["podSelector"]["matchLabels"].items()
        assert wanted <= group["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("document", RAY, ids=name_of)
def test_ray_asks_for_the_token_and_no_manifest_has_one(document):
    assert cluster_of(document)["authOptions"] == {"mode": "token", "secretName": "dbp-token"}
    kustomization = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    (generator,) = kustomization["secretGenerator"]
    assert (generator["name"], generator["files"]) == ("dbp-token", ["auth_token=token"])
    assert kustomization["generatorOptions"]["disableNameSuffixHash"] is True
    assert not of_kind("Secret")
    ignored = subprocess.run(["git", "check-ignore", FOLDER / "token"], cwd=ROOT, capture_output=True)
    assert ignored.returncode == 0


@pytest.mark.parametrize("document", RAY, ids=name_of)
def test_what_kuberay_starts_ray_with_is_known_to_this_ray(document):
    options = {option.lstrip("-") for parameter in ray_start.params for option in parameter.opts}
    for group in groups(document):
        assert group["rayStartParams"].keys() <= options
        for name, value in group["rayStartParams"].items():
            kind = next(each.type for each in ray_start.params if f"--{name}" in each.opts)
            assert not isinstance(kind, click.types.IntParamType) or value.isdigit()
    import ray

    assert cluster_of(document)["rayVersion"] == pinned("ray")
    assert ray.__version__.split(".")[0] == pinned("ray").split(".")[0]


def pinned(package: str) -> str:
    lines = (ROOT / "deploy" / "constraints.txt").read_text().splitlines()
    return next(line.partition("==")[2] for line in lines if line.startswith(package + "=="))


def test_the_dashboard_is_not_public():
    """Not by a service, not by an ingress; and the policy lets in the operator and named clients only, on that port only."""
    for document in RAY:
        head = cluster_of(document)["headGroupSpec"]
        assert head["serviceType"] == "ClusterIP"
        assert not head.get("enableIngress")
    (policy,) = of_kind("NetworkPolicy")
    assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
    for rule in policy["spec"]["ingress"]:
        assert rule["from"]
        assert all(source.get("podSelector") or source.get("namespaceSelector") for source in rule["from"])
        among_themselves = rule["from"] == [{"podSelector": policy["spec"]["podSelector"]}]
        assert among_themselves or {port["port"] for port in rule["ports"]} in ({8265}, {8080})
    submitter = of_kind("RayJob")[0]["spec"]["submitterPodTemplate"]
    assert submitter["metadata"]["labels"] == {"dbp-client": "true"}


def test_kustomize_builds_it(tmp_path):
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here; what Kustomize is told is checked by the other tests")
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    (tmp_path / "kubernetes" / "token").write_text("a" * 64)
    done = subprocess.run(
        ["kubectl", "kustomize", tmp_path / "kubernetes"], capture_output=True, text=True, check=True, timeout=60
    )
    built = {document["kind"]: document for document in yaml.safe_load_all(done.stdout)}
    assert built["Secret"]["metadata"]["name"] == built["RayCluster"]["spec"]["authOptions"]["secretName"]
    assert built["Secret"]["data"].keys() == {"auth_token"}
    assert {document["metadata"].get("namespace", "dbp") for document in built.values()} == {"dbp"}


@pytest.mark.long
def test_the_script_of_the_rayjob_trains_and_goes_on_after_a_new_start(tmp_path):
    """Its own lines, with the folders of this test, on a Ray of this test."""
    (config,) = of_kind("ConfigMap")
    jobs, storage = tmp_path / "jobs", tmp_path / "storage"
    for folder in (jobs, storage / "tables"):
        folder.mkdir(parents=True)
    table = storage / "tables" / "digits.parquet"
    subprocess.run([sys.executable, ROOT / "examples" / "make_digits.py", table], check=True)
    for name, text in config["data"].items():
        (jobs / name).write_text(text.replace("/storage", str(storage)).replace("/jobs", str(jobs)))
    job = dbp.Job.from_file(jobs / "job.yaml")
    (rayjob,) = of_kind("RayJob")
    workers = cluster_of(rayjob)["workerGroupSpecs"][0]
    cpus = workers["replicas"] * int(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert job.workers == cpus  # else it would wait for ever, or leave CPUs idle
    (jobs / "job.yaml").write_text((jobs / "job.yaml").read_text().replace("workers: 4", "workers: 1"))
    script = rayjob["spec"]["entrypoint"].replace("/jobs", str(jobs))
    with embedded_ray(1):
        import ray

        environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "RAY_ADDRESS": ray.get_runtime_context().gcs_address,
        }

        def run() -> str:
            done = subprocess.run(["sh", "-c", script], env=environment, capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, done.stderr[-2000:]
            return done.stdout + done.stderr

        run()
        assert (storage / "digits" / "model.safetensors").exists()
        assert "done already" in run()
