"""Every metric, label and value that the dashboard and the alerts name exists in what a running service exports."""

import json
import re
import unittest
import urllib.error
import urllib.request

import yaml

from program import ROOT, Service

# What Prometheus itself adds.
FROM_PROMETHEUS = {"up"}
# Labels whose values a service exports from its start, so that the values in an expression can be held against them.
FIXED = {"status": "keyfob_grants", "result": "keyfob_refresh_attempts_total"}


def alerts():
    groups = yaml.safe_load((ROOT / "packaging" / "prometheus" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def dashboard():
    return json.loads((ROOT / "packaging" / "grafana" / "keyfob.json").read_text())


def expressions():
    yield from ((rule["alert"], rule["expr"]) for rule in alerts())
    for panel in dashboard()["panels"]:
        yield from ((panel["title"], target["expr"]) for target in panel.get("targets", []))


def exported(text):
    """Each metric with its labels and the values that they have."""
    metrics = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            suffixes = ("_bucket", "_sum", "_count") if kind == "histogram" else ("",)
            for suffix in suffixes:
                metrics.setdefault(name + suffix, {})
        elif line and not line.startswith("#"):
            name, labels = re.match(r"(\w+)(?:\{(.*)\})? ", line).groups()
            for label, value in re.findall(r'(\w+)="([^"]*)"', labels or ""):
                metrics[name].setdefault(label, set()).add(value)
    return metrics


class Names(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with Service("demo") as demo:
            # One call that is refused, so that the counter of calls has its labels.
            request = urllib.request.Request(f"http://{demo.address('proxy')}/api/vehicles")
            try:
                urllib.request.urlopen(request)
            except urllib.error.HTTPError as error:
                assert error.code == 401
            cls.metrics = exported(demo.metrics())

    def test_every_metric_exists(self):
        named = 0
        for place, expression in expressions():
            for name in re.findall(r"\bkeyfob_\w+|\bup\b", expression):
                self.assertIn(name, self.metrics.keys() | FROM_PROMETHEUS, place)
                named += 1
        self.assertGreater(named, 20)

    def test_every_label_exists_on_its_metric(self):
        for place, expression in expressions():
            for name, selector in re.findall(r"\b(keyfob_\w+)\{([^}]*)\}", expression):
                for label, sign, values in re.findall(r'(\w+)(=~|!=|!~|=)"([^"]*)"', selector):
                    self.assertIn(label, self.metrics[name], place)
                    if FIXED.get(label) == name:
                        self.assertLessEqual(set(values.split("|")), self.metrics[name][label], place)
            grouped = re.search(r"by \(([^)]*)\)", expression)
            if grouped:
                labels = set().union(*(self.metrics[name] for name in re.findall(r"\bkeyfob_\w+", expression)))
                self.assertLessEqual(set(grouped.group(1).split(", ")), labels, place)

    def test_a_wrong_name_would_be_seen(self):
        self.assertNotIn("keyfob_grant_total", self.metrics)
        self.assertNotIn("state", self.metrics["keyfob_grants"])


class Form(unittest.TestCase):
    def test_every_alert_says_what_is_wrong_and_what_to_do(self):
        names = [rule["alert"] for rule in alerts()]
        self.assertEqual(len(names), len(set(names)))
        for rule in alerts():
            self.assertLessEqual(set(rule), {"alert", "expr", "for", "labels", "annotations"})
            self.assertIn(rule["labels"]["severity"], {"warning", "critical"})
            self.assertEqual(set(rule["annotations"]), {"summary", "description"})

    def test_panels_do_not_overlap_and_have_ids_of_their_own(self):
        panels = dashboard()["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        taken = set()
        for panel in panels:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24)
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            self.assertFalse(cells & taken, panel["title"])
            taken |= cells


if __name__ == "__main__":
    unittest.main()
