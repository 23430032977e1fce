// The largest and smallest logit of a chunk.
#pragma once

#include "arrays/strided.h"
#include "math/compensated_sum.h"
#include "math/logit_transform.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

constexpr int64_t kChunk = 2048;
constexpr int64_t kBlock = 1024;  // the part of a chunk that smaller steps buffer

// The position of the first `value`; n if there is none.
template <class S, class T>
inline int64_t find_first(const S* u, int64_t n, T value) {
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) {
    const int lane = find_lane<T>(load_as<T>(u + i), value);
    if (lane < kLanes<T>) return i + lane;
  }
  while (i < n && as_number(u[i]) != value) ++i;
  return i;
}

// The largest and smallest number of a chunk. NaN is ignored here; it shows in the sum.
template <class T>
struct Range {
  T max, min;
  // Whether UnshiftedExp covers all of them.
  bool fits_unshifted() const {
    return max <= UnshiftedExp<T>::kLargest && min >= -UnshiftedExp<T>::kLargest;
  }
};

// The range of numbers of a half type from their bits, as many at once as a vector holds: the
// largest is the largest as signed integers, the smallest negative number the largest as unsigned
// integers. Returns false where that isn't the answer or may not be: where no number is above 0,
// and where one is NaN. Where no number is below 0, `min` is one of the numbers.
template <class S>
inline bool range_of_bits(const S* u, int64_t n, Range<float>* range) {
  constexpr int L = kLanes<uint16_t>, kSide = 4;
  if (n < L) return false;
  const auto* const bits = reinterpret_cast<const uint16_t*>(u);
  V<int16_t> most[kSide];
  V<uint16_t> least[kSide];
  const auto begin = [&](int k, int64_t i) SOFTXENT_INLINE {
    least[k] = load(bits + i);
    most[k] = reinterpret_cast<V<int16_t>>(least[k]);
  };
  const auto join = [&](int k, int64_t i) SOFTXENT_INLINE {
    const V<uint16_t> x = load(bits + i);
    least[k] = maximum<uint16_t>(x, least[k]);
    most[k] = maximum<int16_t>(reinterpret_cast<V<int16_t>>(x), most[k]);
  };
  for (int k = 0; k < kSide; ++k) begin(k, 0);
  int64_t i = 0;
  for (; i + kSide * L <= n; i += kSide * L) {
#pragma GCC unroll 4
    for (int k = 0; k < kSide; ++k) join(k, i + k * L);
  }
  for (; i + L <= n; i += L) join(0, i);
  join(1, n - L);  // overlaps the last vector
  V<uint16_t> ends[2];
  ends[0] = maximum<uint16_t>(maximum<uint16_t>(least[0], least[1]),
                              maximum<uint16_t>(least[2], least[3]));
  ends[1] = reinterpret_cast<V<uint16_t>>(
      maximum<int16_t>(maximum<int16_t>(most[0], most[1]), maximum<int16_t>(most[2], most[3])));
  S lanes[2 * L];
  __builtin_memcpy(lanes, ends, sizeof lanes);
  const V<float> a = load_as<float>(lanes), b = load_as<float>(lanes + L / 2);
  const V<float> c = load_as<float>(lanes + L), d = load_as<float>(lanes + L + L / 2);
  range->min = -largest_lane<float>(-minimum<float>(a, b));
  range->max = largest_lane<float>(maximum<float>(c, d));
  return range->max > 0 && all_lanes<float>((a == a) & (b == b) & (c == c) & (d == d));
}

template <class T, class S>
inline Range<T> range_of(const S* u, int64_t n) {
  if constexpr (Storage<S>::is_half) {
    Range<T> range;
    if (range_of_bits(u, n, &range)) return range;
  }
  constexpr int L = kLanes<T>, kSide = 4;  // independent chains
  V<T> most[kSide], least[kSide];
  for (int k = 0; k < kSide; ++k) {
    most[k] = broadcast(static_cast<T>(-INFINITY));
    least[k] = broadcast(static_cast<T>(INFINITY));
  }
  int64_t i = 0;
  for (; i + kSide * L <= n; i += kSide * L) {
#pragma GCC unroll 4
    for (int k = 0; k < kSide; ++k) {
      const V<T> x = load_as<T>(u + i + k * L);
      most[k] = maximum<T>(x, most[k]);
      least[k] = minimum<T>(x, least[k]);
    }
  }
  for_each_vector<T>(
      n - i,
      [&](int64_t k) {
        most[0] = maximum<T>(load_as<T>(u + i + k), most[0]);
        least[0] = minimum<T>(load_as<T>(u + i + k), least[0]);
      },
      [&](int64_t k, int64_t left) {
        most[1] = maximum<T>(load_part_as(u + i + k, left, static_cast<T>(-INFINITY)), most[1]);
        least[1] = minimum<T>(load_part_as(u + i + k, left, static_cast<T>(INFINITY)), least[1]);
      });
  const V<T> max = maximum<T>(maximum<T>(most[0], most[1]), maximum<T>(most[2], most[3]));
  const V<T> min = minimum<T>(minimum<T>(least[0], least[1]), minimum<T>(least[2], least[3]));
  return {largest_lane<T>(max), -largest_lane<T>(-min)};
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
