"""`sslax finetune`, as `python -m experiments.finetune`."""

from sslax.cli.finetune import main

if __name__ == "__main__":
    main()
