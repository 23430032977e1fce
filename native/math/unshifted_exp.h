// UnshiftedExp for each instruction set and storage type: with tables in registers where there are
// permutations, and with fewer terms for the half types.
#pragma once

#include "math/exp.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

#if defined(SOFTXENT_AVX512)
// 2^(k / 16).
alignas(64) constexpr float kRoots[16] = {
    1.0f,       1.0442737f, 1.0905077f, 1.1387886f, 1.1892071f, 1.2418578f, 1.2968396f, 1.3542556f,
    1.4142135f, 1.4768262f, 1.5422108f, 1.6104903f, 1.6817929f, 1.7562522f, 1.8340081f, 1.9152066f};

// Their relative rounding errors.
alignas(64) constexpr float kRootErrors[16] = {0,
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
struct UnshiftedExp<float> {
  using C = ExpConstants<float>;
  static constexpr float kLargest = 40, kShift = 0, kRound = C::kRound + C::kExponentZero;

  __m512 roots = _mm512_load_ps(kRoots);
  __m512 lost = _mm512_load_ps(kRootErrors);

  SOFTXENT_INLINE V<float> exp(V<float> x) const {
    constexpr float kRound16 = 0x1.8p19f;  // rounds to a multiple of 1/16, held in the low bits
    const V<float> t = multiply_add(x, broadcast(1.44269504088896340736f), broadcast(kRound16));
    const V<float> n = t - kRound16;
    const V<float> r =
        multiply_add(n, broadcast(-C::kLog2Low), multiply_add(n, broadcast(-C::kLog2High), x));
    const V<float> q = multiply_add(multiply_add(r, broadcast(0.16666667f), broadcast(0.50001955f)),
                                    r, broadcast(1.0f));
    const __m512i bits = _mm512_castps_si512(t);
    const V<float> p = multiply_add(r, q, _mm512_permutexvar_ps(bits, lost));
    // Times 2^floor(n): the sixteenths are in the root.
    const V<float> power = _mm512_scalef_ps(_mm512_permutexvar_ps(bits, roots), n);
    return multiply_add(power, p, power);
  }
};
#elif defined(SOFTXENT_AVX2) || defined(SOFTXENT_NEON)
// The bits of c 2^(k / 4) minus k << 21, which the bits of k add again. Of all c near 1, 0.99929225
// brings all four within a 40th of an ulp of a float; the polynomial divides by it.
alignas(32) constexpr uint32_t kRoots[8] = {0x3f7fd19e, 0x3f781c5c, 0x3f74e427, 0x3f771dfc,
                                            0x3f7fd19e, 0x3f781c5c, 0x3f74e427, 0x3f771dfc};

// The root for the two lowest bits of each number.
struct QuarterRoots {
#if defined(SOFTXENT_AVX2)
  __m256 roots = _mm256_load_ps(reinterpret_cast<const float*>(kRoots));

  SOFTXENT_INLINE Vector<float>::bits of(Vector<float>::bits k) const {
    return reinterpret_cast<Vector<float>::bits>(
        _mm256_permutevar_ps(roots, reinterpret_cast<__m256i>(k)));
  }
#else
  V<float> roots = load(reinterpret_cast<const float*>(kRoots));

  SOFTXENT_INLINE Vector<float>::bits of(Vector<float>::bits k) const {
    return vreinterpretq_u32_f32(look_up(roots, k & 3));
  }
#endif
};

// exp(x) by a table of 2^(k / 4) and a polynomial with this many terms. Without `exact`, it omits
// the rounding error of ln 2 as a float, which costs at most 2 ulp. Every product counts: the loop
// waits for multiplications.
template <int terms, bool exact>
struct ExpByQuarters {
  QuarterRoots roots;

  SOFTXENT_INLINE V<float> exp(V<float> x) const {
    constexpr float kRound4 = 0x1.8p21f;  // rounds to a multiple of 1/4, held in the low bits
    constexpr float kLog2 = 0.69314718055994530942f;
    constexpr float kLog2Lost = -1.9046542e-9f;  // ln 2 - kLog2
    constexpr float kInverse = 7.0824681e-4f;    // 1 / c - 1
    const V<float> t = multiply_add(x, broadcast(1.44269504088896340736f), broadcast(kRound4));
    const V<float> n = t - kRound4;
    const V<float> r = multiply_add(n, broadcast(-kLog2), x);
    V<float> q;
    if constexpr (terms == 4) {
      q = multiply_add(multiply_add(r, broadcast(0.041688368f), broadcast(0.16686247f)), r,
                       broadcast(0.50035423f));
      q = multiply_add(q, r, broadcast(1.0007081f));
    } else {
      q = multiply_add(r, broadcast(0.5003435f), broadcast(1.0016366f));
    }
    const V<float> first =
        exact ? multiply_add(n, broadcast(-kLog2Lost), broadcast(kInverse)) : broadcast(kInverse);
    const V<float> p = multiply_add(r, q, first);
    Vector<float>::bits bits;
    __builtin_memcpy(&bits, &t, sizeof bits);
    bits = roots.of(bits) + (bits << 21);
    V<float> power;
    __builtin_memcpy(&power, &bits, sizeof power);
    return multiply_add(power, p, power);
  }
};

template <>
struct UnshiftedExp<float> : ExpByQuarters<4, true> {
  using C = ExpConstants<float>;
  static constexpr float kLargest = 40, kShift = 0, kRound = C::kRound + C::kExponentZero;
};
#endif

// exp for half types, which don't need all digits of a float: without the low part of ln 2 and with
// fewer terms. Error at most 2.4 ulp of float.
#if defined(SOFTXENT_AVX512)
// A table for two registers: 2^(k / 32).
alignas(64) constexpr float kRootsForHalf[32] = {
    1,          1.0218972f, 1.0442737f, 1.0671405f, 1.0905077f, 1.1143868f, 1.1387886f, 1.1637249f,
    1.1892071f, 1.2152474f, 1.2418578f, 1.269051f,  1.2968396f, 1.3252367f, 1.3542556f, 1.3839099f,
    1.4142135f, 1.4451808f, 1.4768262f, 1.5091645f, 1.5422108f, 1.5759809f, 1.6104903f, 1.6457555f,
    1.6817929f, 1.7186193f, 1.7562522f, 1.7947091f, 1.8340081f, 1.8741677f, 1.9152066f, 1.9571441f};

struct HalfExp {
  __m512 below = _mm512_load_ps(kRootsForHalf), p_max_minus_1 = _mm512_load_ps(kRootsForHalf + 16);

  struct Parts {
    V<float> power, remainder;  // exp(x) = power exp(remainder)
  };
  SOFTXENT_INLINE Parts parts(V<float> x) const {
    constexpr float kRound32 = 0x1.8p18f;  // rounds to a multiple of 1/32, held in the low bits
    const V<float> t = multiply_add(x, broadcast(1.44269504088896340736f), broadcast(kRound32));
    const V<float> n = t - kRound32;
    const V<float> remainder = multiply_add(n, broadcast(-0.69314718055994530942f), x);
    const V<float> root = _mm512_permutex2var_ps(below, _mm512_castps_si512(t), p_max_minus_1);
    return {_mm512_scalef_ps(root, n), remainder};
  }
  SOFTXENT_INLINE V<float> exp(V<float> x) const {
    const auto [power, r] = parts(x);
    const V<float> p = multiply_add(r, broadcast(0.49999633f), broadcast(1.0000147f)) * r;
    return multiply_add(power, p, power);
  }
};

// For results in bfloat16: without the square of the remainder, which is at most 2^-14, a 64th of
// an ulp of bfloat16.
struct Bfloat16ResultExp : HalfExp {
  SOFTXENT_INLINE V<float> exp(V<float> x) const {
    const auto [power, r] = parts(x);
    return multiply_add(power, r, power);
  }
};
#elif defined(SOFTXENT_AVX2) || defined(SOFTXENT_NEON)
typedef ExpByQuarters<4, false> HalfExp;
// For results in bfloat16: two terms have an error of at most a 130th of its ulp.
typedef ExpByQuarters<2, false> Bfloat16ResultExp;
#else
typedef UnshiftedExp<float> HalfExp;
typedef UnshiftedExp<float> Bfloat16ResultExp;
#endif
template <>
struct UnshiftedExp<Float16> : HalfExp {};
template <>
struct UnshiftedExp<Bfloat16> : HalfExp {};

// For results of type S. UnshiftedExp<S> itself serves results with more digits, such as a loss.
template <class S>
struct UnshiftedExpForResult : UnshiftedExp<S> {};
template <>
struct UnshiftedExpForResult<Bfloat16> : Bfloat16ResultExp {};

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
