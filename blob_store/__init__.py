"""Content-addressed storage: blobs under the name of their SHA-256, in a folder or in any S3.

```python
store = open_store("file:///var/lib/mlmesh/blobs")
blob = store.put_file(Path("model.onnx"))
with store.open(blob.digest) as chunks: ...
```
"""

from blob_store.digest import EMPTY_DIGEST, sha256_of
from blob_store.errors import (
    BlobNotFound,
    BlobStoreError,
    BlobTooLarge,
    DigestMismatch,
    InvalidDigest,
    OffsetMismatch,
    StorageFull,
    StoreUnavailable,
    UploadIncomplete,
    UploadNotFound,
)
from blob_store.local import LocalBlobStore
from blob_store.opening import open_store
from blob_store.store import Blob, BlobReader, BlobStore, Upload, fetch_file

__all__ = [
    "EMPTY_DIGEST",
    "Blob",
    "BlobNotFound",
    "BlobReader",
    "BlobStore",
    "BlobStoreError",
    "BlobTooLarge",
    "DigestMismatch",
    "InvalidDigest",
    "LocalBlobStore",
    "OffsetMismatch",
    "StorageFull",
    "StoreUnavailable",
    "Upload",
    "UploadIncomplete",
    "UploadNotFound",
    "fetch_file",
    "open_store",
    "sha256_of",
]
