// Many rows side by side, one to a lane: for rows of few classes, and for classes that lie far
// apart while the rows lie next to each other (images with the classes on axis 1).
//
// A tile holds `width` rows, class by class: tile[j * width + lane]. It is filled from any strides
// and any type, computed in place, and written out.
#pragma once

#include "row.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Measured: from here on, what a row costs by itself matters less than moving it into a tile.
constexpr int64_t kFewClasses = 160;
constexpr int64_t kMaxWidth = 128;

// The stride from one row to the next, while the innermost batch dimension lasts.
inline int64_t row_stride(const Shape& shape, const Array& a) {
  return a.batch_stride[shape.batch_dims - 1];
}

inline bool use_lanes(const Shape& shape, const Array& a) {
  return shape.classes > 0 &&
         (shape.classes <= kFewClasses || (row_stride(shape, a) == 1 && a.class_stride != 1));
}

// Few classes: the tile stays in the first-level cache. Rows next to each other: long stretches of
// every class are worth more.
template <class T>
inline int64_t tile_width(const Shape& shape, const Array& a) {
  const bool adjacent = row_stride(shape, a) == 1;
  const int64_t row = shape.classes * static_cast<int64_t>(sizeof(T));
  const int64_t fits = (adjacent ? 256 << 10 : 8 << 10) / row / 16 * 16;
  const int64_t run = (shape.batch[shape.batch_dims - 1] + 15) / 16 * 16;
  // Measured: half as many where it would be more than the first-level cache likes.
  const int64_t limit = adjacent || row <= 32 ? kMaxWidth : kMaxWidth / 2;
  const int64_t most = run < limit ? run : limit;
  const int64_t width = fits < most ? fits : most;
  return width < 16 ? 16 : width;
}

template <class T>
struct Tile {
  T* data;
  int64_t classes, width;
  int64_t row, rows;  // the first row of the array, and how many of the lanes hold one
  int64_t number;     // among all tiles

  T* at(int64_t j) const { return data + j * width; }
};

// kLanes rows of kLanes numbers, turned over: halves, quarters, and so on change places.
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

// kLanes rows of `n` adjacent numbers, `apart` from one to the next, to and from a tile: at
// columns[j * width] the numbers j of all of them.
template <class T>
inline void read_square(const T* rows, int64_t apart, int64_t n, T* columns, int64_t width) {
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
inline void write_square(T* rows, int64_t apart, int64_t n, const T* columns, int64_t width) {
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

#if defined(__AVX2__)
// Four classes at a time: a vector takes them of every fourth row as it is loaded, so that half of
// the shuffling is left.
#if defined(__AVX512F__)
#define SOFTXENT_MM(name) _mm512_##name
inline __m128 load_four(const float* p, int64_t n) {  // the first n of them
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
inline void read_square(const float* rows, int64_t apart, int64_t n, float* columns,
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
  // An address for each of the first four rows: the others are multiples of four rows away.
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
inline void write_square(float* rows, int64_t apart, int64_t n, const float* columns,
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

// How many of a tile's rows can be moved in squares of kLanes rows and kLanes classes.
template <class T>
inline int64_t in_squares(const Shape& shape, const Array& a, const Tile<T>& tile) {
  return is_plain<T>(shape, a) ? tile.rows / kLanes<T> * kLanes<T> : 0;
}

template <class T>
inline void read_tile(const Shape& shape, const Array& a, const Tile<T>& tile) {
  constexpr int L = kLanes<T>;
  const int64_t squared = in_squares(shape, a, tile), n = tile.classes;
  const int64_t apart = row_stride(shape, a);
  const T* first = static_cast<const T*>(a.data) + row_offset(shape, a, tile.row);
  for (int64_t l = 0; l < squared; l += L) {
    read_square(first + l * apart, apart, n, tile.data + l, tile.width);
  }
  with_type(a.type, element(a, row_offset(shape, a, tile.row)), [&](const auto* x, auto codec) {
    const int64_t step = row_stride(shape, a), stride = a.class_stride;
    const int64_t width = tile.width, rows = tile.rows;
    T* __restrict out = tile.data;
    if (step == 1) {
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t l = squared; l < rows; ++l) {
          out[j * width + l] = static_cast<T>(codec.decode(x[j * stride + l]));
        }
      }
    } else {
      for (int64_t l = squared; l < rows; ++l) {
        for (int64_t j = 0; j < n; ++j) {
          out[j * width + l] = static_cast<T>(codec.decode(x[l * step + j * stride]));
        }
      }
    }
    for (int64_t j = 0; j < n && rows < width; ++j) {
      for (int64_t l = rows; l < width; ++l) out[j * width + l] = 0;
    }
  });
}

template <class T>
inline void write_tile(const Shape& shape, const Array& a, const Tile<T>& tile) {
  constexpr int L = kLanes<T>;
  const int64_t squared = in_squares(shape, a, tile), n = tile.classes;
  const int64_t apart = row_stride(shape, a);
  T* first = static_cast<T*>(a.data) + row_offset(shape, a, tile.row);
  for (int64_t l = 0; l < squared; l += L) {
    write_square(first + l * apart, apart, n, static_cast<const T*>(tile.data + l), tile.width);
  }
  with_type(a.type, element(a, row_offset(shape, a, tile.row)), [&](auto* x, auto codec) {
    const int64_t step = row_stride(shape, a), stride = a.class_stride;
    const int64_t width = tile.width, rows = tile.rows;
    const T* __restrict in = tile.data;
    if (step == 1) {
      for (int64_t j = 0; j < n; ++j) {
        for (int64_t l = squared; l < rows; ++l) {
          x[j * stride + l] = codec.encode(in[j * width + l]);
        }
      }
    } else {
      for (int64_t l = squared; l < rows; ++l) {
        for (int64_t j = 0; j < n; ++j) {
          x[l * step + j * stride] = codec.encode(in[j * width + l]);
        }
      }
    }
  });
}

// Where the tile after this one lies, a line for each vector of this tile: fetched between the
// arithmetic, as in exp_block.
struct Ahead {
  const char* at;
  int64_t per_class, per_lane;  // bytes; 0 where the next tile isn't known

  // The lines of the lanes from l on, one class after another.
  struct Lines {
    const char* at;
    int64_t step;
    SOFTXENT_INLINE const char* next() {
      at += step;
      __asm__("" : "+r"(at));  // or else each of the next few has a register, and these run out
      return at;
    }
  };
  Lines from(int64_t l) const { return {at + l * per_lane - per_class, per_class}; }
};

template <class T>
inline Ahead ahead_of(const Shape& shape, const Array& a, const Tile<T>& tile) {
  const int64_t run = shape.batch[shape.batch_dims - 1], size = size_of(a.type);
  const int64_t step = row_stride(shape, a);
  if (a.data && tile.row % run + 2 * tile.width <= run) {
    const auto* at =
        static_cast<const char*>(element(a, row_offset(shape, a, tile.row + tile.width)));
    if (step == 1) return {at, a.class_stride * size, size};
    if (a.class_stride == 1 && step == tile.classes) return {at, kLanes<T> * size, step * size};
  }
  return {reinterpret_cast<const char*>(tile.data), 0, 0};
}

// Near where it will do for a lane, Pivot elsewhere.
template <class T>
struct NearOrPivot {
  Mask<T> is_near;
  Near<T> near;
  Pivot<T> pivot;

  SOFTXENT_INLINE V<T> exp(V<T> x) const { return is_near ? near.exp(x) : pivot.exp(x); }
};

template <class T>
inline Mask<T> is_near(V<T> min, V<T> max) {
  return (max <= Near<T>::kLargest) & (min >= -Near<T>::kLargest);
}

// Calls f with what gives the exponentials of numbers between `min` and `max`: in each lane the
// same, whatever the others hold.
template <class T, class F>
SOFTXENT_INLINE inline void with_exp(V<T> min, V<T> max, const F& f) {
  const Mask<T> near = is_near<T>(min, max);
  if (all_lanes<T>(near)) {
    f(Near<T>());
  } else {
    f(NearOrPivot<T>{near, Near<T>(), Pivot<T>(max)});
  }
}

// What the rows in the lanes of one vector have come to. What has more digits than T is kept as a
// sum of two: double would take twice as many vectors, and conversions.
template <class T>
struct Lanes {
  V<T> max, top;  // the maximum, or another logit in its place; and its exponential
  Sum<T> ratio;   // the sum of the other exponentials over top; it fits into a double

  SOFTXENT_INLINE V<T> log_sum() const { return log1p<T>(ratio.hi, ratio.lo); }
  SOFTXENT_INLINE Sum<T> rest() const { return ratio.times({top, V<T>{}}); }
  // 1 / (top + rest).
  SOFTXENT_INLINE Sum<T> share() const {
    const Sum<T> others = rest();
    Sum<T> sum{top, others.lo};
    sum.add(others.hi);
    const V<T> part = inverse<T>(sum.hi);
    const V<T> left = remainder_of<T>(all(T(1)), part, sum.hi) - part * sum.lo;
    return {part, part * left};
  }
};

// A sum of exponentials as 2^exponent (1 + y), 0 <= y < 1.
template <class T>
struct Scaled {
  Sum<T> y;
  V<T> exponent;

  SOFTXENT_INLINE explicit Scaled(Sum<T> sum) {
    using C = ExpConstants<T>;
    typename Vector<T>::bits bits, number;
    __builtin_memcpy(&bits, &sum.hi, sizeof bits);
    const V<T> beyond = all(static_cast<T>(int64_t{1} << C::kMantissa));
    __builtin_memcpy(&number, &beyond, sizeof number);
    number |= bits >> C::kMantissa;
    __builtin_memcpy(&exponent, &number, sizeof exponent);
    exponent -= beyond + (C::kExponentZero + C::kNearBias);
    const auto down_bits = (2 * C::kBitsOf1) - (bits >> C::kMantissa << C::kMantissa);
    V<T> down;
    __builtin_memcpy(&down, &down_bits, sizeof down);
    y = sum.scaled(down);
    y.hi -= 1;
  }
};

// A product of numbers between 1 and 2, all but the first 1 of it: where they are near to 1, that
// keeps their digits.
template <class T>
struct Product {
  Sum<T> y;

  // Times 1 + other.
  SOFTXENT_INLINE void times(Sum<T> other) {
    const Sum<T> both{y.hi * other.hi, multiply_add(y.hi, other.lo, y.lo * other.hi)};
    const V<T> lost = lost_of_product<T>(y.hi, other.hi, both.hi);
    y.add(other.hi);
    y.add_less(both.hi);
    y.lo += (other.lo + both.lo) + lost;
  }
};

template <class T>
SOFTXENT_INLINE inline Sum<T> ratio_of(Sum<T> rest, V<T> top) {
  const V<T> part = inverse<T>(top), q = rest.hi * part;
  const V<T> left = remainder_of<T>(rest.hi, q, top) + rest.lo;
  const V<T> sum = multiply_add(left, part, q);
  return {sum, sizeof(T) == 8 ? V<T>{} : multiply_add(left, part, q - sum)};
}

// The largest and the smallest of each of `vectors` vectors of lanes from l on, which don't wait
// for each other.
template <int vectors, class T>
inline void range_of_lanes(const Tile<T>& tile, int64_t l, V<T>* max, V<T>* min) {
  V<T> most[vectors], least[vectors];
  for (int k = 0; k < vectors; ++k) {
    most[k] = all(static_cast<T>(-INFINITY));
    least[k] = all(static_cast<T>(INFINITY));
  }
  const T* at = tile.data + l;
  for (int64_t j = 0; j < tile.classes; ++j, at += tile.width) {
#pragma GCC unroll 4
    for (int k = 0; k < vectors; ++k) {
      const V<T> x = load(at + k * kLanes<T>);
      most[k] = larger<T>(x, most[k]);
      least[k] = smaller<T>(x, least[k]);
    }
  }
  for (int k = 0; k < vectors; ++k) {
    max[k] = most[k];
    min[k] = least[k];
  }
}
template <class T>
inline void range_of_lanes(const Tile<T>& tile, V<T>* max, V<T>* min) {
  int64_t k = 0;
  const int64_t vectors = tile.width / kLanes<T>;
  for (; k + 4 <= vectors; k += 4) range_of_lanes<4>(tile, k * kLanes<T>, max + k, min + k);
  for (; k < vectors; ++k) range_of_lanes<1>(tile, k * kLanes<T>, max + k, min + k);
}

// What the exponentials of the rows in one vector's lanes add up to.
//
// The sum begins with the largest of its terms, and what an addition then loses is exact without
// asking which is larger. With the largest twice in it, which class that is needn't be known.
template <class T>
struct Total {
  V<T> largest, sum;
  Sum<T> lost;

  Total() = default;

  // term() gives one of the n after the other.
  template <class Term>
  SOFTXENT_INLINE Total(V<T> first, int64_t n, const Term& term) : largest(first), sum(first) {
    const auto one = [&]() SOFTXENT_INLINE {
      const V<T> e = term(), before = sum;
      sum += e;
      return e - (sum - before);
    };
    const auto two = [&]() SOFTXENT_INLINE {
      const V<T> first = one();
      return first + one();
    };
    const auto four = [&]() SOFTXENT_INLINE {
      const V<T> first = two();
      return first + two();
    };
    // The first has nothing to be added to.
    bool begun = false;
    const auto lose = [&](V<T> x) SOFTXENT_INLINE {
      begun ? lost.add(x) : void(lost.hi = x);
      begun = true;
    };
    if ((n & 1) != 0) lose(one());
    if ((n & 2) != 0) lose(two());
    if ((n & 4) != 0) lose(four());
    for (int64_t j = 8; j <= n; j += 8) {
      const V<T> first = four();
      lose(first + four());
    }
  }

  // All but one of them, whose digits don't cover theirs.
  SOFTXENT_INLINE Sum<T> without(V<T> one) const {
    Sum<T> rest{sum, lost.lo};
    rest.add_less(-largest);
    rest.add_less(-one);
    rest.add(lost.hi);
    return rest;
  }
};

// A tile's rows: their exponentials, over u where `keep` is set; and their sums, from the maximum
// on. Step by step for all lanes: what a step waits for, it doesn't wait for vector by vector.
template <class T, bool keep>
inline void sum_lanes(const Tile<T>& tile, const Ahead& in, const Ahead& out, Lanes<T>* lanes) {
  constexpr int L = kLanes<T>;
  const int64_t n = tile.classes, width = tile.width;
  V<T> most[kMaxWidth / L], least[kMaxWidth / L];
  Total<T> totals[kMaxWidth / L];
  range_of_lanes(tile, most, least);
  for (int64_t l = 0; l < width; l += L) {
    const V<T> max = most[l / L];
    with_exp<T>(least[l / L], max, [&](const auto& exp_) SOFTXENT_INLINE {
      const auto exp = exp_;  // stores can't change it
      T* at = tile.data + l;
      auto next_in = in.from(l), next_out = out.from(l);
      const V<T> top = exp.exp(max);
      totals[l / L] = Total<T>(top, n, [&]() SOFTXENT_INLINE {
        __builtin_prefetch(next_in.next(), 0, 3);
        __builtin_prefetch(next_out.next(), 1, 3);
        const V<T> e = exp.exp(load(at));
        if (keep) store(at, e);
        at += width;
        return e;
      });
      lanes[l / L].max = max;
      lanes[l / L].top = top;
    });
  }
  for (int64_t k = 0; k < width / L; ++k) {
    lanes[k].ratio = ratio_of<T>(totals[k].without(lanes[k].top), lanes[k].top);
  }
}

// The exponentials of a tile of numbers between `least` and `most`, over them; and of lanes.max.
template <class T>
inline void exp_lanes(const Tile<T>& tile, const V<T>* least, const V<T>* most, const Ahead& in,
                      const Ahead& out, Lanes<T>* lanes) {
  constexpr int L = kLanes<T>;
  const int64_t n = tile.classes, width = tile.width;
  for (int64_t l = 0; l < width; l += L) {
    with_exp<T>(least[l / L], most[l / L], [&](const auto& exp_) SOFTXENT_INLINE {
      const auto exp = exp_;
      auto next_in = in.from(l), next_out = out.from(l);
      lanes[l / L].top = exp.exp(lanes[l / L].max);
      for (T *e = tile.data + l, *end = e + n * width; e < end; e += width) {
        __builtin_prefetch(next_in.next(), 0, 3);
        __builtin_prefetch(next_out.next(), 1, 3);
        store(e, exp.exp(load(e)));
      }
    });
  }
}

// The largest exponential in each of `vectors` vectors of lanes from l on.
template <int vectors, class T>
inline void largest_of_lanes(const Tile<T>& tile, int64_t l, V<T>* largest) {
  V<T> most[vectors] = {};
  const T* at = tile.data + l;
  for (int64_t j = 0; j < tile.classes; ++j, at += tile.width) {
#pragma GCC unroll 4
    for (int k = 0; k < vectors; ++k) most[k] = larger<T>(most[k], load(at + k * kLanes<T>));
  }
  for (int k = 0; k < vectors; ++k) largest[k] = most[k];
}

// A tile of exponentials, added up.
template <class T>
inline void total_lanes(const Tile<T>& tile, Total<T>* totals) {
  const int64_t n = tile.classes, width = tile.width, vectors = width / kLanes<T>;
  V<T> largest[kMaxWidth / kLanes<T>];
  int64_t k = 0;
  for (; k + 4 <= vectors; k += 4) largest_of_lanes<4>(tile, k * kLanes<T>, largest + k);
  for (; k < vectors; ++k) largest_of_lanes<1>(tile, k * kLanes<T>, largest + k);
  for (k = 0; k < vectors; ++k) {
    const T* at = tile.data + k * kLanes<T>;
    totals[k] = Total<T>(largest[k], n, [&]() SOFTXENT_INLINE {
      const V<T> e = load(at);
      at += width;
      return e;
    });
  }
}

// Where not all digits of a factor of what is `given` fit into T. NaN is no such.
template <class T>
inline Mask<T> is_extreme(V<T> factor, V<T> given) {
  const T least = static_cast<T>(Normaliser<T>::kSmallest);
  const T most = static_cast<T>(Normaliser<T>::kLargest);
  const V<T> size = factor < 0 ? -factor : factor, from = given < 0 ? -given : given;
  return (from > 0) & ((size < least) | (size > most) | (from > most));
}

// The exponentials of the lanes from l on, times a factor each.
template <class T>
inline void multiply_lanes(const Tile<T>& tile, int64_t l, Sum<T> factor) {
  const int64_t n = tile.classes, width = tile.width;
  T* e = tile.data + l;
  for (int64_t j = 0; j < n; ++j, e += width) {
    store(e, two_products<T>(load(e), factor.hi, load(e), factor.lo));
  }
}

// The first tile of each run of rows may be a shorter one, of `head` rows.
inline int64_t tiles_of(const Shape& shape, int64_t width, int64_t head = 0) {
  const int64_t run = shape.batch[shape.batch_dims - 1];
  return shape.rows == 0 ? 0 : shape.rows / run * ((head > 0) + (run - head + width - 1) / width);
}

// work(worker, tile) for tiles that cover all rows. Each is cut from one run of rows with one
// stride.
template <class T, class Work>
inline void for_each_tile(const Shape& shape, int64_t width, int64_t head,
                          const Scratch<T>& scratch, int workers, const Work& work) {
  const int64_t run = shape.batch[shape.batch_dims - 1], n = shape.classes;
  const int64_t tiles = tiles_of(shape, width, head);
  if (tiles == 0) return;
  const int64_t per_run = tiles / (shape.rows / run), missing = head > 0 ? width - head : 0;
  const auto buffers = scratch.buffers();
  parallel(workers, tiles, [=](int worker, int64_t begin, int64_t end) {
    T* const own = buffers.of(worker);
    for (int64_t k = begin; k < end; ++k) {
      const int64_t from = k % per_run * width - missing, to = from + width;
      const int64_t inside = from < 0 ? 0 : from, rows = (to < run ? to : run) - inside;
      work(worker, Tile<T>{own, n, width, k / per_run * run + inside, rows, k});
    }
  });
}

inline int tile_workers(const Shape& shape, int64_t width) {
  return workers_for((shape.rows + width - 1) / width, width * shape.classes);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
