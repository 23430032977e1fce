// Compensated sums and double-double numbers: unevaluated sums of two numbers, hi + lo, with about
// twice the digits of one.
#pragma once

#include <math.h>

#include "vector/vector.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// A double-double number: about 100 bits.
struct DoubleDouble {
  double hi = 0, lo = 0;

  void add(DoubleDouble other) {
    const double s = hi + other.hi, b = s - hi;
    lo += (hi - (s - b)) + (other.hi - b) + other.lo;
    hi = s;
  }
  void add(double x) { add(DoubleDouble{x, 0}); }
  DoubleDouble times(DoubleDouble other) const {
    const double p = hi * other.hi;
    return {p, fma(hi, other.hi, -p) + (hi * other.lo + lo * other.hi)};
  }
  // Where hi is infinite, lo is NaN (inf - inf).
  double value() const { return hi - hi == 0 ? hi + lo : hi; }
};

// The sum of all lanes, in double: for floats that has digits to spare.
inline double horizontal_sum(V<float> v) { return sum_of_lanes(widen<0>(v) + widen<1>(v)); }
inline double horizontal_sum(V<double> v) { return sum_of_lanes(v); }

// A compensated sum in each lane: lo collects the rounding errors of the additions, which TwoSum
// computes exactly (Knuth). Also a number with twice the digits of T, for products.
template <class T>
struct CompensatedSum {
  V<T> hi{}, lo{};

  SOFTXENT_INLINE void add(V<T> x) {
    const V<T> s = hi + x, b = s - hi;
    lo += (hi - (s - b)) + (x - b);
    hi = s;
  }
  // For an x that isn't larger than hi: FastTwoSum (Dekker) saves three operations.
  SOFTXENT_INLINE void add_less(V<T> x) {
    const V<T> s = hi + x;
    lo += x - (s - hi);
    hi = s;
  }
  SOFTXENT_INLINE CompensatedSum times(CompensatedSum other) const {
    const V<T> p = hi * other.hi;
    return {p, product_error<T>(hi, other.hi, p) + multiply_add(hi, other.lo, lo * other.hi)};
  }
  SOFTXENT_INLINE CompensatedSum scaled(V<T> power_of_2) const {
    return {hi * power_of_2, lo * power_of_2};
  }
  SOFTXENT_INLINE DoubleDouble total() const { return {horizontal_sum(hi), horizontal_sum(lo)}; }
};
template <>
inline DoubleDouble CompensatedSum<double>::total() const {
  CompensatedSum<double> sum = *this;
  // Pairwise, so that the chains of dependent additions are short.
#pragma GCC unroll 4
  for (int half = kLanes<double> / 2; half > 0; half /= 2) {
    Mask<double> other;
    for (int k = 0; k < kLanes<double>; ++k) other[k] = (k + half) % kLanes<double>;
    const V<double> hi = sum.hi, lo = sum.lo;
    sum.add(shuffle<double>(hi, hi, other));
    sum.lo += shuffle<double>(lo, lo, other);
  }
  return {sum.hi[0], sum.lo[0]};
}

// kLanes<T> doubles, each split into two T.
template <class T>
inline CompensatedSum<T> split_doubles(const double* from) {
  V<double> parts[kParts<T>];
  for (int p = 0; p < kParts<T>; ++p) parts[p] = load(from + p * kLanes<double>);
  const V<T> high = narrow<T>(parts);
  for_each_part<T>([&](auto p) { parts[p.index] -= widen<p.index>(high); });
  return {high, narrow<T>(parts)};
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
