"""`python -m quilt_runtime`."""

from quilt_runtime.main import main

if __name__ == "__main__":
    main()
