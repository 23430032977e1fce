// The gradients of softmax and log_softmax of rows with respect to their logits x.
//
// softmax:      dx_j = p_j ((g_j - g_m) - D),   D = sum_k p_k (g_k - g_m)
// log_softmax:  dx_j = g_j - p_j G,             G = sum_k g_k
//
// m is the class with the largest p. As its own term of D is 0, no p_m that rounds to 1 is in a
// difference; and with log_softmax, where p_j > 1/2,
//
//               dx_j = q G - sum_{k != j} g_k,  q = 1 - p_j from the tail sum
//
// A class with p_k = 0, masked for example, adds nothing to a softmax's gradient, even with an
// infinite g_k.
// A probability is the exponential of its logit times the row's factor, and that product isn't
// rounded to T: its error would be in the result twice.
#include "lanes/sums.h"
#include "row/normalizer.h"
#include "row/scheduling.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// The rounding errors of an infinite sum are NaN.
SOFTXENT_INLINE inline V<double> value_of(CompensatedSum<double> sum) {
  return sum.hi - sum.hi == 0 ? sum.hi + sum.lo : sum.hi;
}

// p = e times the row's factor, for a T whose products of two are exact in double, and for double.
template <class T>
SOFTXENT_INLINE inline CompensatedSum<double> probability(V<double> e,
                                                          CompensatedSum<double> factor) {
  const V<double> p = e * factor.hi;
  if (sizeof(T) == 4) return {multiply_add(e, factor.lo, p), V<double>{}};
  return {p, multiply_add(e, factor.lo, product_error<double>(e, factor.hi, p))};
}

// p times d.
template <class T>
SOFTXENT_INLINE inline CompensatedSum<double> product(CompensatedSum<double> p,
                                                      CompensatedSum<double> d) {
  const V<double> both = p.hi * d.hi;
  if (sizeof(T) == 4) return {both, V<double>{}};
  const V<double> rest = multiply_add(p.hi, d.lo, p.lo * d.hi);
  return {both, product_error<double>(p.hi, d.hi, both) + rest};
}

// The sums over the classes of a row, in each lane.
struct GradientSums {
  CompensatedSum<double> tilted;  // sum_k p_k (g_k - g_m)
  CompensatedSum<double> others;  // sum of g_k, without that of the class with p_k > 1/2
  V<double> likely{};             // g_k of that class

  template <class T>
  SOFTXENT_INLINE void add_tilted(CompensatedSum<double> p, V<double> g, V<double> g_m) {
    CompensatedSum<double> d{g, V<double>{}};
    d.add(-g_m);
    const CompensatedSum<double> term = product<T>(p, d);
    const auto counts = p.hi != 0;
    tilted.add(counts ? term.hi : V<double>{});
    tilted.lo += counts ? term.lo : V<double>{};
  }
  SOFTXENT_INLINE void add_upstream(CompensatedSum<double> p, V<double> g) {
    const auto is_likely = p.hi > 0.5;
    likely = is_likely ? g : likely;
    others.add(is_likely ? V<double>{} : g);
  }
};

// What the entries of a softmax's gradient have in common.
template <class T>
struct SoftmaxParts {
  V<double> g_m;
  CompensatedSum<double> tilted;

  SOFTXENT_INLINE V<double> at(CompensatedSum<double> p, V<double> g) const {
    CompensatedSum<double> d{g, -tilted.lo};
    d.add(-g_m);
    d.add(-tilted.hi);
    return p.hi != 0 ? value_of(product<T>(p, d)) : V<double>{};
  }
};

// The same for a log_softmax; `likely` is the entry of a class with p > 1/2.
template <class T>
struct LogSoftmaxParts {
  CompensatedSum<double> total;
  V<double> likely;

  SOFTXENT_INLINE LogSoftmaxParts(const GradientSums& sums, V<double> tail_sum)
      : total(sums.others) {
    total.add(sums.likely);
    const V<double> q = tail_sum / (1 + tail_sum);
    likely = value_of({q * total.hi - sums.others.hi, multiply_add(q, total.lo, -sums.others.lo)});
  }

  SOFTXENT_INLINE V<double> at(CompensatedSum<double> p, V<double> g) const {
    const CompensatedSum<double> pulled = product<T>(p, total);
    CompensatedSum<double> d{g, -pulled.lo};
    d.add(-pulled.hi);
    return p.hi > 0.5 ? likely : value_of(d);
  }
};

// ---- Rows of many classes, one after another

template <class T, class S>
class GradientRows {
 public:
  explicit GradientRows(const SoftmaxGradientTask& task)
      : task_(task),
        n_(task.shape.classes),
        workers_(workers_for(task.shape.rows, n_)),
        plain_saved_(is_contiguous<S>(task.shape, task.saved)),
        plain_upstream_(is_contiguous<S>(task.shape, task.upstream)),
        plain_out_(is_contiguous<S>(task.shape, task.out)),
        exponentials_(workers_, room_for<T>(n_)),
        chunks_(workers_, chunks_of(n_)),
        factors_(workers_, chunks_of(n_)) {}

  void run() const {
    parallel_ranges(workers_, task_.shape.rows, n_, [this](int worker, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) compute(worker, i);
    });
  }

 private:
  struct Row {
    int64_t saved, upstream, out;  // where it begins
    T* e;                          // its exponentials
    DoubleDouble* factors;         // of the chunks: p = e times its chunk's factor
    T g_m;
    double tail_sum;
  };

  void compute(int worker, int64_t i) const {
    Row row{row_offset(task_.shape, task_.saved, i),
            row_offset(task_.shape, task_.upstream, i),
            row_offset(task_.shape, task_.out, i),
            exponentials_.of(worker),
            factors_.of(worker),
            T(0),
            0};
    const int64_t m =
        task_.from_result ? read_probabilities(row) : compute_exponentials(row, chunks_.of(worker));
    GradientSums sums[kSlotVectors<double>];
    if (task_.log) {
      for_each_pair(row, [&](int slot, CompensatedSum<double> p, V<double> g)
                             SOFTXENT_INLINE { sums[slot].add_upstream(p, g); });
      GradientSums whole;
      whole.others = total_of(sums, &GradientSums::others);
      double likely = 0;  // at most one class has one
      for (const GradientSums& part : sums) likely += sum_of_lanes(part.likely);
      whole.likely = broadcast(likely);
      return write(row, LogSoftmaxParts<T>(whole, broadcast(row.tail_sum)));
    }
    read(task_.upstream, row.upstream + m * task_.upstream.class_stride, 1, &row.g_m);
    const V<double> g_m = broadcast(static_cast<double>(row.g_m));
    for_each_pair(row, [&](int slot, CompensatedSum<double> p, V<double> g)
                           SOFTXENT_INLINE { sums[slot].template add_tilted<T>(p, g, g_m); });
    write(row, SoftmaxParts<T>{g_m, total_of(sums, &GradientSums::tilted)});
  }

  // The exponentials of a row's logits, the factors and the tail sum. Returns the class with the
  // largest logit.
  int64_t compute_exponentials(Row& row, Chunk<T>* chunks) const {
    const RowSum<T> sum = sum_row<UnshiftedExp<S>, T, S>(
        n_, row.e, chunks, NextRow<T, S>{nullptr, nullptr}, SingleWorker(),
        [&](int64_t begin, int64_t size, S* buffer) { return saved(row, begin, size, buffer); },
        Nothing{});
    row.tail_sum = sum.saved.tail_sum;
    int64_t m = 0;
    bool found = false;
    for (int64_t c = 0; c < chunks_of(n_); ++c) {
      const int64_t begin = c * kChunk, size = chunk_size(n_, begin);
      const Normalizer<T> normalizer(sum.top, sum.saved.tail_sum, 1, scale_of(chunks[c], sum));
      normalizer.apply_prescale(row.e + begin, size);
      row.factors[c] = {normalizer.hi, normalizer.lo};
      const T base = static_cast<T>(sum.saved.base);
      if (found || !(chunks[c].max == base)) continue;
      S buffer[kChunk];
      const int64_t at = find_first(saved(row, begin, size, buffer), size, base);
      found = at < size;
      m = found ? begin + at : 0;
    }
    return m;
  }

  // The same from the probabilities.
  int64_t read_probabilities(const Row& row) const {
    T largest = 0;
    int64_t m = 0;
    for (int64_t begin = 0; begin < n_; begin += kChunk) {
      const int64_t size = chunk_size(n_, begin);
      T* const p = row.e + begin;
      read(task_.saved, row.saved + begin * task_.saved.class_stride, size, p);
      row.factors[begin / kChunk] = {1, 0};
      const T max = range_of<T>(p, size).max;
      if (!(max > largest)) continue;
      largest = max;
      m = begin + find_first(p, size, max);
    }
    return m;
  }

  const S* saved(const Row& row, int64_t begin, int64_t size, S* buffer) const {
    return stage(task_.saved, plain_saved_, row.saved, begin, size, buffer);
  }
  const S* upstream(const Row& row, int64_t begin, int64_t size, S* buffer) const {
    return stage(task_.upstream, plain_upstream_, row.upstream, begin, size, buffer);
  }

  // One of the sums over all slots, in every lane.
  static CompensatedSum<double> total_of(const GradientSums* sums,
                                         CompensatedSum<double> GradientSums::* sum) {
    SlotSum<double> slots;
    for (int p = 0; p < kSlotVectors<double>; ++p) slots.part[p] = sums[p].*sum;
    const DoubleDouble total = slots.total();
    return {broadcast(total.hi), broadcast(total.hi - total.hi == 0 ? total.lo : 0)};
  }
  static CompensatedSum<double> everywhere(DoubleDouble x) {
    return {broadcast(x.hi), broadcast(x.lo)};
  }

  // Calls f(slot, p, g) for all classes; beyond the end of the row both are 0. Class j belongs to
  // the slot j % kSlots, which is a lane of the vector number `slot`.
  template <class F>
  void for_each_pair(const Row& row, const F& f) const {
    for (int64_t begin = 0; begin < n_; begin += kChunk) {
      const int64_t size = chunk_size(n_, begin);
      S buffer[kChunk];
      const S* const g = upstream(row, begin, size, buffer);
      const T* const e = row.e + begin;
      const CompensatedSum<double> factor = everywhere(row.factors[begin / kChunk]);
      const auto both = [&](int64_t j, V<T> e, V<T> g) SOFTXENT_INLINE {
        for_each_part<T>([&](auto part) SOFTXENT_INLINE {
          constexpr int k = decltype(part)::index;
          const int slot = static_cast<int>((j / kLanes<double> + k) % kSlotVectors<double>);
          f(slot, probability<T>(widen<k>(e), factor), widen<k>(g));
        });
      };
      for_each_vector<T>(
          size, [&](int64_t j) SOFTXENT_INLINE { both(j, load(e + j), load_as<T>(g + j)); },
          [&](int64_t j, int64_t left) {
            both(j, load_part(e + j, left, T(0)), load_part_as(g + j, left, T(0)));
          });
    }
  }

  template <class Parts>
  void write(const Row& row, const Parts& parts_) const {
    const Parts parts = parts_;  // a copy that stores can't change
    for (int64_t begin = 0; begin < n_; begin += kChunk) {
      const int64_t size = chunk_size(n_, begin);
      S buffer[kChunk], local[kChunk];
      const S* const g = upstream(row, begin, size, buffer);
      const T* const e = row.e + begin;
      const CompensatedSum<double> factor = everywhere(row.factors[begin / kChunk]);
      S* const to = plain_out_ ? static_cast<S*>(task_.out.data) + row.out + begin : local;
      const auto at = [&](V<T> e, V<T> g) SOFTXENT_INLINE {
        V<double> results[kParts<T>];
        for_each_part<T>([&](auto part) SOFTXENT_INLINE {
          constexpr int k = decltype(part)::index;
          results[k] = parts.at(probability<T>(widen<k>(e), factor), widen<k>(g));
        });
        return narrow<T>(results);
      };
      write_converted<T>(
          to, size, nullptr,
          [&](int64_t j) SOFTXENT_INLINE { return at(load(e + j), load_as<T>(g + j)); },
          [&](int64_t j, int64_t left) {
            return at(load_part(e + j, left, T(0)), load_part_as(g + j, left, T(0)));
          });
      if (!plain_out_) write_raw(task_.out, row.out + begin * task_.out.class_stride, size, to);
    }
  }

  const SoftmaxGradientTask task_;
  const int64_t n_;
  const int workers_;
  const bool plain_saved_, plain_upstream_, plain_out_;
  const Scratch<T> exponentials_;
  const Scratch<Chunk<T>> chunks_;
  const Scratch<DoubleDouble> factors_;
};

// ---- Rows of few classes, side by side

// The rows of a tile: their exponentials are in the tile, here what else is known of each lane.
struct LaneFactors {
  alignas(64) double hi[kMaxWidth], lo[kMaxWidth], tail_sum[kMaxWidth];

  template <class T>
  SOFTXENT_INLINE void set(int64_t l, CompensatedSum<T> factor, CompensatedSum<T> tail) {
    for_each_part<T>([&](auto part) SOFTXENT_INLINE {
      constexpr int k = decltype(part)::index;
      const int64_t at = l + part.begin;
      const V<double> high = widen<k>(factor.hi), low = widen<k>(factor.lo);
      store(hi + at, high);
      store(lo + at, low);
      store(tail_sum + at, widen<k>(tail.hi) + widen<k>(tail.lo));
    });
  }
};

// Replaces the logits of a tile by their exponentials.
template <class T>
void exponentials_of_lanes(const Tile<T>& tile, LaneFactors& factors) {
  const TilePrefetch nothing{reinterpret_cast<const char*>(tile.data), 0, 0};
  LaneSums<T> sums[kMaxWidth / kLanes<T>];
  sum_lanes<T, true>(tile, nothing, nothing, sums);
  for (int64_t l = 0; l < tile.width; l += kLanes<T>) {
    const LaneSums<T>& lanes = sums[l / kLanes<T>];
    CompensatedSum<T> factor{broadcast(T(1)), V<T>{}};
    if (tile.classes > 1) {
      factor = lanes.reciprocal_sum();
    } else {
      store(tile.data + l, lanes.top - lanes.top + 1);
    }
    factors.set<T>(l, factor, lanes.tail_sum);
  }
}

// The gradient of the rows in one vector's lanes, written over g.
template <class T>
void gradient_of_lanes(const Tile<T>& e, const Tile<T>& g, int64_t l, bool log,
                       const LaneFactors& factors) {
  constexpr int kCount = kParts<T>;
  CompensatedSum<double> factor[kCount];
  V<double> g_m[kCount];
  GradientSums sums[kCount];
  for (int k = 0; k < kCount; ++k) {
    const int64_t at = l + k * kLanes<double>;
    factor[k] = {load(factors.hi + at), load(factors.lo + at)};
  }
  // Calls f(part, p, g) for all classes.
  const auto for_each_class = [&](const auto& f) SOFTXENT_INLINE {
    for (int64_t j = 0; j < e.classes; ++j) {
      const V<T> at_e = load(e.at(j) + l), at_g = load(g.at(j) + l);
      for_each_part<T>([&](auto part) SOFTXENT_INLINE {
        constexpr int k = decltype(part)::index;
        f(k, probability<T>(widen<k>(at_e), factor[k]), widen<k>(at_g));
      });
    }
  };
  const auto write = [&](const auto* parts) SOFTXENT_INLINE {
    for (int64_t j = 0; j < e.classes; ++j) {
      const V<T> at_e = load(e.at(j) + l), at_g = load(g.at(j) + l);
      V<double> results[kCount];
      for_each_part<T>([&](auto part) SOFTXENT_INLINE {
        constexpr int k = decltype(part)::index;
        results[k] = parts[k].at(probability<T>(widen<k>(at_e), factor[k]), widen<k>(at_g));
      });
      store(g.at(j) + l, narrow<T>(results));
    }
  };
  if (log) {
    for_each_class([&](int k, CompensatedSum<double> p, V<double> g)
                       SOFTXENT_INLINE { sums[k].add_upstream(p, g); });
    const auto parts_of = [&](int k) {
      return LogSoftmaxParts<T>(sums[k], load(factors.tail_sum + l + k * kLanes<double>));
    };
    const LogSoftmaxParts<T> parts[] = {parts_of(0), parts_of(kCount - 1)};
    return write(parts);
  }
  V<T> largest{}, at_largest = load(g.data + l);
  for (int64_t j = 0; j < e.classes; ++j) {
    const V<T> at_e = load(e.at(j) + l);
    const auto is_larger = at_e > largest;
    largest = is_larger ? at_e : largest;
    at_largest = is_larger ? load(g.at(j) + l) : at_largest;
  }
  for_each_part<T>([&](auto part) { g_m[part.index] = widen<decltype(part)::index>(at_largest); });
  for_each_class([&](int k, CompensatedSum<double> p, V<double> g)
                     SOFTXENT_INLINE { sums[k].template add_tilted<T>(p, g, g_m[k]); });
  const SoftmaxParts<T> parts[] = {{g_m[0], sums[0].tilted},
                                   {g_m[kCount - 1], sums[kCount - 1].tilted}};
  write(parts);
}

template <class T>
void gradient_lanes(const SoftmaxGradientTask task) {
  const Shape shape = task.shape;
  const int64_t width = tile_width<T>(shape, task.saved);
  const int workers = tile_workers(shape, width);
  const Scratch<T> scratch(workers, width * shape.classes);
  const Scratch<T> upstream(workers, width * shape.classes);
  const auto upstream_of = upstream.buffers();
  for_each_tile<T>(shape, width, scratch, workers, [=](int worker, const Tile<T>& e) {
    Tile<T> g = e;
    g.data = upstream_of.of(worker);
    read_tile(shape, task.saved, e);
    read_tile(shape, task.upstream, g);
    LaneFactors factors;
    if (task.from_result) {
      const CompensatedSum<T> one{broadcast(T(1)), V<T>{}};
      for (int64_t l = 0; l < width; l += kLanes<T>) factors.set<T>(l, one, {});
    } else {
      exponentials_of_lanes(e, factors);
    }
    for (int64_t l = 0; l < width; l += kLanes<T>) {
      gradient_of_lanes(e, g, l, task.log, factors);
    }
    write_tile(shape, task.out, g);
  });
}

}  // namespace

// Which of both computes a row depends on the number of its classes alone, and so do its bits.
void softmax_gradient(const SoftmaxGradientTask& task) {
  const bool lanes = task.shape.classes <= kFewClasses;
  if (task.shape.classes == 0) return;
  if (task.saved.type == Type::kFloat64) {
    lanes ? gradient_lanes<double>(task) : GradientRows<double, double>(task).run();
  } else if (lanes) {
    gradient_lanes<float>(task);
  } else {
    with_stored<float>(task.saved.type,
                       [&](auto s) { GradientRows<float, decltype(s)>(task).run(); });
  }
}

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
