"""Talking to the Kubernetes API: raw JSON over aiohttp, for a Kubernetes client costs too much memory."""
