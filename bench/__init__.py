"""The benchmarks: figures as ratios against peers, measured in turns in one run."""
