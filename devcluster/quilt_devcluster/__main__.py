"""`python -m quilt_devcluster` is the command quilt-devcluster."""

from quilt_devcluster.main import main

if __name__ == "__main__":
    main()
