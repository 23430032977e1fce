// Rows of an array as contiguous numbers of type T: where they lie so already, as they are; from
// any strides, from float16 and bfloat16, and scaled by temperature and softcap, through a buffer
// of the thread.
#pragma once

#include <math.h>
#include <stddef.h>

#include "exp.h"
#include "parallel.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Elements are met one by one where they may be unaligned.
template <class S>
struct Element {
  typedef S type __attribute__((aligned(1), may_alias));
};

struct Half {
  static float decode(uint16_t h) {
    const uint32_t sign = static_cast<uint32_t>(h & 0x8000) << 16, rest = h & 0x7fff;
    // The exponent moves by 2^112; for subnormals, and for inf and NaN, by multiplying.
    const uint32_t moved = rest << 13;
    float value;
    __builtin_memcpy(&value, &moved, 4);
    value *= 0x1p112f;
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    bits |= rest >= 0x7c00 ? 0x7f800000u : 0u;
    bits |= sign;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  }
  static uint16_t encode(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const uint32_t sign = (bits >> 16) & 0x8000, size = bits & 0x7fffffff;
    // Normal numbers: round to nearest even at bit 13. Below 2^-14, adding 0.5 lets the hardware
    // round at the last bit of a subnormal, 2^-24.
    const uint32_t normal = (size - (112u << 23) + 0xfff + ((size >> 13) & 1)) >> 13;
    float small;
    __builtin_memcpy(&small, &size, 4);
    small += 0.5f;
    uint32_t subnormal;
    __builtin_memcpy(&subnormal, &small, 4);
    subnormal -= 126u << 23;
    const uint32_t finite = size < (113u << 23) ? subnormal : normal;
    const uint32_t infinite = size > 0x7f800000 ? 0x7e00 : 0x7c00;
    return static_cast<uint16_t>(sign | (size >= 0x477ff000 ? infinite : finite));
  }
};

struct Bfloat {
  static float decode(uint16_t h) {
    const uint32_t bits = static_cast<uint32_t>(h) << 16;
    float value;
    __builtin_memcpy(&value, &bits, 4);
    return value;
  }
  static uint16_t encode(float value) {
    uint32_t bits;
    __builtin_memcpy(&bits, &value, 4);
    const uint32_t rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
    return static_cast<uint16_t>((bits & 0x7fffffff) > 0x7f800000 ? 0x7fc0 : rounded);
  }
};

template <class S>
struct Plain {
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
      return f(static_cast<Element<float>::type*>(at), Plain<float>{});
    case Type::kFloat64:
      return f(static_cast<Element<double>::type*>(at), Plain<double>{});
    case Type::kFloat16:
      return f(static_cast<Element<uint16_t>::type*>(at), Half{});
    case Type::kBfloat16:
      return f(static_cast<Element<uint16_t>::type*>(at), Bfloat{});
  }
}

// Where a row begins, in elements.
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

template <class T>
inline bool is_type(const Array& a) {
  return a.type == (sizeof(T) == 8 ? Type::kFloat64 : Type::kFloat32);
}

// True where every row is n adjacent, aligned T.
template <class T>
inline bool is_plain(const Shape& shape, const Array& a) {
  return is_type<T>(a) && (a.class_stride == 1 || shape.classes < 2) &&
         reinterpret_cast<uintptr_t>(a.data) % sizeof(T) == 0;
}

// n classes from `offset` on, as T.
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

// u = softcap tanh(z / (temperature softcap)), and du/dz. Computed in double whatever the logits.
struct Scale {
  double softcap, temperature;

  bool identity() const { return softcap == 0 && temperature == 1; }

  V<double> value(V<double> z) const {
    if (softcap == 0) return z / temperature;
    const V<double> v = z / temperature / softcap, zero{};
    const V<double> m = expm1<double>(v < zero ? 2 * v : -2 * v);  // tanh|v| = -m / (2 + m)
    const V<double> u = softcap * (m / (2 + m));
    return v < zero ? u : -u;
  }
  V<double> slope(V<double> z) const {
    if (softcap == 0) return all<double>(1 / temperature);
    const V<double> v = z / temperature / softcap, zero{};
    const V<double> e = exp_below(v < zero ? 2 * v : -2 * v);
    return 4 * e / ((1 + e) * (1 + e)) / temperature;  // 1 - tanh^2, without the difference
  }
  // exp(s) for s <= 0, flushed to 0 below the normal numbers.
  static V<double> exp_below(V<double> s) {
    using C = ExpConstants<double>;
    const Exponential<double> e = exponential<double>(s, all<double>(C::kRound + C::kExponentZero));
    return s < -708.0 ? V<double>{} : e.power * e.p + e.power;
  }

  // u over z, in place, and du/dz times g, in place of g.
  void apply(double* z, int64_t n) const {
    over_vectors<double>(
        n, [&](int64_t i) { store(z + i, value(load(z + i))); },
        [&](int64_t i, int64_t k) { store_part(z + i, value(load_part(z + i, k, 0.0)), k); });
  }
  void apply_slope(const double* z, double* g, int64_t n) const {
    over_vectors<double>(
        n, [&](int64_t i) { store(g + i, load(g + i) * slope(load(z + i))); },
        [&](int64_t i, int64_t k) {
          store_part(g + i, load_part(g + i, k, 0.0) * slope(load_part(z + i, k, 0.0)), k);
        });
  }
  // Only double is ever scaled; this keeps the templates simple.
  void apply(float*, int64_t) const {}
  void apply_slope(const float*, float*, int64_t) const {}
};

// One buffer of `count` T for each worker, aligned to cache lines, and pages apart: prefetching
// beyond the end of one would take lines away from the next.
template <class T>
class Scratch {
 public:
  struct Buffers {
    char* first;
    int64_t apart;
    T* of(int worker) const { return reinterpret_cast<T*>(first + apart * worker); }
  };

  Scratch(int workers, int64_t count)
      : apart_(workers > 1 ? (count * kSize + 2 * kPage - 1) / kPage * kPage : count * kSize),
        data_(count > 0
                  ? static_cast<char*>(::operator new(static_cast<size_t>(apart_ * workers + 64)))
                  : nullptr) {}
  ~Scratch() { ::operator delete(data_); }
  Scratch(const Scratch&) = delete;
  void operator=(const Scratch&) = delete;

  Buffers buffers() const {
    return {reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(data_) + 63) / 64 * 64), apart_};
  }
  T* of(int worker) const { return buffers().of(worker); }

 private:
  static constexpr int64_t kPage = 4096, kSize = sizeof(T);
  int64_t apart_;
  char* data_;
};

// f(worker, begin, end) in parallel. Each thread has a copy of f: what lies on the caller's stack
// is taken away from the others whenever the caller writes beside it. So f holds values.
template <class F>
inline void parallel(int workers, int64_t count, const F& f) {
  parallel_for(workers, count, const_cast<F*>(&f), [](void* context, int worker, Work& work) {
    const F own = *static_cast<const F*>(context);
    for (int64_t begin, end; next_piece(work, worker, &begin, &end);) own(worker, begin, end);
  });
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
