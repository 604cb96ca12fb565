from __future__ import annotations

from chaos import chaos
from s3_server import _own_working_folder, _s3_server, s3

__all__ = ["_own_working_folder", "_s3_server", "chaos", "s3"]
