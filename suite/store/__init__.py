"""The local store: rows in SQLite, tensors as safetensors files named by their checksum.

Written by one process (the driver). Rows change in transactions and files are renamed into place when complete, so that
`kill -9` at any moment leaves a store in which everything recorded is whole. The unit of training is a stack: all its
runs are recorded at once or not at all. A file that was let go on purpose (`suite gc`) is marked and counts as there.
"""

from suite.store.database import SCHEMA_VERSION, Store, made_of
from suite.store.files import DamagedStore, explained, read_checked, write_atomically
from suite.store.records import StoredCheckpoint, StoredFailure, StoredProbe, StoredRun, StoredValue

__all__ = [
    "SCHEMA_VERSION",
    "DamagedStore",
    "Store",
    "StoredCheckpoint",
    "StoredFailure",
    "StoredProbe",
    "StoredRun",
    "StoredValue",
    "explained",
    "made_of",
    "read_checked",
    "write_atomically",
]
