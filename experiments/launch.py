"""`sslax launch`, as `python -m experiments.launch`."""

from sslax.cli.launch import main

if __name__ == "__main__":
    main()
