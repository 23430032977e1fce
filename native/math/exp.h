// The exponential. Errors are stated in ulp (units in the last place) and tested in
// tests/native/test_accuracy.py.
//
// A softmax needs exp(x - max) for each x of a row. Rounding x - max would cost as many digits as
// the difference has bits before the point, so x - max is never rounded:
//
// - where all logits of a chunk are near 0, nothing is subtracted at all: see UnshiftedExp; - where
// |max| is small, exp(x) 2^-K with K = rint(max / ln 2) is used instead, since multiplying
//   by a power of two is exact;
// - where |max| is large, every x whose exponential isn't negligible is so near to it that x - max
//   is exact (Sterbenz: x and max differ by a factor of at most 2).
//
// exp(s) = 2^n (1 + p) with s = n ln 2 + r, |r| <= ln(2)/2, p = r + r^2 q(r). n ln 2 is subtracted
// in two parts, the first short enough for n times it to be exact with or without fused
// multiply-add. The polynomials minimise the largest relative error of exp, which is 2^-28.3 for
// float and 2^-57.9 for double. With a table of 2^(k/16) in a register, |r| <= ln(2)/32 and fewer
// terms reach 2^-29; with 2^(k/4), |r| <= ln(2)/8 and 2^-28.5.
#pragma once

#pragma once

#include "vector/vector.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

template <class T>
struct ExpConstants;

template <>
struct ExpConstants<float> {
  static constexpr float kRound = 0x1.8p23f;  // adding and subtracting it rounds to an integer
  static constexpr int kMantissa = 23, kExponentZero = 127;
  static constexpr uint32_t kBitsOf1 = 0x3f800000, kRootOfHalf = 0x3f3504f3;
  static constexpr float kLog2High = 0x1.62e4p-1f, kLog2Low = 0x1.7f7d1cp-20f;
  static constexpr float kQ[] = {0.49999993430818530406f, 0.16666520386258750752f,
                                 0.041668391047286236619f, 0.0083687462968005180168f,
                                 0.001381452754139550779f};
  // exp(x - max) is kept times 2^kBias: terms that are subnormal in comparison with the maximum
  // keep their digits until they are written. Terms below 2^-(kExponentZero + kBias) round to 0 in
  // every result and are 0 here.
  static constexpr int kBias = 64;
  static constexpr float kShiftFrom = 264;
  static constexpr int kUnshiftedBias = 0;
  static constexpr float kUndoUnshiftedBias = 1;  // 2^-kUnshiftedBias
};

template <>
struct ExpConstants<double> {
  static constexpr double kRound = 0x1.8p52;
  static constexpr int kMantissa = 52, kExponentZero = 1023;
  static constexpr uint64_t kBitsOf1 = 0x3ff0000000000000, kRootOfHalf = 0x3fe6a09e667f3bcd;
  static constexpr double kLog2High = 0x1.62e42fefap-1, kLog2Low = 0x1.cf79abc9e3b39p-40;
  static constexpr double kQ[] = {0.50000000000000106734,     0.16666666666666411467,
                                  0.041666666666529690982,    0.0083333333334949757236,
                                  0.0013888888943769092725,   0.00019841269505814895478,
                                  0.000024801492940811022054, 2.7557586744251276806e-6,
                                  2.7630309198672038299e-7,   2.50000429111821587e-8};
  static constexpr int kBias = 512;
  static constexpr double kShiftFrom = 2200;
  static constexpr int kUnshiftedBias = 512;
  static constexpr double kUndoUnshiftedBias = 0x1p-512;
};

// exp(s) = power (1 + p).
template <class T>
struct Exponential {
  V<T> p, power;

  SOFTXENT_INLINE V<T> value() const { return multiply_add(power, p, power); }
};

// `round` is kRound + kExponentZero + k: the low bits of s / ln 2 + round are then the exponent
// field of 2^(n + k), and `power` is multiplied by 2^k.
template <class T>
SOFTXENT_INLINE inline Exponential<T> exponential(V<T> s, V<T> round) {
  using C = ExpConstants<T>;
  const V<T> t = multiply_add(s, broadcast(static_cast<T>(1.44269504088896340736)), round);
  const V<T> n = t - round;
  const V<T> r =
      multiply_add(n, broadcast(-C::kLog2Low), multiply_add(n, broadcast(-C::kLog2High), s));
  constexpr int degree = sizeof(C::kQ) / sizeof(T) - 1;
  V<T> q = broadcast<T>(C::kQ[degree]);
#pragma GCC unroll 16
  for (int k = degree - 1; k >= 0; --k) q = multiply_add(q, r, broadcast<T>(C::kQ[k]));
  typename Vector<T>::bits bits;
  __builtin_memcpy(&bits, &t, sizeof bits);
  bits <<= C::kMantissa;
  Exponential<T> result{multiply_add(r * r, q, r), V<T>{}};
  __builtin_memcpy(&result.power, &bits, sizeof bits);
  return result;
}

// exp(x - max) 2^kBias, with the maximum of each lane.
template <class T>
struct ShiftedExp {
  V<T> shift, round, lowest;

  explicit ShiftedExp(V<T> max) {
    using C = ExpConstants<T>;
    const V<T> zero{};
    const V<T> size = max < zero ? -max : max;
    shift = size < C::kShiftFrom ? zero : max;
    const V<T> rest = max - shift;
    const V<T> k = (rest * static_cast<T>(1.44269504088896340736) + C::kRound) - C::kRound;
    round = (C::kRound + static_cast<T>(C::kExponentZero + C::kBias)) - k;
    // For this x the exponent field of 2^(n + kBias - k) is 0, and so is the exponential.
    lowest =
        (k - static_cast<T>(C::kExponentZero + C::kBias)) * static_cast<T>(0.69314718055994530942);
  }

  // Times a factor between 1/sqrt(2) and sqrt(2) that is the same for the whole row. Error at most
  // 1 ulp. Exactly 0 far below the maximum and for -inf; NaN for NaN.
  SOFTXENT_INLINE V<T> exp(V<T> x) const {
    return exponential<T>(maximum<T>(lowest, x - shift), round).value();
  }
};

// exp(x) 2^kUnshiftedBias for |x| <= kLargest. No sum of such numbers leaves the range of T, nor
// does the quotient of two of them, so that the exponentials don't depend on the maximum of the row
// and needn't wait for it. Error at most 1 ulp, with a table of sixteen 0.6 ulp, of four 0.8 ulp;
// NaN for NaN.
template <class T>
struct UnshiftedExp {
  static constexpr T kLargest = 40;
  // As the `shift` and `round` of ShiftedExp.
  static constexpr T kShift = 0;
  static constexpr T kRound =
      ExpConstants<T>::kRound +
      static_cast<T>(ExpConstants<T>::kExponentZero + ExpConstants<T>::kUnshiftedBias);

  SOFTXENT_INLINE V<T> exp(V<T> x) const { return exponential<T>(x, broadcast(kRound)).value(); }
};

// exp(s) - 1 for s <= 0, within 2 ulp.
template <class T>
inline V<T> expm1(V<T> s) {
  using C = ExpConstants<T>;
  const V<T> floor = broadcast<T>(-40);  // exp(s) - 1 rounds to -1 below it
  const V<T> unshifted = s < floor ? floor : s;
  const Exponential<T> e = exponential<T>(unshifted, broadcast<T>(C::kRound + C::kExponentZero));
  const V<T> value = multiply_add(e.power, e.p, e.power - 1);
  return s == s ? value : s;
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
