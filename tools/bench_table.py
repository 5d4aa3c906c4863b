#!/usr/bin/env python3
"""Turns reports of `litemamba_bench --json` into the Markdown tables of docs/performance.md.

    litemamba_bench --json > quick.json
    tools/bench_table.py quick.json [MORE.json ...]

A column a device, in the order of the files; a device that is in several files has all their rows. A cell is the device's time
(the host's in brackets), the rate, and the share of the limit that it is nearest to.
"""
import json
import sys


def seconds(value):
    for factor, unit in ((1, "s"), (1e3, "ms")):
        if value * factor >= 1:
            return f"{value * factor:.3g} {unit}"
    return f"{value * 1e6:.3g} µs"


def cell(row):
    if "skipped" in row:
        return "–"
    if not row["passed"]:
        return "**wrong**"
    host = row["host_seconds"]["median"]
    device = row.get("device_seconds", {}).get("median")
    text = f"{seconds(device)} ({seconds(host)})" if device else seconds(host)
    if "rate" in row:
        text += f", {row['rate']:.3g} {row['unit']}"
    if "share" in row:
        text += f", {100 * row['share']:.0f} % of {row['limit']}"
    return text


def main():
    devices, rows = {}, {}
    for path in sys.argv[1:]:
        with open(path, encoding="utf-8") as file:
            for device in json.load(file)["devices"]:
                devices.setdefault(device["id"], device)
                for row in device["rows"]:
                    key = f"{row['name']} {row['shape']}"
                    rows.setdefault(key, {})[device["id"]] = cell(row)
    if not devices:
        sys.exit(__doc__)

    def line(cells):
        print("| " + " | ".join(cells) + " |")

    line(["limit"] + [f"{i}: {d['name']}" for i, d in devices.items()])
    line(["---"] * (len(devices) + 1))
    limits = [d["limits"] for d in devices.values()]
    line(["copy, GB/s"] + [f"{x['copy_bytes_per_second'] / 1e9:.4g}" for x in limits])
    line(["multiply-add, TFLOP/s"] + [f"{x['flops'] / 1e12:.3g}" for x in limits])
    line(["exp2, G/s"] + [f"{x['exp2_per_second'] / 1e9:.4g}" if x["exp2_per_second"] else "–" for x in limits])
    for name, key in (("empty dispatch", "empty"), ("dependent dispatch", "dependent")):
        line([name] + [seconds(x[f"{key}_dispatch_seconds"]) for x in limits])
    line(["submit to done"] + [seconds(x["submit_to_done_seconds"]) for x in limits])
    print()
    line(["row"] + list(devices))
    line(["---"] * (len(devices) + 1))
    for key, cells in rows.items():
        line([key] + [cells.get(device, "–") for device in devices])


if __name__ == "__main__":
    main()
