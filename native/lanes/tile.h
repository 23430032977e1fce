// Tiles: many rows of few classes side by side, one row to a lane.
//
// A tile holds `width` rows, class by class: tile[j * width + lane]. It is filled from arrays of
// any strides and dtype, computed in place and written to the result. Tiles are cut in the order of
// the rows, wherever these lie in memory.
#pragma once

#include "arrays/transpose.h"
#include "arrays/workers.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Measured: with more classes, moving a row into a tile costs more than what a row costs by itself.
constexpr int64_t kFewClasses = 160;
constexpr int64_t kMaxWidth = 128;  // a multiple of every width

// The stride between rows of the innermost batch dimension.
inline int64_t row_stride(const Shape& shape, const Array& a) {
  return a.batch_stride[shape.batch_dims - 1];
}

inline bool use_lanes(const Shape& shape) {
  return shape.classes > 0 && shape.classes <= kFewClasses;
}

// For few classes the tile stays in the first-level cache. Where the classes lie apart and the rows
// are adjacent (images with the classes on axis 1), long stretches of each class matter more.
template <class T>
inline int64_t tile_width(const Shape& shape, const Array& a) {
  const bool adjacent = row_stride(shape, a) == 1;
  const int64_t row = shape.classes * static_cast<int64_t>(sizeof(T));
  const int64_t fits = (adjacent ? 256 << 10 : 8 << 10) / row;
  // Measured: half as many where the tile would exceed the first-level cache.
  const int64_t limit = adjacent || row <= 32 ? kMaxWidth : kMaxWidth / 2;
  int64_t width = 16;
  while (width < limit && 2 * width <= fits && width < shape.rows) width *= 2;
  return width;
}

template <class T>
struct Tile {
  T* data;
  int64_t classes, width;
  int64_t row, rows;  // the first row, and how many lanes hold one

  T* at(int64_t j) const { return data + j * width; }
};

// Calls f(first, rows, offset) for each run of equally spaced rows in a tile: its first lane, how
// many rows it has, and the offset of the first one.
template <class T, class F>
inline void for_each_run(const Shape& shape, const Array& a, const Tile<T>& tile, const F& f) {
  const int64_t run = shape.batch[shape.batch_dims - 1];
  for (int64_t l = 0; l < tile.rows;) {
    const int64_t row = tile.row + l, left = run - row % run;
    const int64_t rows = left < tile.rows - l ? left : tile.rows - l;
    f(l, rows, row_offset(shape, a, row));
    l += rows;
  }
}

template <class T>
inline bool is_in_one_run(const Shape& shape, const Tile<T>& tile) {
  const int64_t run = shape.batch[shape.batch_dims - 1];
  return shape.batch_dims == 1 || tile.row % run + tile.rows <= run;
}

// How many of a run's rows can be transposed in squares of kLanes rows and kLanes classes.
template <class T>
inline int64_t rows_in_squares(const Shape& shape, const Array& a, int64_t rows) {
  return is_contiguous<T>(shape, a) ? rows / kLanes<T> * kLanes<T> : 0;
}

template <class T>
inline void fill_run(const Shape& shape, const Array& a, int64_t offset, int64_t rows,
                     const Tile<T>& tile, int64_t lane) {
  constexpr int L = kLanes<T>;
  const int64_t squared = rows_in_squares<T>(shape, a, rows), n = tile.classes;
  const int64_t apart = row_stride(shape, a), width = tile.width;
  const T* first = static_cast<const T*>(a.data) + offset;
  for (int64_t l = 0; l < squared; l += L) {
    read_transposed(first + l * apart, apart, n, tile.data + lane + l, width);
  }
  with_type(a.type, element(a, offset), [&](const auto* x, auto codec) {
    const int64_t step = row_stride(shape, a), stride = a.class_stride;
    T* __restrict out = tile.data + lane;
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
  });
}

template <class T>
inline void fill_tile(const Shape& shape, const Array& a, const Tile<T>& tile) {
  for_each_run(shape, a, tile, [&](int64_t lane, int64_t rows, int64_t offset) {
    fill_run(shape, a, offset, rows, tile, lane);
  });
  for (int64_t j = 0; j < tile.classes && tile.rows < tile.width; ++j) {
    for (int64_t l = tile.rows; l < tile.width; ++l) tile.at(j)[l] = 0;
  }
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
inline void write_run(const Shape& shape, const Array& a, int64_t offset, int64_t rows,
                      const Tile<T>& tile, int64_t lane) {
  constexpr int L = kLanes<T>;
  const int64_t squared = rows_in_squares<T>(shape, a, rows), n = tile.classes;
  const int64_t apart = row_stride(shape, a), width = tile.width;
  T* first = static_cast<T*>(a.data) + offset;
  for (int64_t l = 0; l < squared; l += L) {
    write_transposed(first + l * apart, apart, n, static_cast<const T*>(tile.data + lane + l),
                     width);
  }
  with_type(a.type, element(a, offset), [&](auto* x, auto codec) {
    const int64_t step = row_stride(shape, a), stride = a.class_stride;
    const T* __restrict in = tile.data + lane;
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

template <class T>
inline void write_tile(const Shape& shape, const Array& a, const Tile<T>& tile) {
  for_each_run(shape, a, tile, [&](int64_t lane, int64_t rows, int64_t offset) {
    write_run(shape, a, offset, rows, tile, lane);
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

inline int64_t tiles_of(const Shape& shape, int64_t width) {
  return (shape.rows + width - 1) / width;
}

// Calls work(tile) for tiles that cover the rows [begin, end).
template <class T, class Work>
SOFTXENT_INLINE inline void for_each_tile_of(int64_t begin, int64_t end, int64_t classes,
                                             int64_t width, T* buffer, const Work& work) {
  for (int64_t row = begin; row < end; row += width) {
    work(Tile<T>{buffer, classes, width, row, end - row < width ? end - row : width});
  }
}

// Calls work(worker, tile) for tiles that cover all rows.
template <class T, class Work>
inline void for_each_tile(const Shape& shape, int64_t width, const Scratch<T>& scratch, int workers,
                          const Work& work) {
  const auto buffers = scratch.buffers();
  const int64_t all = shape.rows, n = shape.classes;
  const int64_t tiles = tiles_of(shape, width);
  parallel_ranges(workers, tiles, width * n, [=](int worker, int64_t begin, int64_t end) {
    for_each_tile_of<T>(begin * width, end * width < all ? end * width : all, n, width,
                        buffers.of(worker), [&](const Tile<T>& tile) { work(worker, tile); });
  });
}

inline int tile_workers(const Shape& shape, int64_t width) {
  return workers_for(tiles_of(shape, width), width * shape.classes);
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
