"""`python -m sslax COMMAND`, which is `sslax COMMAND`."""

from sslax.cli.main import main

if __name__ == "__main__":
    main()
