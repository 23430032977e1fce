// NumPy arrays and anything else that speaks DLPack, as the pointers, sizes and strides of
// kernels.h; and the checks that memory safety needs.
#pragma once

#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>

#include <cstdint>
#include <optional>

#include "bind/gil.h"
#include "kernels.h"
#include "runtime/floating_point.h"
#include "runtime/parallel.h"

namespace softxent::bind {

namespace nb = nanobind;

using In = nb::ndarray<nb::ro, nb::device::cpu>;
using Out = nb::ndarray<nb::device::cpu>;
using Dense = nb::ndarray<nb::ro, nb::device::cpu, nb::c_contig>;
using DenseOut = nb::ndarray<nb::device::cpu, nb::c_contig>;
template <class T>
using Numbers = nb::ndarray<T, nb::device::cpu, nb::c_contig>;

template <class A>
Type type_of(const A& a) {
  const nb::dlpack::dtype t = a.dtype();
  if (t == nb::dtype<float>()) return Type::kFloat32;
  if (t == nb::dtype<double>()) return Type::kFloat64;
  using Code = nb::dlpack::dtype_code;
  if (t.bits == 16 && t.lanes == 1) {
    if (t.code == static_cast<uint8_t>(Code::Float)) return Type::kFloat16;
    // NumPy has no bfloat16: its bits are passed as uint16.
    if (t.code == static_cast<uint8_t>(Code::Bfloat)) return Type::kBfloat16;
    if (t.code == static_cast<uint8_t>(Code::UInt)) return Type::kBfloat16;
  }
  throw nb::type_error("dtype must be float32, float64, float16 or bfloat16");
}

constexpr int kMostDims = 64;  // NumPy's limit

// Arrays of one shape. Batch dimensions that every array can walk as one dimension are merged.
class Layout {
 public:
  template <class A>
  Layout(const A& first, int64_t axis) : ndim_(static_cast<int64_t>(first.ndim())) {
    if (ndim_ < 1 || axis < -ndim_ || axis >= ndim_) throw nb::value_error("no such axis");
    if (ndim_ > kMostDims) throw nb::value_error("more than 64 dimensions");
    axis_ = axis < 0 ? axis + ndim_ : axis;
    for (int64_t d = 0; d < ndim_; ++d) sizes_[d] = static_cast<int64_t>(first.shape(d));
    type_ = type_of(first);
  }

  template <class A>
  void add(const A& a, Array& into, bool of_any_type = false) {
    if (static_cast<int64_t>(a.ndim()) != ndim_) throw nb::value_error("shapes don't fit together");
    for (int64_t d = 0; d < ndim_; ++d) {
      if (static_cast<int64_t>(a.shape(d)) != sizes_[d]) {
        throw nb::value_error("shapes don't fit together");
      }
    }
    const Type type = type_of(a);
    if (type != type_ && !of_any_type) throw nb::type_error("dtypes don't fit together");
    into.data = const_cast<void*>(static_cast<const void*>(a.data()));
    // An array without elements may have no address; null would mean that it wasn't given.
    if (!into.data) into.data = &into;
    into.type = type;
    into.class_stride = a.stride(axis_);
    Member& member = members_[count_++];
    member.array = &into;
    for (int64_t d = 0; d < ndim_; ++d) member.strides[d] = a.stride(d);
  }

  // The shape without the dimensions that were merged. Call it after the last add().
  Shape shape();

 private:
  struct Member {
    Array* array;
    int64_t strides[kMostDims];
  };
  int64_t ndim_, axis_, sizes_[kMostDims];
  Type type_;
  Member members_[3];  // logits, probabilities, gradient
  int count_ = 0;
};

// The range of addresses that an array's elements lie in; `end` is behind the last one.
struct Extent {
  uintptr_t begin, end;

  template <class A>
  explicit Extent(const A& a) : begin(reinterpret_cast<uintptr_t>(a.data())), end(begin) {
    if (a.size() == 0) return;
    for (size_t d = 0; d < a.ndim(); ++d) {
      const int64_t span =
          (static_cast<int64_t>(a.shape(d)) - 1) * a.stride(d) * static_cast<int64_t>(a.itemsize());
      (span < 0 ? begin : end) += static_cast<uintptr_t>(span);
    }
    end += a.itemsize();
  }
  bool overlaps(Extent other) const { return begin < other.end && other.begin < end; }
};

// An output that overlaps another array is refused before anything is written: one thread would
// overwrite what another has yet to read. softxent.ops then takes a buffer and calls again.
template <class A, class B>
void check_apart(const A& output, const B& other) {
  if (Extent(output).overlaps(Extent(other))) {
    throw nb::buffer_error("an output overlaps another array");
  }
}

template <class A, class B>
void check_apart(const std::optional<A>& output, const std::optional<B>& other) {
  if (output && other) check_apart(*output, *other);
}

// An output of the input's shape may also be the input itself: the same elements, one by one.
void check_in_place(const Out& output, const In& input);

// Refuses an output in which two elements share an address.
void check_distinct(const Out& output);

// The numbers of a contiguous array that must have `count` of them.
template <class A>
auto* numbers(const A& a, int64_t count) {
  if (static_cast<int64_t>(a.size()) != count) throw nb::value_error("sizes don't fit together");
  if (reinterpret_cast<uintptr_t>(a.data()) % a.itemsize() != 0) {
    throw nb::value_error("unaligned numbers");
  }
  return a.data();
}

// What surrounds a kernel: the GIL is released, unless there are so few numbers that taking and
// releasing it would cost more; at most `threads` threads take part, 0 for no limit; and the thread
// has the default floating-point state.
class KernelScope {
 public:
  explicit KernelScope(int threads, int64_t numbers = INT64_MAX)
      : released_(numbers > kWorthReleasing), limit_(threads) {}

 private:
  static constexpr int64_t kWorthReleasing = 4096;
  const WithoutGil released_;
  const ThreadLimit limit_;
  const DefaultFloatingPoint floating_point_;
};

}  // namespace softxent::bind
