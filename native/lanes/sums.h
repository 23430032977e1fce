// Softmax arithmetic with one row in each lane of a vector. Numbers that need more digits than T
// are compensated sums of two T: double would take twice as many vectors, and conversions.
#pragma once

#include "lanes/tile.h"
#include "math/compensated_sum.h"
#include "math/log.h"
#include "row/normalizer.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// UnshiftedExp in the lanes that it covers, ShiftedExp in the others.
template <class T>
struct SelectedExp {
  Mask<T> fits_unshifted;
  UnshiftedExp<T> unshifted;
  ShiftedExp<T> pivot;

  SOFTXENT_INLINE V<T> exp(V<T> x) const {
    return fits_unshifted ? unshifted.exp(x) : pivot.exp(x);
  }
};

template <class T>
inline Mask<T> fits_unshifted(V<T> min, V<T> max) {
  return (max <= UnshiftedExp<T>::kLargest) & (min >= -UnshiftedExp<T>::kLargest);
}

// Calls f with the exponential for numbers between `min` and `max`. A lane's results don't depend
// on the other lanes.
template <class T, class F>
SOFTXENT_INLINE inline void with_exp(V<T> min, V<T> max, const F& f) {
  const Mask<T> unshifted = fits_unshifted<T>(min, max);
  if (all_lanes<T>(unshifted)) {
    f(UnshiftedExp<T>());
  } else {
    f(SelectedExp<T>{unshifted, UnshiftedExp<T>(), ShiftedExp<T>(max)});
  }
}

// The sums of the rows in the lanes of one vector.
template <class T>
struct LaneSums {
  V<T> base, top;              // the base: the maximum or the target; and its exponential
  CompensatedSum<T> tail_sum;  // the sum of the other exponentials divided by top; fits a double

  SOFTXENT_INLINE V<T> log_sum() const { return log1p<T>(tail_sum.hi, tail_sum.lo); }
  SOFTXENT_INLINE CompensatedSum<T> tail() const { return tail_sum.times({top, V<T>{}}); }
  // 1 / (top + tail).
  SOFTXENT_INLINE CompensatedSum<T> reciprocal_sum() const {
    const CompensatedSum<T> others = tail();
    CompensatedSum<T> sum{top, others.lo};
    sum.add(others.hi);
    const V<T> part = reciprocal<T>(sum.hi);
    const V<T> left = subtract_product<T>(broadcast(T(1)), part, sum.hi) - part * sum.lo;
    return {part, part * left};
  }
};

// A sum of exponentials as 2^exponent (1 + y), 0 <= y < 1.
template <class T>
struct NormalizedSum {
  CompensatedSum<T> y;
  V<T> exponent;

  SOFTXENT_INLINE explicit NormalizedSum(CompensatedSum<T> sum) {
    using C = ExpConstants<T>;
    typename Vector<T>::bits bits, as_number;
    __builtin_memcpy(&bits, &sum.hi, sizeof bits);
    const V<T> beyond = broadcast(static_cast<T>(int64_t{1} << C::kMantissa));
    __builtin_memcpy(&as_number, &beyond, sizeof as_number);
    as_number |= bits >> C::kMantissa;
    __builtin_memcpy(&exponent, &as_number, sizeof exponent);
    exponent -= beyond + (C::kExponentZero + C::kUnshiftedBias);
    const auto down_bits = (2 * C::kBitsOf1) - (bits >> C::kMantissa << C::kMantissa);
    V<T> down;
    __builtin_memcpy(&down, &down_bits, sizeof down);
    y = sum.scaled(down);
    y.hi -= 1;
  }
};

// A product of numbers between 1 and 2, held as the difference y to 1: for factors near 1, that
// keeps its digits.
template <class T>
struct ProductOfOnePlus {
  CompensatedSum<T> y;

  // Multiplies by 1 + other.
  SOFTXENT_INLINE void times(CompensatedSum<T> other) {
    const CompensatedSum<T> both{y.hi * other.hi, multiply_add(y.hi, other.lo, y.lo * other.hi)};
    const V<T> lost = product_error<T>(y.hi, other.hi, both.hi);
    y.add(other.hi);
    y.add_less(both.hi);
    y.lo += (other.lo + both.lo) + lost;
  }
};

template <class T>
SOFTXENT_INLINE inline CompensatedSum<T> relative_tail(CompensatedSum<T> tail, V<T> top) {
  const V<T> part = reciprocal<T>(top), q = tail.hi * part;
  const V<T> left = subtract_product<T>(tail.hi, q, top) + tail.lo;
  const V<T> sum = multiply_add(left, part, q);
  return {sum, sizeof(T) == 8 ? V<T>{} : multiply_add(left, part, q - sum)};
}

// The largest and smallest number in each lane of several vectors, as independent chains.
template <int vectors, class T>
inline void range_of_lanes(const Tile<T>& tile, int64_t l, V<T>* max, V<T>* min) {
  V<T> most[vectors], least[vectors];
  for (int k = 0; k < vectors; ++k) {
    most[k] = broadcast(static_cast<T>(-INFINITY));
    least[k] = broadcast(static_cast<T>(INFINITY));
  }
  const T* at = tile.data + l;
  for (int64_t j = 0; j < tile.classes; ++j, at += tile.width) {
#pragma GCC unroll 4
    for (int k = 0; k < vectors; ++k) {
      const V<T> x = load(at + k * kLanes<T>);
      most[k] = maximum<T>(x, most[k]);
      least[k] = minimum<T>(x, least[k]);
    }
  }
  for (int k = 0; k < vectors; ++k) {
    max[k] = most[k];
    min[k] = least[k];
  }
}
template <class T>
inline void range_of_lanes(const Tile<T>& tile, V<T>* max, V<T>* min) {
  int64_t k = 0;
  const int64_t vectors = tile.width / kLanes<T>;
  for (; k + 4 <= vectors; k += 4) range_of_lanes<4>(tile, k * kLanes<T>, max + k, min + k);
  for (; k + 2 <= vectors; k += 2) range_of_lanes<2>(tile, k * kLanes<T>, max + k, min + k);
  for (; k < vectors; ++k) range_of_lanes<1>(tile, k * kLanes<T>, max + k, min + k);
}

// The sum of the exponentials of the rows in one vector's lanes.
//
// The sum begins with its largest term, so that the rounding error of every addition follows from
// FastTwoSum. The largest is then in the sum twice and is subtracted twice; which class it is
// needn't be known.
template <class T>
struct LaneTotal {
  V<T> largest, sum;
  CompensatedSum<T> lost;

  LaneTotal() = default;

  // term() returns one of the n exponentials after the other.
  template <class Term>
  SOFTXENT_INLINE LaneTotal(V<T> first, int64_t n, const Term& term) : largest(first), sum(first) {
    const auto one = [&]() SOFTXENT_INLINE {
      const V<T> e = term(), before = sum;
      sum += e;
      return e - (sum - before);
    };
    const auto two = [&]() SOFTXENT_INLINE {
      const V<T> first = one();
      return first + one();
    };
    const auto four = [&]() SOFTXENT_INLINE {
      const V<T> first = two();
      return first + two();
    };
    // The first error has nothing to be added to.
    bool begun = false;
    const auto lose = [&](V<T> x) SOFTXENT_INLINE {
      begun ? lost.add(x) : void(lost.hi = x);
      begun = true;
    };
    if ((n & 1) != 0) lose(one());
    if ((n & 2) != 0) lose(two());
    if ((n & 4) != 0) lose(four());
    for (int64_t j = 8; j <= n; j += 8) {
      const V<T> first = four();
      lose(first + four());
    }
  }

  // The sum without the exponential `one`: the tail, with digits that `one` doesn't cover.
  SOFTXENT_INLINE CompensatedSum<T> tail_without(V<T> one) const {
    CompensatedSum<T> tail{sum, lost.lo};
    tail.add_less(-largest);
    tail.add_less(-one);
    tail.add(lost.hi);
    return tail;
  }
};

// The exponentials of a tile's rows, written over u where `keep` is set, and their sums relative to
// the maximum. Each step is done for all lanes before the next, so that no vector waits for its own
// last result.
template <class T, bool keep>
inline void sum_lanes(const Tile<T>& tile, const TilePrefetch& in, const TilePrefetch& out,
                      LaneSums<T>* lanes) {
  constexpr int L = kLanes<T>;
  const int64_t n = tile.classes, width = tile.width;
  V<T> most[kMaxWidth / L], least[kMaxWidth / L];
  LaneTotal<T> totals[kMaxWidth / L];
  range_of_lanes(tile, most, least);
  for (int64_t l = 0; l < width; l += L) {
    const V<T> max = most[l / L];
    with_exp<T>(least[l / L], max, [&](const auto& exp_) SOFTXENT_INLINE {
      const auto exp = exp_;  // a copy that stores can't change
      T* at = tile.data + l;
      auto next_in = in.from(l), next_out = out.from(l);
      const V<T> top = exp.exp(max);
      totals[l / L] = LaneTotal<T>(top, n, [&]() SOFTXENT_INLINE {
        __builtin_prefetch(next_in.next(), 0, 3);
        __builtin_prefetch(next_out.next(), 1, 3);
        const V<T> e = exp.exp(load(at));
        if (keep) store(at, e);
        at += width;
        return e;
      });
      lanes[l / L].base = max;
      lanes[l / L].top = top;
    });
  }
  for (int64_t k = 0; k < width / L; ++k) {
    lanes[k].tail_sum = relative_tail<T>(totals[k].tail_without(lanes[k].top), lanes[k].top);
  }
}

// Replaces the numbers of a tile, which lie between `least` and `most`, by their exponentials; and
// computes those of lanes.base.
template <class T>
inline void exp_lanes(const Tile<T>& tile, const V<T>* least, const V<T>* most,
                      const TilePrefetch& in, const TilePrefetch& out, LaneSums<T>* lanes) {
  constexpr int L = kLanes<T>;
  const int64_t n = tile.classes, width = tile.width;
  for (int64_t l = 0; l < width; l += L) {
    with_exp<T>(least[l / L], most[l / L], [&](const auto& exp_) SOFTXENT_INLINE {
      const auto exp = exp_;
      auto next_in = in.from(l), next_out = out.from(l);
      lanes[l / L].top = exp.exp(lanes[l / L].base);
      for (T *e = tile.data + l, *end = e + n * width; e < end; e += width) {
        __builtin_prefetch(next_in.next(), 0, 3);
        __builtin_prefetch(next_out.next(), 1, 3);
        store(e, exp.exp(load(e)));
      }
    });
  }
}

// The largest exponential in each lane of several vectors.
template <int vectors, class T>
inline void largest_of_lanes(const Tile<T>& tile, int64_t l, V<T>* largest) {
  V<T> most[vectors] = {};
  const T* at = tile.data + l;
  for (int64_t j = 0; j < tile.classes; ++j, at += tile.width) {
#pragma GCC unroll 4
    for (int k = 0; k < vectors; ++k) most[k] = maximum<T>(most[k], load(at + k * kLanes<T>));
  }
  for (int k = 0; k < vectors; ++k) largest[k] = most[k];
}

// The sums of a tile of exponentials.
template <class T>
inline void total_lanes(const Tile<T>& tile, LaneTotal<T>* totals) {
  const int64_t n = tile.classes, width = tile.width, vectors = width / kLanes<T>;
  V<T> largest[kMaxWidth / kLanes<T>];
  int64_t k = 0;
  for (; k + 4 <= vectors; k += 4) largest_of_lanes<4>(tile, k * kLanes<T>, largest + k);
  for (; k + 2 <= vectors; k += 2) largest_of_lanes<2>(tile, k * kLanes<T>, largest + k);
  for (; k < vectors; ++k) largest_of_lanes<1>(tile, k * kLanes<T>, largest + k);
  for (k = 0; k < vectors; ++k) {
    const T* at = tile.data + k * kLanes<T>;
    totals[k] = LaneTotal<T>(largest[k], n, [&]() SOFTXENT_INLINE {
      const V<T> e = load(at);
      at += width;
      return e;
    });
  }
}

// Where T can't hold all digits of a factor made of `given`. False for NaN.
template <class T>
inline Mask<T> exceeds_range(V<T> factor, V<T> given) {
  const T least = static_cast<T>(Normalizer<T>::kSmallest);
  const T most = static_cast<T>(Normalizer<T>::kLargest);
  const V<T> size = factor < 0 ? -factor : factor, from = given < 0 ? -given : given;
  return (from > 0) & ((size < least) | (size > most) | (from > most));
}

// Multiplies the exponentials of the lanes from l on by one factor for each lane.
template <class T>
inline void multiply_lanes(const Tile<T>& tile, int64_t l, CompensatedSum<T> factor) {
  const int64_t n = tile.classes, width = tile.width;
  T* e = tile.data + l;
  for (int64_t j = 0; j < n; ++j, e += width) {
    store(e, dot2<T>(load(e), factor.hi, load(e), factor.lo));
  }
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
