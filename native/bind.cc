// The one file that knows Python: arrays to pointers, nothing else. ops/native.py has checked them.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <optional>
#include <string>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace nb = nanobind;

namespace softxent {
namespace {

template <class T, size_t N>
using In = nb::ndarray<const T, nb::ndim<N>, nb::device::cpu>;
template <class T, size_t N>
using Out = nb::ndarray<T, nb::ndim<N>, nb::device::cpu>;

template <class Array>
void wants_adjacent(const Array& a, size_t axis) {
  if (a.shape(axis) > 1 && a.stride(axis) != 1) {
    throw nb::value_error("elements of the last axis must be next to each other");
  }
}

template <class A>
void wants_length(const A& a, size_t axis, size_t length) {
  if (a.shape(axis) != length) throw nb::value_error("array sizes don't fit together");
}

template <class T>
Matrix<const T> matrix(const In<T, 2>& a) {
  wants_adjacent(a, 1);
  return {a.data(), a.stride(0)};
}

template <class T>
Matrix<T> matrix(const Out<T, 2>& a) {
  wants_adjacent(a, 1);
  return {a.data(), a.stride(0)};
}

template <class Run>
void over_rows(int64_t rows, int64_t classes, const Run& run) {
  nb::gil_scoped_release release;
  parallel_for(rows, classes, run);
}

template <class T>
void softmax(In<T, 2> x, Out<T, 2> out, bool log) {
  wants_length(out, 0, x.shape(0));
  wants_length(out, 1, x.shape(1));
  const SoftmaxTask<T> task{static_cast<int64_t>(x.shape(0)), static_cast<int64_t>(x.shape(1)),
                            matrix<T>(x), matrix<T>(out),
                            log ? Softmax::kLogProbabilities : Softmax::kProbabilities};
  const auto kernel = kernels<T>().softmax;
  over_rows(task.rows, task.classes, [&](int64_t a, int64_t b) { kernel(task, a, b); });
}

template <class T>
void logsumexp(In<T, 2> x, Out<T, 1> out) {
  wants_length(out, 0, x.shape(0));
  wants_adjacent(out, 0);
  const LogSumExpTask<T> task{static_cast<int64_t>(x.shape(0)), static_cast<int64_t>(x.shape(1)),
                              matrix<T>(x), out.data()};
  const auto kernel = kernels<T>().logsumexp;
  over_rows(task.rows, task.classes, [&](int64_t a, int64_t b) { kernel(task, a, b); });
}

template <class T>
void cross_entropy(In<T, 2> logits, std::optional<In<int64_t, 1>> index,
                   std::optional<In<T, 2>> probabilities, std::optional<In<T, 1>> weight,
                   int64_t ignore_index, double label_smoothing, double z_loss, double softcap,
                   double temperature, Out<double, 1> loss, double scale,
                   std::optional<Out<T, 2>> grad) {
  const size_t rows = logits.shape(0), classes = logits.shape(1);
  CrossEntropyTask<T> task{};
  task.rows = static_cast<int64_t>(rows);
  task.classes = static_cast<int64_t>(classes);
  task.logits = matrix<T>(logits);
  if (index) {
    wants_length(*index, 0, rows);
    wants_adjacent(*index, 0);
    task.index = index->data();
    // The caller names the bad one; this only keeps memory safe.
    for (size_t i = 0; i < rows; ++i) {
      const int64_t y = task.index[i];
      if (y != ignore_index && (y < 0 || y >= task.classes)) {
        throw nb::index_error("class index out of range");
      }
    }
  } else if (probabilities) {
    wants_length(*probabilities, 0, rows);
    wants_length(*probabilities, 1, classes);
    task.probabilities = matrix<T>(*probabilities);
  } else {
    throw nb::value_error("a target is needed: index or probabilities");
  }
  if (weight) {
    wants_length(*weight, 0, classes);
    wants_adjacent(*weight, 0);
    task.weight = weight->data();
  }
  wants_length(loss, 0, rows);
  wants_adjacent(loss, 0);
  task.ignore_index = ignore_index;
  task.label_smoothing = label_smoothing;
  task.z_loss = z_loss;
  task.softcap = softcap;
  task.temperature = temperature;
  task.loss = loss.data();
  task.scale = scale;
  if (grad) {
    wants_length(*grad, 0, rows);
    wants_length(*grad, 1, classes);
    task.grad = matrix<T>(*grad);
  }
  const auto kernel = kernels<T>().cross_entropy;
  over_rows(task.rows, task.classes, [&](int64_t a, int64_t b) { kernel(task, a, b); });
}

template <class T>
void define(nb::module_& m) {
  using nb::arg;
  m.def("softmax", &softmax<T>, arg("x").noconvert(), arg("out").noconvert(), nb::kw_only(),
        arg("log"));
  m.def("logsumexp", &logsumexp<T>, arg("x").noconvert(), arg("out").noconvert());
  m.def("cross_entropy", &cross_entropy<T>, arg("logits").noconvert(), nb::kw_only(),
        arg("index").noconvert().none(), arg("probabilities").noconvert().none(),
        arg("weight").noconvert().none(), arg("ignore_index"), arg("label_smoothing"),
        arg("z_loss"), arg("softcap"), arg("temperature"), arg("loss").noconvert(), arg("scale"),
        arg("grad").noconvert().none());
}

}  // namespace
}  // namespace softxent

NB_MODULE(_native, m) {
  using namespace softxent;
  m.doc() = "Compiled kernels. Everything that a user may get wrong is checked in softxent.ops.";
  define<float>(m);
  define<double>(m);
  m.def("levels", [] {
    std::vector<std::string> names;
    for (const char* const* name = available_levels(); *name; ++name) names.emplace_back(*name);
    return names;
  });
  m.def("current_level", [] { return std::string(current_level()); });
  m.def("select_level", [](const std::string& name) { return select_level(name.c_str()); });
  m.def("get_num_threads", &get_num_threads);
  m.def("set_num_threads", [](int count) {
    if (count < 1) throw nb::value_error("the number of threads is at least 1");
    set_num_threads(count);
  });
}
