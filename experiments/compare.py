"""`sslax compare`, as `python -m experiments.compare`."""

from sslax.cli.compare import main

if __name__ == "__main__":
    main()
