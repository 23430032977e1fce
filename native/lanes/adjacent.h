// Rows of few classes that lie one after another in memory: kLanes rows of n classes are n whole
// vectors. Their exponentials are computed in place and multiplied in place by one factor for each
// row, without one row to a lane; only the sums need the transposed copy of lanes/sums.h.
#pragma once

#include "lanes/sums.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

template <class T>
inline bool rows_are_adjacent(const Shape& shape, const Array& a) {
  return is_contiguous<T>(shape, a) && row_stride(shape, a) == shape.classes;
}

// Writes the exponentials of whole vectors to e; returns false where UnshiftedExp doesn't cover all
// of them. NaN is ignored here; it shows in the sums.
template <class T>
SOFTXENT_OUT_OF_LINE bool exp_unshifted(const T* x, T* e, int64_t count) {
  constexpr int L = kLanes<T>;
  const UnshiftedExp<T> unshifted;
  V<T> size{}, other{};
  const auto one = [&](int64_t i, V<T>& largest) SOFTXENT_INLINE {
    __builtin_prefetch(x + count + i, 0, 3);
    const V<T> v = load(x + i);
    largest = max_magnitude<T>(v, largest);
    store(e + i, unshifted.exp(v));
  };
  int64_t i = 0;
  for (; i + 2 * L <= count; i += 2 * L) {
    one(i, size);
    one(i + L, other);
  }
  if (i < count) one(i, size);
  return all_lanes<T>(maximum<T>(other, size) <= UnshiftedExp<T>::kLargest);
}

// The row of each element, for kLanes rows.
template <class T>
class RowOfElement {
  using Index = typename Vector<T>::index;

 public:
  explicit RowOfElement(int64_t classes) : rows_(1, classes * kLanes<T>), classes_(classes) {
    Index* at = rows_.of(0);
    for (int k = 0; k < kLanes<T>; ++k) {
      for (int64_t j = 0; j < classes; ++j) *at++ = k;
    }
  }

  // Multiplies kLanes rows of exponentials by one factor for each row. What will be written next
  // lies `ahead` numbers further on: prefetched here, it doesn't delay the logits of the same rows.
  void multiply(const T* e, CompensatedSum<T> factor, T* out, int64_t ahead) const {
    const Index* const rows = rows_.of(0);
    const int64_t end = classes_ * kLanes<T>;  // a copy: a store to `out` might change the member
    for (int64_t i = 0; i < end; i += kLanes<T>) {
      Mask<T> row;
      __builtin_memcpy(&row, rows + i, sizeof row);
      __builtin_prefetch(out + ahead + i, 1, 3);
      const V<T> high = permute<T>(factor.hi, row), low = permute<T>(factor.lo, row);
      store(out + i, dot2<T>(load(e + i), high, load(e + i), low));
    }
  }

 private:
  const Scratch<Index> rows_;
  const int64_t classes_;
};

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
