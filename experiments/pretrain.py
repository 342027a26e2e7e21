"""`sslax pretrain`, as `python -m experiments.pretrain`."""

from sslax.cli.pretrain import main

if __name__ == "__main__":
    main()
