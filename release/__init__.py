"""Makes a release from a commit: images, chart, command line, list of contents, checksums.

The same commit shall give the same bytes on every machine, as long as Debian's archive has the same packages:
times come from the commit, Python packages from the lock, Go modules from go.sum.
"""
