// The vector interface with AVX2, FMA and F16C (x86-64-v3).
#pragma once

#include "vector/generic.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// ---- Memory

// The mask of the first n lanes begins kLanes - n numbers after the beginning.
alignas(64) constexpr int32_t kFirstLanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
template <>
inline V<float> load_part(const float* p, int64_t n, float filler) {
  const __m256i some =
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + kLanes<float> - n));
  return _mm256_blendv_ps(broadcast(filler), _mm256_maskload_ps(p, some),
                          _mm256_castsi256_ps(some));
}
template <>
inline V<double> load_part(const double* p, int64_t n, double filler) {
  const __m256i some =
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + kLanes<float> - 2 * n));
  return _mm256_blendv_pd(broadcast(filler), _mm256_maskload_pd(p, some),
                          _mm256_castsi256_pd(some));
}
// A masked store takes as long as a dozen ordinary ones. Storing by halves is faster.
inline void store_part_of(void* to, __m256i v, int64_t bytes) {
  auto* p = static_cast<char*>(to);
  __m128i part = _mm256_castsi256_si128(v);
  if ((bytes & 16) != 0) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), part);
    part = _mm256_extracti128_si256(v, 1);
    p += 16;
  }
  if ((bytes & 8) != 0) {
    _mm_storeu_si64(p, part);
    part = _mm_srli_si128(part, 8);
    p += 8;
  }
  if ((bytes & 4) != 0) {
    _mm_storeu_si32(p, part);
    part = _mm_srli_si128(part, 4);
    p += 4;
  }
  if ((bytes & 2) != 0) _mm_storeu_si16(p, part);
}
template <>
inline void store_part(float* p, V<float> v, int64_t n) {
  store_part_of(p, _mm256_castps_si256(v), n * 4);
}
template <>
inline void store_part(double* p, V<double> v, int64_t n) {
  store_part_of(p, _mm256_castpd_si256(v), n * 8);
}
template <>
inline void store_part(uint16_t* p, V<uint16_t> v, int64_t n) {
  store_part_of(p, reinterpret_cast<__m256i>(v), n * 2);
}
template <class T>
inline void stream_store(T* p, V<T> v) {
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(v));
}
inline void stream_fence() { _mm_sfence(); }

// ---- Lanes and arithmetic

template <>
inline V<float> permute<float>(V<float> v, Mask<float> which) {
  return _mm256_permutevar8x32_ps(v, reinterpret_cast<__m256i>(which));
}
inline V<float> multiply_add(V<float> a, V<float> b, V<float> c) {
  return _mm256_fmadd_ps(a, b, c);
}
inline V<double> multiply_add(V<double> a, V<double> b, V<double> c) {
  return _mm256_fmadd_pd(a, b, c);
}
template <>
inline V<float> max_magnitude<float>(V<float> a, V<float> b) {
  return _mm256_max_ps(_mm256_andnot_ps(broadcast(-0.0f), a), b);
}
template <>
inline V<double> max_magnitude<double>(V<double> a, V<double> b) {
  return _mm256_max_pd(_mm256_andnot_pd(broadcast(-0.0), a), b);
}

// ---- Reductions

template <>
inline float largest_lane<float>(V<float> v) {
  __m128 four = _mm_max_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
  four = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
template <>
inline double largest_lane<double>(V<double> v) {
  const __m128d pair = _mm_max_pd(_mm256_castpd256_pd128(v), _mm256_extractf128_pd(v, 1));
  return _mm_cvtsd_f64(_mm_max_sd(pair, _mm_unpackhi_pd(pair, pair)));
}
inline double sum_of_lanes(V<double> v) {
  const __m128d pair = _mm256_castpd256_pd128(v) + _mm256_extractf128_pd(v, 1);
  return _mm_cvtsd_f64(pair + _mm_unpackhi_pd(pair, pair));
}
template <>
inline bool all_lanes<float>(Mask<float> mask) {
  return _mm256_movemask_ps(reinterpret_cast<__m256>(mask)) == 0xff;
}
template <>
inline bool all_lanes<double>(Mask<double> mask) {
  return _mm256_movemask_pd(reinterpret_cast<__m256d>(mask)) == 0xf;
}
template <>
inline int find_lane<float>(V<float> v, float x) {
  return __builtin_ctz(_mm256_movemask_ps(_mm256_cmp_ps(v, broadcast(x), _CMP_EQ_OQ)) |
                       1 << kLanes<float>);
}
template <>
inline int find_lane<double>(V<double> v, double x) {
  return __builtin_ctz(_mm256_movemask_pd(_mm256_cmp_pd(v, broadcast(x), _CMP_EQ_OQ)) |
                       1 << kLanes<double>);
}

// ---- Conversions

template <>
inline V<double> widen<0>(V<float> v) {
  return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 0));
}
template <>
inline V<double> widen<1>(V<float> v) {
  return _mm256_cvtps_pd(_mm256_extractf128_ps(v, 1));
}
template <>
inline V<float> narrow<float>(const V<double>* parts) {
  return _mm256_set_m128(_mm256_cvtpd_ps(parts[1]), _mm256_cvtpd_ps(parts[0]));
}

template <>
inline V<float> widen_half<Float16>(HalfVector v) {
  return _mm256_cvtph_ps(reinterpret_cast<__m128i>(v));
}
template <>
inline V<uint16_t> narrow_half<Float16>(V<float> a, V<float> b) {
  return reinterpret_cast<V<uint16_t>>(
      _mm256_set_m128i(_mm256_cvtps_ph(b, _MM_FROUND_TO_NEAREST_INT),
                       _mm256_cvtps_ph(a, _MM_FROUND_TO_NEAREST_INT)));
}
template <>
inline V<float> widen_half<Bfloat16>(HalfVector v) {
  // In each half of the vector, pairs of bytes go to the upper half of a float: bytes 0 to 7 in the
  // first, 8 to 15 in the second.
  const __m256i tile_positions =
      _mm256_setr_epi8(-1, -1, 0, 1, -1, -1, 2, 3, -1, -1, 4, 5, -1, -1, 6, 7, -1, -1, 8, 9, -1, -1,
                       10, 11, -1, -1, 12, 13, -1, -1, 14, 15);
  const __m256i twice = _mm256_broadcastsi128_si256(reinterpret_cast<__m128i>(v));
  return _mm256_castsi256_ps(_mm256_shuffle_epi8(twice, tile_positions));
}
// A NaN stays NaN unless the set bits of its fraction are all in the lower half of the float. The
// NaNs that arithmetic makes of bfloat16 numbers have none there.
template <>
inline V<uint16_t> narrow_half<Bfloat16>(V<float> a, V<float> b) {
  // Packing interleaves the quarters of a and b; the permutation puts them in order.
  const __m256i packed = _mm256_packus_epi32(reinterpret_cast<__m256i>(Bfloat16::rounded_bits(a)),
                                             reinterpret_cast<__m256i>(Bfloat16::rounded_bits(b)));
  return reinterpret_cast<V<uint16_t>>(_mm256_permute4x64_epi64(packed, 0xd8));
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
