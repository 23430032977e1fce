// Cross-entropy of rows against a target mass, and its gradient.
#include "levels.h"
#include "row.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

// The target mass t_j of one row. Every kind of target becomes one.
template <class T>
struct Mass {
  const T* weight;         // or null
  const T* probabilities;  // or null
  int64_t index;           // the class, where there are no probabilities
  double keep;             // 1 - label_smoothing
  double spread;           // label_smoothing / classes

  double operator()(int64_t j) const {
    const double w = weight ? weight[j] : 1;
    const double q = probabilities ? probabilities[j] : (j == index ? 1 : 0);
    return w * (keep * q + spread);
  }
};

template <class T>
void one_row(const CrossEntropyTask<T>& task, int64_t i, const Mass<T>& mass) {
  const int64_t classes = task.classes;
  const T* z = task.logits.row(i);
  const Scale scale{task.softcap, task.temperature};
  const Row row = summarise(z, classes, scale);
  const double log_sum = log1p(row.rest);
  const double lse = row.max + log_sum;

  // loss = sum_j t_j (lse - u_j), and lse - u_j = log_sum + (max - u_j): two terms that are both
  // >= 0, so that nothing cancels however sure the model is.
  const bool hard = !mass.probabilities && mass.spread == 0;
  double s = 0, loss = 0;
  if (hard) {
    s = mass(mass.index);
    if (s != 0) loss = s * (log_sum + (row.max - scale(z[mass.index])));
  } else {
    for (int64_t j = 0; j < classes; ++j) {
      const double t = mass(j);
      s += t;
      if (t != 0) loss += t * (log_sum + (row.max - scale(z[j])));  // 0 log 0 = 0
    }
  }
  if (task.z_loss != 0) loss += task.z_loss * lse * lse;
  if (isnan(row.rest)) loss = NAN;
  if (task.loss) task.loss[i] = loss;

  if (!task.grad.data) return;
  T* grad = task.grad.row(i);
  const double sum = 1 + row.rest;
  const double pull = s + 2 * task.z_loss * lse;
  for (int64_t j = 0; j < classes; ++j) {
    const double u = scale(z[j]);
    const double t = hard && j != mass.index ? 0 : mass(j);
    // For the class at the maximum p - 1 is -rest / sum: its digits survive where p rounds to 1.
    const double p = exp_difference(u, row.max) / sum;
    const double above = j == row.at ? -row.rest / sum : p - 1;  // p - 1
    const double slope = scale.slope(z[j]);
    // (pull p - t) = pull (p - 1) + (pull - t) where most of the mass is on this class.
    const double g = t > 0.5 * s ? pull * above + (pull - t) : pull * p - t;
    grad[j] = static_cast<T>(task.scale * g * slope);
  }
}

}  // namespace

template <class T>
void cross_entropy(const CrossEntropyTask<T>& task, int64_t begin, int64_t end) {
  Mass<T> mass{task.weight, nullptr, -1, 1 - task.label_smoothing,
               task.label_smoothing / static_cast<double>(task.classes)};
  for (int64_t i = begin; i < end; ++i) {
    if (task.index) {
      mass.index = task.index[i];
      if (mass.index == task.ignore_index) {
        if (task.loss) task.loss[i] = 0;
        if (task.grad.data) {
          for (int64_t j = 0; j < task.classes; ++j) task.grad.row(i)[j] = 0;
        }
        continue;
      }
    } else {
      mass.probabilities = task.probabilities.row(i);
    }
    one_row(task, i, mass);
  }
}

template void cross_entropy(const CrossEntropyTask<float>&, int64_t, int64_t);
template void cross_entropy(const CrossEntropyTask<double>&, int64_t, int64_t);

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
