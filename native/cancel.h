// log sum exp where the maximum and the logarithm of the sum nearly cancel: in numbers of twice
// double's digits, so that the difference still has all of double's: to 4 ulp down to 2^-35 of the
// maximum.
#pragma once

#include "twofold.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// max + log sum_j exp(x_j - max), for finite max; x(j, n, out) writes the n <= kLanes numbers from
// j on.
template <class Read>
double cancelling_logsumexp(int64_t classes, double max, const Read& x) {
  constexpr int L = kLanes<double>;
  Twofold total{};
  for (int64_t j = 0; j < classes; j += L) {
    alignas(64) double numbers[L];
    for (int k = 0; k < L; ++k) numbers[k] = -INFINITY;
    x(j, classes - j < L ? classes - j : L, numbers);
    const D u = load(numbers), lowest = all(max - 1000);
    total = total + twofold_exp(sum_of(u > lowest ? u : lowest, all(-max)));
  }
  const Twofold lse = twofold(max) + twofold_log(across(total));
  return lse.hi[0];
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
