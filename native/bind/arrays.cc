#include "bind/arrays.h"

#include <algorithm>
#include <utility>

namespace softxent::bind {

Shape Layout::shape() {
  Shape shape{};
  shape.classes = sizes_[axis_];
  shape.rows = 1;
  // From the last dimension to the first: a dimension is merged into the one behind it where every
  // array allows it.
  int dims[kMostDims], last = -1;
  for (int d = static_cast<int>(ndim_) - 1; d >= 0; --d) {
    if (d == axis_) continue;
    shape.rows *= sizes_[d];
    if (sizes_[d] == 1) continue;
    const int behind = last < 0 ? 0 : dims[last];
    bool joins = last >= 0;
    for (int k = 0; joins && k < count_; ++k) {
      const int64_t* const strides = members_[k].strides;
      joins = strides[d] == strides[behind] * sizes_[behind];
    }
    if (joins) {
      sizes_[behind] *= sizes_[d];
    } else {
      dims[++last] = d;
    }
  }
  if (last < 0) {  // one row
    shape.batch_dims = shape.batch[0] = 1;
    return shape;
  }
  if (last >= kMaxBatchDims) {
    throw nb::value_error("more than 8 batch dimensions that can't be merged");
  }
  shape.batch_dims = last + 1;
  for (int d = 0; d <= last; ++d) {
    shape.batch[d] = sizes_[dims[last - d]];
    for (int k = 0; k < count_; ++k) {
      members_[k].array->batch_stride[d] = members_[k].strides[dims[last - d]];
    }
  }
  return shape;
}

void check_in_place(const Out& output, const In& input) {
  bool same = static_cast<const void*>(output.data()) == input.data();
  for (size_t d = 0; same && d < output.ndim(); ++d) {
    same = output.shape(d) == 1 || output.stride(d) == input.stride(d);
  }
  if (!same) check_apart(output, input);
}

void check_distinct(const Out& output) {
  std::pair<int64_t, int64_t> steps[kMostDims];
  auto* end = steps;
  for (size_t d = 0; d < output.ndim(); ++d) {
    const int64_t stride = output.stride(d);
    if (output.shape(d) > 1) *end++ = {stride < 0 ? -stride : stride, output.shape(d)};
  }
  std::sort(steps, end);
  int64_t reach = 0;
  for (const auto* step = steps; step < end; ++step) {
    const auto [stride, size] = *step;
    if (stride <= reach && output.size() > 0) throw nb::value_error("an output overlaps itself");
    reach += stride * (size - 1);
  }
}

}  // namespace softxent::bind
