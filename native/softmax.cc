// softmax, log_softmax and logsumexp of rows.
#include "levels.h"
#include "row.h"

namespace softxent {
namespace SOFTXENT_LEVEL {

template <class T>
void softmax(const SoftmaxTask<T>& task, int64_t begin, int64_t end) {
  const Scale identity{0, 1};
  for (int64_t i = begin; i < end; ++i) {
    const T* x = task.x.row(i);
    T* out = task.out.row(i);
    const Row row = summarise(x, task.classes, identity);
    if (task.kind == Softmax::kProbabilities) {
      const double sum = 1 + row.rest;
      for (int64_t j = 0; j < task.classes; ++j) {
        out[j] = static_cast<T>(exp_difference(x[j], row.max) / sum);
      }
    } else {
      const double log_sum = log1p(row.rest);
      for (int64_t j = 0; j < task.classes; ++j) {
        out[j] = static_cast<T>((x[j] - row.max) - log_sum);
      }
    }
  }
}

template <class T>
void logsumexp(const LogSumExpTask<T>& task, int64_t begin, int64_t end) {
  for (int64_t i = begin; i < end; ++i) {
    const T* x = task.x.row(i);
    // The logarithm of a sum over nothing, or over exp(-inf) alone, is -inf; of +inf, +inf.
    double top = -INFINITY;
    for (int64_t j = 0; j < task.classes; ++j) {
      if (!(x[j] <= top)) top = x[j];
      if (isnan(top)) break;
    }
    if (!(fabs(top) < INFINITY)) {
      task.out[i] = static_cast<T>(top);
      continue;
    }
    const Row row = summarise(x, task.classes, Scale{0, 1});
    task.out[i] = static_cast<T>(row.max + log1p(row.rest));
  }
}

template void softmax(const SoftmaxTask<float>&, int64_t, int64_t);
template void softmax(const SoftmaxTask<double>&, int64_t, int64_t);
template void logsumexp(const LogSumExpTask<float>&, int64_t, int64_t);
template void logsumexp(const LogSumExpTask<double>&, int64_t, int64_t);

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
