// The exponential, and what follows from it. Errors are stated in units of the last place (ulp) and
// tested in tests/native/test_accuracy.py.
//
// A softmax needs exp(x - max) for each x of a row. Rounding x - max would cost as many digits as
// the difference is long, so it is never rounded:
//
//  - where all numbers are of everyday size, nothing is subtracted at all: see Near;
//  - where |max| is small, exp(x) 2^-K with K = rint(max / ln 2) does it, and multiplying by
//    a power of two is exact;
//  - where |max| is large, every x that still counts is so near to it that x - max is exact
//    (Sterbenz: x and max differ by a factor of at most 2).
//
// exp(s) = 2^n (1 + p), s = n ln 2 + r, p = r + r^2 q(r), |r| <= ln(2)/2. n ln 2 is subtracted in
// two parts, the first short enough for n times it to be exact with or without fused multiply-add.
// The polynomials are fitted for the smallest largest relative error of exp: 2^-28.3 and 2^-57.9.
// Where a register holds 2^(k/16), looking one up leaves |r| <= ln(2)/32, and fewer terms do:
// 2^-29; with 2^(k/4), |r| <= ln(2)/8 and 2^-28.5.
#pragma once

#include "vec.h"

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
  // exp(x - max) is kept times 2^kBias: terms that are subnormal beside the maximum keep their
  // digits until they are written. Terms below 2^-(kExponentZero + kBias) round to 0 in every
  // result, and come out as 0.
  static constexpr int kBias = 64;
  static constexpr float kFar = 264;
  static constexpr int kNearBias = 0;
  static constexpr float kUnbiased = 1;  // 2^-kNearBias
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
  static constexpr double kFar = 2200;
  static constexpr int kNearBias = 512;
  static constexpr double kUnbiased = 0x1p-512;
};

// 2^n (1 + p) for the s that it was made of.
template <class T>
struct Exponential {
  V<T> p, power;

  SOFTXENT_INLINE V<T> value() const { return multiply_add(power, p, power); }
};

// `round` is kRound + kExponentZero + k: the low bits of s / ln 2 + round are then the exponent
// field of 2^(n + k), and `power` comes out times 2^k.
template <class T>
SOFTXENT_INLINE inline Exponential<T> exponential(V<T> s, V<T> round) {
  using C = ExpConstants<T>;
  const V<T> t = multiply_add(s, all(static_cast<T>(1.44269504088896340736)), round);
  const V<T> n = t - round;
  const V<T> r = multiply_add(n, all(-C::kLog2Low), multiply_add(n, all(-C::kLog2High), s));
  constexpr int degree = sizeof(C::kQ) / sizeof(T) - 1;
  V<T> q = all<T>(C::kQ[degree]);
#pragma GCC unroll 16
  for (int k = degree - 1; k >= 0; --k) q = multiply_add(q, r, all<T>(C::kQ[k]));
  typename Vector<T>::bits bits;
  __builtin_memcpy(&bits, &t, sizeof bits);
  bits <<= C::kMantissa;
  Exponential<T> result{multiply_add(r * r, q, r), V<T>{}};
  __builtin_memcpy(&result.power, &bits, sizeof bits);
  return result;
}

// What exp(x - max) 2^kBias needs to know of max, in every lane.
template <class T>
struct Pivot {
  V<T> away, round, lowest;

  explicit Pivot(V<T> max) {
    using C = ExpConstants<T>;
    const V<T> zero{};
    const V<T> size = max < zero ? -max : max;
    away = size < C::kFar ? zero : max;
    const V<T> rest = max - away;
    const V<T> k = (rest * static_cast<T>(1.44269504088896340736) + C::kRound) - C::kRound;
    round = (C::kRound + static_cast<T>(C::kExponentZero + C::kBias)) - k;
    // The exponent field of 2^(n + kBias - k) is 0 here, and with it the exponential.
    lowest =
        (k - static_cast<T>(C::kExponentZero + C::kBias)) * static_cast<T>(0.69314718055994530942);
  }

  // Times a factor between 1/sqrt(2) and sqrt(2) that is the same for the whole row. Error at most
  // 1 ulp. Exactly 0 far below the maximum and for -inf; NaN for NaN.
  SOFTXENT_INLINE V<T> exp(V<T> x) const {
    return exponential<T>(larger<T>(lowest, x - away), round).value();
  }
};

// exp(x) 2^kNearBias for |x| <= kLargest, whatever the maximum: no sum of them leaves the range of
// T, nor the quotient of two of them, and nothing has to be known of a row before its exponentials.
// Error at most 1 ulp, with a table of 16 0.6, of four 0.8; NaN for NaN.
template <class T>
struct Near {
  static constexpr T kLargest = 40;
  // As Pivot's `away` and `round`.
  static constexpr T kAway = 0;
  static constexpr T kRound =
      ExpConstants<T>::kRound +
      static_cast<T>(ExpConstants<T>::kExponentZero + ExpConstants<T>::kNearBias);

  SOFTXENT_INLINE V<T> exp(V<T> x) const { return exponential<T>(x, all(kRound)).value(); }
};

#if defined(__AVX512F__)
// 2^(k / 16).
alignas(64) constexpr float kRoots[16] = {
    1.0f,       1.0442737f, 1.0905077f, 1.1387886f, 1.1892071f, 1.2418578f, 1.2968396f, 1.3542556f,
    1.4142135f, 1.4768262f, 1.5422108f, 1.6104903f, 1.6817929f, 1.7562522f, 1.8340081f, 1.9152066f};

// What they have lost by being rounded, in proportion.
alignas(64) constexpr float kLost[16] = {0,
                                         4.6285471e-08f,
                                         -1.1992157e-08f,
                                         4.7297824e-08f,
                                         3.1934181e-08f,
                                         3.6210573e-08f,
                                         -3.0990721e-08f,
                                         -7.4752132e-09f,
                                         1.7114271e-08f,
                                         -3.0476834e-08f,
                                         5.2333342e-09f,
                                         6.1075916e-09f,
                                         -1.4719605e-08f,
                                         -5.2587951e-09f,
                                         -6.1282598e-09f,
                                         5.1406092e-09f};

template <>
struct Near<float> {
  using C = ExpConstants<float>;
  static constexpr float kLargest = 40, kAway = 0, kRound = C::kRound + C::kExponentZero;

  __m512 roots = _mm512_load_ps(kRoots);
  __m512 lost = _mm512_load_ps(kLost);

  SOFTXENT_INLINE V<float> exp(V<float> x) const {
    constexpr float kRound16 = 0x1.8p19f;  // rounds to a 16th, which is then in the lowest bits
    const V<float> t = multiply_add(x, all(1.44269504088896340736f), all(kRound16));
    const V<float> n = t - kRound16;
    const V<float> r = multiply_add(n, all(-C::kLog2Low), multiply_add(n, all(-C::kLog2High), x));
    const V<float> q =
        multiply_add(multiply_add(r, all(0.16666667f), all(0.50001955f)), r, all(1.0f));
    const __m512i bits = _mm512_castps_si512(t);
    const V<float> p = multiply_add(r, q, _mm512_permutexvar_ps(bits, lost));
    // Times 2^floor(n): the 16ths are in the root.
    const V<float> power = _mm512_scalef_ps(_mm512_permutexvar_ps(bits, roots), n);
    return multiply_add(power, p, power);
  }
};
#elif defined(__AVX2__) && defined(__FMA__)
// The bits of c 2^(k / 4), less k << 21, which comes back with the bits of k. Of all c near 1,
// 0.99929225 makes all four floats but for a 40th of an ulp; the polynomial takes it out again.
alignas(32) constexpr uint32_t kRoots[8] = {0x3f7fd19e, 0x3f781c5c, 0x3f74e427, 0x3f771dfc,
                                            0x3f7fd19e, 0x3f781c5c, 0x3f74e427, 0x3f771dfc};

// exp(x) by 2^(k / 4) and so many terms for what is left; not `exact`, it does without what ln 2
// loses as a float, 2 ulp at most. Each product counts: they are what it waits for.
template <int terms, bool exact>
struct NearByQuarters {
  __m256 roots = _mm256_load_ps(reinterpret_cast<const float*>(kRoots));

  SOFTXENT_INLINE V<float> exp(V<float> x) const {
    constexpr float kRound4 = 0x1.8p21f;  // rounds to a quarter, which is then in the lowest bits
    constexpr float kLog2 = 0.69314718055994530942f;
    constexpr float kLog2Lost = -1.9046542e-9f;  // ln 2 - kLog2
    constexpr float kInverse = 7.0824681e-4f;    // 1 / c - 1
    const V<float> t = multiply_add(x, all(1.44269504088896340736f), all(kRound4));
    const V<float> n = t - kRound4;
    const V<float> r = multiply_add(n, all(-kLog2), x);
    V<float> q;
    if constexpr (terms == 4) {
      q = multiply_add(multiply_add(r, all(0.041688368f), all(0.16686247f)), r, all(0.50035423f));
      q = multiply_add(q, r, all(1.0007081f));
    } else {
      q = multiply_add(r, all(0.5003435f), all(1.0016366f));
    }
    const V<float> first = exact ? multiply_add(n, all(-kLog2Lost), all(kInverse)) : all(kInverse);
    const V<float> p = multiply_add(r, q, first);
    const __m256i bits = _mm256_castps_si256(t);
    const __m256i root = _mm256_castps_si256(_mm256_permutevar_ps(roots, bits));
    const V<float> power = _mm256_castsi256_ps(_mm256_add_epi32(root, _mm256_slli_epi32(bits, 21)));
    return multiply_add(power, p, power);
  }
};

template <>
struct Near<float> : NearByQuarters<4, true> {
  using C = ExpConstants<float>;
  static constexpr float kLargest = 40, kAway = 0, kRound = C::kRound + C::kExponentZero;
};
#endif

// exp(s) - 1 for s <= 0, within 2 ulp.
template <class T>
inline V<T> expm1(V<T> s) {
  using C = ExpConstants<T>;
  const V<T> floor = all<T>(-40);  // -1 from here on
  const V<T> near = s < floor ? floor : s;
  const Exponential<T> e = exponential<T>(near, all<T>(C::kRound + C::kExponentZero));
  const V<T> value = e.power * e.p + (e.power - 1);
  return s == s ? value : s;
}

// 1 / d, within 1 ulp.
template <class T>
inline V<T> inverse(V<T> d) {
  return 1 / d;
}
#if defined(__AVX512F__)
// Division is slow: each step of Newton's doubles the digits.
template <>
inline V<float> inverse<float>(V<float> d) {
  const V<float> x = _mm512_rcp14_ps(d);
  return multiply_add(x, multiply_add(-d, x, all(1.0f)), x);
}
template <>
inline V<double> inverse<double>(V<double> d) {
  V<double> x = _mm512_rcp14_pd(d);
  x = multiply_add(x, multiply_add(-d, x, all(1.0)), x);
  return multiply_add(x, multiply_add(-d, x, all(1.0)), x);
}
#endif

// A logarithm as it comes to be, with digits beyond those of T: their sum is rounded once more.
template <class T>
struct Logarithm {
  V<T> large, small;
};

// log(u + lost) for u > 2^-64, with lost less than a unit of u. Where u is near 1, y + y_lost is
// taken for u + lost - 1: it may have more digits. Within 2 ulp as one number; as two, for float,
// within half of one, and 2^-27 where it isn't small.
// u = 2^k m, log m = 2 atanh((m - 1) / (m + 1)).
template <class T>
inline Logarithm<T> log_parts(V<T> u, V<T> lost, V<T> y, V<T> y_lost) {
  using C = ExpConstants<T>;
  using B = typename Vector<T>::bits;
  B bits;
  __builtin_memcpy(&bits, &u, sizeof bits);
  // m in [sqrt(1/2), sqrt(2)): the exponent is counted from the bits of sqrt(1/2), and 64 more,
  // which makes it positive.
  constexpr auto kMore = decltype(C::kBitsOf1){64} << C::kMantissa;
  bits += kMore;
  const B k_bits = (bits - C::kRootOfHalf) >> C::kMantissa;
  const B m_bits = bits - (k_bits << C::kMantissa);
  V<T> m;
  __builtin_memcpy(&m, &m_bits, sizeof m);
  // It becomes a T by way of the bits of 2^kMantissa.
  const V<T> beyond = all(static_cast<T>(int64_t{1} << C::kMantissa));
  B k_magic;
  __builtin_memcpy(&k_magic, &beyond, sizeof k_magic);
  k_magic |= k_bits;
  V<T> k;
  __builtin_memcpy(&k, &k_magic, sizeof k);
  k -= beyond + 64;
  const B down_bits = (C::kBitsOf1 + kMore) - (k_bits << C::kMantissa);
  V<T> down;  // 2^-k
  __builtin_memcpy(&down, &down_bits, sizeof down);
  // f = m - 1 is exact.
  const Mask<T> is_near_1 = k_bits == 64;
  const V<T> f = is_near_1 ? y : m - 1, c = is_near_1 ? y_lost : lost * down;
  // log(m + c) = log(m) + c / m; of an m far from 1, c has next to nothing of the digits.
  const V<T> tail = c - c * f * (1 - f);
  const V<T> d = f + 2, part = inverse<T>(d), rough = f * part;
  const V<T> z = multiply_add(remainder_of<T>(f, rough, d) - rough * (f - (d - 2)), part, rough);
  const V<T> w = z * z;
  constexpr T kOdd[] = {T(1.0 / 21), T(1.0 / 19), T(1.0 / 17), T(1.0 / 15), T(1.0 / 13),
                        T(1.0 / 11), T(1.0 / 9),  T(1.0 / 7),  T(1.0 / 5),  T(1.0 / 3)};
  constexpr int kFirst = sizeof(T) == 4 ? 6 : 0;
  V<T> q = V<T>{} + kOdd[kFirst];
#pragma GCC unroll 16
  for (int i = kFirst + 1; i < 10; ++i) q = q * w + kOdd[i];
  // log m = 2 z + 2 z^3 q, with 2 z = f - z f: the leading terms f and k log(2) are exact.
  const V<T> whole = k * C::kLog2High, large = whole + f;
  const V<T> small =
      (f - (large - whole)) + remainder_of<T>(k * C::kLog2Low + (2 * z * w * q + tail), z, f);
  const Mask<T> finite = u < static_cast<T>(__builtin_inf());
  return {finite ? large : u, finite ? small : V<T>{}};
}

// u + lost = 1 + y.
template <class T>
struct OnePlus {
  V<T> u, lost;

  OnePlus(V<T> y, V<T> y_lost) : u(y + 1) {
    const V<T> back = u - 1;
    lost = ((y - back) + (1 - (u - back))) + y_lost;
  }
};

// log(1 + y + y_lost) for y >= 0.
template <class T>
inline V<T> log1p(V<T> y, V<T> y_lost = V<T>{}) {
  const OnePlus<T> whole(y, y_lost);
  const Logarithm<T> log = log_parts<T>(whole.u, whole.lost, y, y_lost);
  return log.large + log.small;
}
inline double log1p(double y) { return log1p<double>(all(y))[0]; }

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
