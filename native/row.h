// One row: its maximum, exp(x - max) of its classes, and their sum.
//
// A row is cut into chunks that fit into the first-level cache, the same whatever the number of
// threads. Each chunk is worked on once, as it is or relative to its own maximum; what they give is
// put together in their order, so that the bits don't depend on who did which. A second step
// multiplies by what the row as a whole has come to.
#pragma once

#include "rows.h"
#include "streaming.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

constexpr int64_t kChunk = 2048;
constexpr int64_t kBlock = 1024;  // what the smaller steps hold of a chunk

// A sum of two doubles, to about 100 bits.
struct Pair {
  double hi = 0, lo = 0;

  void add(Pair other) {
    const double s = hi + other.hi, b = s - hi;
    lo += (hi - (s - b)) + (other.hi - b) + other.lo;
    hi = s;
  }
  void add(double x) { add(Pair{x, 0}); }
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
template <class S, class T>
inline int64_t position(const S* u, int64_t n, T value) {
  int64_t i = 0;
  for (; i + kLanes<T> <= n; i += kLanes<T>) {
    const int lane = first_lane<T>(load_as<T>(u + i), value);
    if (lane < kLanes<T>) return i + lane;
  }
  while (i < n && number(u[i]) != value) ++i;
  return i;
}

// The largest and the smallest number of a chunk. NaN is passed over; it shows in the sum.
template <class T>
struct Range {
  T max, min;
  // Whether Near will do.
  bool near() const { return max <= Near<T>::kLargest && min >= -Near<T>::kLargest; }
};

// Of half types, by their bits: the largest without a sign is the largest as a signed integer, the
// smallest with one the largest as an unsigned one. False where that doesn't say it, or only says
// it of numbers: where none is above 0, and where one is NaN. Where none is below 0, `min` is one
// of them.
template <class S>
inline bool range_of_bits(const S* u, int64_t n, Range<float>* range) {
  constexpr int L = kLanes<uint16_t>, kSide = 4;
  if (n < L) return false;
  const auto* const bits = reinterpret_cast<const uint16_t*>(u);
  V<int16_t> most[kSide];
  V<uint16_t> least[kSide];
  const auto begin = [&](int k, int64_t i) SOFTXENT_INLINE {
    least[k] = load(bits + i);
    most[k] = reinterpret_cast<V<int16_t>>(least[k]);
  };
  const auto join = [&](int k, int64_t i) SOFTXENT_INLINE {
    const V<uint16_t> x = load(bits + i);
    least[k] = larger<uint16_t>(x, least[k]);
    most[k] = larger<int16_t>(reinterpret_cast<V<int16_t>>(x), most[k]);
  };
  for (int k = 0; k < kSide; ++k) begin(k, 0);
  int64_t i = 0;
  for (; i + kSide * L <= n; i += kSide * L) {
#pragma GCC unroll 4
    for (int k = 0; k < kSide; ++k) join(k, i + k * L);
  }
  for (; i + L <= n; i += L) join(0, i);
  join(1, n - L);  // some of them again
  V<uint16_t> ends[2];
  ends[0] =
      larger<uint16_t>(larger<uint16_t>(least[0], least[1]), larger<uint16_t>(least[2], least[3]));
  ends[1] = reinterpret_cast<V<uint16_t>>(
      larger<int16_t>(larger<int16_t>(most[0], most[1]), larger<int16_t>(most[2], most[3])));
  S lanes[2 * L];
  __builtin_memcpy(lanes, ends, sizeof lanes);
  const V<float> a = load_as<float>(lanes), b = load_as<float>(lanes + L / 2);
  const V<float> c = load_as<float>(lanes + L), d = load_as<float>(lanes + L + L / 2);
  range->min = -largest_lane<float>(-smaller<float>(a, b));
  range->max = largest_lane<float>(larger<float>(c, d));
  return range->max > 0 && all_lanes<float>((a == a) & (b == b) & (c == c) & (d == d));
}

template <class T, class S>
inline Range<T> range_of(const S* u, int64_t n) {
  if constexpr (Stored<S>::is_half) {
    Range<T> range;
    if (range_of_bits(u, n, &range)) return range;
  }
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
      const V<T> x = load_as<T>(u + i + k * L);
      most[k] = larger<T>(x, most[k]);
      least[k] = smaller<T>(x, least[k]);
    }
  }
  over_vectors<T>(
      n - i,
      [&](int64_t k) {
        most[0] = larger<T>(load_as<T>(u + i + k), most[0]);
        least[0] = smaller<T>(load_as<T>(u + i + k), least[0]);
      },
      [&](int64_t k, int64_t left) {
        most[1] = larger<T>(load_part_as(u + i + k, left, static_cast<T>(-INFINITY)), most[1]);
        least[1] = smaller<T>(load_part_as(u + i + k, left, static_cast<T>(INFINITY)), least[1]);
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

// The exponentials of a chunk, one vector after another, written to e where `keep` is set. `next_u`
// and `next_e` are what will be read and written later, or u and e again: fetched a line at a time
// between the arithmetic, they cost nothing; a chunk at once would fill the queue to memory and
// stop it.
template <class T, bool keep, class Exp, class S>
struct Terms {
  static constexpr int L = kLanes<T>;
  const Exp exp;  // e might overwrite what lies in memory: a copy, kept in registers
  const S* u;
  T* e;
  const S* next_u;
  const T* next_e;

  // What is to be fetched beside vector k of several. Two of them lie in a line, or more, where
  // vectors are shorter or made of half types.
  SOFTXENT_INLINE void fetch(int64_t i, int k) const {
    constexpr bool each_e = kVectorBytes >= 64, each = each_e && !Stored<S>::is_half;
    const bool at_line = k % 2 == 0 || each, at_line_of_e = k % 2 == 0 || each_e;
    if (at_line) __builtin_prefetch(next_u + i, 0, 3);
    // Where only reading takes time, the memory can be asked for more than the first cache takes.
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
    // Measured: with sixteen registers, it is better to take one at a time.
    if constexpr (kVectorBytes < 64) {
      const V<T> front = one(i) + one(i + L, 1);
      return front + (one(i + 2 * L) + one(i + 3 * L, 1));
    }
    // All are read before one is written: e may be u, and the compiler would wait for each.
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
  // The same, of which 8 L divides end - i, added to a sum. Eight vectors are added as a tree
  // before they join it: the error stays below 1 ulp however long the row is. Of a tree that is
  // larger than the sum, what is lost is not told; but then the sum doubles, so that all of these
  // are small beside the last.
  SOFTXENT_APART Sum<T> eights(int64_t i, int64_t end, Sum<T> sum) const {
    const Terms terms = *this;
    for (; i < end; i += 8 * L) {
      const V<T> front = settled<T>(terms.four(i));
      sum.add_less(front + terms.four(i + 4 * L));
    }
    return {sum.hi, sum.lo};  // a copy: what is returned as such stays in memory all along
  }
};

// exp of a chunk, written to e where `keep` is set, e may be u; and their sum, without the one at
// `top` where `but_top` is set.
template <class T, bool keep, bool but_top, class Exp, class S>
inline Sum<T> exp_and_sum(const Exp& exp, const S* u, T* e, int64_t n, int64_t top, const S* next_u,
                          const T* next_e) {
  constexpr int L = kLanes<T>;
  const Terms<T, keep, Exp, S> terms{exp, u, e, next_u, next_e};
  const int64_t whole = n & -(8 * L);
  const int64_t special = but_top && top < whole ? top & -(8 * L) : whole;
  Sum<T> sum = terms.eights(0, special, Sum<T>{});
  // Adds eight vectors with the one at the top, or fewer, at the end: those as a tree as well.
  const auto few = [&](int64_t i, int64_t end) SOFTXENT_INLINE {
    V<T> front{}, tail{};
    const auto one = [&](V<T> v) SOFTXENT_INLINE {
      but_top ? sum.add(without<T>(v, top - i)) : void(tail += v);
    };
    if (!but_top && i + 4 * L <= end) {
      front = terms.four(i);
      i += 4 * L;
    }
#pragma GCC unroll 1
    for (; i + L <= end; i += L) one(terms.one(i));
    if (i < end) {
      const V<T> v = first_of<T>(exp.exp(load_part_as(u + i, end - i, T(0))), end - i);
      if (keep) store_part(e + i, v, end - i);
      one(v);
    }
    if (!but_top) sum.add(front + tail);
  };
  if (special < whole) {
    few(special, special + 8 * L);
    sum = terms.eights(special + 8 * L, whole, sum);
  }
  few(whole, n);
  return sum;
}

// The same, whether e is wanted or not.
template <bool but_top, class T, class Exp, class S>
inline Pair exp_and_rest(const Exp& exp, const S* u, T* e, int64_t n, int64_t top, const S* next_u,
                         const T* next_e) {
  return (e ? exp_and_sum<T, true, but_top>(exp, u, e, n, top, next_u, next_e)
            : exp_and_sum<T, false, but_top>(exp, u, e, n, top, next_u, next_e))
      .total();
}

// exp alone.
template <class T, class Exp, class S>
inline void exp_block(const Exp& exp_, const S* u, T* e, int64_t n, const S* next_u) {
  const Exp exp = exp_;
  over_vectors<T>(
      n,
      [&](int64_t i) {
        __builtin_prefetch(next_u + i, 0, 3);
        store(e + i, exp.exp(load_as<T>(u + i)));
      },
      [&](int64_t i, int64_t left) {
        store_part(e + i, exp.exp(load_part_as(u + i, left, T(0))), left);
      });
}

inline int64_t chunks_of(int64_t classes) { return (classes + kChunk - 1) / kChunk; }

// What exponentials are relative to: the `away` and `round` of their Pivot, or Near's.
template <class T>
struct Unit {
  T away, round;
};

// What a chunk gives to its row. Of floats, two lie in a line: lines that one thread has written
// and another reads take time.
template <class T>
struct alignas(32) Chunk {
  T max, top;  // top: the exponential of max, or -1 where there is no number
  Unit<T> unit;
  Pair rest;  // sum of the chunk's exponentials but that of its first maximum

  template <class NearExp>
  void by(const NearExp& near) {
    top = near.exp(all(max))[0];
    unit = {Near<T>::kAway, Near<T>::kRound};
  }
  void by(const Pivot<T>& pivot) {
    top = pivot.exp(all(max))[0];
    unit = {pivot.away[0], pivot.round[0]};
  }
};

// What a row has come to.
template <class T>
struct RowSum {
  Summary summary;
  double top;    // the exponential of the maximum
  Unit<T> unit;  // of that
};

// Where the next row begins, or null: it is fetched at the end of this one, so that the memory
// doesn't wait for the arithmetic.
template <class T, class S>
struct Next {
  const S* u;
  const T* e;
};

// What is fetched while a chunk is worked on: the chunk after it, if it is the same thread's, or
// the next row, or nothing new. Another thread's chunk isn't: that would take it away.
template <class Each, class S>
inline const S* fetched(const S* at, bool goes_on, const S* next) {
  if (goes_on) return at + kChunk;
  return next && !Each::kShared ? next : at;
}

template <class S>
inline const S* next_row(const Shape& shape, const Array& a, int64_t row, const S* at) {
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

// What exponentials of one unit are to be multiplied by to be of another, and times kLift.
template <class T>
inline Pair rescale(Unit<T> from, Unit<T> to) {
  using C = ExpConstants<double>;
  constexpr int lift = sizeof(T) == 8 ? 256 : 0;
  const double s = static_cast<double>(from.away) - static_cast<double>(to.away);
  const double k = static_cast<double>(to.round) - static_cast<double>(from.round);
  if (!(s * 1.44269504088896340736 + k > -1000 - lift)) return {};
  const double exponent = C::kExponentZero + lift + k;
  const Exponential<double> e = exponential<double>(all(s), all(C::kRound + exponent));
  return {e.power[0], e.power[0] * e.p[0]};
}

// Times it the exponentials of a chunk are exp(u - max of the row) times the row's `top`.
template <class T>
inline Pair scale_of(const Chunk<T>& chunk, const RowSum<T>& sum) {
  if (chunk.top < 0) return {};
  const bool same = chunk.unit.away == sum.unit.away && chunk.unit.round == sum.unit.round;
  return same ? Pair{kLift<T>, 0} : rescale(chunk.unit, sum.unit);
}

// The row's sum, by NearExp where that will do. stage(begin, size, buffer) gives the chunk's u, in
// the buffer where it doesn't lie in memory as such; e is where exp(u - max of the chunk) goes, or
// null where nobody needs it; before(c, u, size, max) sees a chunk before e is written over it.
// each(count, f) calls f(c, goes_on) for each chunk, goes_on where the one after it probably comes
// next, perhaps a copy of it in another thread: what these hold, they hold as values.
template <class NearExp, class T, class S, class Each, class Stage, class Before>
inline RowSum<T> summarise(int64_t n, T* e, Chunk<T>* chunks, Next<T, S> next, const Each& each,
                           const Stage& stage, const Before& before) {
  const int64_t count = chunks_of(n);
  each(count, [=](int64_t c, bool goes_on) {
    const int64_t begin = c * kChunk, size = chunk_size(n, begin);
    S local[kChunk];
    S* buffer = local;
    if constexpr (!Stored<S>::is_half) {
      if (e) buffer = e + begin;
    }
    const S* u = stage(begin, size, buffer);
    const Range<T> range = range_of<T>(u, size);
    Chunk<T>& chunk = chunks[c];
    chunk.max = range.max;
    before(c, u, size, range.max);
    if (!(fabs(static_cast<double>(range.max)) < INFINITY)) {
      bool numbers = true;
      for (int64_t j = 0; j < size; ++j) numbers &= number(u[j]) == number(u[j]);
      chunk.top = -1;
      chunk.unit = {};
      chunk.rest = {numbers && range.max < 0 ? 0.0 : NAN, 0};
      for (int64_t j = 0; e && j < size; ++j) e[begin + j] = 0;
      return;
    }
    T* const at = e ? e + begin : nullptr;
    const S* next_u = fetched<Each>(u, goes_on, next.u);
    const T* next_e = fetched<Each>(static_cast<const T*>(at), goes_on, next.e);
    if (!range.near()) {
      const Pivot<T> pivot(all(range.max));
      chunk.by(pivot);
      const int64_t top = position(u, size, range.max);
      chunk.rest = exp_and_rest<true>(pivot, u, at, size, top, next_u, next_e);
      return;
    }
    const NearExp near;
    chunk.by(near);
    chunk.rest = exp_and_rest<false>(near, u, at, size, size, next_u, next_e);
    if (chunk.rest.value() >= 2 * static_cast<double>(chunk.top)) {
      chunk.rest.add(-static_cast<double>(chunk.top));
    } else if (at) {  // too much of the sum is its largest: the others are summed by themselves
      chunk.rest = exp_and_rest<true>(Done<T>{}, at, static_cast<T*>(nullptr), size,
                                      position(at, size, chunk.top), at, at);
    } else {
      chunk.rest = exp_and_rest<true>(near, u, static_cast<T*>(nullptr), size,
                                      position(u, size, chunk.max), u, static_cast<const T*>(at));
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
  RowSum<T> sum{{max, chunks[0].rest.value() / top}, top, chunks[first].unit};
  if (count == 1) return sum;
  Pair rest;
  for (int64_t c = 0; c < count; ++c) {
    const Chunk<T>& chunk = chunks[c];
    if (chunk.top < 0) {
      rest.add(chunk.rest);  // 0, or NaN
      continue;
    }
    Pair here = chunk.rest;
    if (c != first) here.add(static_cast<double>(chunk.top));
    rest.add(scale_of(chunk, sum).times(here));
  }
  sum.summary.ratio = rest.value() / kLift<T> / top;
  return sum;
}

// factor / sum_j exp(u_j - max), for the exponentials of a chunk, as a sum of two T: e_j times it
// is factor p_j, correctly rounded but for the error of e and of the sum.
template <class T>
struct Normaliser {
  double hi, lo;
  double inverse;   // kLift p_j / (kUnit e_j), without the digits beyond double's
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
    const double part = 1 / d;
    Pair p{part, part * (fma(-part, d, 1) - part * d_lo)};
    p = scale.times(p);
    inverse = p.hi + p.lo;
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

  // Of a class, from its exponential.
  double probability(double e) const { return e * kUnit * inverse * (1 / kLift<T>); }

  // Brings e to the factors' unit.
  void to_unit(T* e, int64_t n) const {
    if (unit == 1) return;
    for (int64_t j = 0; j < n; ++j) e[j] *= static_cast<T>(unit);
  }

  // e times the factors, to out, which may be e: but `value` for the class `special`, if it is one.
  static constexpr int64_t kAhead = 1024 / sizeof(T);
  template <class S>
  void apply(const T* e, S* out, int64_t n, Stream<Bits<S>>* past, int64_t special = -1,
             T value = 0) const {
    const T high = hi == hi ? static_cast<T>(hi) : static_cast<T>(NAN);
    const T low = static_cast<T>(hi - static_cast<double>(high) + lo);
    const auto product = [&](V<T> x) SOFTXENT_INLINE {
      return Stored<S>::is_half ? x * high : two_products<T>(x, all(high), x, all(low));
    };
    const auto part = [&](int64_t i, int64_t left) {
      return product(load_part(e + i, left, T(0)));
    };
    if (past) {
      // A line that was streamed is in no cache: the one value goes with it.
      const T at_special = value == value ? value : static_cast<T>(NAN);
      const auto streamed = [&](V<T> v, int64_t i) SOFTXENT_INLINE {
        return static_cast<uint64_t>(special - i) < kLanes<T> ? with<T>(v, special - i, at_special)
                                                              : v;
      };
      store_vectors<T>(
          out, n, past,
          [&](int64_t i) SOFTXENT_INLINE { return streamed(product(load(e + i)), i); },
          [&](int64_t i, int64_t left) { return streamed(part(i, left), i); });
      return;
    }
    store_vectors<T>(
        out, n, nullptr,
        [&](int64_t i) SOFTXENT_INLINE {
          // It comes from the second-level cache, which wants to be asked. A result of a half type
          // isn't written over it: those lines come from memory.
          __builtin_prefetch(e + i + kAhead, 1, 3);
          if (Stored<S>::is_half) __builtin_prefetch(out + i + 4 * kAhead, 1, 3);
          return product(load(e + i));
        },
        part);
    if (special >= 0) set(out[special], value);
  }
};

// Where in `scratch`, with room for it, n exponentials lie best that will be read to fill `out`:
// there whole vectors are written, and of these, the vectors read for one are whole lines.
template <class T>
constexpr int64_t room_for(int64_t n) {
  return (n + 2 * kLanes<T> - 1) / kLanes<T> * kLanes<T>;
}
template <class T, class S>
inline T* in_step(T* scratch, const S* out) {
  const auto over = static_cast<int64_t>(reinterpret_cast<uintptr_t>(out) % kVectorBytes);
  return scratch + over / static_cast<int64_t>(sizeof(S)) % kLanes<T>;
}

// For how many rows at a time there are exponentials and chunks: two if they are short, see Behind.
inline int64_t slots_of(int64_t classes) { return chunks_of(classes) == 1 ? 2 : 1; }

// A short row is written after the next row's exponentials: what lies between its sum and its
// factors, divisions one after another, is not waited for. The two rows take turns.
template <class Row>
class Behind {
 public:
  explicit Behind(Row (&rows)[2]) : current_(rows), last_(rows + 1) {}

  Row& current() const { return *current_; }

  // The current row is complete; write(row) writes the one before it.
  template <class Write>
  void advance(const Write& write) {
    flush(write);
    Row* const next = last_;
    last_ = current_;
    current_ = next;
    waits_ = true;
  }
  template <class Write>
  void flush(const Write& write) const {
    if (waits_) write(*last_);
  }

 private:
  Row *current_, *last_;
  bool waits_ = false;
};

// The chunks of a row, by one thread or by several that do all else alike, each for itself; what
// isn't a chunk's is written by the one that leads. What others gave may be read after join().
struct Alone {
  static constexpr bool kShared = false;
  bool leads() const { return true; }
  template <class F>
  void operator()(int64_t count, const F& f) const {
    for (int64_t c = 0; c < count; ++c) f(c, c + 1 < count);
  }
  void join() const {}
};
struct Shared {
  static constexpr bool kShared = true;
  Worker& worker;
  bool leads() const { return worker.id() == 0; }
  template <class F>
  void operator()(int64_t, const F& f) const {
    for (int64_t begin, end; worker.next(&begin, &end);) {
      for (int64_t c = begin; c < end; ++c) {
        f(c, c + 1 < end || (worker.owns(c) && worker.owns(c + 1)));
      }
    }
    end_of_stream();
  }
  void join() const { worker.join(); }
};

// Ranges of rows in parallel, or, where there are fewer rows than threads and they are long, one
// row after another by all of them. work(worker, begin, end, each), with scratch of `worker`.
template <class Work>
inline void for_each_row(const Shape& shape, int workers, const Work& work) {
  constexpr int64_t kOwnChunks = 6;  // two microseconds: what fetching them from there would take
  constexpr int64_t kLeastChunks =
      4;  // a share of fewer takes no longer than waiting for the others
  const int64_t chunks = chunks_of(shape.classes);
  const int most = workers_for(chunks, kChunk);
  const int sharing = most * kLeastChunks < chunks ? most : static_cast<int>(chunks / kLeastChunks);
  if (shape.rows < get_num_threads() && sharing > 1) {
    for (int64_t i = 0; i < shape.rows; ++i) {
      const auto one = [=](Worker& worker) { work(0, i, i + 1, Shared{worker}); };
      together(sharing, chunks, kOwnChunks, one);
    }
    return;
  }
  parallel(workers, shape.rows, [=](int worker, int64_t begin, int64_t end) {
    work(worker, begin, end, Alone());
    end_of_stream();
  });
}

// Whether rows could be written to `out` past the caches. Where they are, their exponentials are
// kept elsewhere: lines that a cache holds can't be streamed to.
template <class T, class S>
inline bool can_stream(const Shape& shape, const Array& in, const Array& out) {
  constexpr int64_t kShortest = 16 << 20;   // what is shorter may be in a cache when it is used
  constexpr int64_t kLongestRow = 1 << 20;  // of exponentials: what the second-level cache holds
  const int64_t row = shape.classes * static_cast<int64_t>(sizeof(S));
  return out.data && out.data != in.data && is_plain<S>(shape, out) &&
         shape.classes * static_cast<int64_t>(sizeof(T)) <= kLongestRow &&
         row * shape.rows >= kShortest;
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
