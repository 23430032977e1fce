// Cross-entropy of rows against a target mass, and its gradient.
#include "row.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

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

// One call, for logits computed in T. A target is "dense" where it isn't all on one class.
template <class T, bool dense>
class CrossEntropy {
 public:
  CrossEntropy(const CrossEntropyTask& task, bool from_summary)
      : task_(task),
        scale_{task.softcap, task.temperature},
        from_summary_(from_summary),
        n_(task.shape.classes),
        workers_(workers_for(task.shape.rows, n_)),
        plain_logits_(is_plain<T>(task.shape, task.logits) && scale_.identity()),
        // du/dz needs the logits to the end, so that they can't be overwritten before.
        plain_grad_(task.grad.data && is_plain<T>(task.shape, task.grad) && scale_.identity()),
        weights_(1, task.weight ? n_ : 0),
        scratch_(workers_, plain_logits_ && (plain_grad_ || !task.grad.data) ? 0 : n_),
        chunks_(workers_, chunks_of(n_)),
        mass_{task, nullptr, static_cast<T>(1 - task.label_smoothing),
              static_cast<T>(task.label_smoothing / static_cast<double>(n_))} {
    if (task.weight) {
      T* weight = weights_.of(0);
      for (int64_t j = 0; j < n_; ++j) {
        weight[j] = task.logits.type == Type::kFloat64
                        ? static_cast<T>(static_cast<const double*>(task.weight)[j])
                        : static_cast<T>(static_cast<const float*>(task.weight)[j]);
      }
      mass_.weight = weight;
    }
  }

  void run() const {
    for_each_row(task_.shape, workers_,
                 [&](int worker, int64_t i, const auto& each) { row(worker, i, each); });
  }

 private:
  template <class Each>
  void row(int worker, int64_t i, const Each& each) const {
    const int64_t from = row_offset(task_.shape, task_.logits, i);
    const int64_t to = task_.grad.data ? row_offset(task_.shape, task_.grad, i) : 0;
    const int64_t y = task_.index ? task_.index[i] : -1;
    T* buffer = scratch_.of(worker);
    if (task_.index && y == task_.ignore_index) return ignore(i, to);

    const T* u = plain_logits_ ? static_cast<const T*>(task_.logits.data) + from : buffer;
    T* e = !task_.grad.data ? nullptr
           : plain_grad_    ? static_cast<T*>(task_.grad.data) + to
                            : buffer;
    const Row<T> the_row{n_, u, e, chunks_.of(worker)};
    const auto stage = [&](int64_t begin, int64_t size) {
      if (plain_logits_) return;
      read(task_.logits, from + begin * task_.logits.class_stride, size, buffer + begin);
      if (!scale_.identity()) scale_.apply(buffer + begin, size);
    };

    Summary s;
    Target target;
    if (from_summary_) {
      s = task_.summary[i];
      each(chunks_of(n_), [&](int64_t c) {
        const int64_t begin = c * kChunk, size = n_ - begin < kChunk ? n_ - begin : kChunk;
        stage(begin, size);
        if (dense) the_row.chunks[c].mass = mass_of(i, begin, size);
      });
      if (!dense) target.u = u[y];
      const Pivot<T> pivot(all(static_cast<T>(s.max)));
      each(chunks_of(n_), [&](int64_t c) {
        const int64_t begin = c * kChunk, size = n_ - begin < kChunk ? n_ - begin : kChunk;
        exp_block(pivot, u + begin, e + begin, size);
      });
    } else {
      // e may be written over u: the target's logit is taken before.
      if (!dense) stage(y, 1), target.u = u[y];
      s = summarise(the_row, each, stage,
                    [&](int64_t begin, int64_t size, T max, Chunk<T>& chunk) {
                      if (!dense) return;
                      if (begin % kChunk == 0) chunk.mass = chunk.gap = Pair();
                      T t[kBlock];
                      mass_.block(i, begin, size, t);
                      Sum<T> mass, gap;
                      add_mass(t, size, mass);
                      add_gap(t, u + begin, size, max, gap);
                      chunk.mass.add(mass.total());
                      chunk.gap.add(gap.total());
                    });
      if (!(fabs(s.max) < INFINITY)) s.max = NAN;
    }
    weigh(s, y, the_row, target);
    if (!from_summary_) {
      if (task_.loss) task_.loss[i] = loss(s, target);
      if (task_.summary) task_.summary[i] = s;
    }
    if (e) finish(i, s, target, the_row, from, to, each);
  }

  struct Target {
    T u = 0;         // the target's logit, where the mass is on one class
    Pair mass, gap;  // sum t, sum t (max - u)
  };

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

  void weigh(Summary s, int64_t y, const Row<T>& the_row, Target& target) const {
    if (!dense) {
      const double w = mass_.weight ? mass_.weight[y] : 1;
      target.mass.hi = w;
      if (w != 0) target.gap.hi = w * (s.max - static_cast<double>(target.u));
      return;
    }
    for (int64_t c = 0; c < chunks_of(n_); ++c) {
      target.mass.add(the_row.chunks[c].mass);
      target.gap.add(the_row.chunks[c].gap);
    }
  }

  // loss = sum_j t_j (lse - u_j) + z_loss lse^2, with lse - u_j = log_sum + (max - u_j) >= 0.
  double loss(Summary s, const Target& target) const {
    const double log_sum = log1p(s.ratio), lse = s.max + log_sum;
    if (lse != lse) return NAN;
    const double pulled = target.mass.value() == 0 ? 0 : target.mass.value() * log_sum;
    return pulled + target.gap.value() + (task_.z_loss == 0 ? 0 : task_.z_loss * lse * lse);
  }

  template <class Each>
  void finish(int64_t i, Summary s, const Target& target, const Row<T>& the_row, int64_t from,
              int64_t to, const Each& each) const {
    const double lse = s.max + log1p(s.ratio);
    const double extra = task_.z_loss == 0 ? 0 : 2 * task_.z_loss * lse;
    const double pull = target.mass.value() + extra;
    const double upstream = task_.scale * (task_.upstream ? task_.upstream[i] : 1) *
                            (scale_.softcap == 0 ? 1 / scale_.temperature : 1);
    // For a class at the maximum p - 1 is -ratio / (1 + ratio): its digits survive where p rounds
    // to 1. There, pull p - t = pull (p - 1) + (s - t) + extra.
    const double above = -s.ratio / (1 + s.ratio);
    const Normaliser<T> normaliser(s, dense ? pull : pull * upstream);
    const T top = static_cast<T>(normaliser.top);
    const int64_t y = dense ? -1 : task_.index[i];
    each(chunks_of(n_), [&](int64_t c) {
      const int64_t begin = c * kChunk, end = begin + kChunk < n_ ? begin + kChunk : n_;
      for (int64_t b = begin; b < end; b += kBlock) {
        const int64_t size = end - b < kBlock ? end - b : kBlock;
        T* e = the_row.e + b;
        if (dense) {
          T t[kBlock];
          mass_.block(i, b, size, t);
          subtract(e, t, size, normaliser, top, static_cast<T>(pull * above), target.mass,
                   static_cast<T>(extra), static_cast<T>(upstream));
        } else if (y >= b && y < b + size) {
          const double p = static_cast<double>(e[y - b]) / normaliser.top / (1 + s.ratio);
          const double less = e[y - b] == top ? above : p - 1;
          normaliser.apply(e, size);
          // Where all of the mass is on one class, s - t = 0.
          e[y - b] = static_cast<T>(upstream * (pull * less + extra));
        } else {
          normaliser.apply(e, size);
        }
        if (plain_grad_) continue;
        if (scale_.softcap != 0) {
          T z[kBlock];
          read(task_.logits, from + b * task_.logits.class_stride, size, z);
          scale_.apply_slope(z, e, size);
        }
        write(task_.grad, to + b * task_.grad.class_stride, size, e);
      }
    });
  }

  // (pull p - t) upstream, in place of e.
  static void subtract(T* e, const T* t, int64_t n, const Normaliser<T>& normaliser, T top,
                       T pull_above, Pair mass, T extra, T upstream) {
    const T high = static_cast<T>(normaliser.hi);
    const T low = static_cast<T>(normaliser.hi - static_cast<double>(high) + normaliser.lo);
    const T mass_high = static_cast<T>(mass.hi);
    const T mass_low = static_cast<T>(mass.hi - static_cast<double>(mass_high) + mass.lo);
    const auto gradient = [&](V<T> x, V<T> tj) {
      const V<T> below = two_products<T>(x, all(high), x, all(low)) - tj;
      const V<T> at_top = pull_above + (((mass_high - tj) + mass_low) + extra);
      return (x == top ? at_top : below) * upstream;
    };
    over_vectors<T>(
        n, [&](int64_t i) { store(e + i, gradient(load(e + i), load(t + i))); },
        [&](int64_t i, int64_t left) {
          store_part(e + i, gradient(load_part(e + i, left, T(0)), load_part(t + i, left, T(0))),
                     left);
        });
  }

  void ignore(int64_t i, int64_t to) const {
    if (!from_summary_) {
      if (task_.loss) task_.loss[i] = 0;
      if (task_.summary) task_.summary[i] = {NAN, NAN};
    }
    if (!task_.grad.data) return;
    const T zeros[64] = {};
    for (int64_t j = 0; j < n_; j += 64) {
      write(task_.grad, to + j * task_.grad.class_stride, n_ - j < 64 ? n_ - j : 64, zeros);
    }
  }

  const CrossEntropyTask& task_;
  const Scale scale_;
  const bool from_summary_;
  const int64_t n_;
  const int workers_;
  const bool plain_logits_, plain_grad_;
  const Scratch<T> weights_, scratch_;
  const Scratch<Chunk<T>> chunks_;
  Mass<T> mass_;
};

template <class T>
void run(const CrossEntropyTask& task, bool from_summary) {
  if (task.index && task.label_smoothing == 0) {
    CrossEntropy<T, false>(task, from_summary).run();
  } else {
    CrossEntropy<T, true>(task, from_summary).run();
  }
}

void run(const CrossEntropyTask& task, bool from_summary) {
  if (task.shape.classes == 0) {
    for (int64_t i = 0; i < task.shape.rows && task.loss; ++i) task.loss[i] = NAN;
    return;
  }
  // Temperature and softcap make numbers that float can't hold: they are computed in double, and
  // the loss of float logits keeps its bound.
  const bool scaled = task.softcap != 0 || task.temperature != 1;
  if (task.logits.type == Type::kFloat64 || scaled) {
    run<double>(task, from_summary);
  } else {
    run<float>(task, from_summary);
  }
}

}  // namespace

void cross_entropy(const CrossEntropyTask& task) { run(task, false); }
void cross_entropy_gradient(const CrossEntropyTask& task) { run(task, true); }

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
