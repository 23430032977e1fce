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
};

// The sum of kSlots<float> numbers in double, which has digits to spare. Each is added to the one
// half of them further on, and so on: the chains of dependent additions are short.
SOFTXENT_INLINE inline double sum_of_slots(const V<float>* v) {
  constexpr int P = kSlotVectors<float>;
  V<double> parts[2 * P];
  for (int k = 0; k < P; ++k) {
    parts[2 * k] = widen<0>(v[k]);
    parts[2 * k + 1] = widen<1>(v[k]);
  }
  for (int half = P; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) parts[k] += parts[k + half];
  }
  return sum_of_lanes(parts[0]);
}

// Compensated sums in slots, and their total.
template <class T>
struct SlotSum {
  static constexpr int P = kSlotVectors<T>;
  CompensatedSum<T> part[P];

  // Adds whole(i) for each vector of [0, n) that is whole, and part_of(i, count) for the last one.
  template <class Whole, class Part>
  SOFTXENT_INLINE void add(int64_t n, const Whole& whole, const Part& part_of) {
    constexpr int L = kLanes<T>;
    int64_t i = 0;
    for (; i + kSlots<T> <= n; i += kSlots<T>) {
      for (int p = 0; p < P; ++p) part[p].add(whole(i + p * L));
    }
    for (int p = 0; p < P; ++p, i += L) {
      if (i + L <= n) {
        part[p].add(whole(i));
      } else if (i < n) {
        part[p].add(part_of(i, n - i));
      }
    }
  }

  DoubleDouble total() const;
};
template <>
inline DoubleDouble SlotSum<float>::total() const {
  V<float> hi[P], lo[P];
  for (int p = 0; p < P; ++p) {
    hi[p] = part[p].hi;
    lo[p] = part[p].lo;
  }
  return {sum_of_slots(hi), sum_of_slots(lo)};
}
template <>
inline DoubleDouble SlotSum<double>::total() const {
  SlotSum<double> sum = *this;
  for (int half = P / 2; half > 0; half /= 2) {
    for (int p = 0; p < half; ++p) {
      sum.part[p].add(sum.part[p + half].hi);
      sum.part[p].lo += sum.part[p + half].lo;
    }
  }
  CompensatedSum<double>& last = sum.part[0];
#pragma GCC unroll 4
  for (int half = kLanes<double> / 2; half > 0; half /= 2) {
    Mask<double> other;
    for (int k = 0; k < kLanes<double>; ++k) other[k] = (k + half) % kLanes<double>;
    const V<double> hi = last.hi, lo = last.lo;
    last.add(shuffle<double>(hi, hi, other));
    last.lo += shuffle<double>(lo, lo, other);
  }
  return {last.hi[0], last.lo[0]};
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
