"""Run every contender in turn, several rounds, and write the figures into README.md.

python -m benchmarks.report --rounds 3 --steps 2000
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import matplotlib.pyplot as plt
from tqdm import tqdm

from benchmarks.contenders import CONTENDERS, FLOORS

FOLDER = Path(__file__).parent
PACKAGE = "this package"
TENSORFLOW_FLOOR = "products alone, TensorFlow"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
WIDTH_STEPS = 200
GROWTH = {"steps": (1000, 2000, 4000), "width": (100, 400, 1600), "networks": (1, 2, 4, 8)}


def run(name: str, **options: int) -> dict | None:
    """One run in a process of its own; None if its library is not installed."""
    arguments = [f"--{key.replace('_', '-')}={value}" for key, value in options.items()]
    command = [sys.executable, "-m", "benchmarks.run_contender", name, *arguments]
    process = subprocess.run(command, cwd=FOLDER.parent, capture_output=True, text=True)
    if process.returncode:
        raise RuntimeError(f"{name} failed:\n{process.stderr[-2000:]}")
    result = json.loads(process.stdout.splitlines()[-1])
    return None if "missing" in result else result


def compare(rounds: int, steps: int) -> dict[str, list[dict]]:
    """Rounds of all contenders, one after another, so that a busy moment hits all alike."""
    results: dict[str, list[dict]] = {name: [] for name in CONTENDERS | FLOORS}
    for _ in range(rounds):
        for name in tqdm(results, desc="contenders"):
            result = run(name, steps=steps)
            if result:
                results[name].append(result)
    return {name: found for name, found in results.items() if found}


def floor_of(results: dict[str, list[dict]], key: str) -> float:
    """The time of the matrix products alone, through the fastest library present."""
    return min(median(results[name], key) for name in FLOORS if name in results)


def medians(rounds: int, key: str, cases: list[tuple[str, dict[str, int]]]) -> list[float]:
    """The median of `key` for each case, a contender and its options; the cases in turn."""
    found = [[run(name, **options)[key] for name, options in cases] for _ in range(rounds)]
    return [statistics.median(values) for values in zip(*found, strict=True)]


def grow(rounds: int, steps: int, floor: str) -> dict[tuple[str, int, int], list[float]]:
    """By what grows, its value and the steps run: seconds of this package and of the floor."""
    grown = {}
    cases = [(what, value) for what, values in GROWTH.items() for value in values]
    for what, value in tqdm(cases, desc="growth"):
        options = {"steps": WIDTH_STEPS if what == "width" else steps, what: value}
        pair = [(PACKAGE, options), (floor, options)]
        grown[what, value, options["steps"]] = medians(rounds, "seconds", pair)
    return grown


def take_apart(rounds: int, steps: int, floor: str) -> dict[str, tuple[float, float]]:
    """Milliseconds a training step of two networks, on one thread and on all: by what they are."""
    parts = {
        "the products alone": (floor, {}),
        "two networks without BN": (PACKAGE, {"with_bn": 0}),
        "one without, one with BN": (PACKAGE, {"with_bn": 1}),
        "two networks with BN": (PACKAGE, {"with_bn": 2}),
    }
    cases = [
        (name, {"steps": steps, **options, **threads})
        for name, options in parts.values()
        for threads in ({"threads": 1}, {})
    ]
    found = medians(rounds, "train_ms", cases)
    return dict(zip(parts, zip(found[::2], found[1::2], strict=True), strict=True))


def median(results: list[dict], key: str) -> float:
    return statistics.median(result[key] for result in results)


def spread(results: list[dict], key: str) -> str:
    values = [result[key] for result in results]
    return f"{min(values):.2f}–{max(values):.2f}"


def protocol_ms(results: list[dict]) -> float:
    """Milliseconds a step with its share of the measurements."""
    return median(results, "train_ms") + median(results, "measure_ms") / 50


def comparison_table(results: dict[str, list[dict]]) -> str:
    """Speeds, ratios and shares; training, measuring and both."""
    package = results[PACKAGE]
    lines = [
        "| way | steps/s | ratio | train, ms a step | measure, ms | share of the floor: "
        "train, measure, mean | first step, s | peak, MB | accuracy without BN, with |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
    ]
    for name, found in results.items():
        shares = [floor_of(results, key) / median(found, key) for key in ("train_ms", "measure_ms")]
        accuracies = (
            ", ".join(f"{a:.3f}" for a in found[0]["accuracies"]) if name in CONTENDERS else ""
        )
        lines.append(
            f"| {name} | {1000 / protocol_ms(found):,.0f} "
            f"| {protocol_ms(package) / protocol_ms(found):.2f} "
            f"| {median(found, 'train_ms'):.2f} ({spread(found, 'train_ms')}) "
            f"| {median(found, 'measure_ms'):.1f} ({spread(found, 'measure_ms')}) "
            f"| {shares[0]:.2f}, {shares[1]:.2f}, {statistics.mean(shares):.2f} "
            f"| {median(found, 'first_step_s'):.1f} | {median(found, 'peak_mb'):,.0f} "
            f"| {accuracies} |"
        )
    return "\n".join(lines)


def growth_table(grown: dict[tuple[str, int, int], list[float]]) -> str:
    lines = [
        "| what grows | value | steps | seconds | floor, seconds | share of the floor |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for (what, value, steps), (package, floor) in grown.items():
        lines.append(
            f"| {what} | {value:,} | {steps:,} | {package:.2f} | {floor:.2f} "
            f"| {floor / package:.2f} |"
        )
    return "\n".join(lines)


def parts_table(parts: dict[str, tuple[float, float]]) -> str:
    (floors, *_) = parts.values()
    lines = [
        "| training | one thread, ms a step | share of the floor | all cores, ms a step "
        "| share of the floor |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for part, milliseconds in parts.items():
        cells = [f"{ms:.2f} | {f / ms:.2f}" for f, ms in zip(floors, milliseconds, strict=True)]
        lines.append(f"| {part} | {' | '.join(cells)} |")
    return "\n".join(lines)


def machine() -> str:
    """Processor and versions, in a line."""
    cores = os.cpu_count()
    names = ("tensorflow", "keras", "numpy", "torch", "jax")
    versions = []
    for name in names:
        try:
            versions.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            versions.append(f"{name} not installed")
    cpuinfo = Path("/proc/cpuinfo")
    processor = platform.processor() or platform.machine()
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if "model name" in line]
        processor = models[0].split(":")[1].strip() if models else processor
    return f"{processor}, {cores} cores; Python {platform.python_version()}, {', '.join(versions)}"


def draw(results: dict[str, list[dict]]) -> None:
    """Steps a second of each way, a bar each, with its spread over the rounds."""
    figure, ax = plt.subplots(figsize=(8, 3.6), layout="constrained")
    for position, (name, found) in enumerate(reversed(results.items())):
        speeds = [1000 / (r["train_ms"] + r["measure_ms"] / 50) for r in found]
        color = "#009E73" if name == PACKAGE else "0.6"
        ax.barh(position, statistics.median(speeds), color=color)
        ax.plot([min(speeds), max(speeds)], [position, position], color="black")
    ax.set_yticks(range(len(results)), list(reversed(results)))
    ax.set(title="The article's protocol, two networks", xlabel="steps a second, with measurements")
    figure.savefig(FOLDER / "speed.png", dpi=100)


def write(block: str) -> None:
    """Replace what stands between the marks in README.md."""
    path = FOLDER / "README.md"
    text = path.read_text(encoding="utf-8")
    before, rest = text.split(BEGIN)
    _, after = rest.split(END)
    path.write_text(f"{before}{BEGIN}\n\n{block}\n\n{END}{after}", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=2000)
    options = parser.parse_args()
    results = compare(options.rounds, options.steps)
    fastest = min(
        (name for name in FLOORS if name in results), key=lambda n: protocol_ms(results[n])
    )
    grown = grow(options.rounds, options.steps // 2, fastest)
    part_rounds = options.rounds + 2  # these differ by little
    parts = take_apart(part_rounds, options.steps, TENSORFLOW_FLOOR)
    draw(results)
    write(
        f"{machine()}. {options.rounds} rounds of {options.steps:,} steps.\n\n"
        f"{comparison_table(results)}\n\n![Steps a second](speed.png)\n\n"
        f"## Where the rest goes\n\nMedians of {part_rounds} rounds.\n\n{parts_table(parts)}\n\n"
        f"## How the cost grows\n\n{growth_table(grown)}"
    )
    print(comparison_table(results))


if __name__ == "__main__":
    main()
