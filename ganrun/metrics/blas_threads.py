"""numpy's and scipy's linear algebra on as many threads as torch's.

Their BLAS, which on AMD processors is the faster one, starts one thread a core whatever ``device.threads`` says.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from threadpoolctl import threadpool_limits


@contextlib.contextmanager
def blas_threads() -> Iterator[None]:
    """Hold what runs within to torch's number of threads."""
    with threadpool_limits(limits=torch.get_num_threads(), user_api="blas"):
        yield
