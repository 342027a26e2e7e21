"""`python -m sslax COMMAND` does the same as `sslax COMMAND`."""

from sslax.cli.main import main

if __name__ == "__main__":
    main()
