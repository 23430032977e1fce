// Cross-entropy of one row after another, for many classes.
#pragma once

#include "operations/cross_entropy/loss.h"
#include "operations/cross_entropy/target.h"
#include "row/normalizer.h"
#include "row/scheduling.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// A call, for logits stored as S and computed in T. `dense` targets have a probability on every
// class: soft targets and label smoothing.
//
// What all threads read for every row is on pages of its own, with a copy of the task: beside data
// that one of them writes, its cache lines would be taken away from the others again and again.
template <class T, bool dense, class S>
class alignas(4096) CrossEntropyRows {
 public:
  CrossEntropyRows(const CrossEntropyTask& task, bool from_saved)
      : task_(task),
        transform_{task.softcap, task.temperature},
        from_saved_(from_saved),
        n_(task.shape.classes),
        workers_(workers_for(task.shape.rows, n_)),
        contiguous_logits_(is_contiguous<S>(task.shape, task.logits) && transform_.identity()),
        // du/dz needs the logits until the end: the gradient can't be written over them before.
        contiguous_grad_(task.grad.data && is_contiguous<S>(task.shape, task.grad) &&
                         transform_.identity()),
        streamed_(contiguous_grad_ && can_stream<T, S>(task.shape, task.logits, task.grad),
                  &kKind[from_saved], task.shape.rows, n_),
        exponentials_in_grad_(contiguous_grad_ && !streamed_ && !Storage<S>::is_half &&
                              !z_loss_in_float()),
        weight_(task),
        scratch_(workers_,
                 task.grad.data && !exponentials_in_grad_ ? slots_of(n_) * room_for<T>(n_) : 0),
        chunks_(workers_, slots_of(n_) * chunks_of(n_)),
        target_sums_(workers_, dense ? chunks_of(n_) : 0),
        target_logit_(workers_, dense ? 0 : 1),
        sums_in_double_(workers_, z_loss_in_float() ? chunks_of(n_) : 0),
        target_{task_, weight_.data(), static_cast<T>(1 - task.label_smoothing),
                static_cast<T>(task.label_smoothing / static_cast<double>(n_))} {}

  void run() const {
    for_each_row(task_.shape, workers_,
                 [this](int worker, int64_t begin, int64_t end, const auto& each) {
                   if (from_saved_) {
                     StreamWriter<Bits<S>> stream;
                     for (int64_t i = begin; i < end; ++i)
                       gradient_from_saved(worker, i, &stream, each);
                   } else {
                     compute(worker, begin, end, each);
                   }
                 });
  }

 private:
  // A row and what is known of it.
  struct Row {
    int64_t i, from, to;  // from: where its logits begin; to: where its gradient does
    int64_t y;            // its class, where the whole target is on one
    T* e;                 // its exponentials
    S* g;                 // its gradient where that is contiguous, else null
    RowSum<T> sum;
    DoubleDouble target_sum;
    GradientFactors factors;
  };
  // The sums of t and of t (max of the chunk - u) over a chunk.
  struct TargetSums {
    DoubleDouble total, gap;
  };
  struct Pending {
    T* own;  // a buffer for its exponentials
    Chunk<T>* chunks;
    Row row;
    Normalizer<T> normalizer;
  };

  // Filled in place: copying a struct that has just been written field by field waits for all its
  // stores.
  void begin_row(Row& row, int64_t i, T* own) const {
    row.i = i;
    row.y = dense ? -1 : class_of(task_, i);
    row.from = row_offset(task_.shape, task_.logits, i);
    row.e = nullptr;
    if (!task_.grad.data) return;
    row.to = row_offset(task_.shape, task_.grad, i);
    row.g = contiguous_grad_ ? static_cast<S*>(task_.grad.data) + row.to : nullptr;
    row.e = row.g ? align_like(own, row.g) : own;
    if constexpr (!Storage<S>::is_half) {
      if (exponentials_in_grad_) row.e = row.g;
    }
  }

  // Whether z_loss is used with float logits. The gradient at the target, (1 + 2 z lse) p - 1, is
  // then a difference that may cancel the digits of a float, and the logits are needed until it is
  // computed.
  bool z_loss_in_float() const { return !dense && sizeof(T) == sizeof(float) && task_.z_loss != 0; }

  const S* stage(int64_t from, int64_t begin, int64_t size, S* buffer) const {
    const int64_t at = from + begin * task_.logits.class_stride;
    if (contiguous_logits_) return static_cast<const S*>(task_.logits.data) + at;
    read_raw(task_.logits, at, size, buffer);
    if constexpr (!Storage<S>::is_half) {  // transformed logits aren't computed in float
      if (!transform_.identity()) transform_.apply(buffer, size);
    }
    return buffer;
  }

  const S* next_logits(const Row& row) const {
    if (!contiguous_logits_) return nullptr;
    const S* const u = static_cast<const S*>(task_.logits.data) + row.from;
    return next_row(task_.shape, task_.logits, row.i, u);
  }

  template <class Each>
  void compute(int worker, int64_t begin, int64_t end, const Each& each) const {
    LossBatch losses(task_);
    StreamWriter<Bits<S>> stream;
    const int64_t count = chunks_of(n_);
    Pending pending[2];
    for (int k = 0; k < 2; ++k) {
      pending[k].own = scratch_.of(worker) + k * room_for<T>(n_);
      pending[k].chunks = chunks_.of(worker) + k * count;
    }
    WritePipeline<Pending> pipeline(pending);
    const auto write = [&](const Pending& last) { write_gradient(last, &stream); };
    for (int64_t i = begin; i < end; ++i) {
      if (is_ignored(task_, i)) {
        if (each.is_leader()) ignore(i);
        continue;
      }
      Pending& current = pipeline.current();
      Chunk<T>* const chunks = current.chunks;
      begin_row(current.row, i, current.own);
      sum(worker, current.row, chunks, each, losses);
      if (!current.row.e) continue;
      if (count == 1) {
        current.normalizer = normalizer_of(current.row, *chunks);
        pipeline.advance(write);
        continue;
      }
      const Row row = current.row;
      StreamWriter<Bits<S>>* const stream_or_null = &stream;
      each(count, [=](int64_t c, bool) {
        // One thread can't buffer a cache line that another thread completes.
        StreamWriter<Bits<S>> own;
        write_gradient(row, c, chunks[c], normalizer_of(row, chunks[c]),
                       Each::kIsShared ? &own : stream_or_null);
      });
    }
    pipeline.flush(write);
  }

  // Computes the sum of a row, its loss, and what its gradient needs.
  template <class Each>
  void sum(int worker, Row& row, Chunk<T>* chunks, const Each& each, LossBatch& losses) const {
    const int64_t i = row.i, from = row.from, y = row.y;
    TargetSums* const target_sums = target_sums_.of(worker);
    T* const target = target_logit_.of(worker);
    const NextRow<T, S> next{next_logits(row), row.e && exponentials_in_grad_
                                                   ? next_row<T>(task_.shape, task_.grad, i, row.e)
                                                   : nullptr};
    row.sum = sum_row<UnshiftedExp<S>>(
        n_, row.e, chunks, next, each,
        [this, from](int64_t begin, int64_t size, S* buffer) {
          return stage(from, begin, size, buffer);
        },
        [this, i, y, target_sums, target](int64_t c, const S* u, int64_t size, T max) {
          const int64_t begin = c * kChunk;
          if constexpr (dense) {
            target_sums[c] = sum_targets(i, begin, size, u, max);
          } else if (y >= begin && y < begin + size) {
            *target = as_number(u[y - begin]);
          }
        });
    SavedStatistics& s = row.sum.saved;
    if (!(fabs(s.base) < INFINITY)) s.base = NAN;
    row.target_sum = {dense ? 0 : weight_of(y), 0};
    DoubleDouble gap;
    if (!dense) {
      gap.hi = times_distance(row.target_sum.hi, s.base, static_cast<double>(*target));
    } else {
      for (int64_t c = 0; c < chunks_of(n_); ++c) {
        row.target_sum.add(target_sums[c].total);
        gap.add(target_sums[c].gap);
        // No term is negative here either.
        if (target_sums[c].total.hi != 0) {
          add_distance(gap, target_sums[c].total, s.base, static_cast<double>(chunks[c].max));
        }
      }
    }
    if (z_loss_in_float() && (row.e || task_.saved) &&
        loses_precision(row, static_cast<double>(*target))) {
      resum_in_double(worker, row, each);
    }
    if (each.is_leader()) {
      losses.add(i, s.base, s.tail_sum, row.target_sum.value(), gap.value());
      if (task_.saved) task_.saved[i] = s;
    }
    if (row.e) row.factors = gradient_factors(row);
  }

  // The target's probability p and p - 1 from its logit, in double.
  struct TargetProbability {
    double p, p_minus_1;
  };
  TargetProbability target_probability(const Row& row, double u) const {
    const SavedStatistics& s = row.sum.saved;
    const double p_base = 1 / (1 + s.tail_sum);
    const double p = LogitTransform::exp_below(broadcast(u - s.base))[0] * p_base;
    return {p, u == s.base ? -s.tail_sum * p_base : p - 1};
  }

  // Whether an ulp of a float, lost in the sum, would be more than an ulp of the gradient.
  __attribute__((noinline)) bool loses_precision(const Row& row, double u) const {
    const SavedStatistics& s = row.sum.saved;
    const TargetProbability target = target_probability(row, u);
    const double target_sum = row.target_sum.value(), z = 2 * task_.z_loss;
    const double extra = z * (s.base + log1p(s.tail_sum)), p_tail = s.tail_sum / (1 + s.tail_sum);
    const double at_target = target_sum * target.p_minus_1 + extra * target.p;
    return p_tail * target.p * (target_sum + fabs(extra) + z) > fabs(at_target) ||
           p_tail * z > fabs(target_sum + extra);
  }

  // Computes the sum of such a row again, in double.
  template <class Each>
  __attribute__((noinline)) void resum_in_double(int worker, Row& row, const Each& each) const {
    DoubleDouble* const sums = sums_in_double_.of(worker);
    const int64_t from = row.from, count = chunks_of(n_);
    const double max = row.sum.saved.base;
    each(count, [=](int64_t c, bool) { sums[c] = sum_in_double(from, c * kChunk, max); });
    each.join();
    DoubleDouble tail;
    for (int64_t c = 0; c < count; ++c) tail.add(sums[c]);
    tail.add(-1);  // the maximum itself
    row.sum.saved.tail_sum = tail.value();
  }
  DoubleDouble sum_in_double(int64_t from, int64_t begin, double max) const {
    const int64_t size = chunk_size(n_, begin);
    double u[kChunk];
    read(task_.logits, from + begin * task_.logits.class_stride, size, u);
    SlotSum<double> sum;
    sum.add(
        size, [&](int64_t i) { return LogitTransform::exp_below(load(u + i) - max); },
        [&](int64_t i, int64_t left) {
          return LogitTransform::exp_below(load_part<double>(u + i, left, -INFINITY) - max);
        });
    return sum.total();
  }

  // The gradient from the saved statistics of a forward pass.
  template <class Each>
  void gradient_from_saved(int worker, int64_t i, StreamWriter<Bits<S>>* stream,
                           const Each& each) const {
    if (is_ignored(task_, i)) {
      if (each.is_leader()) ignore(i);
      return;
    }
    Row row;
    begin_row(row, i, scratch_.of(worker));
    const int64_t count = chunks_of(n_);
    row.target_sum = {dense ? 0 : weight_of(row.y), 0};
    if (dense) {
      TargetSums* const target_sums = target_sums_.of(worker);
      each(count, [=](int64_t c, bool) {
        target_sums[c].total = target_sum_of(i, c * kChunk, chunk_size(n_, c * kChunk));
      });
      each.join();
      for (int64_t c = 0; c < count; ++c) row.target_sum.add(target_sums[c].total);
    }
    Chunk<T> at_max{};
    at_max.max = static_cast<T>(task_.saved[i].base);
    if (fabs(at_max.max) <= UnshiftedExp<T>::kLargest) {
      at_max.set_exp(UnshiftedExp<S>());
    } else {
      at_max.set_exp(ShiftedExp<T>(broadcast(at_max.max)));
    }
    row.sum = {task_.saved[i], static_cast<double>(at_max.top), at_max.scale};
    row.factors = gradient_factors(row);
    const S* const next = next_logits(row);
    each(count, [=](int64_t c, bool goes_on) {
      const int64_t begin = c * kChunk, size = chunk_size(n_, begin);
      S local[kChunk];
      const S* u = stage(row.from, begin, size, local);
      const S* next_u = prefetch_target<Each>(u, goes_on, next);
      Chunk<T> chunk = at_max;
      if (range_of<T>(u, size).fits_unshifted()) {
        const UnshiftedExp<S> unshifted;
        chunk.set_exp(unshifted);
        exp_block(unshifted, u, row.e + begin, size, next_u);
      } else {
        const ShiftedExp<T> shifted(broadcast(at_max.max));
        chunk.set_exp(shifted);
        exp_block(shifted, u, row.e + begin, size, next_u);
      }
      StreamWriter<Bits<S>> own;
      write_gradient(row, c, chunk, normalizer_of(row, chunk), Each::kIsShared ? &own : stream);
    });
  }

  // The gradient depends on the logarithm only through z_loss.
  GradientFactors gradient_factors(const Row& row) const {
    const SavedStatistics& s = row.sum.saved;
    const double lse = task_.z_loss == 0 ? 0 : s.base + log1p(s.tail_sum);
    const double given = task_.upstream ? task_.upstream[row.i] : 1;
    return {task_, transform_, given, s.tail_sum, lse, row.target_sum.value()};
  }
  Normalizer<T> normalizer_of(const Row& row, const Chunk<T>& chunk) const {
    const double factor = row.factors.p_factor * (dense ? 1 : row.factors.upstream);
    return {row.sum.top, row.sum.saved.tail_sum, factor, scale_of(chunk, row.sum)};
  }
  double weight_of(int64_t y) const { return target_.weight ? target_.weight[y] : 1; }

  DoubleDouble target_sum_of(int64_t i, int64_t begin, int64_t size) const {
    DoubleDouble total;
    for (int64_t b = begin; b < begin + size; b += kBlock) {
      const int64_t n = begin + size - b < kBlock ? begin + size - b : kBlock;
      T t[kBlock];
      target_.block(i, b, n, t);
      SlotSum<T> target_sum;
      add_target(t, n, target_sum);
      total.add(target_sum.total());
    }
    return total;
  }

  // The sums over the targets of one chunk.
  TargetSums sum_targets(int64_t i, int64_t begin, int64_t size, const T* u, T max) const {
    TargetSums sums;
    for (int64_t b = 0; b < size; b += kBlock) {
      const int64_t n = size - b < kBlock ? size - b : kBlock;
      T t[kBlock];
      target_.block(i, begin + b, n, t);
      SlotSum<T> target_sum, gap;
      add_target(t, n, target_sum);
      // Where every class of the chunk is masked, the distance to the row's maximum is infinite
      // anyway.
      if (max > -INFINITY) add_gap(t, u + b, n, max, gap);
      sums.total.add(target_sum.total());
      sums.gap.add(gap.total());
    }
    return sums;
  }

  void write_gradient(const Pending& pending, StreamWriter<Bits<S>>* stream) const {
    write_gradient(pending.row, 0, *pending.chunks, pending.normalizer, stream);
  }

  // Writes the gradient of a chunk from its exponentials: to row.g, or through a buffer to `grad`.
  void write_gradient(const Row& row, int64_t c, const Chunk<T>& chunk,
                      const Normalizer<T>& normalizer, StreamWriter<Bits<S>>* stream) const {
    StreamWriter<Bits<S>>* const stream_or_null = streamed_ ? stream : nullptr;
    const int64_t begin = c * kChunk, end = begin + chunk_size(n_, begin);
    if constexpr (!dense) {
      if (row.g) {
        write_classes(row, begin, end - begin, chunk, normalizer, row.g + begin, stream_or_null);
        return;
      }
    }
    for (int64_t b = begin; b < end; b += kBlock) {
      const int64_t size = end - b < kBlock ? end - b : kBlock;
      S local[kBlock];
      S* const g = row.g ? row.g + b : local;
      write_classes(row, b, size, chunk, normalizer, g, stream_or_null);
      if (contiguous_grad_) continue;
      if constexpr (!Storage<S>::is_half) {
        T z[kBlock];
        if (transform_.softcap != 0) {
          read(task_.logits, row.from + b * task_.logits.class_stride, size, z);
          transform_.apply_derivative(z, g, size);
        }
      }
      write_raw(task_.grad, row.to + b * task_.grad.class_stride, size, g);
    }
  }

  // Writes the gradient of the classes [begin, begin + size) to g: of a whole chunk for one-hot
  // targets, else of at most kBlock classes.
  SOFTXENT_INLINE void write_classes(const Row& row, int64_t begin, int64_t size,
                                     const Chunk<T>& chunk, const Normalizer<T>& normalizer, S* g,
                                     StreamWriter<Bits<S>>* stream_or_null) const {
    T* const e = row.e + begin;
    normalizer.apply_prescale(e, size);
    const bool holds_max = static_cast<double>(chunk.max) == row.sum.saved.base;
    if constexpr (dense) {
      const DenseFactors<T> factors =
          dense_factors(row.factors, normalizer, holds_max ? chunk.top : T(-1), row.target_sum);
      T t[kBlock];
      target_.block(row.i, begin, size, t);
      write_vectors<T>(
          g, size, stream_or_null,
          [&](int64_t k) { return factors.gradient(load(e + k), load(t + k)); },
          [&](int64_t k, int64_t left) {
            return factors.gradient(load_part(e + k, left, T(0)), load_part(t + k, left, T(0)));
          });
    } else {
      const int64_t y = row.y - begin;
      if (y < 0 || y >= size) {
        normalizer.apply(e, g, size, stream_or_null);
        return;
      }
      double e_y = static_cast<double>(e[y]);
      if (normalizer.prescale != 1) e_y /= normalizer.prescale;
      const bool at_max = holds_max && e_y == static_cast<double>(chunk.top);
      const double at_target = z_loss_in_float()
                                   ? target_gradient_in_double(row)
                                   : row.factors.at_target(at_max, normalizer.probability(e_y));
      normalizer.apply(e, g, size, stream_or_null, y, static_cast<T>(at_target));
    }
  }

  __attribute__((noinline)) double target_gradient_in_double(const Row& row) const {
    double u;
    read(task_.logits, row.from + row.y * task_.logits.class_stride, 1, &u);
    const TargetProbability target = target_probability(row, u);
    return row.factors.at_one_hot(target.p, target.p_minus_1);
  }

  static DenseFactors<T> dense_factors(const GradientFactors& f, const Normalizer<T>& normalizer,
                                       T top, DoubleDouble target_sum) {
    const T high = static_cast<T>(normalizer.hi), target_sum_high = static_cast<T>(target_sum.hi);
    return {broadcast(high),
            broadcast(static_cast<T>(normalizer.hi - static_cast<double>(high) + normalizer.lo)),
            broadcast(static_cast<T>(static_cast<double>(top) * normalizer.prescale)),
            broadcast(static_cast<T>(f.p_factor * f.p_max_minus_1())),
            broadcast(target_sum_high),
            broadcast(static_cast<T>(target_sum.hi - static_cast<double>(target_sum_high) +
                                     target_sum.lo)),
            broadcast(static_cast<T>(f.extra)),
            broadcast(static_cast<T>(f.upstream))};
  }

  void ignore(int64_t i) const {
    if (!from_saved_) {
      if (task_.loss) task_.loss[i] = 0;
      if (task_.saved) task_.saved[i] = {NAN, NAN};
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
  const LogitTransform transform_;
  const bool from_saved_;
  const int64_t n_;
  const int workers_;
  const bool contiguous_logits_, contiguous_grad_;
  const Streaming streamed_;
  const bool exponentials_in_grad_;  // the exponentials are written to the gradient's array
  const ClassWeights<T> weight_;
  const Scratch<T> scratch_;
  const Scratch<Chunk<T>> chunks_;
  const Scratch<TargetSums> target_sums_;
  const Scratch<T> target_logit_;  // u of the target class
  const Scratch<DoubleDouble> sums_in_double_;
  const TargetDistribution<T> target_;
};

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
