"""Run the benchmarks: `python -m benchmarks.run [--full] [--only NAME] [--json OUT]`, one table and one JSON file."""

import argparse
import dataclasses
import datetime
import json
import os
import platform
import sys
from pathlib import Path

import torch

from benchmarks.questions import QUESTIONS
from benchmarks.timing import Line, format_table

LATEST = Path("benchmarks/latest.json")


def describe_machine() -> dict[str, str | int]:
    """The machine a table was made on: processor, cores, system, Python, torch, threads."""
    return {
        "processor": read_processor_name(),
        "cores": os.cpu_count() or 1,
        "load": f"{os.getloadavg()[0]:.1f}",
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }


def read_processor_name() -> str:
    """The processor's own name where the system tells it, else its architecture."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def run_questions(names: list[str], full: bool) -> list[Line]:
    """Ask the named questions one after the other; a line goes to the error stream when one begins, since some take
    minutes.
    """
    lines: list[Line] = []
    for name in names:
        print(f"{name}: {QUESTIONS[name].text} ...", file=sys.stderr, flush=True)
        lines += QUESTIONS[name].answer(full)
    return lines


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description=__doc__)
    parser.add_argument("--full", action="store_true", help="more rounds and every case (quick without it)")
    parser.add_argument("--only", action="append", choices=sorted(QUESTIONS), help="one question; may be repeated")
    parser.add_argument("--json", type=Path, default=LATEST, help=f"where the numbers go (default {LATEST})")
    options = parser.parse_args(arguments)

    date = datetime.datetime.now().astimezone().isoformat(timespec="seconds")
    machine = describe_machine()
    lines = run_questions(options.only or list(QUESTIONS), options.full)
    print(f"{date}  " + ", ".join(f"{key} {value}" for key, value in machine.items()))
    print(format_table(lines))
    report = {
        "date": date,
        "machine": machine,
        "full": options.full,
        "lines": [dataclasses.asdict(line) | {"met": line.met} for line in lines],
    }
    options.json.write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
