#include <vector>

#include "bind/arrays.h"
#include "bind/operations.h"
#include "runtime/parallel.h"

namespace softxent::bind {
namespace {

double binary_total(BinaryTask task) {
  const int64_t blocks = (task.count + kBinaryBlock - 1) / kBinaryBlock;
  std::vector<BinarySum> sums(static_cast<size_t>(blocks));
  task.sums = sums.data();
  kernels().binary_cross_entropy(task);
  std::vector<double> losses;
  losses.reserve(sums.size());
  for (const BinarySum& block : sums) {
    if (block.outside) throw nb::index_error("binary target out of range");
    losses.push_back(block.loss);
  }
  return kernels().sum(losses.data(), static_cast<int64_t>(losses.size()));
}

// The sum of the elements' losses; 0 where only a gradient is computed. All arrays are contiguous.
double binary_cross_entropy(In logits, In target, std::optional<In> positive_weight,
                            std::optional<In> weight, std::optional<Out> loss,
                            std::optional<In> upstream, double scale, std::optional<Out> grad,
                            bool value, int threads) {
  BinaryTask task{};
  task.count = static_cast<int64_t>(logits.size());
  const auto receive = [&](const auto& a, Array& into) {
    if (a.ndim() != 1 || static_cast<int64_t>(a.size()) != task.count ||
        (task.count > 1 && a.stride(0) != 1)) {
      throw nb::value_error("arrays must be contiguous, of one dimension and of one size");
    }
    into = {const_cast<void*>(static_cast<const void*>(a.data())), type_of(a), 1, {}};
  };
  receive(logits, task.logits);
  receive(target, task.target);
  if (positive_weight) receive(*positive_weight, task.positive_weight);
  if (weight) receive(*weight, task.weight);
  if (loss) receive(*loss, task.loss);
  if (upstream) receive(*upstream, task.upstream);
  if (grad) receive(*grad, task.grad);
  for (const auto* output : {&loss, &grad}) {
    check_apart(*output, std::optional<In>(logits));
    check_apart(*output, std::optional<In>(target));
    check_apart(*output, positive_weight);
    check_apart(*output, weight);
    check_apart(*output, upstream);
  }
  check_apart(loss, grad);
  task.scale = scale;
  const KernelScope scope(threads);
  if (!value) {
    kernels().binary_cross_entropy(task);
    return 0;
  }
  return binary_total(task);
}

// The same for arrays without weights, given by their addresses; with the gradient, or the gradient
// alone.
double plain_binary_cross_entropy(uintptr_t logits, uintptr_t target, uintptr_t grad, int type,
                                  int64_t count, double scale, bool value, int threads) {
  BinaryTask task{};
  task.count = count;
  task.logits = {reinterpret_cast<void*>(logits), static_cast<Type>(type), 1, {}};
  task.target = {reinterpret_cast<void*>(target), static_cast<Type>(type), 1, {}};
  task.grad = {reinterpret_cast<void*>(grad), static_cast<Type>(type), 1, {}};
  task.scale = scale;
  const KernelScope scope(threads, count);
  if (value) return binary_total(task);
  kernels().binary_cross_entropy(task);
  return 0;
}

}  // namespace

void bind_binary_cross_entropy(nb::module_& m) {
  using nb::arg;
  m.def("plain_binary_cross_entropy", &plain_binary_cross_entropy);
  m.def("binary_cross_entropy", &binary_cross_entropy, arg("logits").noconvert(),
        arg("target").noconvert(), nb::kw_only(), arg("positive_weight").noconvert() = nb::none(),
        arg("weight").noconvert() = nb::none(), arg("loss").noconvert() = nb::none(),
        arg("upstream").noconvert() = nb::none(), arg("scale") = 1.0,
        arg("grad").noconvert() = nb::none(), arg("value") = true, arg("threads") = 0);
}

}  // namespace softxent::bind
