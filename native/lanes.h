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

// Few classes: the tile stays in the first-level cache. Rows next to each other: whole cache lines
// of every class are worth more.
template <class T>
inline int64_t tile_width(const Shape& shape, const Array& a) {
  const int64_t budget = row_stride(shape, a) == 1 ? 256 << 10 : 24 << 10;
  const int64_t fits = budget / (shape.classes * static_cast<int64_t>(sizeof(T))) / 16 * 16;
  const int64_t run = (shape.batch[shape.batch_dims - 1] + 15) / 16 * 16;
  const int64_t most = run < kMaxWidth ? run : kMaxWidth;
  const int64_t width = fits < most ? fits : most;
  return width < 16 ? 16 : width;
}

template <class T>
struct Tile {
  T* data;
  int64_t classes, width;
  int64_t row, rows;  // the first row of the array, and how many of the lanes hold one

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

#if defined(__AVX512F__)
// Four classes at a time: a vector takes them of every fourth row as it is loaded, so that half of
// the shuffling is left.
inline void transpose_fours(__m512* v) {
  const __m512 a = _mm512_unpacklo_ps(v[0], v[1]), b = _mm512_unpackhi_ps(v[0], v[1]);
  const __m512 c = _mm512_unpacklo_ps(v[2], v[3]), d = _mm512_unpackhi_ps(v[2], v[3]);
  v[0] = _mm512_shuffle_ps(a, c, 0x44);
  v[1] = _mm512_shuffle_ps(a, c, 0xee);
  v[2] = _mm512_shuffle_ps(b, d, 0x44);
  v[3] = _mm512_shuffle_ps(b, d, 0xee);
}
template <>
inline void read_square(const float* rows, int64_t apart, int64_t n, float* columns,
                        int64_t width) {
  const __mmask8 few = n < 4 ? static_cast<__mmask8>((1 << n) - 1) : 15;
  for (int64_t begin = 0; begin < n; begin += 4) {
    const int64_t j = n < 4 || begin + 4 <= n ? begin : n - 4;  // the last four may overlap
    const auto four = [&](int k) {
      const float* at = rows + k * apart + j;
      return n < 4 ? _mm_maskz_loadu_ps(few, at) : _mm_loadu_ps(at);
    };
    __m512 v[4];
    for (int k = 0; k < 4; ++k) {
      v[k] = _mm512_castps128_ps512(four(k));
      v[k] = _mm512_mask_broadcast_f32x4(v[k], 0x00f0, four(k + 4));
      v[k] = _mm512_mask_broadcast_f32x4(v[k], 0x0f00, four(k + 8));
      v[k] = _mm512_mask_broadcast_f32x4(v[k], 0xf000, four(k + 12));
    }
    transpose_fours(v);
    for (int k = 0; k < 4 && j + k < n; ++k) store(columns + (j + k) * width, v[k]);
  }
}
template <>
inline void write_square(float* rows, int64_t apart, int64_t n, const float* columns,
                         int64_t width) {
  const __mmask8 few = n < 4 ? static_cast<__mmask8>((1 << n) - 1) : 15;
  for (int64_t begin = 0; begin < n; begin += 4) {
    const int64_t j = n < 4 || begin + 4 <= n ? begin : n - 4;
    __m512 v[4];
    for (int k = 0; k < 4; ++k) {
      v[k] = j + k < n ? load(columns + (j + k) * width) : _mm512_setzero_ps();
    }
    transpose_fours(v);
    const auto write = [&](int k, __m128 four) {
      float* at = rows + k * apart + j;
      n < 4 ? _mm_mask_storeu_ps(at, few, four) : _mm_storeu_ps(at, four);
    };
    for (int k = 0; k < 4; ++k) {
      write(k, _mm512_castps512_ps128(v[k]));
      write(k + 4, _mm512_extractf32x4_ps(v[k], 1));
      write(k + 8, _mm512_extractf32x4_ps(v[k], 2));
      write(k + 12, _mm512_extractf32x4_ps(v[k], 3));
    }
  }
}
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

  const char* line(int64_t l, int64_t j) const { return at + j * per_class + l * per_lane; }
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

  Exponential<T> parts(V<T> x) const {
    const Exponential<T> a = near.parts(x), b = pivot.parts(x);
    return {is_near ? a.p : b.p, is_near ? a.power : b.power};
  }
  V<T> exp(V<T> x) const { return parts(x).value(); }
};

// Calls f with what gives the exponentials of numbers between `min` and `max`: in each lane the
// same, whatever the others hold.
template <class T, class F>
inline void with_exp(V<T> min, V<T> max, const F& f) {
  const Mask<T> is_near = (max <= Near<T>::kLargest) & (min >= -Near<T>::kLargest);
  if (all_lanes<T>(is_near)) {
    f(Near<T>());
  } else {
    f(NearOrPivot<T>{is_near, Near<T>(), Pivot<T>(max)});
  }
}

// What the lanes of a tile come to.
template <class T>
struct Lanes {
  alignas(64) T max[kMaxWidth], top[kMaxWidth];  // top: the exponential of max
  alignas(64) T top_lost[kMaxWidth];             // what it has lost by being rounded
  alignas(64) double ratio[kMaxWidth];
  alignas(64) double inverse_sum[kMaxWidth];  // of the tile's exponentials

  Summary summary(int64_t l) const { return {static_cast<double>(max[l]), ratio[l]}; }
  V<double> log_sum(int64_t l) const { return log1p<T>(load(ratio + l)); }

  // The largest of each lane, and the exponentials: over u where `keep` is set; of one more number
  // a lane over `one`, where it is given.
  void summarise(const Tile<T>& tile, bool keep, T* one, Ahead in, Ahead out) {
    constexpr int L = kLanes<T>;
    const int64_t n = tile.classes;
    alignas(64) T rest[kMaxWidth], rest_lo[kMaxWidth];
    for (int64_t l = 0; l < tile.width; l += L) {
      T* const u = tile.data + l;
      V<T> m = all(static_cast<T>(-INFINITY)), least = all(static_cast<T>(INFINITY));
      Mask<T> at{};
      for (int64_t j = 0; j < n; ++j) {
        const V<T> x = load(u + j * tile.width);
        at = x > m ? Mask<T>{} + static_cast<LaneIndex>(j) : at;
        m = larger<T>(x, m);
        least = smaller<T>(x, least);
      }
      with_exp<T>(least, m, [&](const auto& exp) {
        // The sum of 2^n (1 + p) as sums of 2^n and of 2^n p: what its terms lose by being rounded
        // is not lost here, where there may be too few of them for it to even out.
        Sum<T> sum;
        V<T> small{};
        const auto term = [&](int64_t j) SOFTXENT_INLINE {
          __builtin_prefetch(in.line(l, j), 0, 3);
          __builtin_prefetch(out.line(l, j), 1, 3);
          const Exponential<T> e = exp.parts(load(u + j * tile.width));
          if (keep) store(u + j * tile.width, e.value());
          const V<T> power = at == static_cast<LaneIndex>(j) ? V<T>{} : e.power;
          small = multiply_add(power, e.p, small);
          return power;
        };
        const auto add = [&](V<T> large) SOFTXENT_INLINE {
          sum.add(large);
          sum.add(small);
          small = V<T>{};
        };
        int64_t j = 0;
        for (; j + 4 <= n; j += 4) add((term(j) + term(j + 1)) + (term(j + 2) + term(j + 3)));
        if ((n & 2) != 0) add(term(j) + term(j + 1)), j += 2;
        if ((n & 1) != 0) add(term(j));
        if (one) store(one + l, exp.exp(load(one + l)));
        store(max + l, m);
        set_top(l, exp.parts(m));
        store(rest + l, sum.hi);
        store(rest_lo + l, sum.lo);
      });
    }
    for (int64_t l = 0; l < tile.width; l += kLanes<double>) {
      const V<double> m = load_wide(max + l), t = exact_top(l);
      const V<double> sum = load_wide(rest + l) + load_wide(rest_lo + l);
      const V<double> of_top = sizeof(T) == 4 ? sum * inverse<T>(t) : sum / t;
      store(ratio + l, m - m == 0 ? of_top : all<double>(NAN));
    }
  }

  // From what a forward pass has saved.
  void recall(const Tile<T>& tile, T* one, const Summary* saved) {
    constexpr int L = kLanes<T>;
    for (int64_t l = 0; l < tile.width; ++l) {
      max[l] = l < tile.rows ? static_cast<T>(saved[tile.row + l].max) : 0;
      ratio[l] = l < tile.rows ? saved[tile.row + l].ratio : 0;
    }
    for (int64_t l = 0; l < tile.width; l += L) {
      T* const u = tile.data + l;
      V<T> least = all(static_cast<T>(INFINITY));
      for (int64_t j = 0; j < tile.classes; ++j) {
        least = smaller<T>(load(u + j * tile.width), least);
      }
      with_exp<T>(least, load(max + l), [&](const auto& exp) {
        set_top(l, exp.parts(load(max + l)));
        if (one) store(one + l, exp.exp(load(one + l)));
        for (int64_t j = 0; j < tile.classes; ++j) {
          store(u + j * tile.width, exp.exp(load(u + j * tile.width)));
        }
      });
    }
  }

  // Needed before normalise.
  void invert(int64_t width) {
    for (int64_t l = 0; l < width; l += kLanes<double>) {
      store(inverse_sum + l, inverse<T>(load_wide(top + l) * (1 + load(ratio + l))));
    }
  }

  // The factors of Normaliser, for each lane. For float, double is nearly always wide enough.
  void normalise(const Tile<T>& tile, const double* factor, T* high, T* low) {
    Mask<double> ordinary = Mask<double>{} - 1;
    for (int64_t l = 0; sizeof(T) == 4 && l < tile.width; l += kLanes<double>) {
      const V<double> f = load(factor + l) * load(inverse_sum + l);
      store_narrow(high + l, f);
      store_narrow(low + l, f - load_wide(high + l));
      ordinary &= is_ordinary(f);
    }
    if (sizeof(T) == 4 && all_lanes<double>(ordinary)) return;
    for (int64_t l = 0; l < tile.width; ++l) {
      if (sizeof(T) == 4 && is_ordinary(all(factor[l] * inverse_sum[l]))[0]) continue;
      const Normaliser<T> exact(static_cast<double>(top[l]), ratio[l], factor[l]);
      high[l] = static_cast<T>(exact.hi);
      low[l] = static_cast<T>(exact.hi - static_cast<double>(high[l]) + exact.lo);
      if (exact.unit == 1) continue;
      top[l] *= static_cast<T>(exact.unit);
      for (int64_t j = 0; j < tile.classes; ++j) tile.at(j)[l] *= static_cast<T>(exact.unit);
    }
  }

 private:
  using LaneIndex = typename Vector<T>::index;

  void set_top(int64_t l, const Exponential<T>& e) {
    store(top + l, e.value());
    store(top_lost + l, multiply_add(e.power, e.p, e.power - e.value()));
  }
  V<double> exact_top(int64_t l) const { return load_wide(top + l) + load_wide(top_lost + l); }

  static Mask<double> is_ordinary(V<double> factor) {
    const V<double> size = factor < 0 ? -factor : factor;
    return (size >= Normaliser<T>::kSmallest) & (size <= Normaliser<T>::kLargest);
  }
};

// work(worker, tile) for tiles that cover all rows. Each is cut from one run of rows with one
// stride.
template <class T, class Work>
inline void for_each_tile(const Shape& shape, int64_t width, const Scratch<T>& scratch, int workers,
                          const Work& work) {
  const int64_t run = shape.batch[shape.batch_dims - 1], n = shape.classes;
  if (shape.rows == 0) return;
  const int64_t per_run = (run + width - 1) / width, tiles = shape.rows / run * per_run;
  const auto buffers = scratch.buffers();
  parallel(workers, tiles, [=](int worker, int64_t begin, int64_t end) {
    T* const own = buffers.of(worker);
    for (int64_t k = begin; k < end; ++k) {
      const int64_t inside = k % per_run * width;
      const int64_t rows = run - inside < width ? run - inside : width;
      work(worker, Tile<T>{own, n, width, k / per_run * run + inside, rows});
    }
  });
}

inline int tile_workers(const Shape& shape, int64_t width) {
  return workers_for((shape.rows + width - 1) / width, width * shape.classes);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
