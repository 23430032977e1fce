// The vector interface with AVX-512 (x86-64-v4).
#pragma once

#include "vector/generic.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// ---- Memory: with masks, the last few numbers of a row cost as much as a whole vector.

template <>
inline V<float> load_part(const float* p, int64_t n, float filler) {
  return _mm512_mask_loadu_ps(broadcast(filler), static_cast<__mmask16>((1 << n) - 1), p);
}
template <>
inline V<double> load_part(const double* p, int64_t n, double filler) {
  return _mm512_mask_loadu_pd(broadcast(filler), static_cast<__mmask8>((1 << n) - 1), p);
}
template <>
inline void store_part(float* p, V<float> v, int64_t n) {
  _mm512_mask_storeu_ps(p, static_cast<__mmask16>((1 << n) - 1), v);
}
template <>
inline void store_part(double* p, V<double> v, int64_t n) {
  _mm512_mask_storeu_pd(p, static_cast<__mmask8>((1 << n) - 1), v);
}
template <>
inline void store_part(uint16_t* p, V<uint16_t> v, int64_t n) {
  _mm512_mask_storeu_epi16(p, (1u << n) - 1, reinterpret_cast<__m512i>(v));
}
template <>
inline V<float> gather<float>(const float* from, Mask<float> at) {
  return _mm512_i32gather_ps(reinterpret_cast<__m512i>(at), from, 4);
}
template <>
inline V<double> gather<double>(const double* from, Mask<double> at) {
  return _mm512_i64gather_pd(reinterpret_cast<__m512i>(at), from, 8);
}
template <>
inline void scatter<float>(float* to, Mask<float> at, V<float> v) {
  _mm512_i32scatter_ps(to, reinterpret_cast<__m512i>(at), v, 4);
}
template <>
inline void scatter<double>(double* to, Mask<double> at, V<double> v) {
  _mm512_i64scatter_pd(to, reinterpret_cast<__m512i>(at), v, 8);
}
template <class T>
inline void stream_store(T* p, V<T> v) {
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(v));
}
inline void stream_fence() { _mm_sfence(); }

// ---- Lanes and arithmetic

template <>
inline V<float> permute<float>(V<float> v, Mask<float> which) {
  return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(which), v);
}
template <>
inline V<double> permute<double>(V<double> v, Mask<double> which) {
  return _mm512_permutexvar_pd(reinterpret_cast<__m512i>(which), v);
}
inline V<float> multiply_add(V<float> a, V<float> b, V<float> c) {
  return _mm512_fmadd_ps(a, b, c);
}
inline V<double> multiply_add(V<double> a, V<double> b, V<double> c) {
  return _mm512_fmadd_pd(a, b, c);
}

// Division is slow: each Newton step doubles the number of correct digits.
template <>
inline V<float> reciprocal<float>(V<float> d) {
  const V<float> x = _mm512_rcp14_ps(d);
  return multiply_add(x, multiply_add(-d, x, broadcast(1.0f)), x);
}
template <>
inline V<double> reciprocal<double>(V<double> d) {
  V<double> x = _mm512_rcp14_pd(d);
  x = multiply_add(x, multiply_add(-d, x, broadcast(1.0)), x);
  return multiply_add(x, multiply_add(-d, x, broadcast(1.0)), x);
}

// The compiler doesn't always find these instructions.
template <>
inline V<float> maximum<float>(V<float> a, V<float> b) {
  return _mm512_max_ps(a, b);
}
template <>
inline V<double> maximum<double>(V<double> a, V<double> b) {
  return _mm512_max_pd(a, b);
}
template <>
inline V<float> minimum<float>(V<float> a, V<float> b) {
  return _mm512_min_ps(a, b);
}
template <>
inline V<double> minimum<double>(V<double> a, V<double> b) {
  return _mm512_min_pd(a, b);
}
template <>
inline V<uint16_t> maximum<uint16_t>(V<uint16_t> a, V<uint16_t> b) {
  return reinterpret_cast<V<uint16_t>>(
      _mm512_max_epu16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
template <>
inline V<int16_t> maximum<int16_t>(V<int16_t> a, V<int16_t> b) {
  return reinterpret_cast<V<int16_t>>(
      _mm512_max_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
template <>
inline V<float> max_magnitude<float>(V<float> a, V<float> b) {
  return _mm512_range_ps(a, b, 11);
}
template <>
inline V<double> max_magnitude<double>(V<double> a, V<double> b) {
  return _mm512_range_pd(a, b, 11);
}

// ---- Reductions

template <>
inline float largest_lane<float>(V<float> v) {
  return _mm512_reduce_max_ps(v);
}
template <>
inline double largest_lane<double>(V<double> v) {
  return _mm512_reduce_max_pd(v);
}
inline double sum_of_lanes(V<double> v) { return _mm512_reduce_add_pd(v); }
template <>
inline bool all_lanes<float>(Mask<float> mask) {
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)) == 0xffff;
}
template <>
inline bool all_lanes<double>(Mask<double> mask) {
  return _mm512_movepi64_mask(reinterpret_cast<__m512i>(mask)) == 0xff;
}
template <>
inline int find_lane<float>(V<float> v, float x) {
  return __builtin_ctz(_mm512_cmpeq_ps_mask(v, broadcast(x)) | 1 << kLanes<float>);
}
template <>
inline int find_lane<double>(V<double> v, double x) {
  return __builtin_ctz(_mm512_cmpeq_pd_mask(v, broadcast(x)) | 1 << kLanes<double>);
}

// ---- Conversions

template <>
inline V<double> widen<0>(V<float> v) {
  return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 0));
}
template <>
inline V<double> widen<1>(V<float> v) {
  return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, 1));
}
template <>
inline V<float> narrow<float>(const V<double>* parts) {
  return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(parts[0])),
                            _mm512_cvtpd_ps(parts[1]), 1);
}

template <>
inline V<float> widen_half<Float16>(HalfVector v) {
  return _mm512_cvtph_ps(reinterpret_cast<__m256i>(v));
}
template <>
inline V<uint16_t> narrow_half<Float16>(V<float> a, V<float> b) {
  return reinterpret_cast<V<uint16_t>>(
      _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)),
                         _mm512_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT), 1));
}
template <>
inline V<float> widen_half<Bfloat16>(HalfVector v) {
  // Each number to the upper half of a float: one instruction, where converting and shifting take
  // two.
  typedef int16_t Places __attribute__((vector_size(kVectorBytes)));
  constexpr Places kUpper = {0, 0, 0, 1, 0, 2,  0, 3,  0, 4,  0, 5,  0, 6,  0, 7,
                             0, 8, 0, 9, 0, 10, 0, 11, 0, 12, 0, 13, 0, 14, 0, 15};
  return _mm512_castsi512_ps(
      _mm512_maskz_permutexvar_epi16(0xaaaaaaaa, reinterpret_cast<__m512i>(kUpper),
                                     _mm512_castsi256_si512(reinterpret_cast<__m256i>(v))));
}
// A NaN stays NaN unless the set bits of its fraction are all in the lower half of the float. The
// NaNs that arithmetic makes of bfloat16 numbers have none there.
template <>
inline V<uint16_t> narrow_half<Bfloat16>(V<float> a, V<float> b) {
  // Separates the upper from the lower halves, then rounds all numbers at once.
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
}

template <class S>
inline V<float> load_part_half_masked(const S* p, int64_t n, float filler) {
  const auto some = static_cast<__mmask16>((1 << n) - 1);
  const __m256i v = _mm256_maskz_loadu_epi16(some, p);
  return _mm512_mask_blend_ps(some, broadcast(filler),
                              widen_half<S>(reinterpret_cast<HalfVector>(v)));
}
template <>
inline V<float> load_part_half(const Float16* p, int64_t n, float filler) {
  return load_part_half_masked(p, n, filler);
}
template <>
inline V<float> load_part_half(const Bfloat16* p, int64_t n, float filler) {
  return load_part_half_masked(p, n, filler);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
