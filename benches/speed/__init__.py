"""The speed of softxent beside its peers and the limits of the machine: python -m benches.speed.

grid        which tasks, shapes and dtypes are measured
inputs      their arrays, the exact answers, and the comparison with these
losses      the peers of softmax and cross-entropy: softxent, torch, JAX, scikit-learn, SciPy
heads       the peers of the linear head, and its matmuls by each engine
limits      a copy and a multiplication in place
timing      alternating runs
child       one process that measures, with the memory allocator that it was started with
machine     what was measured where
page        the results as pages of docs/
"""
