"""Draw docs/demo.svg: what `ontogeny demo` prints, down to the first latents. `python docs/demo.py WORKSPACE`.

The demo is run there first, where it is not done.
"""

import io
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ontogeny.commands.demo import print_story
from ontogeny.pipeline import open_run, run_stages
from ontogeny.recipe import load_recipe
from ontogeny.workspace import Workspace

PICTURE = Path(__file__).resolve().parent / "demo.svg"
WIDTH, LINES = 112, 51


def main() -> None:
    """Take down what is printed, cut it, draw it."""
    terminal = {"width": WIDTH, "record": True, "force_terminal": True, "color_system": "truecolor"}
    printed = Console(**terminal, file=io.StringIO())
    print_story(run_stages(open_run(load_recipe("demo", env={}), Workspace(Path(sys.argv[1])))), printed)
    lines = printed.export_text(styles=True).splitlines()[:LINES]
    picture = Console(**terminal, file=io.StringIO())
    picture.print(Text.from_ansi("\n".join(["$ ontogeny demo", *lines, "…"])))
    # A picture in a repository asks the network for no font.
    drawn = re.sub(r"@font-face {.*?}\s*", "", picture.export_svg(title="ontogeny demo"), flags=re.DOTALL)
    PICTURE.write_text(drawn.replace("Fira Code,", "ui-monospace, Menlo, Consolas,"), encoding="utf-8")


if __name__ == "__main__":
    main()
