// Rows of an array as contiguous numbers of type T: where they lie so already, as they are; from
// any strides, from float16 and bfloat16, and scaled by temperature and softcap, through a buffer
// of the thread.
#pragma once

#include <math.h>
#include <stddef.h>

#include "exp.h"
#include "parallel.h"
#include "stored.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// Elements are met one by one where they may be unaligned.
template <class S>
struct Element {
  typedef S type __attribute__((aligned(1), may_alias));
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

template <class S>
constexpr Type kType = sizeof(S) == 8 ? Type::kFloat64 : Type::kFloat32;
template <>
constexpr Type kType<Half> = Type::kFloat16;
template <>
constexpr Type kType<Bfloat> = Type::kBfloat16;

// True where every row is n adjacent, aligned S.
template <class S>
inline bool is_plain(const Shape& shape, const Array& a) {
  return a.type == kType<S> && (a.class_stride == 1 || shape.classes < 2) &&
         reinterpret_cast<uintptr_t>(a.data) % sizeof(S) == 0;
}

// Calls f(S{}) for rows of an array of that type which are computed in T: S is T or a half type.
template <class T, class F>
inline void with_stored(Type type, const F& f) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (type == Type::kBfloat16) return f(Bfloat{});
    if (type == Type::kFloat16) return f(Half{});
  }
  f(T{});
}

// n classes from `offset` on, as T, and back.
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

// The same where T is the elements' own half type.
template <class S>
inline void read_stored(const Array& a, int64_t offset, int64_t n, S* __restrict out) {
  if constexpr (Stored<S>::is_half) {
    const auto* const x = static_cast<const Element<uint16_t>::type*>(element(a, offset));
    for (int64_t j = 0; j < n; ++j) out[j].bits = x[j * a.class_stride];
  } else {
    read(a, offset, n, out);
  }
}
template <class S>
inline void write_stored(const Array& a, int64_t offset, int64_t n, const S* __restrict in) {
  if constexpr (Stored<S>::is_half) {
    auto* const x = static_cast<Element<uint16_t>::type*>(element(a, offset));
    for (int64_t j = 0; j < n; ++j) x[j * a.class_stride] = in[j].bits;
  } else {
    write(a, offset, n, in);
  }
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

// f(worker) in several threads. Each has a copy of f: what lies on the caller's stack is taken away
// from the others whenever the caller writes beside it. So f holds values.
template <class F>
inline void together(int workers, int64_t count, int64_t kept, const F& f) {
  parallel_for(workers, count, kept, const_cast<F*>(&f), [](void* context, Worker& worker) {
    const F own = *static_cast<const F*>(context);
    own(worker);
  });
}

// f(worker, begin, end) in several threads, for ranges that cover [0, count).
template <class F>
inline void parallel(int workers, int64_t count, const F& f) {
  together(workers, count, 0, [=](Worker& worker) {
    for (int64_t begin, end; worker.next(&begin, &end);) f(worker.id(), begin, end);
  });
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
