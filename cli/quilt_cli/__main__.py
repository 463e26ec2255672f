"""`python -m quilt_cli`."""

from quilt_cli.main import main

main()
