"""Reads a text of metrics with Prometheus' own Python parser, and looks up what a dashboard or rules ask for.

    metrics.py TEXT… -- EXPRESSIONS      files; EXPRESSIONS is a JSON list of PromQL texts

Says what is wrong and exits 1; prints how many names and expressions there were.
"""

import json
import re
import sys

from prometheus_client.parser import text_string_to_metric_families

# PromQL's words that look like names.
WORDS = set("sum max min avg count rate increase histogram_quantile by without on ignoring and or unless le label_values".split())
# Prometheus makes it itself.
GIVEN = {"up": {"job", "instance"}}
# Prometheus adds these to every series.
ADDED = {"job", "instance", "__name__"}
# Told of requests that got no answer alone, which nobody makes here: see layers/metrics/src/tests.rs.
RARE = {"error_type"}


def read(path, known):
    """Adds a text's series to `known` (name to labels); each family has its HELP and TYPE, each series is told once."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    for family in text_string_to_metric_families(text):
        assert family.documentation, f"{family.name} has no HELP"
        assert family.type in ("counter", "gauge", "histogram"), f"{family.name} is {family.type}"
        seen = set()
        for sample in family.samples:
            series = (sample.name, tuple(sorted(sample.labels.items())))
            assert series not in seen, f"{series} is told twice"
            seen.add(series)
            known.setdefault(sample.name, set()).update(sample.labels)
            assert all(re.fullmatch(r"[a-z_][a-z0-9_]*", label) for label in sample.labels), sample.labels


def look_up(expression, known):
    """Every name and every label of an expression is known."""
    plain = re.sub(r'"[^"]*"', '""', expression)
    names = set(re.findall(r"(?<![\w$])[a-z_][a-z0-9_]*(?=\s*(?:\{|\[|\)|,|$|[=<>+*/-]|\s))", re.sub(r"\{[^}]*\}", "{}", plain)))
    grouped = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"(?:by|on|without|ignoring)\s*\(([^)]*)\)", plain))))
    matched = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", " ".join(re.findall(r"\{([^}]*)\}", plain))))
    names -= WORDS | grouped
    assert names, f"no metric in {expression}"
    labels = ADDED | RARE
    for name in names:
        assert name in known, f"{name} is asked for by {expression!r}, and no gateway tells it"
        labels |= known[name]
    for label in grouped | matched:
        assert label in labels, f"the label {label} of {expression!r} is on none of {sorted(names)}"


def main():
    at = sys.argv.index("--")
    known = dict(GIVEN)
    for path in sys.argv[1:at]:
        read(path, known)
    with open(sys.argv[at + 1], encoding="utf-8") as file:
        expressions = json.load(file)
    for expression in expressions:
        look_up(expression, known)
    print(f"{len(known)} names, {len(expressions)} expressions")


if __name__ == "__main__":
    try:
        main()
    except AssertionError as error:
        sys.exit(str(error))
