"""`python -m ontogeny.cli`: the same as `ontogeny`."""

from ontogeny.cli import main

if __name__ == "__main__":
    main()
