"""How kernels are called: by kernels, and by Python only where a way in was made."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from streamer.compiled import entry_kernel, kernel, reordering_kernel


def doubled(x: int) -> int:
    """What the kernels of this file do."""
    return 2 * x


@pytest.mark.parametrize("make", [kernel, reordering_kernel])
def test_a_kernel_that_python_cannot_call_says_so(make):
    """Without its way in a call would end the process: it is an error that names the kernel and what to do."""
    inner = make(doubled)
    outer = entry_kernel(lambda x: inner(x) + 1)
    assert outer(20) == 41
    with pytest.raises(TypeError, match=r"doubled: only kernels call it.*call doubled\.py_func"):
        inner(20)
    assert inner.py_func(20) == 40


def test_kernels_are_compiled_where_nothing_can_be_kept(tmp_path: Path) -> None:
    """A root that is read only, or another user's folder: a warning and a folder of this process, gone with it; no traceback."""
    (tmp_path / "file").touch()
    (tmp_path / "temporary").mkdir()
    env = {
        **{name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"},
        "XDG_CACHE_HOME": str(tmp_path / "file"),  # no folder can be made in it, by root either
        "TMPDIR": str(tmp_path / "temporary"),
    }
    script = tmp_path / "script.py"  # numba keeps nothing of what it cannot find
    script.write_text(
        "from streamer.compiled import entry_kernel, numba_config\n"
        "print(numba_config.CACHE_DIR)\n"
        "def doubled(x):\n    return 2 * x\n"
        "assert entry_kernel(doubled)(2) == 4\n"
    )
    done = subprocess.run(
        [sys.executable, script], env=env, capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(tmp_path / "temporary"))
    assert "kernels_not_kept" in done.stderr
    assert list((tmp_path / "temporary").iterdir()) == []
