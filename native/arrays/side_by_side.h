// Rows of many classes that lie side by side, such as images with the classes on axis 1. They are
// transposed into a buffer, some rows at a time, and computed there like rows that lie one after
// another: a row has the same bits for any strides.
#pragma once

#include "arrays/transpose.h"
#include "arrays/workers.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Whether it pays: neighbouring rows share cache lines, and there are enough of them. Fewer rows
// are read with their strides, by all threads together if they are long.
inline bool lie_side_by_side(const Shape& shape, const Array& a) {
  const int last = shape.batch_dims - 1;
  return shape.classes > 1 && a.data && a.class_stride != 1 && a.batch_stride[last] == 1 &&
         shape.batch[last] >= 8;
}

// How many rows of `bytes` each are transposed at once. Their buffer stays in the second-level
// cache if 16 rows do. It never takes more than 4 MiB, unless one row does.
inline int64_t rows_at_once(int64_t bytes) {
  constexpr int64_t kCached = 256 << 10, kMost = 4 << 20;
  const int64_t cached = kCached / bytes / 16 * 16, most = kMost / bytes;
  if (cached > 0) return cached;
  return most < 1 ? 1 : most < 16 ? most : 16;
}

// The rows [row, row + count) of an array. They are part of one run of equally spaced rows.
inline Array rows_of(const Shape& shape, const Array& a, int64_t row) {
  Array some = a;
  if (!a.data) return some;
  some.data = element(a, row_offset(shape, a, row));
  some.batch_stride[0] = a.batch_stride[shape.batch_dims - 1];
  return some;
}

// copy_transposed for the bits of one type.
template <class T>
inline void copy_squares(const Array& a, int64_t count, int64_t classes, T* buffer, bool back) {
  constexpr int L = kLanes<T>;
  const int64_t apart = a.class_stride;
  int64_t j = 0;
  if constexpr (sizeof(T) > 2) {
    T* const x = static_cast<T*>(a.data);
    const bool is_aligned = reinterpret_cast<uintptr_t>(x) % sizeof(T) == 0;
    for (; is_aligned && j + L <= classes; j += L) {
      if (back) {
        write_transposed<T>(x + j * apart, apart, count, buffer + j, classes);
      } else {
        read_transposed<T>(x + j * apart, apart, count, buffer + j, classes);
      }
    }
  }
  for (; j < classes; ++j) {
    auto* const at = static_cast<Element<T>*>(a.data) + j * apart;
    for (int64_t i = 0; i < count; ++i) {
      if (back) {
        at[i] = buffer[i * classes + j];
      } else {
        buffer[i * classes + j] = at[i];
      }
    }
  }
}

// Moves `count` rows that lie side by side to or from a buffer in which they lie one after another.
inline void copy_transposed(const Array& a, int64_t count, int64_t classes, void* buffer,
                            bool back) {
  switch (size_of(a.type)) {
    case 8:
      return copy_squares(a, count, classes, static_cast<double*>(buffer), back);
    case 4:
      return copy_squares(a, count, classes, static_cast<float*>(buffer), back);
    default:
      return copy_squares(a, count, classes, static_cast<uint16_t*>(buffer), back);
  }
}

// The same rows in the buffer.
inline Array transposed(const Array& a, int64_t count, int64_t classes, void* buffer) {
  copy_transposed(a, count, classes, buffer, false);
  return {buffer, a.type, 1, {classes}};
}

// Calls work(row, count, buffer) for parts that cover all rows, each of them part of one run of
// equally spaced rows. The buffer has `bytes` for each row of the part.
template <class Work>
inline void for_each_part_of_rows(const Shape& shape, int64_t bytes, const Work& work) {
  const int64_t run = shape.batch[shape.batch_dims - 1], at_once = rows_at_once(bytes);
  const int64_t per_run = (run + at_once - 1) / at_once, parts = shape.rows / run * per_run;
  const int64_t cost = at_once * shape.classes;
  const int workers = workers_for(parts, cost);
  const Scratch<char> scratch(workers, (at_once < run ? at_once : run) * bytes);
  const auto buffers = scratch.buffers();
  parallel_ranges(workers, parts, cost, [=](int worker, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; ++k) {
      const int64_t first = k % per_run * at_once;
      const int64_t count = run - first < at_once ? run - first : at_once;
      work(k / per_run * run + first, count, buffers.of(worker));
    }
  });
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
