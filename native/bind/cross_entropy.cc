#include <nanobind/stl/pair.h>

#include <cmath>
#include <utility>

#include "bind/arrays.h"
#include "bind/operations.h"
#include "runtime/parallel.h"

namespace softxent::bind {
namespace {

// The caller names an invalid index; this check only keeps memory safe.
TargetCheck checked_targets(const CrossEntropyTask& task) {
  const TargetCheck targets = kernels().check_targets(task);
  if (!targets.valid) throw nb::index_error("class index out of range");
  return targets;
}

// Divides the gradient as a mean divides the loss. The z terms are averaged over the kept rows.
void divide(CrossEntropyTask& task, const TargetCheck& targets) {
  const double weight = targets.denominator, kept = static_cast<double>(targets.kept);
  task.scale = weight == 0 ? NAN : task.scale / weight;
  if (task.z_loss == 0 || weight == kept) return;
  const double product = task.z_loss * weight, error = std::fma(task.z_loss, weight, -product);
  task.z_loss = product / kept;
  task.z_loss_low = (std::fma(-task.z_loss, kept, product) + error) / kept;
}

// Returns the sum of the rows' losses and what a mean divides by. The gradient is that of the sum,
// or of the mean.
std::pair<double, double> cross_entropy(
    In logits, int64_t axis, std::optional<Numbers<const int64_t>> index,
    std::optional<In> probabilities, std::optional<In> weight, int64_t ignore_index,
    double label_smoothing, double z_loss, double softcap, double temperature,
    std::optional<Numbers<double>> loss, std::optional<Numbers<double>> saved, bool from_saved,
    double scale, bool mean, std::optional<Numbers<const double>> upstream, std::optional<Out> grad,
    int64_t k, std::optional<Numbers<double>> entropy, std::optional<Numbers<int64_t>> argmax,
    std::optional<Numbers<bool>> hits, int threads) {
  CrossEntropyTask task{};
  Layout layout(logits, axis);
  layout.add(logits, task.logits);
  if (probabilities) layout.add(*probabilities, task.probabilities, true);
  if (grad) layout.add(*grad, task.grad);
  task.shape = layout.shape();
  const int64_t rows = task.shape.rows, classes = task.shape.classes;
  if (index.has_value() == probabilities.has_value()) {
    throw nb::value_error("one target is needed: index or probabilities");
  }
  if (index) {
    task.index = numbers(*index, rows);
  }
  if (weight) {
    const nb::dlpack::dtype wanted =
        task.logits.type == Type::kFloat64 ? nb::dtype<double>() : nb::dtype<float>();
    if (weight->dtype() != wanted) throw nb::type_error("weight has the wrong dtype");
    if (weight->ndim() != 1 || (classes > 1 && weight->stride(0) != 1)) {
      throw nb::value_error("weight must be one contiguous dimension");
    }
    task.weight = numbers(*weight, classes);
  }
  if (loss) task.loss = numbers(*loss, rows);
  if (saved) task.saved = reinterpret_cast<SavedStatistics*>(numbers(*saved, 2 * rows));
  if (upstream) task.upstream = numbers(*upstream, rows);
  if (from_saved && !(saved && grad)) {
    throw nb::value_error("a gradient from saved statistics needs both");
  }
  if (grad) {
    check_distinct(*grad);
    check_in_place(*grad, logits);
  }
  const auto check_output = [&](const auto& output) {
    check_apart(output, index);
    check_apart(output, probabilities);
    check_apart(output, weight);
    check_apart(output, upstream);
  };
  check_output(grad);
  check_output(loss);
  check_output(saved);
  check_apart(loss, std::optional<In>(logits));
  check_apart(saved, std::optional<In>(logits));
  check_apart(grad, loss);
  check_apart(grad, saved);
  check_apart(loss, saved);
  task.ignore_index = ignore_index;
  task.label_smoothing = label_smoothing;
  task.z_loss = z_loss;
  task.softcap = softcap;
  task.temperature = temperature;
  task.scale = scale;
  StatisticsTask stats{};
  if (entropy || argmax || hits) {
    if (!(entropy && argmax && hits && loss && saved) || from_saved || grad) {
      throw nb::value_error(
          "statistics need one another, loss and saved statistics, and no gradient");
    }
    stats = {{}, k, numbers(*entropy, rows), numbers(*argmax, rows), numbers(*hits, rows)};
  }
  const KernelScope scope(threads);
  const TargetCheck targets = checked_targets(task);
  const double denominator = targets.denominator;
  if (mean) divide(task, targets);
  if (from_saved) {
    kernels().cross_entropy_gradient(task);
    return {NAN, denominator};
  }
  if (stats.entropy) {
    stats.loss = task;
    kernels().cross_entropy_statistics(stats);
    return {kernels().sum(task.loss, rows), denominator};
  }
  return {kernels().cross_entropy(task), denominator};
}

// The reduced loss of contiguous rows given by their addresses: unpacking arrays costs more than
// the loss of 64 rows of 10 classes, and for 65,536 rows still a quarter of it. With `grad` also
// the gradient, times `scale`; with `saved` the saved statistics; with both only the gradient,
// from them.
double plain_cross_entropy(uintptr_t logits, uintptr_t index, uintptr_t grad, uintptr_t saved,
                           int type, int64_t rows, int64_t classes, int64_t ignore_index,
                           double label_smoothing, bool mean, double scale, int threads) {
  CrossEntropyTask task{};
  task.shape = {rows, classes, 1, {rows}};
  task.logits = {reinterpret_cast<void*>(logits), static_cast<Type>(type), 1, {classes}};
  task.grad = {reinterpret_cast<void*>(grad), static_cast<Type>(type), 1, {classes}};
  task.index = reinterpret_cast<const int64_t*>(index);
  task.saved = reinterpret_cast<SavedStatistics*>(saved);
  task.ignore_index = ignore_index;
  task.label_smoothing = label_smoothing;
  task.temperature = 1;
  const KernelScope scope(threads, rows * classes);
  const double kept = checked_targets(task).denominator, denominator = mean ? kept : 1;
  task.scale = denominator == 0 ? NAN : scale / denominator;
  if (grad != 0 && saved != 0) {
    kernels().cross_entropy_gradient(task);
    return NAN;
  }
  const double total = kernels().cross_entropy(task);
  return denominator == 0 ? NAN : total / denominator;
}

// The same for contiguous arrays with the classes on the last axis.
double reduced_cross_entropy(Dense logits, Numbers<const int64_t> index,
                             std::optional<DenseOut> grad, int64_t ignore_index,
                             double label_smoothing, bool mean) {
  if (logits.ndim() < 1) throw nb::value_error("no such axis");
  const Type type = type_of(logits);
  const auto rows = static_cast<int64_t>(index.size());
  const auto classes = static_cast<int64_t>(logits.shape(logits.ndim() - 1));
  if (static_cast<int64_t>(logits.size()) != rows * classes) {
    throw nb::value_error("sizes don't fit together");
  }
  if (grad) {
    if (type_of(*grad) != type) throw nb::type_error("dtypes don't fit together");
    if (grad->size() != logits.size()) throw nb::value_error("sizes don't fit together");
    if (static_cast<const void*>(grad->data()) != logits.data()) check_apart(*grad, logits);
    check_apart(*grad, index);
  }
  return plain_cross_entropy(
      reinterpret_cast<uintptr_t>(logits.data()), reinterpret_cast<uintptr_t>(numbers(index, rows)),
      grad ? reinterpret_cast<uintptr_t>(grad->data()) : 0, 0, static_cast<int>(type), rows,
      classes, ignore_index, label_smoothing, mean, 1, 0);
}

}  // namespace

void bind_cross_entropy(nb::module_& m) {
  using nb::arg;
  m.def("cross_entropy", &cross_entropy, arg("logits").noconvert(), nb::kw_only(), arg("axis") = -1,
        arg("index").noconvert() = nb::none(), arg("probabilities").noconvert() = nb::none(),
        arg("weight").noconvert() = nb::none(), arg("ignore_index") = -100,
        arg("label_smoothing") = 0.0, arg("z_loss") = 0.0, arg("softcap") = 0.0,
        arg("temperature") = 1.0, arg("loss").noconvert() = nb::none(),
        arg("saved").noconvert() = nb::none(), arg("from_saved") = false, arg("scale") = 1.0,
        arg("mean") = false, arg("upstream").noconvert() = nb::none(),
        arg("grad").noconvert() = nb::none(), arg("k") = 1, arg("entropy").noconvert() = nb::none(),
        arg("argmax").noconvert() = nb::none(), arg("hits").noconvert() = nb::none(),
        arg("threads") = 0);
  m.def("plain_cross_entropy", &plain_cross_entropy);
  m.def("reduced_cross_entropy", &reduced_cross_entropy, arg("logits").noconvert(),
        arg("index").noconvert(), arg("grad").noconvert().none(), arg("ignore_index"),
        arg("label_smoothing"), arg("mean"));
}

}  // namespace softxent::bind
