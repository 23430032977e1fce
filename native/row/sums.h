// The exponentials of a chunk and their sum.
#pragma once

#include "row/range.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// For numbers that are exponentials already.
template <class T>
struct IdentityExp {
  SOFTXENT_INLINE V<T> exp(V<T> x) const { return x; }
};

// The exponentials of a chunk, vector by vector, written to e where `keep` is set. `next_u` and
// `next_e` are what will be read and written later (or u and e again). They are prefetched line by
// line between the arithmetic, which costs nothing; prefetching a whole chunk at once would fill
// the queue to memory and stall.
template <class T, bool keep, class Exp, class S>
struct ExpLoop {
  static constexpr int L = kLanes<T>;
  const Exp exp;  // a copy in registers: in memory, a store to e might change it
  const S* u;
  T* e;
  const S* next_u;
  const T* next_e;

  // The prefetches beside vector k of several. A cache line holds two vectors, or more where
  // vectors are short or made of half types.
  SOFTXENT_INLINE void fetch(int64_t i, int k) const {
    constexpr bool each_e = kVectorBytes >= 64, each = each_e && !Storage<S>::is_half;
    const bool at_line = k % 2 == 0 || each, at_line_of_e = k % 2 == 0 || each_e;
    if (at_line) __builtin_prefetch(next_u + i, 0, 3);
    // Where nothing is written, the memory can deliver more than the first-level cache takes.
    if (!keep && at_line) __builtin_prefetch(next_u + i + 2 * kChunk, 0, 2);
    if (keep && at_line_of_e) __builtin_prefetch(next_e + i, 1, 3);
  }
  SOFTXENT_INLINE V<T> one(int64_t i, int k = 0) const {
    fetch(i, k);
    const V<T> v = exp.exp(load_as<T>(u + i));
    if (keep) store(e + i, v);
    return v;
  }
  SOFTXENT_INLINE V<T> four(int64_t i) const {
    // Measured: with sixteen registers, one vector at a time is faster.
    if constexpr (kVectorBytes < 64) {
      const V<T> front = one(i) + one(i + L, 1);
      return front + (one(i + 2 * L) + one(i + 3 * L, 1));
    }
    // All are read before one is written: e may be u, and the compiler would wait for each store.
    V<T> v[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      fetch(i + k * L, k);
      v[k] = load_as<T>(u + i + k * L);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) v[k] = exp.exp(v[k]);
#pragma GCC unroll 4
    for (int k = 0; k < 4 && keep; ++k) store(e + i + k * L, v[k]);
    return (v[0] + v[1]) + (v[2] + v[3]);
  }
  // Adds the exponentials of [i, end), a multiple of 8 L, to a sum. Eight vectors are added
  // pairwise before they join it, which keeps the error below 1 ulp however long the row is. Where
  // such a partial sum is larger than the sum, its rounding error isn't recorded; but then the sum
  // doubles, so that all those errors are small in comparison with the last.
  SOFTXENT_OUT_OF_LINE CompensatedSum<T> eights(int64_t i, int64_t end,
                                                CompensatedSum<T> sum) const {
    const ExpLoop terms = *this;
    for (; i < end; i += 8 * L) {
      const V<T> front = force_evaluation<T>(terms.four(i));
      sum.add_less(front + terms.four(i + 4 * L));
    }
    return {sum.hi, sum.lo};  // a copy: returned itself, the sum would stay in memory throughout
  }
};

// The exponentials of a chunk, written to e where `keep` is set (e may be u), and their sum;
// without the one at `top` where `skip_top` is set.
template <class T, bool keep, bool skip_top, class Exp, class S>
inline CompensatedSum<T> exp_and_sum(const Exp& exp, const S* u, T* e, int64_t n, int64_t top,
                                     const S* next_u, const T* next_e) {
  constexpr int L = kLanes<T>;
  const ExpLoop<T, keep, Exp, S> terms{exp, u, e, next_u, next_e};
  const int64_t whole = n & -(8 * L);
  const int64_t special = skip_top && top < whole ? top & -(8 * L) : whole;
  CompensatedSum<T> sum = terms.eights(0, special, CompensatedSum<T>{});
  // Adds the eight vectors around the top, or the last ones of the chunk, pairwise as well.
  const auto few = [&](int64_t i, int64_t end) SOFTXENT_INLINE {
    V<T> front{}, tail{};
    const auto one = [&](V<T> v) SOFTXENT_INLINE {
      skip_top ? sum.add(clear_lane<T>(v, top - i)) : void(tail += v);
    };
    if (!skip_top && i + 4 * L <= end) {
      front = terms.four(i);
      i += 4 * L;
    }
#pragma GCC unroll 1
    for (; i + L <= end; i += L) one(terms.one(i));
    if (i < end) {
      const V<T> v = keep_first<T>(exp.exp(load_part_as(u + i, end - i, T(0))), end - i);
      if (keep) store_part(e + i, v, end - i);
      one(v);
    }
    if (!skip_top) sum.add(front + tail);
  };
  if (special < whole) {
    few(special, special + 8 * L);
    sum = terms.eights(special + 8 * L, whole, sum);
  }
  few(whole, n);
  return sum;
}

// The same for an e that may be null.
template <bool skip_top, class T, class Exp, class S>
inline DoubleDouble exp_and_tail(const Exp& exp, const S* u, T* e, int64_t n, int64_t top,
                                 const S* next_u, const T* next_e) {
  return (e ? exp_and_sum<T, true, skip_top>(exp, u, e, n, top, next_u, next_e)
            : exp_and_sum<T, false, skip_top>(exp, u, e, n, top, next_u, next_e))
      .total();
}

// The exponentials alone.
template <class T, class Exp, class S>
inline void exp_block(const Exp& exp_, const S* u, T* e, int64_t n, const S* next_u) {
  const Exp exp = exp_;
  for_each_vector<T>(
      n,
      [&](int64_t i) {
        __builtin_prefetch(next_u + i, 0, 3);
        store(e + i, exp.exp(load_as<T>(u + i)));
      },
      [&](int64_t i, int64_t left) {
        store_part(e + i, exp.exp(load_part_as(u + i, left, T(0))), left);
      });
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
