"""Executes an mlpackage without Core ML: a loader and an interpreter for the operators we emit."""
