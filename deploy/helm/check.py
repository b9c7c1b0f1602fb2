"""Lints the chart and writes what it renders to, by Helm's own code (PyPI: helm-python-sdk)."""

import pathlib
import sys

import helm_python as helm

CHART = pathlib.Path(__file__).parent / "grantgate"
EVERYTHING = {
    "networkPolicy": {"appSelector": {"app.kubernetes.io/name": "crm-sync"}},
    "podMonitor": {"enabled": True, "labels": {"release": "prometheus"}},
    "prometheusRule": {"enabled": True, "labels": {"release": "prometheus"}},
    "podDisruptionBudget": {"enabled": True},
    "env": [{"name": "RUST_LOG", "value": "info"}],
    "existingSecret": "grantgate",
    "tlsSecret": "grantgate-tls",
    "persistence": {"size": "1Gi", "storageClass": "fast"},
    "imagePullSecrets": [{"name": "registry"}],
    "nodeSelector": {"disk": "ssd"},
    "podAnnotations": {"team": "crm"},
}

errors = helm.lint(str(CHART))["errors"]
if errors:
    sys.exit(f"lint: {errors}")
chart = helm.Chart.load(str(CHART))
manifests = []
NARROW = {"networkPolicy": {"appSelector": {"app": "crm-sync"}, "clusterCidrs": []}}
for values in ({}, EVERYTHING, NARROW):
    rendered = chart.render(values=values, name="demo", namespace="crm")
    # An empty list of destinations would be all of them.
    policies = [text for path, text in rendered.items() if path.endswith("networkpolicy.yaml")]
    if any("- to:\n" in text and "- to:\n        -" not in text for text in policies):
        sys.exit(f"a policy opens everything: {policies}")
    manifests += [text for path, text in rendered.items() if path.endswith(".yaml") and text.strip()]
try:
    chart.validate_schema({"replicas": 0})
except helm.HelmError:
    pass
else:
    sys.exit("values.schema.json takes no replicas")
# The Prometheus operator's kinds are not among Kubernetes' own schemas.
documents = [part for text in manifests for part in text.split("\n---\n") if "monitoring.coreos.com" not in part]
pathlib.Path(sys.argv[1]).write_text("\n---\n".join(documents))
