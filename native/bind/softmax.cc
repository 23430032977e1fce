#include "bind/arrays.h"
#include "bind/operations.h"
#include "runtime/parallel.h"

namespace softxent::bind {
namespace {

void softmax(In x, Out out, int64_t axis, bool log, int threads) {
  SoftmaxTask task{};
  task.log = log;
  Layout layout(x, axis);
  layout.add(x, task.x);
  layout.add(out, task.out);
  task.shape = layout.shape();
  check_distinct(out);
  check_in_place(out, x);
  const KernelScope scope(threads);
  kernels().softmax(task);
}

void softmax_gradient(In saved, In upstream, Out out, int64_t axis, bool log, bool from_result,
                      int threads) {
  SoftmaxGradientTask task{};
  task.log = log;
  task.from_result = from_result && !log;
  Layout layout(saved, axis);
  layout.add(saved, task.saved);
  layout.add(upstream, task.upstream);
  layout.add(out, task.out);
  task.shape = layout.shape();
  check_distinct(out);
  check_in_place(out, saved);
  check_in_place(out, upstream);
  const KernelScope scope(threads);
  kernels().softmax_gradient(task);
}

void logsumexp(In x, Numbers<double> out, int64_t axis, int threads) {
  LogSumExpTask task{};
  Layout layout(x, axis);
  layout.add(x, task.x);
  task.shape = layout.shape();
  task.out = numbers(out, task.shape.rows);
  check_apart(out, x);
  const KernelScope scope(threads);
  kernels().logsumexp(task);
}

}  // namespace

void bind_softmax(nb::module_& m) {
  using nb::arg;
  m.def("softmax", &softmax, arg("x").noconvert(), arg("out").noconvert(), nb::kw_only(),
        arg("axis") = -1, arg("log") = false, arg("threads") = 0);
  m.def("softmax_gradient", &softmax_gradient, arg("saved").noconvert(),
        arg("upstream").noconvert(), arg("out").noconvert(), nb::kw_only(), arg("axis") = -1,
        arg("log") = false, arg("from_result") = false, arg("threads") = 0);
  m.def("logsumexp", &logsumexp, arg("x").noconvert(), arg("out").noconvert(), nb::kw_only(),
        arg("axis") = -1, arg("threads") = 0);
}

}  // namespace softxent::bind
