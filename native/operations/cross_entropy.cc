// Cross-entropy of rows and its gradient: chooses the type and the layout that a call is computed
// in. The work is done in cross_entropy/rows.h (one row after another, many classes) and in
// cross_entropy/lanes.h (one row in each lane of a vector, few classes).
#include "operations/cross_entropy/lanes.h"
#include "operations/cross_entropy/rows.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

template <class T, bool dense>
double run(const CrossEntropyTask& task, bool from_saved) {
  if (use_lanes(task.shape, task.logits)) {
    return CrossEntropyLanes<T, dense>(task, from_saved).run();
  }
  // The rows have many classes: an array of their losses is small beside them.
  const Scratch<double> losses(1, task.loss || from_saved ? 0 : task.shape.rows);
  CrossEntropyTask own = task;
  // Threads that share a row take the same steps only if they read the same class.
  int64_t index[kMostThreads];
  if (task.index && task.shape.rows < kMostThreads) {
    for (int64_t i = 0; i < task.shape.rows; ++i) index[i] = read_once(task.index + i);
    own.index = index;
  }
  if (!task.loss && !from_saved) own.loss = losses.of(0);
  const auto compute = [&](auto s) {
    CrossEntropyRows<T, dense, decltype(s)>(own, from_saved).run();
  };
  if constexpr (dense) {
    compute(T{});
  } else {
    with_stored<T>(task.logits.type, compute);
  }
  return from_saved ? NAN : sum(own.loss, task.shape.rows);
}

double run(const CrossEntropyTask& task, bool from_saved) {
  if (task.shape.classes == 0) {
    double total = 0;
    for (int64_t i = 0; i < task.shape.rows; ++i) {
      const double loss = is_ignored(task, i) ? 0 : NAN;
      if (task.loss) task.loss[i] = loss;
      total += loss;
    }
    return total;
  }
  // Computed in double: logits under temperature or softcap, which a float can't hold exactly, and
  // gradients p - t that may cancel (a target with probability on every class), so that float
  // logits keep the error bound. z_loss needs it in lanes, whose sums are of type T; rows are
  // summed in double anyway.
  const bool dense = !task.index || task.label_smoothing != 0;
  const bool scaled = task.softcap != 0 || task.temperature != 1;
  const bool z_loss_in_lanes = task.z_loss != 0 && use_lanes(task.shape, task.logits);
  // For float64 logits no wider type is left: another kernel computes such gradients.
  if ((dense || task.z_loss != 0) && task.grad.data && task.logits.type == Type::kFloat64 &&
      !scaled) {
    CrossEntropyTask forward = task;
    forward.grad.data = nullptr;
    const double total = from_saved ? NAN : run(forward, false);
    gradient_in_double_double(task);
    return total;
  }
  if (dense) return run<double, true>(task, from_saved);
  if (task.logits.type == Type::kFloat64 || scaled || z_loss_in_lanes) {
    return run<double, false>(task, from_saved);
  }
  return run<float, false>(task, from_saved);
}

}  // namespace

double cross_entropy(const CrossEntropyTask& task) { return run(task, false); }
void cross_entropy_gradient(const CrossEntropyTask& task) { run(task, true); }

}  // namespace SOFTXENT_LEVEL
}  // namespace softxent
