"""`python -m quilt_nodeagent` starts the agent."""

from quilt_nodeagent.main import main

main()
