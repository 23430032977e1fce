// The vector interface with NEON, which every 64-bit Arm processor has.
//
// Each function gives the same bits as with AVX2: the same operations of IEEE 754, no estimates.
// maximum and minimum stay compare and select, as in generic.h: fmax returns every NaN, and fmaxnm
// every signaling NaN.
#pragma once

#include "vector/generic.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// ---- Memory

// One lane after the other: there are no masked loads.
template <>
inline V<float> load_part(const float* p, int64_t n, float filler) {
  V<float> v = vdupq_n_f32(filler);
  if (n > 2) v = vld1q_lane_f32(p + 2, v, 2);
  if (n > 1) v = vld1q_lane_f32(p + 1, v, 1);
  if (n > 0) v = vld1q_lane_f32(p, v, 0);
  return v;
}
template <>
inline V<double> load_part(const double* p, int64_t n, double filler) {
  V<double> v = vdupq_n_f64(filler);
  if (n > 0) v = vld1q_lane_f64(p, v, 0);
  return v;
}
template <>
inline void store_part(float* p, V<float> v, int64_t n) {
  if (n > 3) return store(p, v);
  if (n > 2) vst1q_lane_f32(p + 2, v, 2);
  if (n > 1) vst1q_lane_f32(p + 1, v, 1);
  if (n > 0) vst1q_lane_f32(p, v, 0);
}
template <>
inline void store_part(double* p, V<double> v, int64_t n) {
  if (n > 1) return store(p, v);
  if (n > 0) vst1q_lane_f64(p, v, 0);
}
// Four numbers of a half type, then two, then one.
template <>
inline void store_part(uint16_t* p, V<uint16_t> v, int64_t n) {
  if (n >= kLanes<uint16_t>) return store(p, v);
  if ((n & 4) != 0) {
    vst1_u16(p, vget_low_u16(v));
    v = vextq_u16(v, v, 4);
    p += 4;
  }
  if ((n & 2) != 0) {
    const uint32_t two = vgetq_lane_u32(vreinterpretq_u32_u16(v), 0);
    __builtin_memcpy(p, &two, sizeof two);
    v = vextq_u16(v, v, 2);
    p += 2;
  }
  if ((n & 1) != 0) vst1q_lane_u16(p, v, 0);
}

// The non-temporal stores of NEON are a hint, and take two vectors. Processors see for themselves
// that whole cache lines are written.
template <class T>
inline void stream_store(T* p, V<T> v) {
  store(p, v);
}
inline void stream_fence() {}

// ---- Lanes and arithmetic

// Lane k is number which[k] of a table of four, 0 <= which[k] < 4.
inline V<float> look_up(V<float> table, uint32x4_t which) {
  const uint32x4_t bytes =
      vmlaq_n_u32(vdupq_n_u32(0x03020100), which, 0x04040404);  // the four bytes of each number
  return vreinterpretq_f32_u8(vqtbl1q_u8(vreinterpretq_u8_f32(table), vreinterpretq_u8_u32(bytes)));
}
template <>
inline V<float> permute<float>(V<float> v, Mask<float> which) {
  return look_up(v, reinterpret_cast<uint32x4_t>(which));
}
template <>
inline V<double> permute<double>(V<double> v, Mask<double> which) {
  return which == 0 ? broadcast(v[0]) : broadcast(v[1]);
}
inline V<float> multiply_add(V<float> a, V<float> b, V<float> c) { return vfmaq_f32(c, a, b); }
inline V<double> multiply_add(V<double> a, V<double> b, V<double> c) { return vfmaq_f64(c, a, b); }
template <>
inline V<uint16_t> maximum<uint16_t>(V<uint16_t> a, V<uint16_t> b) {
  return vmaxq_u16(a, b);
}
template <>
inline V<int16_t> maximum<int16_t>(V<int16_t> a, V<int16_t> b) {
  return vmaxq_s16(a, b);
}
template <>
inline V<float> max_magnitude<float>(V<float> a, V<float> b) {
  return maximum<float>(vabsq_f32(a), b);
}
template <>
inline V<double> max_magnitude<double>(V<double> a, V<double> b) {
  return maximum<double>(vabsq_f64(a), b);
}

// ---- Reductions

template <>
inline float largest_lane<float>(V<float> v) {
  return vmaxvq_f32(v);
}
template <>
inline double largest_lane<double>(V<double> v) {
  return vmaxvq_f64(v);
}
inline double sum_of_lanes(V<double> v) { return vpaddd_f64(v); }
template <>
inline bool all_lanes<float>(Mask<float> mask) {
  return vminvq_u32(reinterpret_cast<uint32x4_t>(mask)) == 0xffffffff;
}
template <>
inline bool all_lanes<double>(Mask<double> mask) {
  return vminvq_u32(reinterpret_cast<uint32x4_t>(mask)) == 0xffffffff;
}
// A comparison is all ones or zeros: half the bits of each lane fit 64 bits, 16 or 32 to a lane.
template <>
inline int find_lane<float>(V<float> v, float x) {
  const uint64_t found =
      vget_lane_u64(vreinterpret_u64_u16(vmovn_u32(vceqq_f32(v, vdupq_n_f32(x)))), 0);
  return found != 0 ? __builtin_ctzll(found) / 16 : kLanes<float>;
}
template <>
inline int find_lane<double>(V<double> v, double x) {
  const uint64_t found =
      vget_lane_u64(vreinterpret_u64_u32(vmovn_u64(vceqq_f64(v, vdupq_n_f64(x)))), 0);
  return found != 0 ? __builtin_ctzll(found) / 32 : kLanes<double>;
}

// ---- Conversions: to nearest, ties to even

template <>
inline V<double> widen<0>(V<float> v) {
  return vcvt_f64_f32(vget_low_f32(v));
}
template <>
inline V<double> widen<1>(V<float> v) {
  return vcvt_high_f64_f32(v);
}
template <>
inline V<float> narrow<float>(const V<double>* parts) {
  return vcvt_high_f32_f64(vcvt_f32_f64(parts[0]), parts[1]);
}

template <>
inline V<float> widen_half<Float16>(HalfVector v) {
  return vcvt_f32_f16(vreinterpret_f16_u16(v));
}
template <>
inline V<uint16_t> narrow_half<Float16>(V<float> a, V<float> b) {
  return vreinterpretq_u16_f16(vcvt_high_f16_f32(vcvt_f16_f32(a), b));
}
template <>
inline V<float> widen_half<Bfloat16>(HalfVector v) {
  return vreinterpretq_f32_u32(vshll_n_u16(v, 16));
}
// A NaN stays NaN unless the set bits of its fraction are all in the lower half of the float. The
// NaNs that arithmetic makes of bfloat16 numbers have none there.
template <>
inline V<uint16_t> narrow_half<Bfloat16>(V<float> a, V<float> b) {
  // The upper half of a sum: just below half of an ulp is added, and the last bit that stays.
  const auto ulps = [](uint32x4_t bits) SOFTXENT_INLINE {
    return vaddq_u32(vandq_u32(vshrq_n_u32(bits, 16), vdupq_n_u32(1)), vdupq_n_u32(0x7fff));
  };
  const uint32x4_t x = vreinterpretq_u32_f32(a), y = vreinterpretq_u32_f32(b);
  return vaddhn_high_u32(vaddhn_u32(x, ulps(x)), y, ulps(y));
}

// Fewer than four numbers, together in one word.
template <class S>
inline V<float> load_part_half_by_words(const S* p, int64_t n, float filler) {
  uint64_t words = 0;
  if ((n & 2) != 0) {
    uint32_t two;
    __builtin_memcpy(&two, p, sizeof two);
    words = two;
  }
  if ((n & 1) != 0) words |= static_cast<uint64_t>(p[n & 2].bits) << (16 * (n & 2));
  const V<float> v = widen_half<S>(vcreate_u16(words));
  const Mask<float> lane = {0, 1, 2, 3};
  return lane < static_cast<int32_t>(n) ? v : broadcast(filler);
}
template <>
inline V<float> load_part_half(const Float16* p, int64_t n, float filler) {
  return load_part_half_by_words(p, n, filler);
}
template <>
inline V<float> load_part_half(const Bfloat16* p, int64_t n, float filler) {
  return load_part_half_by_words(p, n, filler);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
