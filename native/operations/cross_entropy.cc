// Cross-entropy of rows and its gradient: chooses the type and the layout that a call is computed
// in. The work is done in cross_entropy/rows.h (one row after another, many classes) and in
// cross_entropy/lanes.h (one row in each lane of a vector, few classes).
#include "arrays/side_by_side.h"
#include "operations/cross_entropy/lanes.h"
#include "operations/cross_entropy/rows.h"

namespace softxent {
namespace SOFTXENT_LEVEL {
namespace {

template <class T, bool dense>
double run(const CrossEntropyTask& task, bool from_saved) {
  if (use_lanes(task.shape)) return CrossEntropyLanes<T, dense>(task, from_saved).run();
  CrossEntropyTask own = task;
  // Threads that share a row take the same steps only if they read the same class.
  int64_t index[kMostThreads];
  if (task.index && task.shape.rows < kMostThreads) {
    for (int64_t i = 0; i < task.shape.rows; ++i) index[i] = read_once(task.index + i);
    own.index = index;
  }
  const auto compute = [&](auto s) {
    CrossEntropyRows<T, dense, decltype(s)>(own, from_saved).run();
  };
  if constexpr (dense) {
    compute(T{});
  } else {
    with_stored<T>(task.logits.type, compute);
  }
  return from_saved ? NAN : sum(task.loss, task.shape.rows);
}

double run(const CrossEntropyTask& task, bool from_saved);

// Rows that lie side by side: see arrays/side_by_side.h.
double run_transposed(const CrossEntropyTask task, bool from_saved) {
  const Shape shape = task.shape;
  const int64_t n = shape.classes, bytes = n * size_of(task.logits.type);
  const bool soft = lie_side_by_side(shape, task.probabilities);
  const int64_t soft_bytes = soft ? n * size_of(task.probabilities.type) : 0;
  for_each_part_of_rows(shape, bytes + soft_bytes, [=](int64_t row, int64_t count, char* buffer) {
    CrossEntropyTask part = task;
    part.shape = {count, n, 1, {count}};
    part.logits = transposed(rows_of(shape, task.logits, row), count, n, buffer);
    part.probabilities = rows_of(shape, task.probabilities, row);
    if (soft) part.probabilities = transposed(part.probabilities, count, n, buffer + count * bytes);
    part.grad = rows_of(shape, task.grad, row);
    const Array grad = part.grad;
    const bool back = lie_side_by_side(shape, grad);
    if (back) part.grad = part.logits;
    if (task.index) part.index += row;
    if (task.loss) part.loss += row;
    if (task.saved) part.saved += row;
    if (task.upstream) part.upstream += row;
    run(part, from_saved);
    if (back) copy_transposed(grad, count, n, buffer, true);
  });
  return from_saved ? NAN : sum(task.loss, shape.rows);
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
  if (!use_lanes(task.shape)) {
    // The rows have many classes: an array of their losses is small beside them.
    const Scratch<double> losses(1, task.loss || from_saved ? 0 : task.shape.rows);
    if (!task.loss && !from_saved) {
      CrossEntropyTask own = task;
      own.loss = losses.of(0);
      return run(own, false);
    }
    if (lie_side_by_side(task.shape, task.logits)) return run_transposed(task, from_saved);
  }
  // Computed in double: logits under temperature or softcap, which a float can't hold exactly, and
  // gradients p - t that may cancel (a target with probability on every class), so that float
  // logits keep the error bound. z_loss needs it in lanes, whose sums are of type T; rows are
  // summed in double anyway.
  const bool dense = !task.index || task.label_smoothing != 0;
  const bool scaled = task.softcap != 0 || task.temperature != 1;
  const bool z_loss_in_lanes = task.z_loss != 0 && use_lanes(task.shape);
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
