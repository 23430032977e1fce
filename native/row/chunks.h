// One row: its maximum, the exponentials of its classes and their sum.
//
// A row is cut into chunks that fit the first-level cache, at the same places for every number of
// threads. Each chunk is read once, with exponentials relative to nothing (UnshiftedExp) or to its
// own maximum (ShiftedExp). The chunks' sums are then put together in their order, so that the bits
// don't depend on which thread computed which chunk. A second pass multiplies the exponentials by
// what the sum of the row requires: see row/normalizer.h.
#pragma once

#include "math/log.h"
#include "row/sums.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

inline int64_t chunks_of(int64_t classes) { return (classes + kChunk - 1) / kChunk; }

// What exponentials are relative to: the `shift` and `round` of ShiftedExp or UnshiftedExp.
template <class T>
struct ExpScale {
  T shift, round;
};

// What a chunk contributes to its row. Two chunks of floats share a cache line: lines that one
// thread writes and another reads take time.
template <class T>
struct alignas(32) Chunk {
  T max, top;  // top: the exponential of max, or -1 where no logit is finite
  ExpScale<T> scale;
  DoubleDouble tail;  // the sum of the chunk's exponentials without its first maximum's

  template <class Unshifted>
  void set_exp(const Unshifted& unshifted) {
    top = unshifted.exp(broadcast(max))[0];
    scale = {UnshiftedExp<T>::kShift, UnshiftedExp<T>::kRound};
  }
  void set_exp(const ShiftedExp<T>& shifted) {
    top = shifted.exp(broadcast(max))[0];
    scale = {shifted.shift[0], shifted.round[0]};
  }
};

// The sum of a row.
template <class T>
struct RowSum {
  SavedStatistics saved;
  double top;         // the exponential of the maximum
  ExpScale<T> scale;  // of top
};

// Where the next row and its result begin, or null. They are prefetched at the end of this row, so
// that the memory keeps working during the arithmetic.
template <class T, class S>
struct NextRow {
  const S* u;
  const T* e;
};

// The address to prefetch while a chunk is computed: the next chunk if it is the same thread's,
// else the next row, else the chunk itself, which costs nothing. Another thread's chunk isn't
// prefetched: that would take its cache lines away.
template <class Each, class S>
inline const S* prefetch_target(const S* at, bool goes_on, const S* next) {
  if (goes_on) return at + kChunk;
  return next && !Each::kIsShared ? next : at;
}

inline int64_t chunk_size(int64_t classes, int64_t begin) {
  return classes - begin < kChunk ? classes - begin : kChunk;
}

// Scales carry this factor, without which exp(max of the chunk - max of the row) could be below the
// normal doubles where the result isn't.
template <class T>
constexpr double kScaleBias = sizeof(T) == 8 ? 0x1p256 : 1;

// The factor between exponentials of two scales, times kScaleBias.
template <class T>
inline DoubleDouble rescale(ExpScale<T> from, ExpScale<T> to) {
  using C = ExpConstants<double>;
  constexpr int bias = sizeof(T) == 8 ? 256 : 0;
  const double s = static_cast<double>(from.shift) - static_cast<double>(to.shift);
  const double k = static_cast<double>(to.round) - static_cast<double>(from.round);
  if (!(s * 1.44269504088896340736 + k > -1000 - bias)) return {};
  const double exponent = C::kExponentZero + bias + k;
  const Exponential<double> e = exponential<double>(broadcast(s), broadcast(C::kRound + exponent));
  return {e.power[0], e.power[0] * e.p[0]};
}

// The factor that makes the exponentials of a chunk equal exp(u - max of the row) times `top`.
template <class T>
inline DoubleDouble scale_of(const Chunk<T>& chunk, const RowSum<T>& sum) {
  if (chunk.top < 0) return {};
  const bool same = chunk.scale.shift == sum.scale.shift && chunk.scale.round == sum.scale.round;
  return same ? DoubleDouble{kScaleBias<T>, 0} : rescale(chunk.scale, sum.scale);
}

// For sum_row: no callback.
struct Nothing {
  template <class S, class T>
  void operator()(int64_t, const S*, int64_t, T) const {}
};

// The sum of a row; `Unshifted` is the exponential for chunks near 0. The callbacks:
//
//  stage(begin, size, buffer)   returns the u of a chunk, copied to the buffer if they aren't
//                               contiguous in memory
//  before(c, u, size, max)      sees a chunk before its exponentials are written to e, which may be
//  u each(count, f)               calls f(c, goes_on) for each chunk, in one thread or several;
//  goes_on
//                               says that the same thread will probably compute the next one. f may
//                               be copied to other threads and therefore holds values.
//
// e receives exp(u - max of the chunk), or is null where nobody needs it.
template <class Unshifted, class T, class S, class Each, class Stage, class Before>
inline RowSum<T> sum_row(int64_t n, T* e, Chunk<T>* chunks, NextRow<T, S> next, const Each& each,
                         const Stage& stage, const Before& before) {
  const int64_t count = chunks_of(n);
  each(count, [=](int64_t c, bool goes_on) {
    const int64_t begin = c * kChunk, size = chunk_size(n, begin);
    S local[kChunk];
    S* buffer = local;
    if constexpr (!Storage<S>::is_half) {
      if (e) buffer = e + begin;
    }
    const S* u = stage(begin, size, buffer);
    const Range<T> range = range_of<T>(u, size);
    Chunk<T>& chunk = chunks[c];
    chunk.max = range.max;
    before(c, u, size, range.max);
    if (!(fabs(static_cast<double>(range.max)) < INFINITY)) {
      bool no_nan = true;
      for (int64_t j = 0; j < size; ++j) no_nan &= as_number(u[j]) == as_number(u[j]);
      chunk.top = -1;
      chunk.scale = {};
      chunk.tail = {no_nan && range.max < 0 ? 0.0 : NAN, 0};
      for (int64_t j = 0; e && j < size; ++j) e[begin + j] = 0;
      return;
    }
    T* const at = e ? e + begin : nullptr;
    const S* next_u = prefetch_target<Each>(u, goes_on, next.u);
    const T* next_e = prefetch_target<Each>(static_cast<const T*>(at), goes_on, next.e);
    if (!range.fits_unshifted()) {
      const ShiftedExp<T> shifted(broadcast(range.max));
      chunk.set_exp(shifted);
      const int64_t top = find_first(u, size, range.max);
      chunk.tail = exp_and_tail<true>(shifted, u, at, size, top, next_u, next_e);
      return;
    }
    const Unshifted unshifted;
    chunk.set_exp(unshifted);
    chunk.tail = exp_and_tail<false>(unshifted, u, at, size, size, next_u, next_e);
    if (chunk.tail.value() >= 2 * static_cast<double>(chunk.top)) {
      chunk.tail.add(-static_cast<double>(chunk.top));
    } else if (at) {  // mostly the largest: sum the others without it
      chunk.tail = exp_and_tail<true>(IdentityExp<T>{}, at, static_cast<T*>(nullptr), size,
                                      find_first(at, size, chunk.top), at, at);
    } else {
      chunk.tail = exp_and_tail<true>(unshifted, u, static_cast<T*>(nullptr), size,
                                      find_first(u, size, chunk.max), u, static_cast<const T*>(at));
    }
  });
  each.join();
  int64_t first = 0;
  for (int64_t c = 1; c < count; ++c) {
    if (chunks[c].max > chunks[first].max) first = c;
  }
  const T max = count > 0 ? chunks[first].max : static_cast<T>(-INFINITY);
  if (!(fabs(static_cast<double>(max)) < INFINITY)) return {{max, NAN}, 1, {}};
  const double top = static_cast<double>(chunks[first].top);
  RowSum<T> sum{{max, chunks[0].tail.value() / top}, top, chunks[first].scale};
  if (count == 1) return sum;
  DoubleDouble tail;
  for (int64_t c = 0; c < count; ++c) {
    const Chunk<T>& chunk = chunks[c];
    if (chunk.top < 0) {
      tail.add(chunk.tail);  // 0 or NaN
      continue;
    }
    DoubleDouble here = chunk.tail;
    if (c != first) here.add(static_cast<double>(chunk.top));
    tail.add(scale_of(chunk, sum).times(here));
  }
  sum.saved.tail_sum = tail.value() / kScaleBias<T> / top;
  return sum;
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
