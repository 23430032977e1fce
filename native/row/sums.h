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

  // The prefetches beside vector p of the slots, for the k-th number of each slot: one for each
  // cache line.
  SOFTXENT_INLINE void fetch(int64_t i, int k, int p) const {
    const int at = k * kSlots<T> + p * L, line = 64;
    const bool at_line = at * static_cast<int>(sizeof(S)) % line == 0;
    if (at_line) __builtin_prefetch(next_u + i, 0, 3);
    // Where nothing is written, the memory can deliver more than the first-level cache takes.
    if (!keep && at_line) __builtin_prefetch(next_u + i + 2 * kChunk, 0, 2);
    if (keep && at * static_cast<int>(sizeof(T)) % line == 0) __builtin_prefetch(next_e + i, 1, 3);
  }
  SOFTXENT_INLINE V<T> one(int64_t i, int k = 0, int p = 0) const {
    fetch(i, k, p);
    const V<T> v = exp.exp(load_as<T>(u + i));
    if (keep) store(e + i, v);
    return v;
  }
  // The sum of four exponentials in each slot of vector p, which begins at i.
  SOFTXENT_INLINE V<T> four(int64_t i, int p) const {
    constexpr int64_t step = kSlots<T>;
    // Measured: with sixteen registers, one vector at a time is faster.
    if constexpr (kVectorBytes < 64) {
      const V<T> front = one(i, 0, p) + one(i + step, 1, p);
      return front + (one(i + 2 * step, 2, p) + one(i + 3 * step, 3, p));
    }
    // All are read before one is written: e may be u, and the compiler would wait for each store.
    V<T> v[4];
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) {
      fetch(i + k * step, k, p);
      v[k] = load_as<T>(u + i + k * step);
    }
#pragma GCC unroll 4
    for (int k = 0; k < 4; ++k) v[k] = exp.exp(v[k]);
#pragma GCC unroll 4
    for (int k = 0; k < 4 && keep; ++k) store(e + i + k * step, v[k]);
    return (v[0] + v[1]) + (v[2] + v[3]);
  }
  // Adds the exponentials of [i, end), a multiple of 8 slots, to a sum. Eight numbers of a slot are
  // added pairwise before they join it, which keeps the error below 1 ulp however long the row is.
  // Where such a partial sum is larger than the sum, its rounding error isn't recorded; but then
  // the sum doubles, so that all those errors are small in comparison with the last.
  SOFTXENT_OUT_OF_LINE SlotSum<T> eights(int64_t i, int64_t end, SlotSum<T> sum) const {
    const ExpLoop terms = *this;
    for (; i < end; i += 8 * kSlots<T>) {
#pragma GCC unroll 4
      for (int p = 0; p < SlotSum<T>::P; ++p) {
        const V<T> front = force_evaluation<T>(terms.four(i + p * L, p));
        sum.part[p].add_less(front + terms.four(i + p * L + 4 * kSlots<T>, p));
      }
    }
    SlotSum<T> result;  // a copy: returned itself, the sum would stay in memory throughout
    for (int p = 0; p < SlotSum<T>::P; ++p) result.part[p] = {sum.part[p].hi, sum.part[p].lo};
    return result;
  }
};

// The exponentials of a chunk, written to e where `keep` is set (e may be u), and their sum;
// without the one at `top` where `skip_top` is set.
template <class T, bool keep, bool skip_top, class Exp, class S>
inline SlotSum<T> exp_and_sum(const Exp& exp, const S* u, T* e, int64_t n, int64_t top,
                              const S* next_u, const T* next_e) {
  constexpr int L = kLanes<T>;
  constexpr int64_t step = kSlots<T>;
  const ExpLoop<T, keep, Exp, S> terms{exp, u, e, next_u, next_e};
  const int64_t whole = n & -(8 * step);
  const int64_t special = skip_top && top < whole ? top & -(8 * step) : whole;
  SlotSum<T> sum = terms.eights(0, special, SlotSum<T>{});
  // Adds the eight numbers of each slot around the top, or the last ones of the chunk, pairwise as
  // well.
  const auto few = [&](int64_t begin, int64_t end) SOFTXENT_INLINE {
#pragma GCC unroll 1
    for (int p = 0; p < SlotSum<T>::P; ++p) {
      int64_t i = begin + p * L;
      V<T> front{}, tail{};
      const auto one = [&](V<T> v) SOFTXENT_INLINE {
        skip_top ? sum.part[p].add(clear_lane<T>(v, top - i)) : void(tail += v);
      };
      if (!skip_top && begin + 4 * step <= end) {
        front = terms.four(i, 0);
        i += 4 * step;
      }
#pragma GCC unroll 1
      for (; i + L <= end; i += step) one(terms.one(i));
      if (i < end) {
        const V<T> v = keep_first<T>(exp.exp(load_part_as(u + i, end - i, T(0))), end - i);
        if (keep) store_part(e + i, v, end - i);
        one(v);
      }
      if (!skip_top) sum.part[p].add(front + tail);
    }
  };
  if (special < whole) {
    few(special, special + 8 * step);
    sum = terms.eights(special + 8 * step, whole, sum);
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
