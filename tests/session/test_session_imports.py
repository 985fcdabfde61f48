"""The document works where no viewer and no model is installed."""

import subprocess
import sys


def test_the_session_loads_neither_torch_nor_qt_nor_napari():
    code = (
        "import sys, napari_nucleus.session.tool;"
        "print([m for m in ('torch', 'transformers', 'napari', 'qtpy', 'PyQt6') "
        "if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
