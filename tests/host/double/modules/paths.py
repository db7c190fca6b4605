"""Where the host keeps things."""

import os
import tempfile
from pathlib import Path

script_path = str(Path(__file__).resolve().parents[1])
data_path = os.environ.get("SAFEGEN_DOUBLE_DATA") or tempfile.mkdtemp(prefix="webui-double-")
