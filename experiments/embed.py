"""`sslax embed`, as `python -m experiments.embed`."""

from sslax.cli.embed import main

if __name__ == "__main__":
    main()
