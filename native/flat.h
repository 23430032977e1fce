// Rows of few classes that lie one after another, where they lie: kLanes rows of n classes are n
// whole vectors. Their exponentials, and these times one number a row, need no row to a lane; only
// what becomes of a row's exponentials as a sum does, and that is their copy's, see lanes.h.
#pragma once

#include "lanes.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

template <class T>
inline bool is_flat(const Shape& shape, const Array& a) {
  return is_plain<T>(shape, a) && row_stride(shape, a) == shape.classes;
}

// How many rows come before the first one that begins a cache line, if one does: most arrays don't
// begin with a line, and a vector that lies in two takes twice as long. It changes which rows'
// losses are added up first: the digits of a sum of floats show nothing of that.
inline int64_t rows_before_line(const Shape& shape, const Array& a) {
  const auto address = reinterpret_cast<uintptr_t>(a.data);
  const auto row = static_cast<uintptr_t>(shape.classes * size_of(a.type));
  for (uintptr_t k = 0; k < 16; ++k) {
    if ((address + k * row) % 64 == 0) return static_cast<int64_t>(k);
  }
  return 0;
}

// The exponentials of whole vectors of numbers, to e; false where Near won't do for all of them.
// NaN is passed over; it shows in the sums.
template <class T>
inline bool exp_near(const T* x, T* e, int64_t count) {
  constexpr int L = kLanes<T>;
  const Near<T> near;
  V<T> size{}, other{};
  const auto one = [&](int64_t i, V<T>& largest) SOFTXENT_INLINE {
    __builtin_prefetch(x + count + i, 0, 3);
    const V<T> v = load(x + i);
    largest = larger_size<T>(v, largest);
    store(e + i, near.exp(v));
  };
  int64_t i = 0;
  for (; i + 2 * L <= count; i += 2 * L) {
    one(i, size);
    one(i + L, other);
  }
  if (i < count) one(i, size);
  return all_lanes<T>(larger<T>(other, size) <= Near<T>::kLargest);
}

// Which row each number of kLanes rows belongs to.
template <class T>
class RowOf {
  using Index = typename Vector<T>::index;

 public:
  explicit RowOf(int64_t classes) : rows_(1, classes * kLanes<T>), classes_(classes) {
    Index* at = rows_.of(0);
    for (int k = 0; k < kLanes<T>; ++k) {
      for (int64_t j = 0; j < classes; ++j) *at++ = k;
    }
  }

  // kLanes rows of exponentials, times a factor a row. What will be written next lies `ahead`
  // numbers further on: fetched here, it doesn't hold up the logits of the same rows.
  void multiply(const T* e, Sum<T> factor, T* out, int64_t ahead) const {
    const Index* const rows = rows_.of(0);
    const int64_t end = classes_ * kLanes<T>;  // `out` might overwrite the member
    for (int64_t i = 0; i < end; i += kLanes<T>) {
      Mask<T> row;
      __builtin_memcpy(&row, rows + i, sizeof row);
      __builtin_prefetch(out + ahead + i, 1, 3);
      const V<T> high = permute<T>(factor.hi, row), low = permute<T>(factor.lo, row);
      store(out + i, two_products<T>(load(e + i), high, load(e + i), low));
    }
  }

 private:
  const Scratch<Index> rows_;
  const int64_t classes_;
};

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
