"""The command line: parse, open, call the pipeline. Heavy imports wait until a command runs."""

import os
import sys
from collections.abc import Callable, Sequence
from importlib import metadata

from cyclopts import App, CycloptsError, Group, Parameter

from ontogeny.cli import keeping, looking, making, planning, steering
from ontogeny.errors import OntogenyError

FAMILIES: dict[str, dict[str, Callable[..., None]]] = {
    "Making": {
        "demo": making.demo,
        "run": making.run,
        "grow": making.grow,
        "harvest": making.harvest,
        "train": making.train,
        "evaluate": making.evaluate,
        "analyze": making.analyze,
    },
    "Before spending anything": {
        "plan": planning.plan,
        "audit": planning.audit,
        "revisions": planning.revisions,
    },
    "Looking": {
        "list": looking.list_artifacts,
        "show": looking.show,
        "report": looking.write_report,
        "figures": looking.write_figures,
        "compare": looking.compare,
        "annotate": looking.annotate,
    },
    "Trying out": {
        "steer": steering.steer,
    },
    "Keeping house and moving": {
        "prune": keeping.prune,
        "export": keeping.export_artifact,
        "import": keeping.import_artifact,
    },
}
"""Every command, under the heading that `ontogeny --help` gives it; the families are modules of this package."""

app = App(
    name="ontogeny",
    help="Shows how a language model came to know what it knows, with one sparse dictionary over its snapshots.",
    version=lambda: metadata.version("ontogeny"),
    default_parameter=Parameter(negative=()),  # a switch that is off needs no opposite
    help_epilogue="Recipes are TOML files or shipped names (`ontogeny show demo --resolved` lists every key). Any key "
    "can be set as --section.key VALUE, or by an environment variable ONTOGENY_SECTION_KEY.",
)
for heading, commands in FAMILIES.items():
    group = Group.create_ordered(heading)
    for name, command in commands.items():
        app.command(command, name=name, group=group, sort_key=list(commands).index(name))


def main(arguments: Sequence[str] | None = None) -> None:
    """Exit codes: 0 done, 2 the user's error in one line on standard error, 1 ours."""
    # Read by OpenMP when torch loads: a waiting thread sleeps. On a busy machine spinning ones cost 2 x (docs/log.md).
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Read by torch at its first tensor: large ones ask for huge pages, whose faults cost a quarter (Linux only).
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
    try:
        app(sys.argv[1:] if arguments is None else list(arguments), exit_on_error=False, print_error=False)
    except (OntogenyError, CycloptsError) as error:
        print(f"ontogeny: {' '.join(str(error).split())}", file=sys.stderr)
        raise SystemExit(2) from None
    except KeyboardInterrupt:
        print("ontogeny: interrupted; the same command goes on where it stopped.", file=sys.stderr)
        raise SystemExit(130) from None
