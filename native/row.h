// One row: its maximum, exp(x - max) of its classes, and their sum.
//
// A row is cut into chunks that fit into the first-level cache, the same whatever the number of
// threads. Each chunk is worked on once, relative to its own maximum; what the chunks give is put
// together in their order, so that the bits don't depend on who did which. A second step multiplies
// by what the row as a whole has come to.
#pragma once

#include "rows.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

constexpr int64_t kChunk = 4096;
constexpr int64_t kBlock = 1024;  // what the smaller steps hold of a chunk

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
  Pair times(Pair other) const {
    const double p = hi * other.hi;
    return {p, fma(hi, other.hi, -p) + (hi * other.lo + lo * other.hi)};
  }
  // An infinite sum has lost inf - inf.
  double value() const { return hi - hi == 0 ? hi + lo : hi; }
};

// A sum that doesn't drift: each lane keeps what its additions lost.
template <class T>
struct Sum {
  V<T> hi{}, lo{};

  SOFTXENT_INLINE void add(V<T> x) {
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
      for (int k = 0; k < half; ++k) {
        if (sizeof(T) == 4) {  // double is wide enough for floats
          lanes[k].hi += lanes[k + half].hi;
          lanes[k].lo += lanes[k + half].lo;
        } else {
          lanes[k].add(lanes[k + half]);
        }
      }
    }
    return lanes[0];
  }
};

// The largest lane; no lane is NaN.
template <class T>
inline T top_lane(V<T> v) {
#pragma GCC unroll 4
  for (int s = kLanes<T> / 2; s > 0; s /= 2) {
    Mask<T> other;
    for (int k = 0; k < kLanes<T>; ++k) other[k] = k ^ s;
    v = larger<T>(v, shuffle<T>(v, v, other));
  }
  return v[0];
}

// Where `value` is first found; n where it isn't.
template <class T>
inline int64_t position(const T* u, int64_t n, T value) {
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) {
    const int lane = first_lane<T>(load(u + i), value);
    if (lane < kLanes<T>) return i + lane;
  }
  while (i < n && u[i] != value) ++i;
  return i;
}

// The largest and the smallest number of a chunk, and where the largest is first found. NaN is
// passed over; it shows in the sum. Of a chunk without any number above -inf, `at` is anywhere.
template <class T>
struct Peak {
  T max, min;
  int64_t at;
};

template <class T>
inline Peak<T> peak_of(const T* u, int64_t n) {
  constexpr int L = kLanes<T>;
  constexpr int64_t kStretch = 16 * L;  // of the largest's place, the stretch is remembered
  const V<T> lowest = all(static_cast<T>(-INFINITY)), highest = all(static_cast<T>(INFINITY));
  V<T> best = lowest, where{}, least = highest;
  T stretch = 0;
  const auto remember = [&](V<T> m) {
    where = m > best ? all(stretch) : where;
    best = larger<T>(m, best);
    stretch += 1;
  };
  int64_t i = 0;
  for (; i + kStretch <= n; i += kStretch) {
    V<T> a = lowest, b = lowest, c = highest, d = highest;
#pragma GCC unroll 8
    for (int64_t k = i; k < i + kStretch; k += 2 * L) {
      const V<T> x = load(u + k), y = load(u + k + L);
      a = larger<T>(x, a);
      b = larger<T>(y, b);
      c = smaller<T>(x, c);
      d = smaller<T>(y, d);
    }
    remember(larger<T>(a, b));
    least = smaller<T>(smaller<T>(c, d), least);
  }
  V<T> a = lowest;
  over_vectors<T>(
      n - i,
      [&](int64_t k) {
        a = larger<T>(load(u + i + k), a);
        least = smaller<T>(load(u + i + k), least);
      },
      [&](int64_t k, int64_t left) {
        a = larger<T>(load_part(u + i + k, left, static_cast<T>(-INFINITY)), a);
        least = smaller<T>(load_part(u + i + k, left, static_cast<T>(INFINITY)), least);
      });
  remember(a);
  const T max = top_lane<T>(best), min = -top_lane<T>(-least);
  const T first = -top_lane<T>(best == max ? -where : lowest);
  const int64_t from = static_cast<int64_t>(first) * kStretch;
  return {max, min, from + position(u + from, n - from, max)};
}

// exp of a chunk, written to e where `keep` is set, e may be u; and their sum without the one at
// `top`. `near` says that the chunk is_near. `next_u` and `next_e` are what will be read and
// written later, or u and e again: fetched a line at a time between the arithmetic, they cost
// nothing; a chunk at once would fill the queue to memory and stop it.
//
// Eight vectors are added as a tree before they join the sum: the error stays below 1 ulp however
// long the row is.
template <class T, bool keep, bool near>
inline Sum<T> exp_and_sum(const Pivot<T>& chunk_pivot, const T* u, T* e, int64_t n, int64_t top,
                          const T* next_u, const T* next_e) {
  constexpr int L = kLanes<T>;
  const Pivot<T> pivot = chunk_pivot;  // e might overwrite what lies in memory: kept in registers
  Sum<T> sum;
  const auto term = [&](int64_t i) SOFTXENT_INLINE {
    __builtin_prefetch(next_u + i, 0, 3);
    if (keep) __builtin_prefetch(next_e + i, 1, 3);
    const V<T> v = near ? pivot.exp_near(load(u + i)) : pivot.exp(load(u + i));
    if (keep) store(e + i, v);
    return v;
  };
  const int64_t whole = n / (8 * L) * (8 * L);
  const int64_t special = top < whole ? top / (8 * L) * (8 * L) : whole;
  int64_t i = 0;
  for (int64_t end = special;; end = whole) {
    for (; i < end; i += 8 * L) {
      const V<T> a = (term(i) + term(i + L)) + (term(i + 2 * L) + term(i + 3 * L));
      const V<T> b = (term(i + 4 * L) + term(i + 5 * L)) + (term(i + 6 * L) + term(i + 7 * L));
      sum.add(a + b);
    }
    // The eight with the one at the top, or what is left at the end.
    const bool last = i == whole;
    const int64_t stop = last ? n / L * L : i + 8 * L;
#pragma GCC unroll 1
    for (; i < stop; i += L) sum.add(without<T>(term(i), top - i));
    if (last) break;
  }
  if (i < n) {
    const V<T> v = pivot.exp(load_part(u + i, n - i, static_cast<T>(-INFINITY)));
    if (keep) store_part(e + i, v, n - i);
    sum.add(without<T>(v, top - i));
  }
  return sum;
}

// exp alone.
template <class T>
inline void exp_block(const Pivot<T>& row_pivot, const T* u, T* e, int64_t n) {
  const Pivot<T> pivot = row_pivot;
  over_vectors<T>(
      n, [&](int64_t i) { store(e + i, pivot.exp(load(u + i))); },
      [&](int64_t i, int64_t left) {
        store_part(e + i, pivot.exp(load_part(u + i, left, static_cast<T>(-INFINITY))), left);
      });
}

inline int64_t chunks_of(int64_t classes) { return (classes + kChunk - 1) / kChunk; }

// What a chunk gives to its row.
template <class T>
struct Chunk {
  T max, top;      // top: exp(0) as the chunk's Pivot has it, or -1 where there is no number
  T away, round;   // of its Pivot
  Pair rest;       // sum of the chunk's exponentials but that of its first maximum
  Pair scale;      // times its exponentials are exp(u - max of the row) times the row's `top`
  Pair mass, gap;  // sums of t and of t (max of the chunk - u)
};

// What a row has come to.
template <class T>
struct RowSum {
  Summary summary;
  double top;  // exp(0) as the Pivot of the row's maximum has it
};

// Where the next row begins, or null: it is fetched at the end of this one, so that the memory
// doesn't wait for the arithmetic.
template <class T>
struct Next {
  const T *u, *e;
};

template <class T>
inline const T* next_row(const Shape& shape, const Array& a, int64_t row, const T* at) {
  const int64_t stride = a.batch_stride[shape.batch_dims - 1];
  return (row + 1) % shape.batch[shape.batch_dims - 1] != 0 ? at + stride : nullptr;
}

inline int64_t chunk_size(int64_t classes, int64_t begin) {
  return classes - begin < kChunk ? classes - begin : kChunk;
}

// Scales are held times it: the last normal numbers of double lie beyond exp(max of the chunk - max
// of the row) of any normal scale.
template <class T>
constexpr double kLift = sizeof(T) == 8 ? 0x1p256 : 1;

// What the exponentials of one chunk are to be multiplied by, to be those of another, and times
// kLift.
template <class T>
inline Pair rescale(const Chunk<T>& from, const Chunk<T>& to) {
  using C = ExpConstants<double>;
  constexpr int lift = sizeof(T) == 8 ? 256 : 0;
  const double s = static_cast<double>(from.away) - static_cast<double>(to.away);
  const double k = static_cast<double>(to.round) - static_cast<double>(from.round);
  if (s == 0 && k == 0) return {kLift<T>, 0};
  if (!(s * 1.44269504088896340736 + k > -1000 - lift)) return {};
  const double exponent = C::kExponentZero + lift + k;
  const Exponential<double> e = exponential<double>(all(s), all(C::kRound + exponent));
  return {e.power[0], e.power[0] * e.p[0]};
}

// The row's sum. stage(begin, size, buffer) gives the chunk's u, in the buffer where it doesn't lie
// in memory as such; e is where exp(u - max of the chunk) goes, or null where nobody needs it;
// before(begin, size, u, max, chunk) sees a chunk before e is written over it. each(count, f) calls
// f for each chunk.
template <class T, class Each, class Stage, class Before>
inline RowSum<T> summarise(int64_t n, T* e, Chunk<T>* chunks, Next<T> next, const Each& each,
                           const Stage& stage, const Before& before) {
  const int64_t count = chunks_of(n);
  each(count, [&](int64_t c) {
    const int64_t begin = c * kChunk, size = chunk_size(n, begin);
    T local[kChunk];
    const T* u = stage(begin, size, e ? e + begin : local);
    const Peak<T> peak = peak_of(u, size);
    Chunk<T>& chunk = chunks[c];
    chunk.max = peak.max;
    before(begin, size, u, peak.max, chunk);
    if (!(fabs(static_cast<double>(peak.max)) < INFINITY)) {
      bool number = true;
      for (int64_t j = 0; j < size; ++j) number &= u[j] == u[j];
      chunk.top = -1;
      chunk.rest = {number && peak.max < 0 ? 0.0 : NAN, 0};
      for (int64_t j = 0; e && j < size; ++j) e[begin + j] = 0;
      return;
    }
    const Pivot<T> pivot(all(peak.max));
    chunk.top = pivot.exp(all(peak.max))[0];
    chunk.away = pivot.away[0];
    chunk.round = pivot.round[0];
    const bool inside = c + 1 < count;
    const T* next_u = inside ? u + kChunk : next.u ? next.u : u;
    T* const at = e ? e + begin : nullptr;
    const T* next_e = inside ? at + kChunk : next.e ? next.e : at;
    const bool near = pivot.is_near(peak.min);
    const auto sum = e      ? near ? exp_and_sum<T, true, true> : exp_and_sum<T, true, false>
                     : near ? exp_and_sum<T, false, true>
                            : exp_and_sum<T, false, false>;
    chunk.rest = sum(pivot, u, at, size, peak.at, next_u, next_e).total();
  });
  int64_t first = 0;
  for (int64_t c = 1; c < count; ++c) {
    if (chunks[c].max > chunks[first].max) first = c;
  }
  const T max = count > 0 ? chunks[first].max : static_cast<T>(-INFINITY);
  if (!(fabs(static_cast<double>(max)) < INFINITY)) return {{max, NAN}, 1};
  Pair rest;
  for (int64_t c = 0; c < count; ++c) {
    Chunk<T>& chunk = chunks[c];
    if (chunk.top < 0) {
      chunk.scale = {};
      rest.add(chunk.rest);  // 0, or NaN
      continue;
    }
    chunk.scale = rescale(chunk, chunks[first]);
    if (c != first) rest.add(chunk.scale.times({static_cast<double>(chunk.top), 0}));
    rest.add(chunk.scale.times(chunk.rest));
  }
  const double top = static_cast<double>(chunks[first].top);
  return {{max, rest.value() / kLift<T> / top}, top};
}

// factor / sum_j exp(u_j - max), for the exponentials of a chunk, as a sum of two T: e_j times it
// is factor p_j, correctly rounded but for the error of e and of the sum.
template <class T>
struct Normaliser {
  double hi, lo;
  double unit = 1;  // e is to be multiplied by it first: else the factors would be subnormal

  static constexpr double kSmallest = sizeof(T) == 8 ? 0x1p-960 : 0x1p-100;
  static constexpr double kUnit = sizeof(T) == 8 ? 0x1p-512 : 0x1p-64;  // 2^-kBias

  Normaliser(double top, double ratio, double factor, Pair scale = {kLift<T>, 0}) {
    // top is about 2^kBias: without it nothing here leaves the range of double.
    const double sum = 1 + ratio, b = sum - 1;
    const double sum_lo = (1 - (sum - b)) + (ratio - b);
    const double t = top * kUnit, d = t * sum, d_lo = fma(t, sum, -d) + t * sum_lo;
    const double inverse = 1 / d;
    Pair p{inverse, inverse * (fma(-inverse, d, 1) - inverse * d_lo)};
    p = scale.times(p);
    hi = factor * p.hi;
    lo = fma(factor, p.hi, -hi) + factor * p.lo;
    if (!(fabs(hi) < kSmallest / kUnit * kLift<T>) || hi == 0) {
      hi *= kUnit / kLift<T>;
      lo *= kUnit / kLift<T>;
    } else {
      unit = kUnit / kLift<T>;
    }
  }

  // Brings e to the factors' unit.
  void to_unit(T* e, int64_t n) const {
    if (unit == 1) return;
    for (int64_t j = 0; j < n; ++j) e[j] *= static_cast<T>(unit);
  }

  // e times the factors, in place. It comes from the second-level cache, which wants to be asked.
  static constexpr int64_t kAhead = 1024 / sizeof(T);
  void apply(T* e, int64_t n) const {
    const T high = static_cast<T>(hi);
    const T low = static_cast<T>(hi - static_cast<double>(high) + lo);
    const auto product = [&](V<T> x) { return two_products<T>(x, all(high), x, all(low)); };
    over_vectors<T>(
        n,
        [&](int64_t i) {
          __builtin_prefetch(e + i + kAhead, 1, 3);
          store(e + i, product(load(e + i)));
        },
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
