"""Bundles on disk: versions, their files, and which of them is current.

Invariant: a version appears whole or not at all; the pointer to the current one is replaced in one.
"""

from microstream_lab.registry.registry import Registry, VersionInfo

__all__ = ["Registry", "VersionInfo"]
