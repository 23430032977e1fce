// Numbers as they lie in memory, S, and as they are computed with, T: the same type, or a half type
// and float.
#pragma once

#include "exp.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Half as many bytes as a vector has.
typedef uint16_t HalfVector __attribute__((vector_size(kVectorBytes / 2)));
inline V<uint16_t> joined(HalfVector a, HalfVector b) {
#if defined(__AVX512F__)
  return reinterpret_cast<V<uint16_t>>(_mm512_inserti64x4(
      _mm512_castsi256_si512(reinterpret_cast<__m256i>(a)), reinterpret_cast<__m256i>(b), 1));
#elif defined(__AVX2__)
  return reinterpret_cast<V<uint16_t>>(
      _mm256_set_m128i(reinterpret_cast<__m128i>(b), reinterpret_cast<__m128i>(a)));
#endif
  const HalfVector parts[2] = {a, b};
  V<uint16_t> v;
  __builtin_memcpy(&v, parts, sizeof v);
  return v;
}

struct Half {
  uint16_t bits;

  static float decode(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, rest = h & 0x7fff;
    // The exponent moves by 2^112; for subnormals, and for inf and NaN, by multiplying.
    const uint32_t moved = rest << 13;
    float value;
    __builtin_memcpy(&value, &moved, 4);
    value *= 0x1p112f;
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    bits |= rest >= 0x7c00 ? 0x7f800000u : 0u;
    bits |= sign;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  }
  static uint16_t encode(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const uint32_t sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
    // Normal numbers: round to nearest even at bit 13. Below 2^-14, adding 0.5 lets the hardware
    // round at the last bit of a subnormal, 2^-24.
    const uint32_t normal = (size - (112u << 23) + 0xfff + ((size >> 13) & 1)) >> 13;
    float small;
    __builtin_memcpy(&small, &size, 4);
    small += 0.5f;
    uint32_t subnormal;
    __builtin_memcpy(&subnormal, &small, 4);
    subnormal -= 126u << 23;
    const uint32_t finite = size < (113u << 23) ? subnormal : normal;
    const uint32_t infinite = size > 0x7f800000 ? 0x7e00 : 0x7c00;
    return static_cast<uint16_t>(sign | (size >= 0x477ff000 ? infinite : finite));
  }

  // As many as a vector of float has.
  static V<float> widen(HalfVector v) {
#if defined(__AVX512F__)
    return _mm512_cvtph_ps(reinterpret_cast<__m256i>(v));
#elif defined(__F16C__)
    return _mm256_cvtph_ps(reinterpret_cast<__m128i>(v));
#else
    float lanes[kLanes<float>];
    for (int k = 0; k < kLanes<float>; ++k) lanes[k] = decode(v[k]);
    return load(lanes);
#endif
  }
  static HalfVector narrow(V<float> v) {
#if defined(__AVX512F__)
    return reinterpret_cast<HalfVector>(_mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#elif defined(__F16C__)
    return reinterpret_cast<HalfVector>(_mm256_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT));
#else
    HalfVector bits;
    for (int k = 0; k < kLanes<float>; ++k) bits[k] = encode(v[k]);
    return bits;
#endif
  }
  static V<uint16_t> narrow(V<float> a, V<float> b) { return joined(narrow(a), narrow(b)); }
};

struct Bfloat {
  uint16_t bits;

  static float decode(uint16_t h) {
    const uint32_t bits = static_cast<uint32_t>(h) << 16;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  }
  static uint16_t encode(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
  }

  static V<float> widen(HalfVector v) {
#if defined(__AVX512BW__)
    // Each to the upper half of a float: one instruction, where converting and shifting take two.
    typedef int16_t Places __attribute__((vector_size(kVectorBytes)));
    constexpr Places kUpper = {0, 0, 0, 1, 0, 2,  0, 3,  0, 4,  0, 5,  0, 6,  0, 7,
                               0, 8, 0, 9, 0, 10, 0, 11, 0, 12, 0, 13, 0, 14, 0, 15};
    return _mm512_castsi512_ps(
        _mm512_maskz_permutexvar_epi16(0xaaaaaaaa, reinterpret_cast<__m512i>(kUpper),
                                       _mm512_castsi256_si512(reinterpret_cast<__m256i>(v))));
#elif defined(__AVX2__)
    // The same in each half: bytes 0 to 7 and 8 to 15, each pair to the upper half of a float.
    const __m256i places =
        _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7, -1, -1, 8, 9, -1,
                         -1, 10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
    const __m256i twice = _mm256_broadcastsi128_si256(reinterpret_cast<__m128i>(v));
    return _mm256_castsi256_ps(_mm256_shuffle_epi8(twice, places));
#else
    return as_float(__builtin_convertvector(v, typename Vector<float>::bits) << 16);
#endif
  }
  // A NaN stays one where the lower half of its bits is 0: so it is of those that arithmetic makes
  // of bfloat16 numbers.
  static V<uint16_t> narrow(V<float> a, V<float> b) {
#if defined(__AVX512BW__)
    // The halves apart, and rounded all at once.
    typedef int16_t Places __attribute__((vector_size(kVectorBytes)));
    constexpr Places kLower = {0,  2,  4,  6,  8,  10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30,
                               32, 34, 36, 38, 40, 42, 44, 46, 48, 50, 52, 54, 56, 58, 60, 62};
    const __m512i x = _mm512_castps_si512(a), y = _mm512_castps_si512(b);
    const __m512i low = _mm512_permutex2var_epi16(x, reinterpret_cast<__m512i>(kLower), y);
    const __m512i high = _mm512_permutex2var_epi16(x, reinterpret_cast<__m512i>(kLower + 1), y);
    // Up where more than half is lost, or just half of an odd number.
    const __m512i lost = _mm512_ternarylogic_epi32(low, high, _mm512_set1_epi16(1), 0xf8);
    const __mmask32 up = _mm512_cmpgt_epu16_mask(lost, _mm512_set1_epi16(-0x8000));
    return reinterpret_cast<V<uint16_t>>(
        _mm512_mask_sub_epi16(high, up, high, _mm512_set1_epi16(-1)));
#elif defined(__AVX2__)
    // Packing takes quarters by turns.
    const __m256i packed = _mm256_packus_epi32(reinterpret_cast<__m256i>(rounded(a)),
                                               reinterpret_cast<__m256i>(rounded(b)));
    return reinterpret_cast<V<uint16_t>>(_mm256_permute4x64_epi64(packed, 0xd8));
#else
    return joined(__builtin_convertvector(rounded(a), HalfVector),
                  __builtin_convertvector(rounded(b), HalfVector));
#endif
  }

 private:
  typedef typename Vector<float>::bits Whole;
  static V<float> as_float(Whole bits) {
    V<float> value;
    __builtin_memcpy(&value, &bits, sizeof value);
    return value;
  }
  static Whole rounded(V<float> v) {
    Whole bits;
    __builtin_memcpy(&bits, &v, sizeof bits);
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  }
};

// exp for half types, which don't need all of float's digits: without the rest of ln 2 and with
// fewer terms. Error at most 2.4 ulp of float with a table, 3.3 without.
#if defined(__AVX512F__)
// Twice the table, 2^(k / 32).
alignas(64) constexpr float kRootsForHalf[32] = {
    1,          1.0218972f, 1.0442737f, 1.0671405f, 1.0905077f, 1.1143868f, 1.1387886f, 1.1637249f,
    1.1892071f, 1.2152474f, 1.2418578f, 1.269051f,  1.2968396f, 1.3252367f, 1.3542556f, 1.3839099f,
    1.4142135f, 1.4451808f, 1.4768262f, 1.5091645f, 1.5422108f, 1.5759809f, 1.6104903f, 1.6457555f,
    1.6817929f, 1.7186193f, 1.7562522f, 1.7947091f, 1.8340081f, 1.8741677f, 1.9152066f, 1.9571441f};

struct NearOfHalf {
  __m512 below = _mm512_load_ps(kRootsForHalf), above = _mm512_load_ps(kRootsForHalf + 16);

  struct Parts {
    V<float> power, rest;  // exp(x) = power exp(rest)
  };
  SOFTXENT_INLINE Parts parts(V<float> x) const {
    constexpr float kRound32 = 0x1.8p18f;  // rounds to a 32nd, which is then in the lowest bits
    const V<float> t = multiply_add(x, all(1.44269504088896340736f), all(kRound32));
    const V<float> n = t - kRound32;
    const V<float> rest = multiply_add(n, all(-0.69314718055994530942f), x);
    const V<float> root = _mm512_permutex2var_ps(below, _mm512_castps_si512(t), above);
    return {_mm512_scalef_ps(root, n), rest};
  }
  SOFTXENT_INLINE V<float> exp(V<float> x) const {
    const auto [power, r] = parts(x);
    const V<float> p = multiply_add(r, all(0.49999633f), all(1.0000147f)) * r;
    return multiply_add(power, p, power);
  }
};

// For results in bfloat16: without the square of the rest, which is at most 2^-14, a 64th of a
// unit.
struct NearForBfloat : NearOfHalf {
  SOFTXENT_INLINE V<float> exp(V<float> x) const {
    const auto [power, r] = parts(x);
    return multiply_add(power, r, power);
  }
};
#elif defined(__AVX2__) && defined(__FMA__)
typedef NearByQuarters<4, false> NearOfHalf;
// For results in bfloat16, where two terms are off by a 130th of a unit at most.
typedef NearByQuarters<2, false> NearForBfloat;
#elif defined(__aarch64__)
// exp(r) - 1 by so many terms; the coefficient of the highest power comes first. They are fitted
// for the smallest largest relative error of exp: 2^-23.4 with five, 2^-18.4 with four.
template <int terms>
struct NearByTerms {
  float coefficients[terms];

  SOFTXENT_INLINE V<float> exp(V<float> x) const {
    using C = ExpConstants<float>;
    constexpr float kRound = C::kRound + C::kExponentZero;
    const V<float> t = multiply_add(x, all(1.44269504088896340736f), all(kRound));
    const V<float> r = multiply_add(t - kRound, all(-0.69314718055994530942f), x);
    V<float> q = all(coefficients[0]);
#pragma GCC unroll 8
    for (int k = 1; k < terms; ++k) q = multiply_add(q, r, all(coefficients[k]));
    typename Vector<float>::bits bits;
    __builtin_memcpy(&bits, &t, sizeof bits);
    bits <<= C::kMantissa;
    V<float> power;
    __builtin_memcpy(&power, &bits, sizeof power);
    return multiply_add(power, q * r, power);
  }
};
struct NearOfHalf : NearByTerms<5> {
  NearOfHalf()
      : NearByTerms{0.00829027221f, 0.0418981612f, 0.166676387f, 0.499991477f, 0.999999702f} {}
};
// For results in bfloat16: off by less than a 1000th of a unit. With three terms it would be a
// 38th.
struct NearForBfloat : NearByTerms<4> {
  NearForBfloat() : NearByTerms{0.0415136814f, 0.167875916f, 0.50003022f, 0.9999668f} {}
};
#else
typedef Near<float> NearOfHalf;
typedef Near<float> NearForBfloat;
#endif
template <>
struct Near<Half> : NearOfHalf {};
template <>
struct Near<Bfloat> : NearOfHalf {};

// For results of type S, where Near is for those of more digits, such as a loss.
template <class S>
struct NearForResult : Near<S> {};
template <>
struct NearForResult<Bfloat> : NearForBfloat {};

// What an S is in memory.
template <class S>
struct Stored {
  typedef S bits;
  static constexpr bool is_half = false;
};
template <>
struct Stored<Half> {
  typedef uint16_t bits;
  static constexpr bool is_half = true;
};
template <>
struct Stored<Bfloat> : Stored<Half> {};
template <class S>
using Bits = typename Stored<S>::bits;

template <class S>
inline auto number(S s) {
  if constexpr (Stored<S>::is_half) {
    return S::decode(s.bits);
  } else {
    return s;
  }
}
template <class S, class T>
inline void set(S& s, T x) {
  if constexpr (Stored<S>::is_half) {
    s.bits = S::encode(x);
  } else {
    s = x;
  }
}

// A vector of T; or the first n numbers of one, n < kLanes<T>, the others filled.
template <class T, class S>
inline V<T> load_as(const S* p) {
  if constexpr (Stored<S>::is_half) {
    HalfVector v;
    __builtin_memcpy(&v, p, sizeof v);
    return S::widen(v);
  } else {
    return load(p);
  }
}
template <class T, class S>
inline V<T> load_part_as(const S* p, int64_t n, T filler) {
  if constexpr (Stored<S>::is_half) {
#if defined(__AVX512BW__)
    const auto some = static_cast<__mmask16>((1 << n) - 1);
    const __m256i v = _mm256_maskz_loadu_epi16(some, p);
    return _mm512_mask_blend_ps(some, all(filler), S::widen(reinterpret_cast<HalfVector>(v)));
#endif
    T lanes[kLanes<T>];
    for (int k = 0; k < kLanes<T>; ++k) lanes[k] = k < n ? number(p[k]) : filler;
    return load(lanes);
  } else {
    return load_part(p, n, filler);
  }
}

// As write_vectors, with whole(begin) and part(begin, count) in vectors of T, rounded to S.
template <class T, class S, class Whole, class Part>
inline void store_vectors(S* out, int64_t n, Stream<Bits<S>>* past, const Whole& whole,
                          const Part& part) {
  if constexpr (!Stored<S>::is_half) {
    write_vectors<S>(out, n, past, whole, part);
  } else {
    constexpr int L = kLanes<T>;
    write_vectors<uint16_t>(
        reinterpret_cast<uint16_t*>(out), n, past,
        [&](int64_t i) SOFTXENT_INLINE { return S::narrow(whole(i), whole(i + L)); },
        [&](int64_t i, int64_t count) {
          if (count <= L) return S::narrow(count < L ? part(i, count) : whole(i), V<T>{});
          return S::narrow(whole(i), part(i + L, count - L));
        });
  }
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
