"""The commands and the small job of tests/bad_input, and a real S3 server."""

from __future__ import annotations

from bad_input.conftest import _server, dbp, job
from s3_server import _own_working_folder, _s3_server, s3

__all__ = ["_own_working_folder", "_s3_server", "_server", "dbp", "job", "s3"]
