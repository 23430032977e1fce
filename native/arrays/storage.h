// The two types of a number: S, as which it is stored in memory, and T, in which it is computed.
// They are the same, or a half type and float.
#pragma once

#include "vector/streaming_stores.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// The representation of an S in memory.
template <class S>
struct Storage {
  typedef S bits;
  static constexpr bool is_half = false;
};
template <>
struct Storage<Float16> {
  typedef uint16_t bits;
  static constexpr bool is_half = true;
};
template <>
struct Storage<Bfloat16> : Storage<Float16> {};
template <class S>
using Bits = typename Storage<S>::bits;

template <class S>
inline auto as_number(S s) {
  if constexpr (Storage<S>::is_half) {
    return S::decode(s.bits);
  } else {
    return s;
  }
}
template <class S, class T>
inline void assign(S& s, T x) {
  if constexpr (Storage<S>::is_half) {
    s.bits = S::encode(x);
  } else {
    s = x;
  }
}

// A vector of T; load_part_as loads only the first n numbers, n < kLanes<T>, and fills the others.
template <class T, class S>
inline V<T> load_as(const S* p) {
  if constexpr (Storage<S>::is_half) {
    HalfVector v;
    __builtin_memcpy(&v, p, sizeof v);
    return widen_half<S>(v);
  } else {
    return load(p);
  }
}
template <class T, class S>
inline V<T> load_part_as(const S* p, int64_t n, T filler) {
  if constexpr (Storage<S>::is_half) {
    return load_part_half(p, n, filler);
  } else {
    return load_part(p, n, filler);
  }
}

// As write_vectors; whole(begin) and part(begin, count) return vectors of T, which are rounded to
// S.
template <class T, class S, class Whole, class Part>
inline void write_converted(S* out, int64_t n, StreamWriter<Bits<S>>* stream_or_null,
                            const Whole& whole, const Part& part) {
  if constexpr (!Storage<S>::is_half) {
    write_vectors<S>(out, n, stream_or_null, whole, part);
  } else {
    constexpr int L = kLanes<T>;
    write_vectors<uint16_t>(
        reinterpret_cast<uint16_t*>(out), n, stream_or_null,
        [&](int64_t i) SOFTXENT_INLINE { return narrow_half<S>(whole(i), whole(i + L)); },
        [&](int64_t i, int64_t count) {
          if (count <= L) return narrow_half<S>(count < L ? part(i, count) : whole(i), V<T>{});
          return narrow_half<S>(whole(i), part(i + L, count - L));
        });
  }
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
