// Access to the rows of an array of any strides and dtype. Rows that are contiguous numbers of the
// wanted type are used in place; others go through a buffer.
#pragma once

#include <math.h>
#include <stddef.h>

#include "arrays/storage.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// A single element, which may be unaligned. The attributes belong to a struct, because Clang drops
// those of a number's type where a template deduces it.
template <class S>
struct __attribute__((packed, may_alias)) Element {
  S value;

  operator S() const { return value; }
  void operator=(S x) { value = x; }
};

template <class S>
struct NoCodec {
  template <class T>
  static S encode(T value) {
    return static_cast<S>(value);
  }
  static S decode(S value) { return value; }
};

inline int64_t size_of(Type type) {
  return type == Type::kFloat64 ? 8 : type == Type::kFloat32 ? 4 : 2;
}

// Calls f(element pointer, codec) for the array's type.
template <class F>
inline void with_type(Type type, void* at, const F& f) {
  switch (type) {
    case Type::kFloat32:
      return f(static_cast<Element<float>*>(at), NoCodec<float>{});
    case Type::kFloat64:
      return f(static_cast<Element<double>*>(at), NoCodec<double>{});
    case Type::kFloat16:
      return f(static_cast<Element<uint16_t>*>(at), Float16{});
    case Type::kBfloat16:
      return f(static_cast<Element<uint16_t>*>(at), Bfloat16{});
  }
}

// The offset of a row, in elements.
inline int64_t row_offset(const Shape& shape, const Array& a, int64_t row) {
  int64_t offset = 0;
  for (int d = shape.batch_dims - 1; d > 0; --d) {
    offset += row % shape.batch[d] * a.batch_stride[d];
    row /= shape.batch[d];
  }
  return offset + row * a.batch_stride[0];
}

inline void* element(const Array& a, int64_t offset) {
  return static_cast<char*>(a.data) + offset * size_of(a.type);
}

template <class S>
constexpr Type kType = sizeof(S) == 8 ? Type::kFloat64 : Type::kFloat32;
template <>
constexpr Type kType<Float16> = Type::kFloat16;
template <>
constexpr Type kType<Bfloat16> = Type::kBfloat16;

// Whether every row is an aligned run of adjacent S.
template <class S>
inline bool is_contiguous(const Shape& shape, const Array& a) {
  return a.type == kType<S> && (a.class_stride == 1 || shape.classes < 2) &&
         reinterpret_cast<uintptr_t>(a.data) % sizeof(S) == 0;
}

// Calls f(S{}) for the storage type of an array that is computed in T: T itself or a half type.
template <class T, class F>
inline void with_stored(Type type, const F& f) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (type == Type::kBfloat16) return f(Bfloat16{});
    if (type == Type::kFloat16) return f(Float16{});
  }
  f(T{});
}

// read copies n classes from `offset` on as T; write copies them back.
template <class T>
inline void read(const Array& a, int64_t offset, int64_t n, T* __restrict out) {
  with_type(a.type, element(a, offset), [&](const auto* x, auto codec) {
    const int64_t stride = a.class_stride;
    if (stride == 1) {
      for (int64_t j = 0; j < n; ++j) out[j] = static_cast<T>(codec.decode(x[j]));
    } else {
      for (int64_t j = 0; j < n; ++j) out[j] = static_cast<T>(codec.decode(x[j * stride]));
    }
  });
}

template <class T>
inline void write(const Array& a, int64_t offset, int64_t n, const T* __restrict in) {
  with_type(a.type, element(a, offset), [&](auto* x, auto codec) {
    const int64_t stride = a.class_stride;
    if (stride == 1) {
      for (int64_t j = 0; j < n; ++j) x[j] = codec.encode(in[j]);
    } else {
      for (int64_t j = 0; j < n; ++j) x[j * stride] = codec.encode(in[j]);
    }
  });
}

// The same without conversion: S is the storage type of the elements.
template <class S>
inline void read_raw(const Array& a, int64_t offset, int64_t n, S* __restrict out) {
  if constexpr (Storage<S>::is_half) {
    const auto* const x = static_cast<const Element<uint16_t>*>(element(a, offset));
    for (int64_t j = 0; j < n; ++j) out[j].bits = x[j * a.class_stride];
  } else {
    read(a, offset, n, out);
  }
}
template <class S>
inline void write_raw(const Array& a, int64_t offset, int64_t n, const S* __restrict in) {
  if constexpr (Storage<S>::is_half) {
    auto* const x = static_cast<Element<uint16_t>*>(element(a, offset));
    for (int64_t j = 0; j < n; ++j) x[j * a.class_stride] = in[j].bits;
  } else {
    write(a, offset, n, in);
  }
}

// Classes [begin, begin + size) of a row as S: in place, or copied to the buffer.
template <class S>
inline const S* stage(const Array& x, bool plain, int64_t from, int64_t begin, int64_t size,
                      S* buffer) {
  const int64_t at = from + begin * x.class_stride;
  if (plain) return static_cast<const S*>(x.data) + at;
  read_raw(x, at, size, buffer);
  return buffer;
}

template <class S>
inline const S* next_row(const Shape& shape, const Array& a, int64_t row, const S* at) {
  const int64_t stride = a.batch_stride[shape.batch_dims - 1];
  if (shape.batch_dims == 1) return row + 1 < shape.rows ? at + stride : nullptr;
  return (row + 1) % shape.batch[shape.batch_dims - 1] != 0 ? at + stride : nullptr;
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
