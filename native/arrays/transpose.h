// Transposition between rows in memory and the lanes of a tile, in squares of kLanes rows and
// kLanes classes.
#pragma once

#include "arrays/strided.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Transposes kLanes rows of kLanes numbers: halves, quarters, and so on are exchanged.
template <class T>
inline void transpose(V<T>* rows) {
  constexpr int L = kLanes<T>;
#pragma GCC unroll 4
  for (int s = L / 2; s > 0; s /= 2) {
    Mask<T> low{}, high{};
    for (int k = 0; k < L; ++k) {
      low[k] = (k & s) == 0 ? k : L + k - s;
      high[k] = (k & s) == 0 ? k + s : L + k;
    }
#pragma GCC unroll 16
    for (int i = 0; i < L; ++i) {
      if ((i & s) != 0) continue;
      const V<T> a = rows[i], b = rows[i + s];
      rows[i] = shuffle<T>(a, b, low);
      rows[i + s] = shuffle<T>(a, b, high);
    }
  }
}

#if defined(SOFTXENT_NEON)
template <>
inline void transpose<float>(V<float>* v) {
  const float32x4_t a = vtrn1q_f32(v[0], v[1]), b = vtrn2q_f32(v[0], v[1]);
  const float32x4_t c = vtrn1q_f32(v[2], v[3]), d = vtrn2q_f32(v[2], v[3]);
  const auto halves = [](float32x4_t x, float32x4_t y, bool high) SOFTXENT_INLINE {
    const float64x2_t p = vreinterpretq_f64_f32(x), q = vreinterpretq_f64_f32(y);
    return vreinterpretq_f32_f64(high ? vzip2q_f64(p, q) : vzip1q_f64(p, q));
  };
  v[0] = halves(a, c, false);
  v[1] = halves(b, d, false);
  v[2] = halves(a, c, true);
  v[3] = halves(b, d, true);
}
template <>
inline void transpose<double>(V<double>* v) {
  const float64x2_t a = v[0], b = v[1];
  v[0] = vzip1q_f64(a, b);
  v[1] = vzip2q_f64(a, b);
}
#endif

// Moves kLanes rows of `n` adjacent numbers, `apart` from one row to the next, to and from a tile:
// columns[j * width] holds number j of each row.
template <class T>
inline void read_transposed(const T* rows, int64_t apart, int64_t n, T* columns, int64_t width) {
  constexpr int L = kLanes<T>;
  for (int64_t j = 0; j < n; j += L) {
    const int64_t count = n - j < L ? n - j : L;
    V<T> square[L];
    for (int k = 0; k < L; ++k) {
      const T* at = rows + k * apart + j;
      square[k] = count == L ? load(at) : load_part(at, count, T(0));
    }
    transpose<T>(square);
    for (int k = 0; k < count; ++k) store(columns + (j + k) * width, square[k]);
  }
}
template <class T>
inline void write_transposed(T* rows, int64_t apart, int64_t n, const T* columns, int64_t width) {
  constexpr int L = kLanes<T>;
  for (int64_t j = 0; j < n; j += L) {
    const int64_t count = n - j < L ? n - j : L;
    V<T> square[L];
    for (int k = 0; k < L; ++k) square[k] = k < count ? load(columns + (j + k) * width) : V<T>{};
    transpose<T>(square);
    for (int k = 0; k < L; ++k) {
      T* at = rows + k * apart + j;
      count == L ? store(at, square[k]) : store_part(at, square[k], count);
    }
  }
}

#if defined(SOFTXENT_AVX2) || defined(SOFTXENT_AVX512)
// Four classes at a time: a vector takes them from every fourth row as it is loaded, which saves
// half of the shuffles.
#if defined(SOFTXENT_AVX512)
#define SOFTXENT_MM(name) _mm512_##name
inline __m128 load_four(const float* p, int64_t n) {  // the first n
  return n < 4 ? _mm_maskz_loadu_ps(static_cast<__mmask8>((1 << n) - 1), p) : _mm_loadu_ps(p);
}
inline void store_four(float* p, __m128 v, int64_t n) {
  n < 4 ? _mm_mask_storeu_ps(p, static_cast<__mmask8>((1 << n) - 1), v) : _mm_storeu_ps(p, v);
}
template <class F>
inline V<float> load_fours(const F& four) {
  V<float> v = _mm512_castps128_ps512(four(0));
  v = _mm512_mask_broadcast_f32x4(v, 0x00f0, four(4));
  v = _mm512_mask_broadcast_f32x4(v, 0x0f00, four(8));
  return _mm512_mask_broadcast_f32x4(v, 0xf000, four(12));
}
template <class F>
inline void store_fours(V<float> v, const F& four) {
  four(0, _mm512_castps512_ps128(v));
  four(4, _mm512_extractf32x4_ps(v, 1));
  four(8, _mm512_extractf32x4_ps(v, 2));
  four(12, _mm512_extractf32x4_ps(v, 3));
}
#else
#define SOFTXENT_MM(name) _mm256_##name
inline __m128 load_four(const float* p, int64_t n) {
  const __m128i numbers = _mm_setr_epi32(0, 1, 2, 3);
  return n < 4 ? _mm_maskload_ps(p, _mm_cmplt_epi32(numbers, _mm_set1_epi32(static_cast<int>(n))))
               : _mm_loadu_ps(p);
}
inline void store_four(float* p, __m128 v, int64_t n) {
  n < 4 ? store_part_of(p, _mm256_castsi128_si256(_mm_castps_si128(v)), n * 4)
        : _mm_storeu_ps(p, v);
}
template <class F>
inline V<float> load_fours(const F& four) {
  return _mm256_insertf128_ps(_mm256_castps128_ps256(four(0)), four(4), 1);
}
template <class F>
inline void store_fours(V<float> v, const F& four) {
  four(0, _mm256_castps256_ps128(v));
  four(4, _mm256_extractf128_ps(v, 1));
}
#endif
inline void transpose_fours(V<float>* v) {
  const V<float> a = SOFTXENT_MM(unpacklo_ps)(v[0], v[1]), b = SOFTXENT_MM(unpackhi_ps)(v[0], v[1]);
  const V<float> c = SOFTXENT_MM(unpacklo_ps)(v[2], v[3]), d = SOFTXENT_MM(unpackhi_ps)(v[2], v[3]);
  v[0] = SOFTXENT_MM(shuffle_ps)(a, c, 0x44);
  v[1] = SOFTXENT_MM(shuffle_ps)(a, c, 0xee);
  v[2] = SOFTXENT_MM(shuffle_ps)(b, d, 0x44);
  v[3] = SOFTXENT_MM(shuffle_ps)(b, d, 0xee);
}
template <>
inline void read_transposed(const float* rows, int64_t apart, int64_t n, float* columns,
                            int64_t width) {
  V<float> v[4];
  if (n < 4) {
    for (int k = 0; k < 4; ++k) {
      v[k] = load_fours([&](int row) { return load_four(rows + (k + row) * apart, n); });
    }
    transpose_fours(v);
    for (int k = 0; k < n; ++k) store(columns + k * width, v[k]);
    return;
  }
  // Each of the first four rows has an address; the others are multiples of four rows away.
  const int64_t four = 4 * apart, eight = 8 * apart, twelve = 12 * apart;
  for (int64_t begin = 0; begin < n; begin += 4) {
    const int64_t j = begin + 4 <= n ? begin : n - 4;  // the last four may overlap
    const float* first = rows + j;
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k, first += apart) {
      v[k] = load_fours([&](int row) {
        return _mm_loadu_ps(first + (row == 0 ? 0 : row == 4 ? four : row == 8 ? eight : twelve));
      });
    }
    transpose_fours(v);
    float* to = columns + j * width;
    for (int k = 0; k < 4; ++k, to += width) store(to, v[k]);
  }
}
template <>
inline void write_transposed(float* rows, int64_t apart, int64_t n, const float* columns,
                             int64_t width) {
  for (int64_t begin = 0; begin < n; begin += 4) {
    const int64_t j = n < 4 || begin + 4 <= n ? begin : n - 4;
    V<float> v[4];
    for (int k = 0; k < 4; ++k) v[k] = j + k < n ? load(columns + (j + k) * width) : V<float>{};
    transpose_fours(v);
    for (int k = 0; k < 4; ++k) {
      store_fours(v[k],
                  [&](int row, __m128 part) { store_four(rows + (k + row) * apart + j, part, n); });
    }
  }
}
#undef SOFTXENT_MM
#endif

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
