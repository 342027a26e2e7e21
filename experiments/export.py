"""`sslax export`, as `python -m experiments.export`."""

from sslax.cli.export import main

if __name__ == "__main__":
    main()
