"""Whether a file lies on a network drive, where SQLite's write-ahead log is not safe."""

from __future__ import annotations

import os
from pathlib import Path

import psutil

__all__ = ["is_network_drive"]

NETWORK_TYPES = frozenset(
    {
        "nfs",
        "nfs4",
        "cifs",
        "smbfs",
        "smb2",
        "smb3",
        "afpfs",
        "webdav",
        "davfs",
        "davfs2",
        "9p",
        "ncpfs",
        "afs",
        "lustre",
        "gpfs",
        "glusterfs",
        "ceph",
        "beegfs",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.rclone",
        "fuse.gvfsd-fuse",
        "vboxsf",
        "prl_fs",
    }
)
"""Names of file systems that lie on another machine."""


def is_network_drive(path: Path) -> bool:
    """Return True if a path lies on a drive of another machine, as far as the system says."""
    resolved = path.resolve()
    if str(resolved).startswith("\\\\"):
        return True
    best, kind, options = -1, "", ""
    for part in psutil.disk_partitions(all=True):
        mount = os.path.normcase(part.mountpoint)
        inside = Path(os.path.normcase(resolved)).is_relative_to(mount)
        if inside and len(mount) >= best:
            best, kind, options = len(mount), part.fstype.lower(), part.opts
    return kind in NETWORK_TYPES or "remote" in options.split(",")
