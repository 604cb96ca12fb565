from __future__ import annotations

from chaos import chaos
from gcs_server import _gcs_server, gcs
from s3_server import _own_working_folder, _s3_server, s3

__all__ = ["_gcs_server", "_own_working_folder", "_s3_server", "chaos", "gcs", "s3"]
