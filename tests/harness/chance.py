"""What tests leave to chance: how often, and when."""

import os
import random


def rounds(usual: int, share: int = 1) -> int:
    """EPUFS_ROUNDS, which `make soak` sets high, or as many as a usual run has time for. Where one
    takes long, `share` of it: 10 for every tenth."""
    wanted = os.environ.get("EPUFS_ROUNDS")
    return max(1, int(wanted) // share) if wanted else usual


def seeded() -> random.Random:
    """EPUFS_SEED repeats the moments of an earlier run; the seed is printed."""
    seed = int(os.environ.get("EPUFS_SEED") or random.randrange(2**32))
    print(f"EPUFS_SEED={seed} repeats these moments")
    return random.Random(seed)
