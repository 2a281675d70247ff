"""`python -m threedzal`: the same as the command `threedzal`."""

from threedzal.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
