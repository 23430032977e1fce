// One row: its maximum, exp(x - max) of its classes, and their sum.
//
// A row is cut into chunks, the same whatever the number of threads, and what the chunks give is
// put together in their order: the bits don't depend on who did which. Within a chunk, blocks stay
// in the first-level cache from step to step.
#pragma once

#include "rows.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

constexpr int64_t kBlock = 1024;
constexpr int64_t kChunk = 16 * kBlock;

// A sum of two doubles, to about 100 bits.
struct Pair {
  double hi = 0, lo = 0;

  void add(double x) {
    const double s = hi + x, b = s - hi;
    lo += (hi - (s - b)) + (x - b);
    hi = s;
  }
  void add(Pair other) {
    add(other.hi);
    lo += other.lo;
  }
  // An infinite sum has lost inf - inf.
  double value() const { return hi - hi == 0 ? hi + lo : hi; }
};

// A sum that doesn't drift: each lane keeps what its additions lost.
template <class T>
struct Sum {
  V<T> hi{}, lo{};

  void add(V<T> x) {
    const V<T> s = hi + x, b = s - hi;
    lo += (hi - (s - b)) + (x - b);
    hi = s;
  }
  // The lanes in pairs, then pairs of pairs: short chains.
  Pair total() const {
    Pair lanes[kLanes<T>];
    for (int k = 0; k < kLanes<T>; ++k) {
      lanes[k].hi = static_cast<double>(hi[k]);
      lanes[k].lo = static_cast<double>(lo[k]);
    }
    for (int half = kLanes<T> / 2; half > 0; half /= 2) {
      for (int k = 0; k < half; ++k) lanes[k].add(lanes[k + half]);
    }
    return lanes[0];
  }
};

// NaN is passed over; it shows in the sum.
template <class T>
inline T largest(const T* u, int64_t n) {
  constexpr int L = kLanes<T>;
  V<T> a = all(static_cast<T>(-INFINITY)), b = a, c = a, d = a;
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    a = larger<T>(load(u + i), a);
    b = larger<T>(load(u + i + L), b);
    c = larger<T>(load(u + i + 2 * L), c);
    d = larger<T>(load(u + i + 3 * L), d);
  }
  over_vectors<T>(
      n - i, [&](int64_t k) { a = larger<T>(load(u + i + k), a); },
      [&](int64_t k, int64_t left) {
        a = larger<T>(load_part(u + i + k, left, static_cast<T>(-INFINITY)), a);
      });
  a = larger<T>(larger<T>(a, b), larger<T>(c, d));
  T top = a[0];
  for (int k = 1; k < L; ++k) top = a[k] > top ? a[k] : top;
  return top;
}

// Where `value` is first found; n where it isn't.
template <class T>
inline int64_t position(const T* u, int64_t n, T value) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + 8 * L <= n; i += 8 * L) {
    Mask<T> found{};
    for (int k = 0; k < 8; ++k) found |= load(u + i + k * L) == value;
    if (any<T>(found)) break;
  }
  for (; i + L <= n; i += L) {
    const Mask<T> found = load(u + i) == value;
    if (any<T>(found)) break;
  }
  while (i < n && u[i] != value) ++i;
  return i;
}

// e may be u. `next_u` and `next_e` are what will be read and written later, or u and e again:
// fetched a line at a time between the arithmetic, they cost nothing; a block at once would fill
// the queue to memory and stop it.
template <class T>
inline void exp_block(const Pivot<T>& pivot, const T* u, T* e, int64_t n, const T* next_u,
                      const T* next_e) {
  over_vectors<T>(
      n,
      [&](int64_t i) {
        __builtin_prefetch(next_u + i, 0, 3);
        __builtin_prefetch(next_e + i, 1, 3);
        store(e + i, pivot.exp(load(u + i)));
      },
      [&](int64_t i, int64_t left) {
        store_part(e + i, pivot.exp(load_part(u + i, left, static_cast<T>(-INFINITY))), left);
      });
}

// Four vectors are added as a tree before they join the sum: the error stays below 1 ulp however
// long the row is.
template <class T>
inline void add_block(Sum<T>& sum, const T* e, int64_t n) {
  constexpr int L = kLanes<T>;
  int64_t i = 0;
  for (; i + 4 * L <= n; i += 4 * L) {
    sum.add((load(e + i) + load(e + i + L)) + (load(e + i + 2 * L) + load(e + i + 3 * L)));
  }
  over_vectors<T>(
      n - i, [&](int64_t k) { sum.add(load(e + i + k)); },
      [&](int64_t k, int64_t left) { sum.add(load_part(e + i + k, left, T(0))); });
}

inline int64_t chunks_of(int64_t classes) { return (classes + kChunk - 1) / kChunk; }

// What a chunk gives to its row.
template <class T>
struct Chunk {
  T max;
  Pair rest;       // sum of exp(u - max) 2^kBias, without the row's first maximum
  Pair mass, gap;  // sums of t and of t (max - u)
};

// Where the work on one row happens. u and e may be the same.
template <class T>
struct Row {
  int64_t classes;
  const T* u;
  T* e;  // exp(u - max) 2^kBias, or null where nobody needs it
  Chunk<T>* chunks;
  // What comes after this row, or null: fetched while this row is computed, so that the memory
  // doesn't wait for the arithmetic.
  const T *next_u, *next_e;
};

// Rows longer than this leave the second-level cache before they are needed again.
constexpr int64_t kFetchBytes = 1 << 20;

template <class T>
inline const T* next_row(const Shape& shape, const Array& a, int64_t row, const T* at) {
  const int64_t stride = a.batch_stride[shape.batch_dims - 1];
  const bool near = shape.classes * static_cast<int64_t>(sizeof(T)) <= kFetchBytes;
  return near && at && (row + 1) % shape.batch[shape.batch_dims - 1] != 0 ? at + stride : nullptr;
}

// The row's summary. stage(begin, count) makes u ready; before(begin, count, max, chunk) sees a
// block of u before e is written over it. each(count, f) calls f for each chunk.
template <class T, class Each, class Stage, class Before>
inline Summary summarise(const Row<T>& row, const Each& each, const Stage& stage,
                         const Before& before) {
  const int64_t n = row.classes, count = chunks_of(n);
  each(count, [&](int64_t c) {
    const int64_t begin = c * kChunk, size = n - begin < kChunk ? n - begin : kChunk;
    stage(begin, size);
    row.chunks[c].max = largest(row.u + begin, size);
  });
  int64_t first = 0;
  for (int64_t c = 1; c < count; ++c) {
    if (row.chunks[c].max > row.chunks[first].max) first = c;
  }
  const T max = count > 0 ? row.chunks[first].max : static_cast<T>(-INFINITY);
  if (!(fabs(static_cast<double>(max)) < INFINITY)) return {max, NAN};
  const int64_t at = first * kChunk + position(row.u + first * kChunk, n - first * kChunk, max);
  const Pivot<T> pivot(all(max));
  each(count, [&](int64_t c) {
    const int64_t begin = c * kChunk, end = begin + kChunk < n ? begin + kChunk : n;
    Sum<T> sum;
    T block[kBlock];
    for (int64_t b = begin; b < end; b += kBlock) {
      const int64_t size = end - b < kBlock ? end - b : kBlock;
      before(b, size, max, row.chunks[c]);
      T* e = row.e ? row.e + b : block;
      exp_block(pivot, row.u + b, e, size, row.next_u ? row.next_u + b : row.u + b,
                row.next_e ? row.next_e + b : e);
      if (at >= b && at < b + size) {
        const T top = e[at - b];
        e[at - b] = 0;
        add_block(sum, e, size);
        e[at - b] = top;
      } else {
        add_block(sum, e, size);
      }
    }
    row.chunks[c].rest = sum.total();
  });
  Pair rest;
  for (int64_t c = 0; c < count; ++c) rest.add(row.chunks[c].rest);
  return {max, rest.value() / static_cast<double>(pivot.exp(all(max))[0])};
}

// factor / sum_j exp(u_j - max) 2^kBias, as a sum of two T: e_j times it is factor p_j, correctly
// rounded but for the error of e and of the sum.
template <class T>
struct Normaliser {
  double top;  // exp(0) as `Pivot` has it for this row
  double hi, lo;
  double unit = 1;  // e is to be multiplied by it first: else the factors would be subnormal

  Normaliser(Summary s, double factor) : Normaliser(top_of(s.max), s.ratio, factor) {}

  Normaliser(double top_, double ratio, double factor) : top(top_) {
    const double sum = 1 + ratio, b = sum - 1;
    const double sum_lo = (1 - (sum - b)) + (ratio - b);
    const double d = top * sum, d_lo = fma(top, sum, -d) + top * sum_lo;
    const double inverse = 1 / d, inverse_lo = inverse * (fma(-inverse, d, 1) - inverse * d_lo);
    hi = factor * inverse;
    lo = fma(factor, inverse, -hi) + factor * inverse_lo;
    if (!(fabs(hi) >= kSmallest) && hi != 0) {
      unit = kUnit;
      top *= kUnit;
      hi /= kUnit;
      lo /= kUnit;
    }
  }

  static constexpr double kSmallest = sizeof(T) == 8 ? 0x1p-960 : 0x1p-100;
  static constexpr double kUnit = sizeof(T) == 8 ? 0x1p-512 : 0x1p-64;  // 2^-kBias

  static double top_of(double max) {
    const V<T> m = all(static_cast<T>(max));
    return static_cast<double>(Pivot<T>(m).exp(m)[0]);
  }

  void to_unit(T* e, int64_t n) const {
    if (unit == 1) return;
    for (int64_t j = 0; j < n; ++j) e[j] *= static_cast<T>(unit);
  }

  // e times the factors, in place.
  void apply(T* e, int64_t n) const {
    const T high = static_cast<T>(hi);
    const T low = static_cast<T>(hi - static_cast<double>(high) + lo);
    const auto product = [&](V<T> x) { return two_products<T>(x, all(high), x, all(low)); };
    over_vectors<T>(
        n, [&](int64_t i) { store(e + i, product(load(e + i))); },
        [&](int64_t i, int64_t left) {
          store_part(e + i, product(load_part(e + i, left, T(0))), left);
        });
  }
};

// Rows in parallel, or, where there are fewer rows than threads and they are long, the chunks of
// one row after another. work(worker, row, each).
template <class Work>
inline void for_each_row(const Shape& shape, int workers, const Work& work) {
  const int64_t count = chunks_of(shape.classes);
  const auto alone = [](int64_t n, const auto& f) {
    for (int64_t c = 0; c < n; ++c) f(c);
  };
  const int sharing = workers_for(count, kChunk);
  if (shape.rows < get_num_threads() && sharing > 1) {
    const auto shared = [&](int64_t n, const auto& f) {
      parallel(sharing, n, [&](int, int64_t begin, int64_t end) {
        for (int64_t c = begin; c < end; ++c) f(c);
      });
    };
    for (int64_t i = 0; i < shape.rows; ++i) work(0, i, shared);
    return;
  }
  parallel(workers, shape.rows, [&](int worker, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) work(worker, i, alone);
  });
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
