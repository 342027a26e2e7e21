"""`sslax evaluate`, as `python -m experiments.evaluate`."""

from sslax.cli.evaluate import main

if __name__ == "__main__":
    main()
