// Vectors as wide as the instruction set that this file is compiled for, in the compiler's own
// vector types: plain C++ operators; intrinsics only where those know no way, for masks.
#pragma once

#include <stdint.h>
#if defined(__x86_64__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "levels.h"

// For what is called in the hottest loops: where the calls are many, the compiler would leave them.
#define SOFTXENT_INLINE __attribute__((always_inline))
// For a loop that needs all registers for itself, where they are sixteen.
#if defined(__AVX512F__) || defined(__aarch64__)
#define SOFTXENT_APART inline
#else
#define SOFTXENT_APART __attribute__((noinline))
#endif

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX2__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif

template <class T>
struct Vector;
template <>
struct Vector<float> {
  typedef float type __attribute__((vector_size(kVectorBytes)));
  typedef int32_t mask __attribute__((vector_size(kVectorBytes)));
  typedef int32_t index;
  typedef uint32_t bits __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Vector<double> {
  typedef double type __attribute__((vector_size(kVectorBytes)));
  typedef int64_t mask __attribute__((vector_size(kVectorBytes)));
  typedef int64_t index;
  typedef uint64_t bits __attribute__((vector_size(kVectorBytes)));
};
template <>
struct Vector<uint16_t> {  // of half types' bits
  typedef uint16_t type __attribute__((vector_size(kVectorBytes)));
  typedef int16_t mask __attribute__((vector_size(kVectorBytes)));
  typedef int16_t index;
};
template <>
struct Vector<int16_t> {
  typedef int16_t type __attribute__((vector_size(kVectorBytes)));
};
template <class T>
using V = typename Vector<T>::type;
template <class T>
using Mask = typename Vector<T>::mask;  // lanes of 0 or -1, or any integers
template <class T>
constexpr int kLanes = kVectorBytes / static_cast<int>(sizeof(T));

template <class T>
inline V<T> load(const T* p) {
  V<T> v;
  __builtin_memcpy(&v, p, sizeof v);
  return v;
}
template <class T>
inline void store(T* p, V<T> v) {
  __builtin_memcpy(p, &v, sizeof v);
}
template <class T>
inline V<T> all(T x) {
  return x - V<T>{};  // x - 0, and not x + 0: -0 stays -0
}

// The first n lanes, n < kLanes, the others filled.
template <class T>
inline V<T> load_part(const T* p, int64_t n, T filler) {
  T lanes[kLanes<T>];
  for (int k = 0; k < kLanes<T>; ++k) lanes[k] = k < n ? p[k] : filler;
  return load(lanes);
}
template <class T>
inline void store_part(T* p, V<T> v, int64_t n) {
  for (int k = 0; k < n; ++k) p[k] = v[k];
}
#if defined(__AVX512F__)
// With masks, the last few of a row cost as much as any vector.
template <>
inline V<float> load_part(const float* p, int64_t n, float filler) {
  return _mm512_mask_loadu_ps(all(filler), static_cast<__mmask16>((1 << n) - 1), p);
}
template <>
inline V<double> load_part(const double* p, int64_t n, double filler) {
  return _mm512_mask_loadu_pd(all(filler), static_cast<__mmask8>((1 << n) - 1), p);
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
#elif defined(__AVX2__)
// Masks of the first n lanes lie kLanes - n numbers from the beginning.
alignas(64) constexpr int32_t kFirstLanes[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
template <>
inline V<float> load_part(const float* p, int64_t n, float filler) {
  const __m256i some =
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + kLanes<float> - n));
  return _mm256_blendv_ps(all(filler), _mm256_maskload_ps(p, some), _mm256_castsi256_ps(some));
}
template <>
inline V<double> load_part(const double* p, int64_t n, double filler) {
  const __m256i some =
      _mm256_loadu_si256(reinterpret_cast<const __m256i*>(kFirstLanes + kLanes<float> - 2 * n));
  return _mm256_blendv_pd(all(filler), _mm256_maskload_pd(p, some), _mm256_castsi256_pd(some));
}
// A store under a mask takes as long as a dozen others: by halves instead.
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
#endif

// v without lane `at`: 0 there, if there is such a lane.
template <class T>
inline V<T> without(V<T> v, int64_t at) {
  Mask<T> lane;
  for (int k = 0; k < kLanes<T>; ++k) lane[k] = k;
  return lane == static_cast<typename Vector<T>::index>(at) ? V<T>{} : v;
}

// v with x in lane `at`.
template <class T>
inline V<T> with(V<T> v, int64_t at, T x) {
  Mask<T> lane;
  for (int k = 0; k < kLanes<T>; ++k) lane[k] = k;
  return lane == static_cast<typename Vector<T>::index>(at) ? all(x) : v;
}

// The first n lanes of v, 0 in the others.
template <class T>
inline V<T> first_of(V<T> v, int64_t n) {
  Mask<T> lane;
  for (int k = 0; k < kLanes<T>; ++k) lane[k] = k;
  return lane < static_cast<typename Vector<T>::index>(n) ? v : V<T>{};
}

// kLanes<double> numbers as double, and back.
inline V<double> load_wide(const double* p) { return load(p); }
inline V<double> load_wide(const float* p) {
  typedef float half __attribute__((vector_size(kVectorBytes / 2)));
  half v;
  __builtin_memcpy(&v, p, sizeof v);
  return __builtin_convertvector(v, V<double>);
}
inline void store_narrow(double* p, V<double> v) { store(p, v); }
inline void store_narrow(float* p, V<double> v) {
  typedef float half __attribute__((vector_size(kVectorBytes / 2)));
  const half narrow = __builtin_convertvector(v, half);
  __builtin_memcpy(p, &narrow, sizeof narrow);
}

// One half of v as double.
template <int half>
inline V<double> widen(V<float> v) {
#if defined(__AVX512F__)
  return _mm512_cvtps_pd(_mm512_extractf32x8_ps(v, half));
#elif defined(__AVX2__)
  return _mm256_cvtps_pd(_mm256_extractf128_ps(v, half));
#else
  float lanes[kLanes<float>];
  store(lanes, v);
  return load_wide(lanes + half * kLanes<double>);
#endif
}
template <int>
inline V<double> widen(V<double> v) {
  return v;
}

// How many V<double> the numbers of a V<T> fill, and f for each of them: f(Wide<k>).
template <class T>
constexpr int kParts = static_cast<int>(sizeof(double) / sizeof(T));
template <int k>
struct Wide {
  static constexpr int number = k;
  static constexpr int64_t begin = k * kLanes<double>;
};
template <class T, class F>
inline void over_parts(const F& f) {
  f(Wide<0>());
  if constexpr (kParts<T> == 2) f(Wide<1>());
}

// The parts as T.
template <class T>
inline V<T> narrow(const V<double>* parts) {
#if defined(__AVX512F__)
  if constexpr (kParts<T> == 2) {
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(parts[0])),
                              _mm512_cvtpd_ps(parts[1]), 1);
  }
#elif defined(__AVX2__)
  if constexpr (kParts<T> == 2) {
    return _mm256_set_m128(_mm256_cvtpd_ps(parts[1]), _mm256_cvtpd_ps(parts[0]));
  }
#endif
  T lanes[kLanes<T>];
  for (int k = 0; k < kParts<T>; ++k) store_narrow(lanes + k * kLanes<double>, parts[k]);
  return load(lanes);
}

// a * b + c, rounded once where there is an instruction for it. What the compiler would make of the
// plain expression depends on what stands around it; an exponential has the same bits everywhere.
inline V<float> multiply_add(V<float> a, V<float> b, V<float> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}
inline V<double> multiply_add(V<double> a, V<double> b, V<double> c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_pd(a, b, c);
#elif defined(__FMA__)
  return _mm256_fmadd_pd(a, b, c);
#elif defined(__aarch64__)
  return vfmaq_f64(c, a, b);
#else
  return a * b + c;
#endif
}

// What a * b has lost by being rounded to `product`. Where no instruction says it: by Dekker's
// halves, whose products are exact.
template <class T>
inline V<T> lost_of_product(V<T> a, V<T> b, V<T> product) {
#if defined(__AVX512F__) || defined(__FMA__) || defined(__aarch64__)
  return multiply_add(a, b, -product);
#else
  constexpr T kSplit = sizeof(T) == 4 ? T(4097) : T(134217729);
  const V<T> far_a = a * kSplit, a_high = far_a - (far_a - a), a_low = a - a_high;
  const V<T> far_b = b * kSplit, b_high = far_b - (far_b - b), b_low = b - b_high;
  return ((a_high * b_high - product) + a_high * b_low + a_low * b_high) + a_low * b_low;
#endif
}

// a - b * c, rounded once.
template <class T>
inline V<T> remainder_of(V<T> a, V<T> b, V<T> c) {
#if defined(__AVX512F__) || defined(__FMA__) || defined(__aarch64__)
  return multiply_add(-b, c, a);
#else
  const V<T> product = b * c;
  return (a - product) - lost_of_product<T>(b, c, product);
#endif
}

// v, computed before what comes after it in the text, and not as a part of that.
template <class T>
inline V<T> settled(V<T> v) {
#if defined(__x86_64__)
  __asm__("" : "+x"(v));
#elif defined(__aarch64__)
  __asm__("" : "+w"(v));
#endif
  return v;
}

// a * b + c * d, rounded once where there is a fused multiply-add: the compiler may fuse only the
// first product.
template <class T>
inline V<T> two_products(V<T> a, V<T> b, V<T> c, V<T> d) {
  return a * b + settled<T>(c * d);
}

// Lane k is the one of a and b, in this order, that which[k] names.
template <class T>
inline V<T> shuffle(V<T> a, V<T> b, Mask<T> which) {
#if defined(__clang__)
  V<T> result;
  for (int k = 0; k < kLanes<T>; ++k) {
    result[k] = which[k] < kLanes<T> ? a[which[k]] : b[which[k] - kLanes<T>];
  }
  return result;
#else
  return __builtin_shuffle(a, b, which);
#endif
}

// Lane k is v[which[k]].
template <class T>
inline V<T> permute(V<T> v, Mask<T> which) {
  return shuffle<T>(v, v, which);
}

template <class T>
inline V<T> larger(V<T> a, V<T> b) {  // b where either is NaN
  return a > b ? a : b;
}
template <class T>
inline V<T> smaller(V<T> a, V<T> b) {  // b where either is NaN
  return a < b ? a : b;
}
// The larger of |a| and b.
template <class T>
inline V<T> larger_size(V<T> a, V<T> b) {
  return larger<T>(a < 0 ? -a : a, b);
}

// The lanes in pairs, then pairs of pairs: short chains. No lane is NaN.
template <class T>
inline T largest_lane(V<T> v) {
  for (int half = kLanes<T> / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) v[k] = v[k] > v[k + half] ? v[k] : v[k + half];
  }
  return v[0];
}
inline double sum_of_lanes(V<double> v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_pd(v);
#elif defined(__AVX2__)
  const __m128d pair = _mm256_castpd256_pd128(v) + _mm256_extractf128_pd(v, 1);
  return _mm_cvtsd_f64(pair + _mm_unpackhi_pd(pair, pair));
#endif
  for (int half = kLanes<double> / 2; half > 0; half /= 2) {
    for (int k = 0; k < half; ++k) v[k] += v[k + half];
  }
  return v[0];
}

template <class T>
inline bool all_lanes(Mask<T> mask) {
  int64_t parts[kVectorBytes / 8], set = -1;
  __builtin_memcpy(parts, &mask, sizeof parts);
  for (int64_t part : parts) set &= part;
  return set == -1;
}

// The first lane that holds x; kLanes where none does.
template <class T>
inline int first_lane(V<T> v, T x) {
  const Mask<T> found = v == x;
  int64_t parts[kVectorBytes / 8], set = 0;
  __builtin_memcpy(parts, &found, sizeof parts);
  for (int64_t part : parts) set |= part;
  int k = set != 0 ? 0 : kLanes<T>;
  while (k < kLanes<T> && found[k] == 0) ++k;
  return k;
}

// Lane k is from[at[k]]; and the other way round.
template <class T>
inline V<T> gather(const T* from, Mask<T> at) {
  V<T> v;
  for (int k = 0; k < kLanes<T>; ++k) v[k] = from[at[k]];
  return v;
}
template <class T>
inline void scatter(T* to, Mask<T> at, V<T> v) {
  for (int k = 0; k < kLanes<T>; ++k) to[at[k]] = v[k];
}

#if defined(__AVX512F__)
// The compiler doesn't always see the instructions for these.
template <>
inline V<float> larger<float>(V<float> a, V<float> b) {
  return _mm512_max_ps(a, b);
}
template <>
inline V<double> larger<double>(V<double> a, V<double> b) {
  return _mm512_max_pd(a, b);
}
template <>
inline V<float> smaller<float>(V<float> a, V<float> b) {
  return _mm512_min_ps(a, b);
}
template <>
inline V<double> smaller<double>(V<double> a, V<double> b) {
  return _mm512_min_pd(a, b);
}
template <>
inline V<uint16_t> larger<uint16_t>(V<uint16_t> a, V<uint16_t> b) {
  return reinterpret_cast<V<uint16_t>>(
      _mm512_max_epu16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
template <>
inline V<int16_t> larger<int16_t>(V<int16_t> a, V<int16_t> b) {
  return reinterpret_cast<V<int16_t>>(
      _mm512_max_epi16(reinterpret_cast<__m512i>(a), reinterpret_cast<__m512i>(b)));
}
template <>
inline V<float> larger_size<float>(V<float> a, V<float> b) {
  return _mm512_range_ps(a, b, 11);
}
template <>
inline V<double> larger_size<double>(V<double> a, V<double> b) {
  return _mm512_range_pd(a, b, 11);
}
template <>
inline V<float> permute<float>(V<float> v, Mask<float> which) {
  return _mm512_permutexvar_ps(reinterpret_cast<__m512i>(which), v);
}
template <>
inline V<double> permute<double>(V<double> v, Mask<double> which) {
  return _mm512_permutexvar_pd(reinterpret_cast<__m512i>(which), v);
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
template <>
inline bool all_lanes<float>(Mask<float> mask) {
  return _mm512_movepi32_mask(reinterpret_cast<__m512i>(mask)) == 0xffff;
}
template <>
inline bool all_lanes<double>(Mask<double> mask) {
  return _mm512_movepi64_mask(reinterpret_cast<__m512i>(mask)) == 0xff;
}
template <>
inline float largest_lane<float>(V<float> v) {
  return _mm512_reduce_max_ps(v);
}
template <>
inline double largest_lane<double>(V<double> v) {
  return _mm512_reduce_max_pd(v);
}
template <>
inline int first_lane<float>(V<float> v, float x) {
  return __builtin_ctz(_mm512_cmpeq_ps_mask(v, all(x)) | 1 << kLanes<float>);
}
template <>
inline int first_lane<double>(V<double> v, double x) {
  return __builtin_ctz(_mm512_cmpeq_pd_mask(v, all(x)) | 1 << kLanes<double>);
}
#elif defined(__AVX2__)
template <>
inline V<float> larger_size<float>(V<float> a, V<float> b) {
  return _mm256_max_ps(_mm256_andnot_ps(all(-0.0f), a), b);
}
template <>
inline V<double> larger_size<double>(V<double> a, V<double> b) {
  return _mm256_max_pd(_mm256_andnot_pd(all(-0.0), a), b);
}
template <>
inline V<float> permute<float>(V<float> v, Mask<float> which) {
  return _mm256_permutevar8x32_ps(v, reinterpret_cast<__m256i>(which));
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
template <>
inline int first_lane<float>(V<float> v, float x) {
  return __builtin_ctz(_mm256_movemask_ps(_mm256_cmp_ps(v, all(x), _CMP_EQ_OQ)) |
                       1 << kLanes<float>);
}
template <>
inline int first_lane<double>(V<double> v, double x) {
  return __builtin_ctz(_mm256_movemask_pd(_mm256_cmp_pd(v, all(x), _CMP_EQ_OQ)) |
                       1 << kLanes<double>);
}
#endif

// Calls f(begin) for whole vectors of [0, n) and f(begin, count) for what is left.
template <class T, class Whole, class Part>
inline void over_vectors(int64_t n, const Whole& whole, const Part& part) {
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) whole(i);
  if (i < n) part(i, n - i);
}

// To memory past the caches, for what is too long to stay in them: the line isn't read first. p is
// aligned to the vector.
template <class T>
inline void stream(T* p, V<T> v) {
#if defined(__AVX512F__)
  _mm512_stream_si512(reinterpret_cast<__m512i*>(p), reinterpret_cast<__m512i>(v));
#elif defined(__AVX2__)
  _mm256_stream_si256(reinterpret_cast<__m256i*>(p), reinterpret_cast<__m256i>(v));
#elif defined(__x86_64__)
  _mm_stream_si128(reinterpret_cast<__m128i*>(p), reinterpret_cast<__m128i>(v));
#else
  store(p, v);
#endif
}
// Other threads see what was streamed before.
inline void end_of_stream() {
#if defined(__x86_64__)
  _mm_sfence();
#endif
}

// What is streamed piece by piece, each where the last one ended: the cache line that two pieces
// share is held back until it is whole. Written by halves, it would be read from memory first. Of
// half types, which take longer to make than to write, the vector is: measured, that is sooner.
template <class T>
class Stream {
 public:
  Stream() = default;
  ~Stream() { flush(); }
  Stream(const Stream&) = delete;
  void operator=(const Stream&) = delete;

  // The first n lanes, to p: no further than to the end of the vector that p lies in.
  void add(T* p, V<T> v, int64_t n) {
    if (p != end_) flush();
    if (begin_ == end_) begin_ = p;
    T* const place = held_ + place_of(p);
    if (kLine > kLanes<T> && n == kLanes<T>) {
      store(place, v);
    } else {
      store_part(place, v, n);
    }
    end_ = p + n;
    if (place_of(end_) != 0) return;
    if (place_of(begin_) == 0) {
      for (int64_t i = 0; i < kLine; i += kLanes<T>) stream(begin_ + i, load(held_ + i));
      begin_ = end_;
    } else {
      flush();
    }
  }

  static constexpr int64_t kLine =
      sizeof(T) == 2 ? kLanes<T> : 64 / static_cast<int64_t>(sizeof(T));
  static int64_t place_of(const T* p) {  // in its line
    return static_cast<int64_t>(reinterpret_cast<uintptr_t>(p) % (kLine * sizeof(T)) / sizeof(T));
  }

 private:
  void flush() {
    for (; begin_ < end_; ++begin_) *begin_ = held_[place_of(begin_)];
  }

  T *begin_ = nullptr, *end_ = nullptr;  // what is held back
  alignas(64) T held_[kLine];
};

// Fills out[0, n) with whole(begin) and, where a vector isn't whole, part(begin, count): in front,
// until out is aligned, and at the end. Past the caches where a stream is given.
template <class T, class Whole, class Part>
inline void write_vectors(T* out, int64_t n, Stream<T>* past, const Whole& whole,
                          const Part& part) {
  constexpr int L = kLanes<T>;
  const auto over = static_cast<int64_t>(reinterpret_cast<uintptr_t>(out) % kVectorBytes);
  const int64_t head = over == 0 ? 0 : L - over / static_cast<int64_t>(sizeof(T));
  const auto some = [&](int64_t i, int64_t count) {
    const V<T> v = part(i, count);
    past ? past->add(out + i, v, count) : store_part(out + i, v, count);
  };
  int64_t i = 0;
  if (head > 0) {
    i = head < n ? head : n;
    some(0, i);
  }
  if (past) {
    constexpr int64_t kLine = Stream<T>::kLine;
    if constexpr (kLine == L) {
      for (; i + L <= n; i += L) stream(out + i, whole(i));
    } else {
      const auto hold = [&](int64_t at) SOFTXENT_INLINE { past->add(out + at, whole(at), L); };
      for (; i + L <= n && Stream<T>::place_of(out + i) != 0; i += L) hold(i);
      for (; i + kLine <= n; i += kLine) {
#pragma GCC unroll 4
        for (int64_t k = 0; k < kLine; k += L) stream(out + i + k, whole(i + k));
      }
      for (; i + L <= n; i += L) hold(i);
    }
  } else {
    for (; i + 4 * L <= n; i += 4 * L) {
#pragma GCC unroll 4
      for (int k = 0; k < 4; ++k) store(out + i + k * L, whole(i + k * L));
    }
    for (; i + L <= n; i += L) store(out + i, whole(i));
  }
  if (i < n) some(i, n - i);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
