// Target distributions and class weights.
#pragma once

#include "arrays/class_index.h"
#include "arrays/strided.h"
#include "arrays/workers.h"
#include "math/compensated_sum.h"
#include "operations/cross_entropy/loss.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// The class weights as T, if there are any.
template <class T>
class ClassWeights {
 public:
  explicit ClassWeights(const CrossEntropyTask& task)
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

// The targets t_j of a block of classes, for targets with a probability on every class.
template <class T>
struct TargetDistribution {
  const CrossEntropyTask& task;
  const T* weight;  // or null
  T keep, spread;   // 1 - label_smoothing, label_smoothing / classes

  // The t of classes [begin, begin + n) of row i.
  void block(int64_t i, int64_t begin, int64_t n, T* t) const {
    if (task.probabilities.data) {
      const Array& q = task.probabilities;
      read(q, row_offset(task.shape, q, i) + begin * q.class_stride, n, t);
      const auto smoothed = [&](V<T> given) {
        return multiply_add(broadcast(keep), given, broadcast(spread));
      };
      for_each_vector<T>(
          n, [&](int64_t j) { store(t + j, smoothed(load(t + j))); },
          [&](int64_t j, int64_t left) {
            store_part(t + j, smoothed(load_part(t + j, left, T(0))), left);
          });
    } else {
      for (int64_t j = 0; j < n; ++j) t[j] = spread;
      const int64_t y = class_of(task, i) - begin;
      if (y >= 0 && y < n) t[y] += keep;
    }
    if (weight) {
      for (int64_t j = 0; j < n; ++j) t[j] *= weight[begin + j];
    }
  }
};

template <class T>
void add_target(const T* t, int64_t n, SlotSum<T>& target_sum) {
  target_sum.add(
      n, [=](int64_t i) { return load(t + i); },
      [=](int64_t i, int64_t left) { return load_part(t + i, left, T(0)); });
}

// Adds t (max - u): no term is negative, so that nothing cancels for a confident prediction.
template <class T>
void add_gap(const T* t, const T* u, int64_t n, T max, SlotSum<T>& gap) {
  const V<T> from = broadcast(max);
  const auto term = [&](V<T> tj, V<T> uj) { return times_distance<V<T>>(tj, from, uj); };
  gap.add(
      n, [&](int64_t i) { return term(load(t + i), load(u + i)); },
      [&](int64_t i, int64_t left) {
        return term(load_part(t + i, left, T(0)), load_part(u + i, left, T(0)));
      });
}

}  // namespace
}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
