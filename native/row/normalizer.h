// The second pass over a row: exponentials become probabilities or gradients.
#pragma once

#include "row/chunks.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// factor / sum_j exp(u_j - max) as a double-double number in T, for the exponentials of a chunk:
// e_j times it is factor p_j, correctly rounded except for the errors of e and of the sum.
template <class T>
struct Normalizer {
  double hi, lo;
  double reciprocal;    // kScaleBias p_j / (kUndoBias e_j), rounded to double
  double prescale = 1;  // multiplies e first where the factors would leave the range of T

  static constexpr double kSmallest = sizeof(T) == 8 ? 0x1p-960 : 0x1p-100;
  static constexpr double kLargest = 0x1p100;  // of float; the exponentials in double are far above
  static constexpr double kUndoBias = sizeof(T) == 8 ? 0x1p-512 : 0x1p-64;  // 2^-kBias

  Normalizer() = default;
  Normalizer(double top, double tail_sum, double factor, DoubleDouble scale = {kScaleBias<T>, 0}) {
    // top is about 2^kBias or a float: without the bias nothing here leaves the range of double.
    const double sum = 1 + tail_sum, b = sum - 1;
    const double sum_lo = (1 - (sum - b)) + (tail_sum - b);
    const double t = top * kUndoBias, d = t * sum, d_lo = fma(t, sum, -d) + t * sum_lo;
    const double part = 1 / d;
    DoubleDouble p{part, part * (fma(-part, d, 1) - part * d_lo)};
    p = scale.times(p);
    reciprocal = p.hi + p.lo;
    hi = factor * p.hi;
    lo = fma(factor, p.hi, -hi) + factor * p.lo;
    double shift = kUndoBias / kScaleBias<T>;
    if (fabs(hi) < kSmallest / shift && hi != 0) {
      prescale = shift;
      shift = 1;
    } else if (sizeof(T) == 4 && fabs(hi) > kLargest / shift) {
      prescale = 1 / shift;
      shift *= shift;
    }
    hi *= shift;
    lo *= shift;
  }

  // The probability of a class from its exponential.
  double probability(double e) const { return e * kUndoBias * reciprocal * (1 / kScaleBias<T>); }

  // Multiplies e by the prescale.
  void apply_prescale(T* e, int64_t n) const {
    if (prescale == 1) return;
    for (int64_t j = 0; j < n; ++j) e[j] *= static_cast<T>(prescale);
  }

  // Writes e times the factors to out, which may be e, and `value` for the class `special` if there
  // is one.
  static constexpr int64_t kAhead = 1024 / sizeof(T);
  template <class S>
  void apply(const T* e, S* out, int64_t n, StreamWriter<Bits<S>>* stream_or_null,
             int64_t special = -1, T value = 0) const {
    // lo may be nearly as large as hi: a rescaled chunk has a factor 2^n (1 + p). Half types use
    // high alone.
    const T high = hi == hi ? static_cast<T>(hi + lo) : static_cast<T>(NAN);
    const T low = static_cast<T>(hi - static_cast<double>(high) + lo);
    const auto product = [&](V<T> x) SOFTXENT_INLINE {
      return Storage<S>::is_half ? x * high : dot2<T>(x, broadcast(high), x, broadcast(low));
    };
    const auto part = [&](int64_t i, int64_t left) {
      return product(load_part(e + i, left, T(0)));
    };
    if (stream_or_null) {
      // A line written by non-temporal stores is in no cache: the special value is stored with it.
      const T at_special = value == value ? value : static_cast<T>(NAN);
      const auto streamed = [&](V<T> v, int64_t i) SOFTXENT_INLINE {
        return static_cast<uint64_t>(special - i) < kLanes<T>
                   ? set_lane<T>(v, special - i, at_special)
                   : v;
      };
      write_converted<T>(
          out, n, stream_or_null,
          [&](int64_t i) SOFTXENT_INLINE { return streamed(product(load(e + i)), i); },
          [&](int64_t i, int64_t left) { return streamed(part(i, left), i); });
      return;
    }
    write_converted<T>(
        out, n, nullptr,
        [&](int64_t i) SOFTXENT_INLINE {
          // e comes from the second-level cache, which doesn't prefetch by itself. The result of a
          // half type isn't written over e: its lines come from memory.
          __builtin_prefetch(e + i + kAhead, 1, 3);
          if (Storage<S>::is_half) __builtin_prefetch(out + i + 4 * kAhead, 1, 3);
          return product(load(e + i));
        },
        part);
    if (special >= 0) assign(out[special], value);
  }
};

// Where to put n exponentials in `scratch`, which has room_for(n), that will be read to fill `out`:
// with the same alignment, the vectors that are read for a whole vector of the result are whole
// cache lines.
template <class T>
constexpr int64_t room_for(int64_t n) {
  return (n + 2 * kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}
template <class T, class S>
inline T* align_like(T* scratch, const S* out) {
  const auto over = static_cast<int64_t>(reinterpret_cast<uintptr_t>(out) % kVectorBytes);
  return scratch + over / static_cast<int64_t>(sizeof(S)) % kLanes<T>;
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
