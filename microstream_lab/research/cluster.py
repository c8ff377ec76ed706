"""Sweeps on a cluster: what joblib hands out in this block goes to dask workers.

Invariant: nothing but where the work is done changes; without the extra ``dask`` it says so.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from microstream_lab.errors import RunError

__all__ = ["cluster"]

_PATIENCE_S = 10.0


@contextmanager
def cluster(address: str, timeout_s: float = _PATIENCE_S) -> Iterator[None]:
    """Let sweeps in this block run on a dask.distributed cluster.

    Parameters
    ----------
    address : str
        Of the scheduler, such as ``tcp://host:8786``.
    timeout_s : float
        How long to wait for it, and then for a first worker.

    Raises
    ------
    RunError
        If dask is not installed, or nobody answers there.
    """
    try:
        from distributed import Client
    except ImportError as error:
        need = "the extra dask: pip install 'microstream-lab[dask]'"
        raise RunError(f"dask: found no distributed, expected {need}") from error
    from joblib import parallel_config

    try:
        client = Client(address, timeout=timeout_s)
    except (OSError, ValueError) as error:
        raise RunError(f"dask: found no scheduler at {address}: {error}") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=timeout_s)
        except TimeoutError as error:
            raise RunError(f"dask: found no worker at {address} in {timeout_s:g} s") from error
        with parallel_config(backend="dask", client=client):
            yield
