// Tiles: many rows side by side, one row to a lane. They serve rows of few classes, and classes
// that lie far apart while the rows are adjacent (images with the classes on axis 1).
//
// A tile holds `width` rows, class by class: tile[j * width + lane]. It is filled from arrays of
// any strides and dtype, computed in place and written to the result.
#pragma once
#pragma once

#include "arrays/workers.h"
#include "lanes/transpose.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Measured: with more classes, moving a row into a tile costs more than what a row costs by itself.
constexpr int64_t kFewClasses = 160;
constexpr int64_t kMaxWidth = 128;

// The stride between rows of the innermost batch dimension.
inline int64_t row_stride(const Shape& shape, const Array& a) {
  return a.batch_stride[shape.batch_dims - 1];
}

inline bool use_lanes(const Shape& shape, const Array& a) {
  return shape.classes > 0 &&
         (shape.classes <= kFewClasses || (row_stride(shape, a) == 1 && a.class_stride != 1));
}

// For few classes the tile stays in the first-level cache. For adjacent rows, long runs of each
// class matter more.
template <class T>
inline int64_t tile_width(const Shape& shape, const Array& a) {
  const bool adjacent = row_stride(shape, a) == 1;
  const int64_t row = shape.classes * static_cast<int64_t>(sizeof(T));
  const int64_t fits = (adjacent ? 256 << 10 : 8 << 10) / row / 16 * 16;
  const int64_t run = (shape.batch[shape.batch_dims - 1] + 15) / 16 * 16;
  // Measured: half as many where the tile would exceed the first-level cache.
  const int64_t limit = adjacent || row <= 32 ? kMaxWidth : kMaxWidth / 2;
  const int64_t most = run < limit ? run : limit;
  const int64_t width = fits < most ? fits : most;
  return width < 16 ? 16 : width;
}

template <class T>
struct Tile {
  T* data;
  int64_t classes, width;
  int64_t row, rows;  // the first row, and how many lanes hold one
  int64_t number;     // of the tile

  T* at(int64_t j) const { return data + j * width; }
};

// How many of a tile's rows can be transposed in squares of kLanes rows and kLanes classes.
template <class T>
inline int64_t rows_in_squares(const Shape& shape, const Array& a, const Tile<T>& tile) {
  return is_contiguous<T>(shape, a) ? tile.rows / kLanes<T> * kLanes<T> : 0;
}

template <class T>
inline void fill_tile(const Shape& shape, const Array& a, const Tile<T>& tile) {
  constexpr int L = kLanes<T>;
  const int64_t squared = rows_in_squares(shape, a, tile), n = tile.classes;
  const int64_t apart = row_stride(shape, a);
  const T* first = static_cast<const T*>(a.data) + row_offset(shape, a, tile.row);
  for (int64_t l = 0; l < squared; l += L) {
    read_transposed(first + l * apart, apart, n, tile.data + l, tile.width);
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
__attribute__((noinline)) void fill_tile_out_of_line(const Shape& shape, const Array& a,
                                                     const Tile<T>& tile) {
  fill_tile(shape, a, tile);
}

// Fills a tile. Measured: inlined, a softmax of few float64 classes takes 8 % longer, because its
// own loops run out of registers; out of line, one of 100 bfloat16 classes takes 20 % longer.
template <class T>
inline void read_tile(const Shape& shape, const Array& a, const Tile<T>& tile) {
  if constexpr (sizeof(T) == 8) {
    fill_tile_out_of_line(shape, a, tile);
  } else {
    fill_tile(shape, a, tile);
  }
}

template <class T>
inline void write_tile(const Shape& shape, const Array& a, const Tile<T>& tile) {
  constexpr int L = kLanes<T>;
  const int64_t squared = rows_in_squares(shape, a, tile), n = tile.classes;
  const int64_t apart = row_stride(shape, a);
  T* first = static_cast<T*>(a.data) + row_offset(shape, a, tile.row);
  for (int64_t l = 0; l < squared; l += L) {
    write_transposed(first + l * apart, apart, n, static_cast<const T*>(tile.data + l), tile.width);
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

// The address of the next tile, which is prefetched line by line between the arithmetic on this
// one, a line for each vector.
struct TilePrefetch {
  const char* at;
  int64_t per_class, per_lane;  // in bytes; 0 where there is no next tile

  // The lines for the lanes from l on, class after class.
  struct Lines {
    const char* at;
    int64_t step;
    SOFTXENT_INLINE const char* next() {
      at += step;
      __asm__("" : "+r"(at));  // keeps the compiler from giving each of the next few a register
      return at;
    }
  };
  Lines from(int64_t l) const { return {at + l * per_lane - per_class, per_class}; }
};

template <class T>
inline TilePrefetch prefetch_after(const Shape& shape, const Array& a, const Tile<T>& tile) {
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

// The first tile of each run of rows may be shorter: `head` rows.
inline int64_t tiles_of(const Shape& shape, int64_t width, int64_t head = 0) {
  const int64_t run = shape.batch[shape.batch_dims - 1];
  return shape.rows == 0 ? 0 : shape.rows / run * ((head > 0) + (run - head + width - 1) / width);
}

// Calls work(worker, tile) for tiles that cover all rows. Each is cut from one run of equally
// spaced rows.
template <class T, class Work>
inline void for_each_tile(const Shape& shape, int64_t width, int64_t head,
                          const Scratch<T>& scratch, int workers, const Work& work) {
  const int64_t run = shape.batch[shape.batch_dims - 1], n = shape.classes;
  const int64_t tiles = tiles_of(shape, width, head);
  if (tiles == 0) return;
  const int64_t per_run = tiles / (shape.rows / run), missing = head > 0 ? width - head : 0;
  const auto buffers = scratch.buffers();
  parallel_ranges(workers, tiles, width * n, [=](int worker, int64_t begin, int64_t end) {
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
