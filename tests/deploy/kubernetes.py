"""Both overlays rendered, each document held against Kubernetes' own schema, and what holds between documents."""

import shutil

from common import BIN, DEPLOY, LeftOut, check, demand, document, documents, well

import yaml

OVERLAYS = ("journal", "confirm")
# `sleep` as preStop is there from 1.30 on.
VERSION = "1.30"
LABEL = {"app.kubernetes.io/name": "hookgate"}


def rendered(overlay):
    """What kustomize makes of an overlay: of its features only those are known here that are used."""
    folder = DEPLOY / "kubernetes/overlays" / overlay

    def of(folder):
        kustomization = document(folder / "kustomization.yaml")
        known = {"apiVersion", "kind", "resources", "images", "configMapGenerator", "generatorOptions"}
        demand(set(kustomization) <= known, f"{folder}: this check does not render {set(kustomization) - known}")
        found = []
        for name in kustomization["resources"]:
            path = (folder / name).resolve()
            demand(path.exists(), f"{folder}: no {name}")
            found += of(path) if path.is_dir() else documents(path)
        for generator in kustomization.get("configMapGenerator", []):
            demand(kustomization["generatorOptions"] == {"disableNameSuffixHash": True}, f"{folder}: other options")
            labels = generator["options"]["labels"]
            data = {name: (folder / name).read_text() for name in generator["files"]}
            found.append({"apiVersion": "v1", "kind": "ConfigMap", "data": data,
                          "metadata": {"name": generator["name"], "labels": labels}})
        for image in kustomization.get("images", []):
            for each in found:
                for container in each.get("spec", {}).get("template", {}).get("spec", {}).get("containers", []):
                    if container["image"].split(":")[0] == image["name"]:
                        container["image"] = f"{image['name']}:{image['newTag']}"
        return found

    return of(folder)


def keyed(found):
    made = {(each["kind"], each["metadata"]["name"]): each for each in found}
    demand(len(made) == len(found), "two documents of one kind have one name")
    return made


@check("Kubernetes: kustomize renders what the checks below judge")
def _(_context):
    kubectl = shutil.which("kubectl") or shutil.which("kustomize")
    if not kubectl:
        raise LeftOut("neither kubectl nor kustomize is here, and no package of Debian, PyPI or npm has them alone; "
                      "the overlays are put together by this check itself")
    words = [kubectl, "kustomize"] if kubectl.endswith("kubectl") else [kubectl, "build"]
    for overlay in OVERLAYS:
        said = well([*words, DEPLOY / "kubernetes/overlays" / overlay])
        theirs = keyed(list(yaml.safe_load_all(said)))
        demand(theirs == keyed(rendered(overlay)), f"{overlay}: kustomize makes something else of it:\n{said}")


@check("Kubernetes: kubernetes-validate of every document")
def _(context):
    count = 0
    for overlay in OVERLAYS:
        file = context.folder(overlay) / "all.yaml"
        found = rendered(overlay)
        file.write_text(yaml.safe_dump_all(found))
        well([BIN / "kubernetes-validate", "--strict", "-k", VERSION, file])
        count += len(found)
    return f"{count} documents, Kubernetes {VERSION}"


def workload(found):
    [each] = [each for each in found.values() if each["kind"] in ("StatefulSet", "Deployment")]
    return each, each["spec"]["template"]


@check("Kubernetes: selectors, ports, mounts and probes meet what is there")
def _(_context):
    for overlay in OVERLAYS:
        found = keyed(rendered(overlay))
        each, template = workload(found)
        pod, labels = template["spec"], template["metadata"]["labels"]
        [container] = pod["containers"]
        ports = {port["name"]: port["containerPort"] for port in container["ports"]}
        demand(labels == LABEL and each["spec"]["selector"]["matchLabels"] == LABEL, f"{overlay}: labels of the pods")
        for service in (one for (kind, _), one in found.items() if kind == "Service"):
            demand(service["spec"]["selector"] == LABEL, f"{overlay}: {service['metadata']['name']} selects others")
            demand({port["targetPort"] for port in service["spec"]["ports"]} <= set(ports), f"{overlay}: no such port")
        demand(found["PodDisruptionBudget", "hookgate"]["spec"]["selector"]["matchLabels"] == LABEL, "the budget's pods")
        policy = found["NetworkPolicy", "hookgate"]["spec"]
        demand(policy["podSelector"]["matchLabels"] == LABEL, "the policy's pods")
        peers = [peer for rule in policy["egress"] for peer in rule["to"]] + \
                [peer for rule in policy["ingress"] for peer in rule["from"]]
        for peer in peers:
            demand(peer.get("podSelector", {}).get("matchLabels") != LABEL, f"{overlay}: {peer} is the gateway itself")
        demand({port["port"] for rule in policy["ingress"] for port in rule["ports"]} == set(ports), "the policy's ports")
        for name, path in (("livenessProbe", "/livez"), ("startupProbe", "/livez"), ("readinessProbe", "/readyz")):
            demand(container[name]["httpGet"] == {"path": path, "port": "admin"}, f"{overlay}: {name}")
        volumes = {volume["name"] for volume in pod["volumes"]}
        volumes |= {claim["metadata"]["name"] for claim in each["spec"].get("volumeClaimTemplates", [])}
        demand({mount["name"] for mount in container["volumeMounts"]} == volumes, f"{overlay}: mounts")
        demand(("ConfigMap", "hookgate") in found and ("ServiceAccount", pod["serviceAccountName"]) in found, overlay)
        if overlay == "journal":
            demand(("Service", each["spec"]["serviceName"]) in found, "the StatefulSet's service")
            demand(each["spec"]["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"},
                   "a journal would be deleted with its replica")
            demand(not any(kind == "HorizontalPodAutoscaler" for kind, _ in found), "an autoscaler would strand journals")
        else:
            target = found["HorizontalPodAutoscaler", "hookgate"]["spec"]["scaleTargetRef"]
            demand((target["kind"], target["name"]) == (each["kind"], each["metadata"]["name"]), "the autoscaler's target")
            demand("replicas" not in each["spec"], "a number of replicas would undo the autoscaler's at each apply")


@check("Kubernetes: restricted pods that end without losing a request")
def _(_context):
    for overlay in OVERLAYS:
        _, template = workload(keyed(rendered(overlay)))
        pod = template["spec"]
        [container] = pod["containers"]
        whole, own = pod["securityContext"], container["securityContext"]
        # The profile `restricted` of the Pod Security Standards, and a root that is only read.
        demand(whole["runAsNonRoot"] is True and whole["seccompProfile"]["type"] == "RuntimeDefault", overlay)
        demand(own["allowPrivilegeEscalation"] is False and own["capabilities"] == {"drop": ["ALL"]}, overlay)
        demand(own["readOnlyRootFilesystem"] is True and whole["runAsUser"] == 65532, overlay)
        demand(not any(pod.get(name) for name in ("hostNetwork", "hostPID", "hostIPC")), overlay)
        kinds = {kind for volume in pod["volumes"] for kind in volume if kind != "name"}
        demand(kinds <= {"configMap", "secret", "projected", "emptyDir"}, f"{overlay}: volumes {kinds}")
        demand("env" not in container and "envFrom" not in container, f"{overlay}: secrets are files, not variables")
        sleep = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        demand(pod["terminationGracePeriodSeconds"] >= sleep + 10 + 5, f"{overlay}: killed before a stop has ended")
        demand(container["resources"]["requests"] and "memory" in container["resources"]["limits"], overlay)
