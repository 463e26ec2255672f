"""Probes in pods: who reaches whom."""
