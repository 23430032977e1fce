// Cross-entropy of rows against a target mass, and its gradient.
#include "flat.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// The class weights as T, or nothing.
template <class T>
class Weight {
 public:
  explicit Weight(const CrossEntropyTask& task)
      : values_(1, task.weight ? task.shape.classes : 0), given_(task.weight != nullptr) {
    for (int64_t j = 0; given_ && j < task.shape.classes; ++j) {
      values_.of(0)[j] = task.logits.type == Type::kFloat64
                             ? static_cast<T>(static_cast<const double*>(task.weight)[j])
                             : static_cast<T>(static_cast<const float*>(task.weight)[j]);
    }
  }
  const T* data() const { return given_ ? values_.of(0) : nullptr; }

 private:
  const Scratch<T> values_;
  const bool given_;
};

// The target mass t_j of a block of classes, for targets that put some on every class.
template <class T>
struct Mass {
  const CrossEntropyTask& task;
  const T* weight;  // or null
  T keep, spread;   // 1 - label_smoothing, label_smoothing / classes

  // t of classes [begin, begin + n) of row i.
  void block(int64_t i, int64_t begin, int64_t n, T* t) const {
    if (task.probabilities.data) {
      const Array& q = task.probabilities;
      read(q, row_offset(task.shape, q, i) + begin * q.class_stride, n, t);
      for (int64_t j = 0; j < n; ++j) t[j] = keep * t[j] + spread;
    } else {
      for (int64_t j = 0; j < n; ++j) t[j] = spread;
      const int64_t y = task.index[i] - begin;
      if (y >= 0 && y < n) t[y] += keep;
    }
    if (weight) {
      for (int64_t j = 0; j < n; ++j) t[j] *= weight[begin + j];
    }
  }
};

template <class T>
void add_mass(const T* t, int64_t n, Sum<T>& mass) {
  over_vectors<T>(
      n, [&](int64_t i) { mass.add(load(t + i)); },
      [&](int64_t i, int64_t left) { mass.add(load_part(t + i, left, T(0))); });
}

// Adds t (max - u): no term is negative, so nothing cancels however sure the model is.
template <class T>
void add_gap(const T* t, const T* u, int64_t n, T max, Sum<T>& gap) {
  const V<T> zero{};
  const auto term = [&](V<T> tj, V<T> uj) {
    return tj == zero ? zero : tj * (max - uj);  // 0 log 0 = 0
  };
  over_vectors<T>(
      n, [&](int64_t i) { gap.add(term(load(t + i), load(u + i))); },
      [&](int64_t i, int64_t left) {
        gap.add(term(load_part(t + i, left, T(0)), load_part(u + i, left, T(0))));
      });
}

// loss = sum_j t_j (lse - u_j) + z_loss lse^2, with lse - u_j = log_sum + (max - u_j) >= 0.
// D is double, or V<double> for one row a lane; so it is below.
template <class D>
D loss_of(const CrossEntropyTask& task, D lse, D likelihood) {
  const D zero{}, drift = task.z_loss == 0 ? zero : task.z_loss * lse * lse;
  return lse != lse ? zero + NAN : likelihood + drift;
}
template <class D>
D loss_of(const CrossEntropyTask& task, D max, D log_sum, D mass, D gap) {
  const D spread = mass == 0 ? D{} : mass * log_sum;
  return loss_of<D>(task, max + log_sum, spread + gap);
}

// The losses of rows one after another: a logarithm takes as long as a vector of them.
class Losses {
 public:
  explicit Losses(const CrossEntropyTask& task) : task_(task) {}
  ~Losses() { flush(); }
  Losses(const Losses&) = delete;
  void operator=(const Losses&) = delete;

  void add(int64_t row, double max, double ratio, double mass, double gap) {
    if (!task_.loss) return;
    row_[count_] = row;
    max_[count_] = max;
    ratio_[count_] = ratio;
    mass_[count_] = mass;
    gap_[count_] = gap;
    if (++count_ == kLanes<double>) flush();
  }

 private:
  void flush() {
    const V<double> loss =
        loss_of<V<double>>(task_, load(max_), log1p<double>(load(ratio_)), load(mass_), load(gap_));
    for (int k = 0; k < count_; ++k) task_.loss[row_[k]] = loss[k];
    count_ = 0;
  }

  const CrossEntropyTask& task_;
  int count_ = 0;
  int64_t row_[kLanes<double>];
  double max_[kLanes<double>]{}, ratio_[kLanes<double>]{};
  double mass_[kLanes<double>]{}, gap_[kLanes<double>]{};
};

// What the gradient of one row is made of besides exp(u - max): (pull p - t) upstream, with
// pull = s + 2 z_loss lse.
//
// For a class at the maximum p - 1 is above() = -ratio / (1 + ratio): its digits survive where p
// rounds to 1. There, pull p - t = pull (p - 1) + (s - t) + 2 z_loss lse.
struct Factors {
  double mass, pull, extra, ratio, upstream;

  Factors() = default;
  Factors(const CrossEntropyTask& task, const Scale& scale, double given, double ratio_, double lse,
          double mass_)
      : mass(mass_),
        extra(task.z_loss == 0 ? 0 : 2 * task.z_loss * lse),
        ratio(ratio_),
        upstream(given * task.scale) {
    pull = mass + extra;
    if (scale.softcap == 0 && scale.temperature != 1) upstream /= scale.temperature;
  }

  double above() const { return -ratio / (1 + ratio); }
  // At the class that has all of the mass: s - t = 0.
  double at_likelihood(double p, double less) const { return upstream * (mass * less + extra * p); }
  double at_target(bool at_max, double p) const {
    return at_likelihood(p, at_max ? above() : p - 1);
  }
};

// The same for targets with mass on every class.
template <class T>
struct DenseFactors {
  V<T> high, low;  // pull / sum_j exp(u_j - max)
  V<T> top, pull_above, mass_high, mass_low, extra, upstream;

  V<T> gradient(V<T> e, V<T> t) const {
    const V<T> below = two_products<T>(e, high, e, low) - t;
    const V<T> half_mass = mass_high / 2;
    const V<T> at_top = pull_above + (((mass_high - t) + mass_low) + extra);
    // Only where nearly all of p and of t is on this class does the difference to 1 help.
    return ((e == top) & (t > half_mass) ? at_top : below) * upstream;
  }
};

// One call, for logits computed in T. A target is "dense" where it isn't all on one class.
//
// What all threads read for every row lies on pages of its own, the task's copy with it: beside
// what one of them writes, it would be taken away from the others again and again.
template <class T, bool dense, class S>
class alignas(4096) CrossEntropy {
 public:
  CrossEntropy(const CrossEntropyTask& task, bool from_summary)
      : task_(task),
        scale_{task.softcap, task.temperature},
        from_summary_(from_summary),
        n_(task.shape.classes),
        workers_(workers_for(task.shape.rows, n_)),
        plain_logits_(is_plain<S>(task.shape, task.logits) && scale_.identity()),
        // du/dz needs the logits to the end, so that they can't be overwritten before.
        plain_grad_(task.grad.data && is_plain<S>(task.shape, task.grad) && scale_.identity()),
        streamed_(plain_grad_ && can_stream<T, S>(task.shape, task.logits, task.grad),
                  &kKind[from_summary], task.shape.rows, n_),
        holds_exponentials_(plain_grad_ && !streamed_ && !Stored<S>::is_half && !is_drawn()),
        weight_(task),
        scratch_(workers_,
                 task.grad.data && !holds_exponentials_ ? slots_of(n_) * room_for<T>(n_) : 0),
        chunks_(workers_, slots_of(n_) * chunks_of(n_)),
        weighed_(workers_, dense ? chunks_of(n_) : 0),
        target_(workers_, dense ? 0 : 1),
        sums_in_double_(workers_, is_drawn() ? chunks_of(n_) : 0),
        mass_{task_, weight_.data(), static_cast<T>(1 - task.label_smoothing),
              static_cast<T>(task.label_smoothing / static_cast<double>(n_))} {}

  void run() const {
    for_each_row(task_.shape, workers_,
                 [this](int worker, int64_t begin, int64_t end, const auto& each) {
                   if (from_summary_) {
                     Stream<Bits<S>> stream;
                     for (int64_t i = begin; i < end; ++i) recall(worker, i, &stream, each);
                   } else {
                     compute(worker, begin, end, each);
                   }
                 });
  }

 private:
  // A row whose exponentials are known.
  struct Row {
    int64_t i, from, to;  // to: where its gradient begins, as `from` its logits
    T* e;                 // its exponentials
    S* g;                 // its gradient where it lies in memory as S
    RowSum<T> sum;
    Pair mass;
    Factors factors;
  };
  // Of a chunk: sums of t and of t (max of the chunk - u).
  struct Weighed {
    Pair mass, gap;
  };
  struct Pending {
    T* own;  // where its exponentials may lie
    Chunk<T>* chunks;
    Row row;
    Normaliser<T> normaliser;
  };

  // Filled in place: a copy of what has just been written field by field waits for all of it.
  void begin_row(Row& row, int64_t i, T* own) const {
    row.i = i;
    row.from = row_offset(task_.shape, task_.logits, i);
    row.e = nullptr;
    if (!task_.grad.data) return;
    row.to = row_offset(task_.shape, task_.grad, i);
    row.g = plain_grad_ ? static_cast<S*>(task_.grad.data) + row.to : nullptr;
    row.e = row.g ? in_step(own, row.g) : own;
    if constexpr (!Stored<S>::is_half) {
      if (holds_exponentials_) row.e = row.g;
    }
  }

  // Whether z_loss draws the target's probability from 1: its gradient there, (1 + 2 z lse) p - 1,
  // is a difference for which float may not have the digits. Then the logits stay until it is
  // taken.
  bool is_drawn() const { return !dense && sizeof(T) == sizeof(float) && task_.z_loss != 0; }

  const S* stage(int64_t from, int64_t begin, int64_t size, S* buffer) const {
    const int64_t at = from + begin * task_.logits.class_stride;
    if (plain_logits_) return static_cast<const S*>(task_.logits.data) + at;
    read_stored(task_.logits, at, size, buffer);
    if constexpr (!Stored<S>::is_half) {  // what is scaled isn't computed in float
      if (!scale_.identity()) scale_.apply(buffer, size);
    }
    return buffer;
  }

  const S* next_logits(const Row& row) const {
    if (!plain_logits_) return nullptr;
    const S* const u = static_cast<const S*>(task_.logits.data) + row.from;
    return next_row(task_.shape, task_.logits, row.i, u);
  }

  bool is_ignored(int64_t i) const { return task_.index && task_.index[i] == task_.ignore_index; }

  template <class Each>
  void compute(int worker, int64_t begin, int64_t end, const Each& each) const {
    Losses losses(task_);
    Stream<Bits<S>> stream;
    const int64_t count = chunks_of(n_);
    Pending pending[2];
    for (int k = 0; k < 2; ++k) {
      pending[k].own = scratch_.of(worker) + k * room_for<T>(n_);
      pending[k].chunks = chunks_.of(worker) + k * count;
    }
    Behind<Pending> behind(pending);
    const auto write = [&](const Pending& last) { finish(last, &stream); };
    for (int64_t i = begin; i < end; ++i) {
      if (is_ignored(i)) {
        if (each.leads()) ignore(i);
        continue;
      }
      Pending& current = behind.current();
      Chunk<T>* const chunks = current.chunks;
      begin_row(current.row, i, current.own);
      sum(worker, current.row, chunks, each, losses);
      if (!current.row.e) continue;
      if (count == 1) {
        current.normaliser = normaliser_of(current.row, *chunks);
        behind.advance(write);
        continue;
      }
      const Row row = current.row;
      Stream<Bits<S>>* const past = &stream;
      each(count, [=](int64_t c, bool) {
        // What several threads write, none of them can hold back for another.
        Stream<Bits<S>> own;
        finish(row, c, chunks[c], normaliser_of(row, chunks[c]), Each::kShared ? &own : past);
      });
    }
    behind.flush(write);
  }

  // The row's sum, its loss, and what its gradient needs.
  template <class Each>
  void sum(int worker, Row& row, Chunk<T>* chunks, const Each& each, Losses& losses) const {
    const int64_t i = row.i, from = row.from, y = dense ? -1 : task_.index[i];
    Weighed* const weighed = weighed_.of(worker);
    T* const target = target_.of(worker);
    const Next<T, S> next{next_logits(row), row.e && holds_exponentials_
                                                ? next_row<T>(task_.shape, task_.grad, i, row.e)
                                                : nullptr};
    row.sum = summarise<Near<S>>(
        n_, row.e, chunks, next, each,
        [this, from](int64_t begin, int64_t size, S* buffer) {
          return stage(from, begin, size, buffer);
        },
        [this, i, y, weighed, target](int64_t c, const S* u, int64_t size, T max) {
          const int64_t begin = c * kChunk;
          if constexpr (dense) {
            weighed[c] = weigh(i, begin, size, u, max);
          } else if (y >= begin && y < begin + size) {
            *target = number(u[y - begin]);
          }
        });
    Summary& s = row.sum.summary;
    if (!(fabs(s.base) < INFINITY)) s.base = NAN;
    row.mass = {dense ? 0 : weight_of(y), 0};
    Pair gap;
    if (!dense) {
      if (row.mass.hi != 0) gap.hi = row.mass.hi * (s.base - static_cast<double>(*target));
    } else {
      for (int64_t c = 0; c < chunks_of(n_); ++c) {
        row.mass.add(weighed[c].mass);
        gap.add(weighed[c].gap);
        // No term is negative here either.
        if (weighed[c].mass.hi != 0) {
          gap.add(weighed[c].mass.times({s.base - static_cast<double>(chunks[c].max), 0}));
        }
      }
    }
    if (is_drawn() && (row.e || task_.summary) && lacks_digits(row, static_cast<double>(*target))) {
      sum_again(worker, row, each);
    }
    if (each.leads()) {
      losses.add(i, s.base, s.ratio, row.mass.value(), gap.value());
      if (task_.summary) task_.summary[i] = s;
    }
    if (row.e) row.factors = factors_of(row);
  }

  // The target's probability, and that less 1, from its logit: in double.
  struct Likelihood {
    double p, less;
  };
  Likelihood likelihood_of(const Row& row, double u) const {
    const Summary& s = row.sum.summary;
    const double share = 1 / (1 + s.ratio), p = Scale::exp_below(all(u - s.base))[0] * share;
    return {p, u == s.base ? -s.ratio * share : p - 1};
  }

  // Whether a unit that float has lost of the sum is more than one of the gradient.
  __attribute__((noinline)) bool lacks_digits(const Row& row, double u) const {
    const Summary& s = row.sum.summary;
    const Likelihood target = likelihood_of(row, u);
    const double mass = row.mass.value(), z = 2 * task_.z_loss;
    const double extra = z * (s.base + log1p(s.ratio)), lost = s.ratio / (1 + s.ratio);
    const double at_target = mass * target.less + extra * target.p;
    return lost * target.p * (mass + fabs(extra) + z) > fabs(at_target) ||
           lost * z > fabs(mass + extra);
  }

  // Sums up such a row again, in double.
  template <class Each>
  __attribute__((noinline)) void sum_again(int worker, Row& row, const Each& each) const {
    Pair* const sums = sums_in_double_.of(worker);
    const int64_t from = row.from, count = chunks_of(n_);
    const double max = row.sum.summary.base;
    each(count, [=](int64_t c, bool) { sums[c] = sum_in_double(from, c * kChunk, max); });
    each.join();
    Pair rest;
    for (int64_t c = 0; c < count; ++c) rest.add(sums[c]);
    rest.add(-1);  // the maximum's own
    row.sum.summary.ratio = rest.value();
  }
  Pair sum_in_double(int64_t from, int64_t begin, double max) const {
    const int64_t size = chunk_size(n_, begin);
    double u[kChunk];
    read(task_.logits, from + begin * task_.logits.class_stride, size, u);
    Sum<double> sum;
    over_vectors<double>(
        size, [&](int64_t i) { sum.add(Scale::exp_below(load(u + i) - max)); },
        [&](int64_t i, int64_t left) {
          sum.add(Scale::exp_below(load_part<double>(u + i, left, -INFINITY) - max));
        });
    return sum.total();
  }

  // The gradient from what a forward pass has saved.
  template <class Each>
  void recall(int worker, int64_t i, Stream<Bits<S>>* stream, const Each& each) const {
    if (is_ignored(i)) {
      if (each.leads()) ignore(i);
      return;
    }
    Row row;
    begin_row(row, i, scratch_.of(worker));
    const int64_t count = chunks_of(n_);
    row.mass = {dense ? 0 : weight_of(task_.index[i]), 0};
    if (dense) {
      Weighed* const weighed = weighed_.of(worker);
      each(count, [=](int64_t c, bool) {
        weighed[c].mass = mass_of(i, c * kChunk, chunk_size(n_, c * kChunk));
      });
      each.join();
      for (int64_t c = 0; c < count; ++c) row.mass.add(weighed[c].mass);
    }
    Chunk<T> at_max{};
    at_max.max = static_cast<T>(task_.summary[i].base);
    if (fabs(at_max.max) <= Near<T>::kLargest) {
      at_max.by(Near<S>());
    } else {
      at_max.by(Pivot<T>(all(at_max.max)));
    }
    row.sum = {task_.summary[i], static_cast<double>(at_max.top), at_max.unit};
    row.factors = factors_of(row);
    const S* const next = next_logits(row);
    each(count, [=](int64_t c, bool goes_on) {
      const int64_t begin = c * kChunk, size = chunk_size(n_, begin);
      S local[kChunk];
      const S* u = stage(row.from, begin, size, local);
      const S* next_u = fetched<Each>(u, goes_on, next);
      Chunk<T> chunk = at_max;
      if (range_of<T>(u, size).near()) {
        const Near<S> near;
        chunk.by(near);
        exp_block(near, u, row.e + begin, size, next_u);
      } else {
        const Pivot<T> pivot(all(at_max.max));
        chunk.by(pivot);
        exp_block(pivot, u, row.e + begin, size, next_u);
      }
      Stream<Bits<S>> own;
      finish(row, c, chunk, normaliser_of(row, chunk), Each::kShared ? &own : stream);
    });
  }

  // Of the logarithm the gradient knows only by z_loss.
  Factors factors_of(const Row& row) const {
    const Summary& s = row.sum.summary;
    const double lse = task_.z_loss == 0 ? 0 : s.base + log1p(s.ratio);
    const double given = task_.upstream ? task_.upstream[row.i] : 1;
    return {task_, scale_, given, s.ratio, lse, row.mass.value()};
  }
  Normaliser<T> normaliser_of(const Row& row, const Chunk<T>& chunk) const {
    const double factor = row.factors.pull * (dense ? 1 : row.factors.upstream);
    return {row.sum.top, row.sum.summary.ratio, factor, scale_of(chunk, row.sum)};
  }
  double weight_of(int64_t y) const { return mass_.weight ? mass_.weight[y] : 1; }

  Pair mass_of(int64_t i, int64_t begin, int64_t size) const {
    Pair total;
    for (int64_t b = begin; b < begin + size; b += kBlock) {
      const int64_t n = begin + size - b < kBlock ? begin + size - b : kBlock;
      T t[kBlock];
      mass_.block(i, b, n, t);
      Sum<T> mass;
      add_mass(t, n, mass);
      total.add(mass.total());
    }
    return total;
  }

  // The sums over t of one chunk.
  Weighed weigh(int64_t i, int64_t begin, int64_t size, const T* u, T max) const {
    Weighed sums;
    for (int64_t b = 0; b < size; b += kBlock) {
      const int64_t n = size - b < kBlock ? size - b : kBlock;
      T t[kBlock];
      mass_.block(i, begin + b, n, t);
      Sum<T> mass, gap;
      add_mass(t, n, mass);
      // Where the whole chunk is masked, the distance to the row's maximum says it all.
      if (max > -INFINITY) add_gap(t, u + b, n, max, gap);
      sums.mass.add(mass.total());
      sums.gap.add(gap.total());
    }
    return sums;
  }

  void finish(const Pending& pending, Stream<Bits<S>>* stream) const {
    finish(pending.row, 0, *pending.chunks, pending.normaliser, stream);
  }

  // The gradient of a chunk from its exponentials: to row.g, or over them and from there to `grad`.
  void finish(const Row& row, int64_t c, const Chunk<T>& chunk, const Normaliser<T>& normaliser,
              Stream<Bits<S>>* stream) const {
    Stream<Bits<S>>* const past = streamed_ ? stream : nullptr;
    const int64_t begin = c * kChunk, end = begin + chunk_size(n_, begin);
    if constexpr (!dense) {
      if (row.g) {
        write_classes(row, begin, end - begin, chunk, normaliser, row.g + begin, past);
        return;
      }
    }
    for (int64_t b = begin; b < end; b += kBlock) {
      const int64_t size = end - b < kBlock ? end - b : kBlock;
      S local[kBlock];
      S* const g = row.g ? row.g + b : local;
      write_classes(row, b, size, chunk, normaliser, g, past);
      if (plain_grad_) continue;
      if constexpr (!Stored<S>::is_half) {
        T z[kBlock];
        if (scale_.softcap != 0) {
          read(task_.logits, row.from + b * task_.logits.class_stride, size, z);
          scale_.apply_slope(z, g, size);
        }
      }
      write_stored(task_.grad, row.to + b * task_.grad.class_stride, size, g);
    }
  }

  // Of the classes [begin, begin + size), to g: at most kBlock of them, or where no class but one
  // has mass, a chunk.
  SOFTXENT_INLINE void write_classes(const Row& row, int64_t begin, int64_t size,
                                     const Chunk<T>& chunk, const Normaliser<T>& normaliser, S* g,
                                     Stream<Bits<S>>* past) const {
    T* const e = row.e + begin;
    normaliser.to_unit(e, size);
    const bool holds_max = static_cast<double>(chunk.max) == row.sum.summary.base;
    if constexpr (dense) {
      const DenseFactors<T> factors =
          dense_factors_of(row.factors, normaliser, holds_max ? chunk.top : T(-1), row.mass);
      T t[kBlock];
      mass_.block(row.i, begin, size, t);
      write_vectors<T>(
          g, size, past, [&](int64_t k) { return factors.gradient(load(e + k), load(t + k)); },
          [&](int64_t k, int64_t left) {
            return factors.gradient(load_part(e + k, left, T(0)), load_part(t + k, left, T(0)));
          });
    } else {
      const int64_t y = task_.index[row.i] - begin;
      if (y < 0 || y >= size) {
        normaliser.apply(e, g, size, past);
        return;
      }
      double e_y = static_cast<double>(e[y]);
      if (normaliser.unit != 1) e_y /= normaliser.unit;
      const bool at_max = holds_max && e_y == static_cast<double>(chunk.top);
      const double at_target = is_drawn()
                                   ? at_drawn_target(row)
                                   : row.factors.at_target(at_max, normaliser.probability(e_y));
      normaliser.apply(e, g, size, past, y, static_cast<T>(at_target));
    }
  }

  __attribute__((noinline)) double at_drawn_target(const Row& row) const {
    double u;
    read(task_.logits, row.from + task_.index[row.i] * task_.logits.class_stride, 1, &u);
    const Likelihood target = likelihood_of(row, u);
    return row.factors.at_likelihood(target.p, target.less);
  }

  static DenseFactors<T> dense_factors_of(const Factors& f, const Normaliser<T>& normaliser, T top,
                                          Pair mass) {
    const T high = static_cast<T>(normaliser.hi), mass_high = static_cast<T>(mass.hi);
    return {all(high),
            all(static_cast<T>(normaliser.hi - static_cast<double>(high) + normaliser.lo)),
            all(static_cast<T>(static_cast<double>(top) * normaliser.unit)),
            all(static_cast<T>(f.pull * f.above())),
            all(mass_high),
            all(static_cast<T>(mass.hi - static_cast<double>(mass_high) + mass.lo)),
            all(static_cast<T>(f.extra)),
            all(static_cast<T>(f.upstream))};
  }

  void ignore(int64_t i) const {
    if (!from_summary_) {
      if (task_.loss) task_.loss[i] = 0;
      if (task_.summary) task_.summary[i] = {NAN, NAN};
    }
    if (!task_.grad.data) return;
    const int64_t to = row_offset(task_.shape, task_.grad, i);
    const T zeros[64] = {};
    for (int64_t j = 0; j < n_; j += 64) {
      write(task_.grad, to + j * task_.grad.class_stride, n_ - j < 64 ? n_ - j : 64, zeros);
    }
  }

  static constexpr char kKind[2] = {};  // see Streaming

  const CrossEntropyTask task_;
  const Scale scale_;
  const bool from_summary_;
  const int64_t n_;
  const int workers_;
  const bool plain_logits_, plain_grad_;
  const Streaming streamed_;
  const bool holds_exponentials_;  // the array that will hold the gradient
  const Weight<T> weight_;
  const Scratch<T> scratch_;
  const Scratch<Chunk<T>> chunks_;
  const Scratch<Weighed> weighed_;
  const Scratch<T> target_;  // u of the class that has all of the mass
  const Scratch<Pair> sums_in_double_;
  const Mass<T> mass_;
};

// The same, many rows side by side.
template <class T, bool dense>
class alignas(4096) CrossEntropyLanes {
 public:
  CrossEntropyLanes(const CrossEntropyTask& task, bool from_summary)
      : task_(task),
        scale_{task.softcap, task.temperature},
        from_summary_(from_summary),
        n_(task.shape.classes),
        width_(tile_width<T>(task.shape, task.logits)),
        workers_(tile_workers(task.shape, width_)),
        is_flat_(!dense && !task.from_maximum && scale_.identity() &&
                 is_flat<T>(task.shape, task.logits) &&
                 (!task.grad.data || is_flat<T>(task.shape, task.grad))),
        head_(is_flat_ && sizeof(T) == 4 && task.shape.batch_dims == 1 &&
                      task.shape.rows >= kManyTiles * width_
                  ? rows_before_line(task.shape, task.grad.data ? task.grad : task.logits)
                  : 0),
        row_of_(is_flat_ ? n_ : 0),
        flat_(workers_, is_flat_ ? width_ * n_ : 0),
        scratch_(workers_, width_ * n_),
        extra_(workers_, task.probabilities.data || task.softcap != 0 ? width_ * n_ : 0),
        sums_(2, tiles_of(task.shape, width_, head_)),
        weight_(task),
        is_plain_(!dense && !task.weight && task.z_loss == 0),
        keep_(static_cast<T>(1 - task.label_smoothing)),
        spread_(static_cast<T>(task.label_smoothing / static_cast<double>(n_))),
        scale_of_grad_(task.softcap == 0 ? task.scale / task.temperature : task.scale),
        scale_high_(static_cast<T>(scale_of_grad_)),
        scale_low_(static_cast<T>(scale_of_grad_ - static_cast<double>(scale_high_))) {}

  // Returns the sum of the losses: of the tiles' sums, in their order.
  double run() const {
    for_each_tile<T>(task_.shape, width_, head_, scratch_, workers_,
                     [this](int worker, const Tile<T>& tile) { compute(worker, tile); });
    const int64_t tiles = tiles_of(task_.shape, width_, head_);
    return from_summary_ ? NAN : sum(sums_.of(0), tiles) + sum(sums_.of(1), tiles);
  }

 private:
  static constexpr int L = kLanes<T>;
  static constexpr int64_t kManyTiles = 8;  // of which one more doesn't count
  using Index = typename Vector<T>::index;

  // One number a lane, for all rows of a tile. What isn't asked for isn't filled.
  struct Rows {
    alignas(64) Index target[kMaxWidth];  // of an ignored row, 0
    bool ignored;                         // some are
    alignas(64) T logit[kMaxWidth];       // of the target, and
    alignas(64) T e[kMaxWidth];           // its exponential
    alignas(64) T max[kMaxWidth];
    alignas(64) Index near[kMaxWidth];  // whether all are measured by the target
    alignas(64) double mass[kMaxWidth], gap[kMaxWidth], upstream[kMaxWidth], loss[kMaxWidth];
    alignas(64) Summary summary[kMaxWidth];
  };

  void compute(int worker, const Tile<T>& tile) const {
    Rows rows;
    find_targets(tile, rows);
    for (int64_t l = 0; task_.upstream && l < width_; ++l) {
      rows.upstream[l] = l < tile.rows ? task_.upstream[tile.row + l] * scale_of_grad_ : 0;
    }
    for (int64_t l = 0; from_summary_ && l < width_; ++l) {
      rows.summary[l] = l < tile.rows ? task_.summary[tile.row + l] : Summary{};
    }
    if (is_flat_ && tile.rows == width_ && compute_flat(tile, flat_.of(worker), rows)) return;
    compute_turned(tile, extra_.of(worker), rows);
  }

  // Rows of everyday numbers, one after another. False where they aren't, and nothing is written:
  // the other way gives each row that is the same bits.
  bool compute_flat(const Tile<T>& tile, T* e, Rows& rows) const {
    const T* const x = at(task_.logits, tile, task_.shape);
    T* const grad = task_.grad.data ? at(task_.grad, tile, task_.shape) : nullptr;
    if (!exp_near<T>(x, e, n_ * width_)) return false;
    Lanes<T> lanes[kMaxWidth / L];
    for (int64_t l = 0; l < width_; l += L) {
      Lanes<T>& lane = lanes[l / L];
      lane.max = gather<T>(x + l * n_, spots(rows, l));
      store(rows.logit + l, lane.max);
      store(rows.e + l, gather<T>(e + l * n_, spots(rows, l)));
      store_numbers(rows.near + l, Mask<T>{} == 0);
      lane.top = load(rows.e + l);
      if (from_summary_) {
        take_saved(rows, l, lane);
        lane.top = Near<T>().exp(lane.max);
      } else {
        read_square(e + l * n_, n_, n_, tile.data + l, width_);
      }
    }
    Sum<T> sums[kMaxWidth / L];
    if (!from_summary_) add_up(tile, rows, lanes, sums);
    if (!from_summary_ && is_plain_ && !task_.loss && !rows.ignored) {
      keep_sum(tile, total_loss(lanes, sums, rows));
      deliver_summary(tile, rows);
    } else if (!from_summary_) {
      conclude(lanes, sums, rows);
      deliver_losses(tile, rows);
    }
    if (grad) {
      Gradient gradients[kMaxWidth / L];
      Mask<T> extreme{};
      for (int64_t l = 0; l < width_; l += L) {
        Gradient& g = gradients[l / L];
        gradient_of(lanes[l / L], rows, l, g);
        extreme |= is_extreme<T>(g.factor.hi, g.given);
      }
      if (!all_lanes<T>(extreme == 0)) return false;
      for (int64_t l = 0; l < width_; l += L) {
        const Gradient& g = gradients[l / L];
        T* const first = grad + l * n_;
        row_of_.multiply(e + l * n_, g.factor, first, n_ * width_);
        alignas(64) Index spot[L];
        alignas(64) T at_target[L];
        store_numbers(spot, spots(rows, l));
        store(at_target, g.at_target);
#pragma GCC unroll 16
        for (int k = 0; k < L; ++k) first[spot[k]] = at_target[k];
      }
      each_ignored(tile, rows, [&](int64_t l) {
        for (int64_t j = 0; j < n_; ++j) grad[l * n_ + j] = 0;
      });
    }
    return true;
  }

  // Any rows, turned to have one in each lane.
  void compute_turned(const Tile<T>& tile, T* buffer, Rows& rows) const {
    read_tile(task_.shape, task_.logits, tile);
    if (!scale_.identity()) scale_.apply(tile.data, n_ * width_);
    Tile<T> extra = tile;  // probabilities, or the logits again
    extra.data = buffer;
    if (task_.probabilities.data) read_tile(task_.shape, task_.probabilities, extra);
    const Ahead in = ahead_of(task_.shape, task_.logits, tile);
    const Ahead out = ahead_of(task_.shape, task_.grad, tile);
    // What needs the logits comes first: their exponentials are written over them.
    if (dense) weigh(tile, extra, rows);
    Lanes<T> lanes[kMaxWidth / L];
    if (dense && !from_summary_) {
      task_.grad.data ? sum_lanes<T, true>(tile, in, out, lanes)
                      : sum_lanes<T, false>(tile, in, out, lanes);
    } else {
      take_exponentials(tile, in, out, rows, lanes);
      if (!from_summary_) {
        Sum<T> sums[kMaxWidth / L];
        add_up(tile, rows, lanes, sums);
        conclude(lanes, sums, rows);
      }
    }
    for (int64_t l = 0; l < width_ && dense && !from_summary_; l += L) {
      const Lanes<T>& lane = lanes[l / L];
      const OnePlus<T> whole(lane.ratio.hi, lane.ratio.lo);
      conclude(log_parts<T>(whole.u, whole.lost, lane.ratio.hi, lane.ratio.lo), lane.max, rows, l);
      if (task_.summary) save(lane, rows, l);
    }
    for (int64_t l = 0; l < width_ && task_.grad.data; l += L) {
      finish(tile, extra, lanes[l / L], rows, l);
    }
    if (!from_summary_) deliver_losses(tile, rows);
    if (task_.grad.data) deliver_gradient(tile, extra, rows);
  }

  // The exponentials over the logits. What the others are measured by is saved, or it is the
  // target where Near will do, or else the maximum.
  void take_exponentials(const Tile<T>& tile, const Ahead& in, const Ahead& out, Rows& rows,
                         Lanes<T>* lanes) const {
    V<T> most[kMaxWidth / L], least[kMaxWidth / L];
    range_of_lanes(tile, most, least);
    for (int64_t l = 0; l < width_; l += L) {
      const int64_t k = l / L;
      const V<T> logit = dense ? V<T>{} : gather<T>(tile.data, places(rows, l));
      store(rows.logit + l, logit);
      const Mask<T> near = is_near<T>(least[k], most[k]);
      store(rows.max + l, most[k]);
      store_numbers(rows.near + l, near);
      lanes[k].max = near ? logit : most[k];
      if (from_summary_) take_saved(rows, l, lanes[k]);
    }
    exp_lanes<T>(tile, least, most, in, out, lanes);
    for (int64_t l = 0; l < width_ && !dense; l += L) {
      store(rows.e + l, gather<T>(tile.data, places(rows, l)));
    }
  }

  // A tile of exponentials, added up: all of them, to `sums`, and those beside the target's, or the
  // maximum's. Step by step for all lanes.
  void add_up(const Tile<T>& tile, Rows& rows, Lanes<T>* lanes, Sum<T>* sums) const {
    Total<T> totals[kMaxWidth / L];
    total_lanes(tile, totals);
    for (int64_t k = 0; k < width_ / L; ++k) {
      const V<T> top = lanes[k].top;
      const Sum<T> rest = totals[k].without(top);
      lanes[k].ratio = ratio_of<T>(rest, top);
      sums[k] = {top, rest.lo};
      sums[k].add(rest.hi);
    }
    for (int64_t k = 0; k < width_ / L && task_.summary; ++k) {
      if (task_.from_maximum) {
        const V<T> top = totals[k].largest, max = load(rows.max + k * L);
        save({max, top, ratio_of<T>(totals[k].without(top), top)}, rows, k * L);
      } else {
        save(lanes[k], rows, k * L);
      }
    }
  }

  // Where the loss is the logarithm of the sum, less the logit: measured by a target that has less
  // than half of the sum, it would have the error of that exponential as well.
  static Mask<T> is_unlikely(const Lanes<T>& lanes, const Rows& rows, int64_t l) {
    return load_numbers(rows.near + l) & ~(lanes.ratio.hi < 1);
  }

  void conclude(const Lanes<T>* lanes, const Sum<T>* sums, Rows& rows) const {
    for (int64_t l = 0; l < width_; l += L) {
      const Lanes<T>& lane = lanes[l / L];
      const Mask<T> by_sum = is_unlikely(lane, rows, l);
      const Sum<T> sum = sums[l / L].scaled(all(ExpConstants<T>::kUnbiased));
      const OnePlus<T> whole(lane.ratio.hi, lane.ratio.lo);
      const V<T> u = by_sum ? sum.hi : whole.u, lost = by_sum ? sum.lo : whole.lost;
      const V<T> y = by_sum ? sum.hi - 1 : lane.ratio.hi, y_lost = by_sum ? sum.lo : lane.ratio.lo;
      conclude(log_parts<T>(u, lost, y, y_lost), by_sum ? V<T>{} : lane.max, rows, l);
    }
  }

  // The sum of a tile's losses, all of them near: the logarithm of a product, which takes one
  // logarithm a lane. What is 2^k times as large gives k to another sum.
  Pair total_loss(const Lanes<T>* lanes, const Sum<T>* sums, const Rows& rows) const {
    Product<T> product;
    Sum<T> logits;
    V<T> exponents{};
    for (int64_t l = 0; l < width_; l += L) {
      const Lanes<T>& lane = lanes[l / L];
      const Mask<T> by_sum = is_unlikely(lane, rows, l);
      const Scaled<T> sum(sums[l / L]);
      product.times({by_sum ? sum.y.hi : lane.ratio.hi, by_sum ? sum.y.lo : lane.ratio.lo});
      exponents += by_sum ? sum.exponent : V<T>{};
      logits.add(by_sum ? -load(rows.logit + l) : V<T>{});
    }
    const OnePlus<T> whole(product.y.hi, product.y.lo);
    const Logarithm<T> log = log_parts<T>(whole.u, whole.lost, product.y.hi, product.y.lo);
    logits.add(log.large);
    logits.lo += log.small;
    Pair total = logits.total();
    total.add(across(exponents) * 0.69314718055994530942);
    return total;
  }

  void find_targets(const Tile<T>& tile, Rows& rows) const {
    const int64_t known = task_.index ? tile.rows : 0;
    Index ignored = 0;
    for (int64_t l = 0; l < known; ++l) {
      const int64_t y = task_.index[tile.row + l];
      ignored |= y == task_.ignore_index;
      rows.target[l] = static_cast<Index>(y == task_.ignore_index ? 0 : y);
    }
    rows.ignored = ignored != 0;
    for (int64_t l = known; l < width_; ++l) rows.target[l] = 0;
    for (int64_t l = 0; !dense && !is_plain_ && l < width_; ++l) {
      rows.mass[l] = weight_.data() ? static_cast<double>(weight_.data()[rows.target[l]]) : 1;
    }
  }
  // The tile's first number.
  static T* at(const Array& a, const Tile<T>& tile, const Shape& shape) {
    return static_cast<T*>(a.data) + row_offset(shape, a, tile.row);
  }
  // Where the targets of the lanes from l on are in the tile; and in those rows one after another.
  Mask<T> places(const Rows& rows, int64_t l) const {
    return targets(rows, l) * static_cast<Index>(width_) + (numbers() + static_cast<Index>(l));
  }
  Mask<T> spots(const Rows& rows, int64_t l) const {
    return targets(rows, l) + numbers() * static_cast<Index>(n_);
  }
  static Mask<T> load_numbers(const Index* from) {
    Mask<T> numbers;
    __builtin_memcpy(&numbers, from, sizeof numbers);
    return numbers;
  }
  static void store_numbers(Index* to, Mask<T> numbers) {
    __builtin_memcpy(to, &numbers, sizeof numbers);
  }
  static Mask<T> targets(const Rows& rows, int64_t l) { return load_numbers(rows.target + l); }
  static Mask<T> numbers() {
    Mask<T> lane;
    for (int k = 0; k < L; ++k) lane[k] = k;
    return lane;
  }
  bool is_ignored(const Tile<T>& tile, int64_t l) const {
    return task_.index && task_.index[tile.row + l] == task_.ignore_index;
  }

  // The target mass of class j in the lanes from l on.
  V<T> mass(const Tile<T>& extra, const Rows& rows, int64_t j, int64_t l) const {
    V<T> t;
    if (task_.probabilities.data) {
      t = keep_ * load(extra.at(j) + l) + spread_;
    } else {
      t = targets(rows, l) == static_cast<Index>(j) ? all(spread_ + keep_) : all(spread_);
    }
    return weight_.data() ? t * weight_.data()[j] : t;
  }

  void weigh(const Tile<T>& tile, const Tile<T>& extra, Rows& rows) const {
    const V<T> zero{};
    for (int64_t l = 0; l < width_; l += L) {
      V<T> max = all(static_cast<T>(-INFINITY));
      for (int64_t j = 0; j < n_; ++j) max = larger<T>(load(tile.at(j) + l), max);
      Sum<T> sum, gap;
      for (int64_t j = 0; j < n_; ++j) {
        const V<T> t = mass(extra, rows, j, l);
        sum.add(t);
        gap.add(t == zero ? zero : t * (max - load(tile.at(j) + l)));
      }
      const auto total = [](V<double> hi, V<double> lo) {
        return hi - hi == 0 ? hi + lo : hi;  // where it is infinite, lo is NaN
      };
      over_parts<T>([&](auto part) {
        constexpr int p = decltype(part)::number;
        store(rows.mass + l + part.begin, total(widen<p>(sum.hi), widen<p>(sum.lo)));
        store(rows.gap + l + part.begin, total(widen<p>(gap.hi), widen<p>(gap.lo)));
      });
    }
  }

  void take_saved(const Rows& rows, int64_t l, Lanes<T>& lanes) const {
    V<double> max[kParts<T>];
    alignas(64) double ratio[L];
    for (int p = 0; p < kParts<T>; ++p) {
      const double* const from = &rows.summary[l + p * kLanes<double>].base;
      const V<double> a = load(from), b = load(from + kLanes<double>);
      Mask<double> even;
      for (int k = 0; k < kLanes<double>; ++k) even[k] = 2 * k;
      max[p] = shuffle<double>(a, b, even);
      store(ratio + p * kLanes<double>, shuffle<double>(a, b, even + 1));
    }
    lanes.max = narrow<T>(max);
    lanes.ratio = split<T>(ratio);
  }

  // The losses of the lanes from l on, from lse - base.
  void conclude(const Logarithm<T>& log_sum, V<T> base, Rows& rows, int64_t l) const {
    const V<T> logit = dense ? V<T>{} : load(rows.logit + l);
    over_parts<T>([&](auto part) {
      constexpr int p = decltype(part)::number;
      const int64_t k = l + part.begin;
      const V<double> max = widen<p>(base), zero{};
      const V<double> log = widen<p>(log_sum.large) + widen<p>(log_sum.small);
      // The logarithm of a sum may be much longer than what is left of it: its small part comes
      // last.
      const V<double> rest = widen<p>(log_sum.large) + (max - widen<p>(logit));
      const V<double> likelihood = rest + widen<p>(log_sum.small);
      if (is_plain_) {
        store(rows.loss + k, likelihood);
        return;
      }
      const V<double> s = load(rows.mass + k);
      store(rows.loss + k,
            dense ? loss_of<V<double>>(task_, max, log, s, load(rows.gap + k))
                  : loss_of<V<double>>(task_, max + log, s == 0 ? zero : s * likelihood));
    });
  }

  // The summary of the lanes from l on.
  void save(const Lanes<T>& lanes, Rows& rows, int64_t l) const {
    over_parts<T>([&](auto part) {
      constexpr int p = decltype(part)::number;
      const V<double> r = widen<p>(lanes.ratio.hi) + widen<p>(lanes.ratio.lo);
      const V<double> base = r == r ? widen<p>(lanes.max) : r;
      Mask<double> turns;
      for (int i = 0; i < kLanes<double>; ++i) turns[i] = i / 2 + i % 2 * kLanes<double>;
      double* const to = &rows.summary[l + part.begin].base;
      store(to, shuffle<double>(base, r, turns));
      store(to + kLanes<double>, shuffle<double>(base, r, turns + kLanes<double> / 2));
    });
  }

  Sum<T> mass_at(const Rows& rows, int64_t l) const {
    if (is_plain_) return {all(T(1)), V<T>{}};
    return split<T>(rows.mass + l);
  }
  Sum<T> upstream_at(const Rows& rows, int64_t l) const {
    if (!task_.upstream) return {all(scale_high_), all(scale_low_)};
    return split<T>(rows.upstream + l);
  }

  V<T> drift(const Lanes<T>& lanes) const {  // 2 z_loss lse
    if (task_.z_loss == 0) return V<T>{};
    return static_cast<T>(2 * task_.z_loss) * (lanes.max + lanes.log_sum());
  }

  // What the exponentials are to be multiplied by, made from what was given; and the target's.
  struct Gradient {
    Sum<T> factor;
    V<T> at_target, given;
  };
  // Filled where it lies: a copy would go by way of memory.
  SOFTXENT_INLINE void gradient_of(const Lanes<T>& lanes, const Rows& rows, int64_t l,
                                   Gradient& g) const {
    const Sum<T> share = lanes.share(), rest = lanes.rest(), upstream = upstream_at(rows, l);
    const Sum<T> kept = is_plain_ ? upstream : upstream.times(mass_at(rows, l));
    const V<T> more = drift(lanes) * upstream.hi;
    const Sum<T> factor = share.times({kept.hi + more, kept.lo});
    // pull p - t; where all are measured by the target pull (p - 1) is -pull rest / sum, whose
    // digits survive.
    const V<T> low = multiply_add(rest.hi, factor.lo, rest.lo * factor.hi);
    const V<T> at_top = more - multiply_add(rest.hi, factor.hi, low);
    const V<T> e = load(rows.e + l);  // the target's
    const V<T> below = multiply_add(e, factor.hi, -kept.hi) + (e * factor.lo - kept.lo);
    g.factor.hi = factor.hi;
    g.factor.lo = factor.lo;
    g.at_target = e == lanes.top ? at_top : below;
    g.given = kept.hi;
  }

  // The gradient of the lanes from l on, over their exponentials.
  void finish(const Tile<T>& tile, const Tile<T>& extra, Lanes<T>& lanes, const Rows& rows,
              int64_t l) const {
    if (dense) {
      const V<T> more = drift(lanes);
      const Sum<T> share = lanes.share(), rest = lanes.rest(), upstream = upstream_at(rows, l);
      const Sum<T> mass = mass_at(rows, l), pull{mass.hi + more, mass.lo};
      const V<T> above = -(rest.times(share).hi * pull.hi);
      Sum<T> factor = share.times(pull);
      V<T> at_target{};
      fit(tile, rows, l, V<T>{}, pull.hi, lanes, factor, at_target);
      const DenseFactors<T> factors{factor.hi, factor.lo, lanes.top, above,
                                    mass.hi,   mass.lo,   more,      upstream.hi};
      for (int64_t j = 0; j < n_; ++j) {
        T* const to = tile.at(j) + l;
        store(to, factors.gradient(load(to), this->mass(extra, rows, j, l)));
      }
    } else {
      Gradient g;
      gradient_of(lanes, rows, l, g);
      fit(tile, rows, l, load(rows.e + l), g.given, lanes, g.factor, g.at_target);
      multiply_lanes(tile, l, g.factor);
      scatter<T>(tile.data, places(rows, l), g.at_target);
    }
  }

  // Where a factor leaves the range in which T holds all of its digits: in double, and for
  // exponentials in another unit.
  void fit(const Tile<T>& tile, const Rows& rows, int64_t l, V<T> e, V<T> given, Lanes<T>& lanes,
           Sum<T>& factor, V<T>& at_target) const {
    const Mask<T> extreme = is_extreme<T>(factor.hi, given);
    if (all_lanes<T>(extreme == 0)) return;
    for (int k = 0; k < L; ++k) {
      if (extreme[k] == 0 || l + k >= tile.rows) continue;
      const double top = static_cast<double>(lanes.top[k]);
      const double ratio =
          static_cast<double>(lanes.ratio.hi[k]) + static_cast<double>(lanes.ratio.lo[k]);
      const double share = 1 / (1 + ratio);
      const double lse = static_cast<double>(lanes.max[k]) + log1p(ratio);
      const double upstream = task_.upstream ? task_.upstream[tile.row + l + k] : 1;
      const Factors f(task_, scale_, upstream, ratio, lse, is_plain_ ? 1 : rows.mass[l + k]);
      const Normaliser<T> exact(top, ratio, dense ? f.pull : f.pull * f.upstream);
      factor.hi[k] = static_cast<T>(exact.hi);
      factor.lo[k] = static_cast<T>(exact.hi - static_cast<double>(factor.hi[k]) + exact.lo);
      at_target[k] = static_cast<T>(
          f.at_target(e[k] == lanes.top[k], static_cast<double>(e[k]) / top * share));
      if (exact.unit == 1) continue;
      const T unit = static_cast<T>(exact.unit);
      lanes.top[k] *= unit;
      for (int64_t j = 0; j < n_; ++j) tile.at(j)[l + k] *= unit;
    }
  }

  template <class F>
  void each_ignored(const Tile<T>& tile, const Rows& rows, const F& f) const {
    for (int64_t l = 0; rows.ignored && l < tile.rows; ++l) {
      if (is_ignored(tile, l)) f(l);
    }
  }

  // The tile's results, to where they were asked for.
  void deliver_losses(const Tile<T>& tile, Rows& rows) const {
    each_ignored(tile, rows, [&](int64_t l) {
      rows.loss[l] = 0;
      rows.summary[l] = {NAN, NAN};
    });
    for (int64_t l = tile.rows; l < width_; ++l) rows.loss[l] = 0;
    Sum<double> sum;
    for (int64_t l = 0; l < width_; l += kLanes<double>) sum.add(load(rows.loss + l));
    keep_sum(tile, sum.total());
    double* const loss = task_.loss ? task_.loss + tile.row : nullptr;
    for (int64_t l = 0; loss && l < tile.rows; ++l) loss[l] = rows.loss[l];
    deliver_summary(tile, rows);
  }
  void keep_sum(const Tile<T>& tile, Pair total) const {
    sums_.of(0)[tile.number] = total.hi;
    sums_.of(1)[tile.number] = total.hi - total.hi == 0 ? total.lo : 0;
  }
  void deliver_summary(const Tile<T>& tile, const Rows& rows) const {
    Summary* const summary = task_.summary ? task_.summary + tile.row : nullptr;
    for (int64_t l = 0; summary && l < tile.rows; ++l) summary[l] = rows.summary[l];
  }
  void deliver_gradient(const Tile<T>& tile, const Tile<T>& extra, const Rows& rows) const {
    const auto clear = [&](T* data) {
      each_ignored(tile, rows, [&](int64_t l) {
        for (int64_t j = 0; j < n_; ++j) data[j * width_ + l] = 0;
      });
    };
    clear(tile.data);
    if (scale_.softcap != 0) {
      read_tile(task_.shape, task_.logits, extra);
      clear(extra.data);  // NaN would spoil the zeros
      scale_.apply_slope(extra.data, tile.data, n_ * width_);
    }
    write_tile(task_.shape, task_.grad, tile);
  }

  const CrossEntropyTask task_;
  const Scale scale_;
  const bool from_summary_;
  const int64_t n_, width_;
  const int workers_;
  const bool is_flat_;
  const int64_t head_;
  const RowOf<T> row_of_;
  const Scratch<T> flat_, scratch_, extra_;
  const Scratch<double> sums_;  // of each tile's losses, in two parts
  const Weight<T> weight_;
  const bool is_plain_;  // one class has the mass 1, and there is no z_loss
  const T keep_, spread_;
  const double scale_of_grad_;
  const T scale_high_, scale_low_;
};

template <class T, bool dense>
double run(const CrossEntropyTask& task, bool from_summary) {
  if (use_lanes(task.shape, task.logits)) {
    return CrossEntropyLanes<T, dense>(task, from_summary).run();
  }
  // Rows of many classes: an array of their losses is small beside them.
  const Scratch<double> losses(1, task.loss || from_summary ? 0 : task.shape.rows);
  CrossEntropyTask own = task;
  if (!task.loss && !from_summary) own.loss = losses.of(0);
  const auto compute = [&](auto s) {
    CrossEntropy<T, dense, decltype(s)>(own, from_summary).run();
  };
  if constexpr (dense) {
    compute(T{});
  } else {
    with_stored<T>(task.logits.type, compute);
  }
  return from_summary ? NAN : sum(own.loss, task.shape.rows);
}

double run(const CrossEntropyTask& task, bool from_summary) {
  if (task.shape.classes == 0) {
    double total = 0;
    for (int64_t i = 0; i < task.shape.rows; ++i) {
      const double loss = task.index && task.index[i] == task.ignore_index ? 0 : NAN;
      if (task.loss) task.loss[i] = loss;
      total += loss;
    }
    return total;
  }
  // Temperature and softcap make numbers that float can't hold, and where p is near t, p - t has
  // fewer digits than float gave p: they are computed in double, and float logits keep the bound.
  // Rows side by side are summed up in T, rows one by one in double: so for z_loss too.
  const bool dense = !task.index || task.label_smoothing != 0;
  const bool scaled = task.softcap != 0 || task.temperature != 1;
  const bool drawn = task.z_loss != 0 && use_lanes(task.shape, task.logits);
  // Of double logits no type has the digits: their gradient is another kernel's, difference.cc.
  if ((dense || task.z_loss != 0) && task.grad.data && task.logits.type == Type::kFloat64 &&
      !scaled) {
    CrossEntropyTask forward = task;
    forward.grad.data = nullptr;
    const double total = from_summary ? NAN : run(forward, false);
    gradient_of_difference(task);
    return total;
  }
  if (dense) return run<double, true>(task, from_summary);
  if (task.logits.type == Type::kFloat64 || scaled || drawn) {
    return run<double, false>(task, from_summary);
  }
  return run<float, false>(task, from_summary);
}

}  // namespace

double cross_entropy(const CrossEntropyTask& task) { return run(task, false); }
void cross_entropy_gradient(const CrossEntropyTask& task) { run(task, true); }

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
