// One row: its maximum, exp(x - max) of its classes, and their sum.
//
// A row is cut into chunks that fit into the first-level cache, the same whatever the number of
// threads. Each chunk is worked on once, as it is or relative to its own maximum; what they give is
// put together in their order, so that the bits don't depend on who did which. A second step
// multiplies by what the row as a whole has come to.
#pragma once

#include "rows.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

constexpr int64_t kChunk = 2048;
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

// The sum of all lanes; double is wide enough for floats.
inline double across(V<float> v) { return sum_of_lanes(widen<0>(v) + widen<1>(v)); }
inline double across(V<double> v) { return sum_of_lanes(v); }

// A number of twice the digits, as a sum of two; or a sum that doesn't drift: each lane keeps what
// its additions lost.
template <class T>
struct Sum {
  V<T> hi{}, lo{};

  SOFTXENT_INLINE void add(V<T> x) {
    const V<T> s = hi + x, b = s - hi;
    lo += (hi - (s - b)) + (x - b);
    hi = s;
  }
  // What isn't larger than hi.
  SOFTXENT_INLINE void add_less(V<T> x) {
    const V<T> s = hi + x;
    lo += x - (s - hi);
    hi = s;
  }
  SOFTXENT_INLINE Sum times(Sum other) const {
    const V<T> p = hi * other.hi;
    return {p, lost_of_product<T>(hi, other.hi, p) + (hi * other.lo + lo * other.hi)};
  }
  SOFTXENT_INLINE Sum scaled(V<T> power_of_2) const { return {hi * power_of_2, lo * power_of_2}; }
  SOFTXENT_INLINE Pair total() const { return {across(hi), across(lo)}; }
};
template <>
inline Pair Sum<double>::total() const {
  Sum<double> sum = *this;
  // Lanes in pairs, then pairs of pairs: short chains.
#pragma GCC unroll 4
  for (int half = kLanes<double> / 2; half > 0; half /= 2) {
    Mask<double> other;
    for (int k = 0; k < kLanes<double>; ++k) other[k] = (k + half) % kLanes<double>;
    const V<double> hi = sum.hi, lo = sum.lo;
    sum.add(shuffle<double>(hi, hi, other));
    sum.lo += shuffle<double>(lo, lo, other);
  }
  return {sum.hi[0], sum.lo[0]};
}

// kLanes<T> doubles.
template <class T>
inline Sum<T> split(const double* from) {
  V<double> parts[kParts<T>];
  for (int p = 0; p < kParts<T>; ++p) parts[p] = load(from + p * kLanes<double>);
  const V<T> high = narrow<T>(parts);
  over_parts<T>([&](auto p) { parts[p.number] -= widen<p.number>(high); });
  return {high, narrow<T>(parts)};
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

// The largest and the smallest number of a chunk. NaN is passed over; it shows in the sum.
template <class T>
struct Range {
  T max, min;
  // Whether Near will do.
  bool near() const { return max <= Near<T>::kLargest && min >= -Near<T>::kLargest; }
};

template <class T>
inline Range<T> range_of(const T* u, int64_t n) {
  constexpr int L = kLanes<T>, kSide = 4;  // so many side by side don't wait for each other
  V<T> most[kSide], least[kSide];
  for (int k = 0; k < kSide; ++k) {
    most[k] = all(static_cast<T>(-INFINITY));
    least[k] = all(static_cast<T>(INFINITY));
  }
  int64_t i = 0;
  for (; i + kSide * L <= n; i += kSide * L) {
#pragma GCC unroll 4
    for (int k = 0; k < kSide; ++k) {
      const V<T> x = load(u + i + k * L);
      most[k] = larger<T>(x, most[k]);
      least[k] = smaller<T>(x, least[k]);
    }
  }
  over_vectors<T>(
      n - i,
      [&](int64_t k) {
        most[0] = larger<T>(load(u + i + k), most[0]);
        least[0] = smaller<T>(load(u + i + k), least[0]);
      },
      [&](int64_t k, int64_t left) {
        most[1] = larger<T>(load_part(u + i + k, left, static_cast<T>(-INFINITY)), most[1]);
        least[1] = smaller<T>(load_part(u + i + k, left, static_cast<T>(INFINITY)), least[1]);
      });
  const V<T> max = larger<T>(larger<T>(most[0], most[1]), larger<T>(most[2], most[3]));
  const V<T> min = smaller<T>(smaller<T>(least[0], least[1]), smaller<T>(least[2], least[3]));
  return {largest_lane<T>(max), -largest_lane<T>(-min)};
}

// Numbers that are exponentials already.
template <class T>
struct Done {
  SOFTXENT_INLINE V<T> exp(V<T> x) const { return x; }
};

// exp of a chunk, written to e where `keep` is set, e may be u; and their sum without the one at
// `top`, n for none. `next_u` and `next_e` are what will be read and written later, or u and e
// again: fetched a line at a time between the arithmetic, they cost nothing; a chunk at once would
// fill the queue to memory and stop it.
//
// Eight vectors are added as a tree before they join the sum: the error stays below 1 ulp however
// long the row is.
template <class T, bool keep, class Exp>
inline Sum<T> exp_and_sum(const Exp& exp_, const T* u, T* e, int64_t n, int64_t top,
                          const T* next_u, const T* next_e) {
  constexpr int L = kLanes<T>;
  const Exp exp = exp_;  // e might overwrite what lies in memory: kept in registers
  Sum<T> sum;
  const auto term = [&](int64_t i) SOFTXENT_INLINE {
    __builtin_prefetch(next_u + i, 0, 3);
    // Where only reading takes time, the memory can be asked for more than the first cache takes.
    if (!keep) __builtin_prefetch(next_u + i + 2 * kChunk, 0, 2);
    if (keep) __builtin_prefetch(next_e + i, 1, 3);
    const V<T> v = exp.exp(load(u + i));
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
    const V<T> v = first_of<T>(exp.exp(load_part(u + i, n - i, T(0))), n - i);
    if (keep) store_part(e + i, v, n - i);
    sum.add(without<T>(v, top - i));
  }
  return {sum.hi, sum.lo};  // a copy: what is returned as such stays in memory all along
}

// The same, whether e is wanted or not.
template <class T, class Exp>
inline Pair exp_and_rest(const Exp& exp, const T* u, T* e, int64_t n, int64_t top, const T* next_u,
                         const T* next_e) {
  return (e ? exp_and_sum<T, true>(exp, u, e, n, top, next_u, next_e)
            : exp_and_sum<T, false>(exp, u, e, n, top, next_u, next_e))
      .total();
}

// exp alone.
template <class T, class Exp>
inline void exp_block(const Exp& exp_, const T* u, T* e, int64_t n, const T* next_u) {
  const Exp exp = exp_;
  over_vectors<T>(
      n,
      [&](int64_t i) {
        __builtin_prefetch(next_u + i, 0, 3);
        store(e + i, exp.exp(load(u + i)));
      },
      [&](int64_t i, int64_t left) {
        store_part(e + i, exp.exp(load_part(u + i, left, T(0))), left);
      });
}

inline int64_t chunks_of(int64_t classes) { return (classes + kChunk - 1) / kChunk; }

// What a chunk gives to its row.
template <class T>
struct Chunk {
  T max, top;      // top: the exponential of max, or -1 where there is no number
  T away, round;   // of its Pivot, or Near's
  Pair rest;       // sum of the chunk's exponentials but that of its first maximum
  Pair scale;      // times its exponentials are exp(u - max of the row) times the row's `top`
  Pair mass, gap;  // sums of t and of t (max of the chunk - u)

  void by(const Near<T>& near) {
    top = near.exp(all(max))[0];
    away = Near<T>::kAway;
    round = Near<T>::kRound;
  }
  void by(const Pivot<T>& pivot) {
    top = pivot.exp(all(max))[0];
    away = pivot.away[0];
    round = pivot.round[0];
  }
};

// What a row has come to.
template <class T>
struct RowSum {
  Summary summary;
  double top;  // the exponential of the maximum
};

// Where the next row begins, or null: it is fetched at the end of this one, so that the memory
// doesn't wait for the arithmetic.
template <class T>
struct Next {
  const T *u, *e;
};

// What is fetched while chunk c is worked on: the chunk after it, or the next row, or nothing new.
// Another thread's chunk isn't: that would take it away.
template <class T, class Each>
inline const T* fetched(const T* at, int64_t c, int64_t count, const T* next) {
  if (c + 1 < count) return Each::kShared ? at : at + kChunk;
  return next ? next : at;
}

template <class T>
inline const T* next_row(const Shape& shape, const Array& a, int64_t row, const T* at) {
  const int64_t stride = a.batch_stride[shape.batch_dims - 1];
  if (shape.batch_dims == 1) return row + 1 < shape.rows ? at + stride : nullptr;
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
// f for each chunk, perhaps a copy of it in another thread: what these hold, they hold as values.
template <class T, class Each, class Stage, class Before>
inline RowSum<T> summarise(int64_t n, T* e, Chunk<T>* chunks, Next<T> next, const Each& each,
                           const Stage& stage, const Before& before) {
  const int64_t count = chunks_of(n);
  each(count, [=](int64_t c) {
    const int64_t begin = c * kChunk, size = chunk_size(n, begin);
    T local[kChunk];
    const T* u = stage(begin, size, e ? e + begin : local);
    const Range<T> range = range_of(u, size);
    Chunk<T>& chunk = chunks[c];
    chunk.max = range.max;
    before(begin, size, u, range.max, chunk);
    if (!(fabs(static_cast<double>(range.max)) < INFINITY)) {
      bool number = true;
      for (int64_t j = 0; j < size; ++j) number &= u[j] == u[j];
      chunk.top = -1;
      chunk.rest = {number && range.max < 0 ? 0.0 : NAN, 0};
      for (int64_t j = 0; e && j < size; ++j) e[begin + j] = 0;
      return;
    }
    T* const at = e ? e + begin : nullptr;
    const T* next_u = fetched<T, Each>(u, c, count, next.u);
    const T* next_e = fetched<T, Each>(at, c, count, next.e);
    if (!range.near()) {
      const Pivot<T> pivot(all(range.max));
      chunk.by(pivot);
      const int64_t top = position(u, size, range.max);
      chunk.rest = exp_and_rest(pivot, u, at, size, top, next_u, next_e);
      return;
    }
    const Near<T> near;
    chunk.by(near);
    chunk.rest = exp_and_rest(near, u, at, size, size, next_u, next_e);
    if (chunk.rest.value() >= 2 * static_cast<double>(chunk.top)) {
      chunk.rest.add(-static_cast<double>(chunk.top));
    } else if (at) {  // too much of the sum is its largest: the others are summed by themselves
      chunk.rest =
          exp_and_rest<T>(Done<T>{}, at, nullptr, size, position(at, size, chunk.top), at, at);
    } else {
      chunk.rest = exp_and_rest<T>(near, u, nullptr, size, position(u, size, chunk.max), u, u);
    }
  });
  int64_t first = 0;
  for (int64_t c = 1; c < count; ++c) {
    if (chunks[c].max > chunks[first].max) first = c;
  }
  const T max = count > 0 ? chunks[first].max : static_cast<T>(-INFINITY);
  if (!(fabs(static_cast<double>(max)) < INFINITY)) return {{max, NAN}, 1};
  const double top = static_cast<double>(chunks[first].top);
  if (count == 1) {
    chunks[0].scale = {kLift<T>, 0};
    return {{max, chunks[0].rest.value() / top}, top};
  }
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
  return {{max, rest.value() / kLift<T> / top}, top};
}

// factor / sum_j exp(u_j - max), for the exponentials of a chunk, as a sum of two T: e_j times it
// is factor p_j, correctly rounded but for the error of e and of the sum.
template <class T>
struct Normaliser {
  double hi, lo;
  double unit = 1;  // e is to be multiplied by it first: else the factors would leave T's range

  static constexpr double kSmallest = sizeof(T) == 8 ? 0x1p-960 : 0x1p-100;
  static constexpr double kLargest = 0x1p100;  // of float; Near's and Pivot's doubles are far above
  static constexpr double kUnit = sizeof(T) == 8 ? 0x1p-512 : 0x1p-64;  // 2^-kBias

  Normaliser() = default;
  Normaliser(double top, double ratio, double factor, Pair scale = {kLift<T>, 0}) {
    // top is about 2^kBias, or a float: without the bias nothing here leaves the range of double.
    const double sum = 1 + ratio, b = sum - 1;
    const double sum_lo = (1 - (sum - b)) + (ratio - b);
    const double t = top * kUnit, d = t * sum, d_lo = fma(t, sum, -d) + t * sum_lo;
    const double inverse = 1 / d;
    Pair p{inverse, inverse * (fma(-inverse, d, 1) - inverse * d_lo)};
    p = scale.times(p);
    hi = factor * p.hi;
    lo = fma(factor, p.hi, -hi) + factor * p.lo;
    double shift = kUnit / kLift<T>;
    if (fabs(hi) < kSmallest / shift && hi != 0) {
      unit = shift;
      shift = 1;
    } else if (sizeof(T) == 4 && fabs(hi) > kLargest / shift) {
      unit = 1 / shift;
      shift *= shift;
    }
    hi *= shift;
    lo *= shift;
  }

  // Brings e to the factors' unit.
  void to_unit(T* e, int64_t n) const {
    if (unit == 1) return;
    for (int64_t j = 0; j < n; ++j) e[j] *= static_cast<T>(unit);
  }

  // e times the factors, to out, which may be e: but `value` for the class `special`, if it is one.
  static constexpr int64_t kAhead = 1024 / sizeof(T);
  void apply(const T* e, T* out, int64_t n, Stream<T>* past, int64_t special = -1,
             T value = 0) const {
    const T high = static_cast<T>(hi);
    const T low = static_cast<T>(hi - static_cast<double>(high) + lo);
    const auto product = [&](V<T> x)
                             SOFTXENT_INLINE { return two_products<T>(x, all(high), x, all(low)); };
    // A line that was streamed is in no cache: the one value goes with it.
    const auto streamed_product = [&](V<T> x, int64_t i) SOFTXENT_INLINE {
      const V<T> v = product(x);
      return static_cast<uint64_t>(special - i) < kLanes<T> ? with<T>(v, special - i, value) : v;
    };
    if (past) {
      write_vectors<T>(
          out, n, past, [&](int64_t i) SOFTXENT_INLINE { return streamed_product(load(e + i), i); },
          [&](int64_t i, int64_t left) {
            return streamed_product(load_part(e + i, left, T(0)), i);
          });
      return;
    }
    write_vectors<T>(
        out, n, nullptr,
        [&](int64_t i) SOFTXENT_INLINE {
          // It comes from the second-level cache, which wants to be asked.
          __builtin_prefetch(e + i + kAhead, 1, 3);
          return product(load(e + i));
        },
        [&](int64_t i, int64_t left) { return product(load_part(e + i, left, T(0))); });
    if (special >= 0) out[special] = value;
  }
};

// The chunks of a row, by one thread or by several.
struct Alone {
  static constexpr bool kShared = false;
  template <class F>
  void operator()(int64_t count, const F& f) const {
    for (int64_t c = 0; c < count; ++c) f(c);
  }
};
struct Shared {
  static constexpr bool kShared = true;
  int workers;
  template <class F>
  void operator()(int64_t count, const F& f) const {
    parallel(workers, count, [=](int, int64_t begin, int64_t end) {
      for (int64_t c = begin; c < end; ++c) f(c);
      end_of_stream();
    });
  }
};

template <class Each>
constexpr bool is_shared(const Each&) {
  return Each::kShared;
}

// Ranges of rows in parallel, or, where there are fewer rows than threads and they are long, the
// chunks of one row after another. work(worker, begin, end, each).
template <class Work>
inline void for_each_row(const Shape& shape, int workers, const Work& work) {
  const int sharing = workers_for(chunks_of(shape.classes), kChunk);
  if (shape.rows < get_num_threads() && sharing > 1) {
    return work(0, 0, shape.rows, Shared{sharing});
  }
  parallel(workers, shape.rows, [=](int worker, int64_t begin, int64_t end) {
    work(worker, begin, end, Alone());
    end_of_stream();
  });
}

// Whether rows are written to `out` past the caches. Then their exponentials are kept elsewhere:
// lines that a cache holds can't be streamed to.
template <class T>
inline bool is_streamed(const Shape& shape, const Array& in, const Array& out) {
  constexpr int64_t kShortest = 16 << 20;   // what is shorter may be in a cache when it is used
  constexpr int64_t kLongestRow = 1 << 20;  // what the second-level cache holds
  const int64_t row = shape.classes * static_cast<int64_t>(sizeof(T));
  return out.data && out.data != in.data && is_plain<T>(shape, out) && row <= kLongestRow &&
         row * shape.rows >= kShortest;
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
