"""`python -m localprompt`."""

from localprompt.cli.main import main

if __name__ == "__main__":
    main()
