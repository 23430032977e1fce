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
    for (int64_t j = 0; j < n; j += L) {
      const T* const at = first + l * apart + j;
      V<T> square[L];
      if (n - j >= L) {
        for (int k = 0; k < L; ++k) square[k] = load(at + k * apart);
      } else {
        for (int k = 0; k < L; ++k) square[k] = load_part(at + k * apart, n - j, T(0));
      }
      transpose<T>(square);
      const int64_t count = n - j < L ? n - j : L;
      for (int k = 0; k < count; ++k) store(tile.at(j + k) + l, square[k]);
    }
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
    for (int64_t j = 0; j < n; j += L) {
      T* const at = first + l * apart + j;
      const int64_t count = n - j < L ? n - j : L;
      V<T> square[L];
      for (int k = 0; k < L; ++k) square[k] = k < count ? load(tile.at(j + k) + l) : V<T>{};
      transpose<T>(square);
      if (n - j >= L) {
        for (int k = 0; k < L; ++k) store(at + k * apart, square[k]);
      } else {
        for (int k = 0; k < L; ++k) store_part(at + k * apart, square[k], count);
      }
    }
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

// What the lanes of a tile come to.
template <class T>
struct Lanes {
  alignas(64) T max[kMaxWidth], top[kMaxWidth];  // top: exp(0) as the lane's Pivot has it
  alignas(64) double ratio[kMaxWidth], log_sum[kMaxWidth];
  alignas(64) double inverse[kMaxWidth];  // of the sum of the tile's exponentials

  Summary summary(int64_t l) const { return {static_cast<double>(max[l]), ratio[l]}; }

  // The largest of each lane, and exp(u - max) over u where `keep` is set.
  void summarise(const Tile<T>& tile, bool keep, Ahead in, Ahead out) {
    constexpr int L = kLanes<T>;
    alignas(64) T rest[kMaxWidth], rest_lo[kMaxWidth];
    for (int64_t l = 0; l < tile.width; l += L) {
      T* const u = tile.data + l;
      V<T> m = all(static_cast<T>(-INFINITY));
      Mask<T> at{};
      for (int64_t j = 0; j < tile.classes; ++j) {
        const V<T> x = load(u + j * tile.width);
        at = x > m ? Mask<T>{} + static_cast<LaneIndex>(j) : at;
        m = larger<T>(x, m);
      }
      const Pivot<T> pivot(m);
      Sum<T> sum;
      const auto term = [&](int64_t j) {
        __builtin_prefetch(in.line(l, j), 0, 3);
        __builtin_prefetch(out.line(l, j), 1, 3);
        const V<T> e = pivot.exp(load(u + j * tile.width));
        if (keep) store(u + j * tile.width, e);
        return at == static_cast<LaneIndex>(j) ? V<T>{} : e;
      };
      int64_t j = 0;
      for (; j + 4 <= tile.classes; j += 4) {
        sum.add((term(j) + term(j + 1)) + (term(j + 2) + term(j + 3)));
      }
      for (; j < tile.classes; ++j) sum.add(term(j));
      store(max + l, m);
      store(top + l, pivot.exp(m));
      store(rest + l, sum.hi);
      store(rest_lo + l, sum.lo);
    }
    for (int64_t l = 0; l < tile.width; l += kLanes<double>) {
      const V<double> m = load_wide(max + l);
      const V<double> mass = load_wide(rest + l) + load_wide(rest_lo + l);
      store(ratio + l, m - m == 0 ? mass / load_wide(top + l) : all<double>(NAN));
    }
    conclude(tile.width);
  }

  // From what a forward pass has saved.
  void recall(const Tile<T>& tile, const Summary* saved) {
    constexpr int L = kLanes<T>;
    for (int64_t l = 0; l < tile.width; ++l) {
      max[l] = l < tile.rows ? static_cast<T>(saved[tile.row + l].max) : 0;
      ratio[l] = l < tile.rows ? saved[tile.row + l].ratio : 0;
    }
    for (int64_t l = 0; l < tile.width; l += L) {
      const V<T> m = load(max + l);
      const Pivot<T> pivot(m);
      store(top + l, pivot.exp(m));
      for (int64_t j = 0; j < tile.classes; ++j) {
        T* const u = tile.at(j) + l;
        store(u, pivot.exp(load(u)));
      }
    }
    conclude(tile.width);
  }

  // The factors of Normaliser, for each lane. For float, double is wide enough.
  void normalise(const Tile<T>& tile, const double* factor, T* high, T* low) {
    bool small = sizeof(T) == 8;
    for (int64_t l = 0; !small && l < tile.width; l += kLanes<double>) {
      const V<double> f = load(factor + l) * load(inverse + l);
      store_narrow(high + l, f);
      store_narrow(low + l, f - load_wide(high + l));
      const V<double> size = f < 0 ? -f : f;
      small = first_lane<double>(size < Normaliser<T>::kSmallest ? all(1.0) : all(0.0), 1) <
              kLanes<double>;
    }
    for (int64_t l = 0; small && l < tile.width; ++l) {
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

  void conclude(int64_t width) {
    for (int64_t l = 0; l < width; l += kLanes<double>) {
      store(log_sum + l, log1p(load(ratio + l)));
      store(inverse + l, 1 / (load_wide(top + l) * (1 + load(ratio + l))));
    }
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
  parallel(workers, tiles, [&](int worker, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t inside = k % per_run * width;
      const int64_t rows = run - inside < width ? run - inside : width;
      work(worker, Tile<T>{scratch.of(worker), n, width, k / per_run * run + inside, rows});
    }
  });
}

inline int tile_workers(const Shape& shape, int64_t width) {
  return workers_for((shape.rows + width - 1) / width, width * shape.classes);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
