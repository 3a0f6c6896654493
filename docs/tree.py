"""Write the file tree in README.md from the modules' first lines. `python docs/tree.py`; `--check` only compares."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
BEGIN, END = "<!-- tree: written by docs/tree.py -->\n```\n", "```\n<!-- end of tree -->"
OTHERS = {
    "recipes/": "*.toml: one per published study and one per size of machine, the whole experiment on a screen",
    "benchmarks/": "ours against the floors and the peers, one file a question",
    "examples/": "the Python interface, in five runnable files",
    "notebooks/": "three that run on what the demo leaves, with no download",
    "docs/": "one page a folder, the method with its formulas and sources, a dated log, failures too",
    "tests/": "mirrors src file for file; golden numbers of the original codes, oracles, kill and resume",
}


def first_line(path: Path) -> str:
    """The first sentence of a module's docstring."""
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")


def lines_of(folder: Path, depth: int) -> list[str]:
    """One line a module, folders after files, with what each is for."""
    indent = "  " * depth
    lines = [
        f"{indent}{path.name:<{30 - 2 * depth}}{first_line(path)}"
        for path in sorted(folder.glob("*.py"))
        if path.name != "__init__.py"
    ]
    for below in sorted(path for path in folder.iterdir() if (path / "__init__.py").is_file()):
        lines.append(f"{indent}{below.name + '/':<{30 - 2 * depth}}{first_line(below / '__init__.py')}")
        lines += lines_of(below, depth + 1)
    return lines


def tree() -> str:
    """The tree as it stands in the README."""
    lines = [f"{name:<30}{what}" for name, what in OTHERS.items()]
    return "\n".join([*lines, "src/ontogeny/", *lines_of(ROOT / "src" / "ontogeny", 1), ""])


def main() -> None:
    text = README.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    fresh = before + BEGIN + tree() + END + after
    if "--check" in sys.argv[1:]:
        sys.exit(0 if fresh == text else "README.md: the tree is stale; run python docs/tree.py")
    README.write_text(fresh, encoding="utf-8")


if __name__ == "__main__":
    main()
