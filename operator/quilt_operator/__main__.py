"""`python -m quilt_operator`."""

from quilt_operator.main import main

main()
