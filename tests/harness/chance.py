"""What tests leave to chance, and how much of it: how often, how many, for how long, and when.

The usual sizes are what `make test` has time for; `make soak` asks for the full ones.
"""

import os
import random
from typing import Literal


def rounds(usual: int, share: int = 1) -> int:
    """EPUFS_ROUNDS, which `make soak` sets high, or as many as a usual run has time for. Where one
    takes long, `share` of it: 10 for every tenth."""
    wanted = os.environ.get("EPUFS_ROUNDS")
    return max(1, int(wanted) // share) if wanted else usual


def size(what: Literal["KEYS", "JOBS", "SECONDS"], usual: int) -> int:
    """EPUFS_KEYS objects, EPUFS_JOBS deletions or EPUFS_SECONDS, where they are given."""
    return int(os.environ.get(f"EPUFS_{what}") or usual)


def seeded() -> random.Random:
    """EPUFS_SEED repeats the moments of an earlier run; the seed is printed."""
    seed = int(os.environ.get("EPUFS_SEED") or random.randrange(2**32))
    print(f"EPUFS_SEED={seed} repeats these moments")
    return random.Random(seed)
