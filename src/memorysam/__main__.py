"""`python -m memorysam`."""

from memorysam.cli import run

if __name__ == "__main__":
    run()
