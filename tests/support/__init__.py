"""What several test directories and the benchmarks share: expected values, inputs and bounds.

- `oracle`: the formulas in 50-digit arithmetic (mpmath), and `ulps`, which measures an error;
- `long_double`: the same formulas for rows that are too long for 50 digits;
- `logits`: the hard inputs;
- `bounds`: how large an error may be;
- `backends`: the kinds of array that the library takes;
- `bits`: half-precision numbers as bits, and comparison bit by bit;
- `linear_head`: inputs for the linear head, and its loss computed from all logits.

`oracle` and `long_double` share no code with the library.
"""
