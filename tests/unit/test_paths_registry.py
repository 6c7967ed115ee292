"""The registry of paths."""

from streamer import paths


def test_no_two_kernels_of_the_registry_share_a_name():
    """One symbol, one code: kernels compiled by different processes are read from disk side by side (`compiled`)."""
    for kind in ("score", "propose"):
        kernels = {getattr(path, kind) for path in paths.PATHS} - {None}
        names = {f"{kernel.py_func.__module__}.{kernel.py_func.__qualname__}" for kernel in kernels}
        assert len(names) == len(kernels)


def test_names_of_paths_are_distinct():
    """A list names the path that put an item there, so a name stands for one path."""
    assert len(set(paths.NAMES)) == paths.N_PATHS == len(paths.EVIDENCE_PATHS) + len(paths.LIST_PATHS)
