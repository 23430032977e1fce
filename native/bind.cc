// The one file that knows Python: arrays to pointers, sizes and strides. It checks what memory
// safety needs; ops/ has checked the rest, with better messages, and catches two of this file's: an
// index out of range, and an output on another array.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "kernels.h"
#include "memory.h"
#include "parallel.h"
#include "processors.h"
#include "streaming.h"

namespace nb = nanobind;

namespace softxent {
namespace {

using In = nb::ndarray<nb::ro, nb::device::cpu>;
using Out = nb::ndarray<nb::device::cpu>;
using Dense = nb::ndarray<nb::ro, nb::device::cpu, nb::c_contig>;
using DenseOut = nb::ndarray<nb::device::cpu, nb::c_contig>;
template <class T>
using Numbers = nb::ndarray<T, nb::device::cpu, nb::c_contig>;

template <class A>
Type type_of(const A& a) {
  const nb::dlpack::dtype t = a.dtype();
  if (t == nb::dtype<float>()) return Type::kFloat32;
  if (t == nb::dtype<double>()) return Type::kFloat64;
  using Code = nb::dlpack::dtype_code;
  if (t.bits == 16 && t.lanes == 1) {
    if (t.code == static_cast<uint8_t>(Code::Float)) return Type::kFloat16;
    // NumPy has no bfloat16: its bits come as uint16.
    if (t.code == static_cast<uint8_t>(Code::Bfloat)) return Type::kBfloat16;
    if (t.code == static_cast<uint8_t>(Code::UInt)) return Type::kBfloat16;
  }
  throw nb::type_error("float32, float64, float16 or bfloat16 wanted");
}

constexpr int kMostDims = 64;  // NumPy's

// Arrays of one shape, with the batch dimensions that can be walked as one put together.
class Layout {
 public:
  template <class A>
  Layout(const A& first, int64_t axis) : ndim_(static_cast<int64_t>(first.ndim())) {
    if (ndim_ < 1 || axis < -ndim_ || axis >= ndim_) throw nb::value_error("no such axis");
    if (ndim_ > kMostDims) throw nb::value_error("more than 64 dimensions");
    axis_ = axis < 0 ? axis + ndim_ : axis;
    for (int64_t d = 0; d < ndim_; ++d) sizes_[d] = static_cast<int64_t>(first.shape(d));
    type_ = type_of(first);
  }

  template <class A>
  void add(const A& a, Array& into, bool of_any_type = false) {
    if (static_cast<int64_t>(a.ndim()) != ndim_) throw nb::value_error("shapes don't fit together");
    for (int64_t d = 0; d < ndim_; ++d) {
      if (static_cast<int64_t>(a.shape(d)) != sizes_[d]) {
        throw nb::value_error("shapes don't fit together");
      }
    }
    const Type type = type_of(a);
    if (type != type_ && !of_any_type) throw nb::type_error("dtypes don't fit together");
    into.data = const_cast<void*>(static_cast<const void*>(a.data()));
    // An array without elements may have no address, but it was given.
    if (!into.data) into.data = &into;
    into.type = type;
    into.class_stride = a.stride(axis_);
    Member& member = members_[count_++];
    member.array = &into;
    for (int64_t d = 0; d < ndim_; ++d) member.strides[d] = a.stride(d);
  }

  // Call after the last add().
  Shape shape() {
    Shape shape{};
    shape.classes = sizes_[axis_];
    shape.rows = 1;
    // From the last to the first: a dimension joins the one behind it where every array allows it.
    int dims[kMostDims], last = -1;
    for (int d = static_cast<int>(ndim_) - 1; d >= 0; --d) {
      if (d == axis_) continue;
      shape.rows *= sizes_[d];
      if (sizes_[d] == 1) continue;
      const int behind = last < 0 ? 0 : dims[last];
      bool joins = last >= 0;
      for (int k = 0; joins && k < count_; ++k) {
        const int64_t* const strides = members_[k].strides;
        joins = strides[d] == strides[behind] * sizes_[behind];
      }
      if (joins) {
        sizes_[behind] *= sizes_[d];
      } else {
        dims[++last] = d;
      }
    }
    if (last < 0) {  // one row
      shape.batch_dims = shape.batch[0] = 1;
      return shape;
    }
    if (last >= kMaxBatchDims) {
      throw nb::value_error("more than 8 batch dimensions that can't be walked as one");
    }
    shape.batch_dims = last + 1;
    for (int d = 0; d <= last; ++d) {
      shape.batch[d] = sizes_[dims[last - d]];
      for (int k = 0; k < count_; ++k) {
        members_[k].array->batch_stride[d] = members_[k].strides[dims[last - d]];
      }
    }
    return shape;
  }

 private:
  struct Member {
    Array* array;
    int64_t strides[kMostDims];
  };
  int64_t ndim_, axis_, sizes_[kMostDims];
  Type type_;
  Member members_[3];  // logits, probabilities, gradient
  int count_ = 0;
};

// The bytes that an array's elements lie in, from the first to behind the last.
struct Extent {
  uintptr_t begin, end;

  template <class A>
  explicit Extent(const A& a) : begin(reinterpret_cast<uintptr_t>(a.data())), end(begin) {
    if (a.size() == 0) return;
    for (size_t d = 0; d < a.ndim(); ++d) {
      const int64_t span =
          (static_cast<int64_t>(a.shape(d)) - 1) * a.stride(d) * static_cast<int64_t>(a.itemsize());
      (span < 0 ? begin : end) += static_cast<uintptr_t>(span);
    }
    end += a.itemsize();
  }
  bool meets(Extent other) const { return begin < other.end && other.begin < end; }
};

// A thread would write what another has yet to read. Before anything is written: ops/ takes a
// buffer then, and calls again.
template <class A, class B>
void check_apart(const A& output, const B& other) {
  if (Extent(output).meets(Extent(other))) {
    throw nb::buffer_error("an output lies on another array");
  }
}

template <class A, class B>
void check_apart(const std::optional<A>& output, const std::optional<B>& other) {
  if (output && other) check_apart(*output, *other);
}

// What has the input's shape may also be written over the very elements that it is made from.
void check_in_place(const Out& output, const In& input) {
  bool same = static_cast<const void*>(output.data()) == input.data();
  for (size_t d = 0; same && d < output.ndim(); ++d) {
    same = output.shape(d) == 1 || output.stride(d) == input.stride(d);
  }
  if (!same) check_apart(output, input);
}

// No two of an output's elements are one.
template <class A>
void check_distinct(const A& output) {
  std::pair<int64_t, int64_t> steps[kMostDims];
  auto* end = steps;
  for (size_t d = 0; d < output.ndim(); ++d) {
    const int64_t stride = output.stride(d);
    if (output.shape(d) > 1) *end++ = {stride < 0 ? -stride : stride, output.shape(d)};
  }
  std::sort(steps, end);
  int64_t reach = 0;
  for (const auto* step = steps; step < end; ++step) {
    const auto [stride, size] = *step;
    if (stride <= reach && output.size() > 0) throw nb::value_error("an output lies on itself");
    reach += stride * (size - 1);
  }
}

template <class A>
auto* numbers(const A& a, int64_t count) {
  if (static_cast<int64_t>(a.size()) != count) throw nb::value_error("sizes don't fit together");
  if (reinterpret_cast<uintptr_t>(a.data()) % a.itemsize() != 0) {
    throw nb::value_error("numbers that aren't aligned");
  }
  return a.data();
}

void softmax(In x, Out out, int64_t axis, bool log) {
  SoftmaxTask task{};
  task.log = log;
  Layout layout(x, axis);
  layout.add(x, task.x);
  layout.add(out, task.out);
  task.shape = layout.shape();
  check_distinct(out);
  check_in_place(out, x);
  nb::gil_scoped_release release;
  kernels().softmax(task);
}

void logsumexp(In x, Numbers<double> out, int64_t axis) {
  LogSumExpTask task{};
  Layout layout(x, axis);
  layout.add(x, task.x);
  task.shape = layout.shape();
  task.out = numbers(out, task.shape.rows);
  check_apart(out, x);
  nb::gil_scoped_release release;
  kernels().logsumexp(task);
}

// What a mean divides by. The caller names the bad index; this only keeps memory safe.
double denominator_of(const CrossEntropyTask& task) {
  const Targets targets = kernels().targets_of(task);
  if (!targets.valid) throw nb::index_error("class index out of range");
  return targets.denominator;
}

// The rows' losses are summed, and the gradient is that of the sum, or of the mean. Returns the sum
// and what a mean divides by.
std::pair<double, double> cross_entropy(
    In logits, int64_t axis, std::optional<Numbers<const int64_t>> index,
    std::optional<In> probabilities, std::optional<In> weight, int64_t ignore_index,
    double label_smoothing, double z_loss, double softcap, double temperature,
    std::optional<Numbers<double>> loss, std::optional<Numbers<double>> summary, bool from_summary,
    double scale, bool mean, std::optional<Numbers<const double>> upstream, std::optional<Out> grad,
    int64_t k, std::optional<Numbers<double>> entropy, std::optional<Numbers<int64_t>> argmax,
    std::optional<Numbers<bool>> hits) {
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
  if (summary) task.summary = reinterpret_cast<Summary*>(numbers(*summary, 2 * rows));
  if (upstream) task.upstream = numbers(*upstream, rows);
  if (from_summary && !(summary && grad)) {
    throw nb::value_error("a gradient from a summary needs both");
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
  check_output(summary);
  check_apart(loss, std::optional<In>(logits));
  check_apart(summary, std::optional<In>(logits));
  check_apart(grad, loss);
  check_apart(grad, summary);
  check_apart(loss, summary);
  task.ignore_index = ignore_index;
  task.label_smoothing = label_smoothing;
  task.z_loss = z_loss;
  task.softcap = softcap;
  task.temperature = temperature;
  task.scale = scale;
  StatsTask stats{};
  if (entropy || argmax || hits) {
    if (!(entropy && argmax && hits && loss && summary) || from_summary || grad) {
      throw nb::value_error("statistics come together, with loss and summary, without grad");
    }
    stats = {task, k, numbers(*entropy, rows), numbers(*argmax, rows), numbers(*hits, rows)};
  }
  nb::gil_scoped_release release;
  const double denominator = denominator_of(task);
  if (mean) task.scale = denominator == 0 ? NAN : task.scale / denominator;
  if (from_summary) {
    kernels().cross_entropy_gradient(task);
    return {NAN, denominator};
  }
  if (stats.entropy) {
    kernels().cross_entropy_stats(stats);
    return {kernels().sum(task.loss, rows), denominator};
  }
  return {kernels().cross_entropy(task), denominator};
}

// Giving the GIL away and getting it back has a price: so many numbers are worth it.
constexpr int64_t kWorthReleasing = 4096;

// The reduced loss of contiguous rows, by their addresses: taking arrays apart and putting them
// together costs more than the loss of 64 rows of 10 classes, and for 65,536 rows still a quarter.
// With `grad` the gradient too, times `scale`; with `summary` what a gradient later needs; with
// both the gradient from the summary, and no loss.
double plain_cross_entropy(uintptr_t logits, uintptr_t index, uintptr_t grad, uintptr_t summary,
                           int type, int64_t rows, int64_t classes, int64_t ignore_index,
                           double label_smoothing, bool mean, double scale) {
  CrossEntropyTask task{};
  task.shape = {rows, classes, 1, {rows}};
  task.logits = {reinterpret_cast<void*>(logits), static_cast<Type>(type), 1, {classes}};
  task.grad = {reinterpret_cast<void*>(grad), static_cast<Type>(type), 1, {classes}};
  task.index = reinterpret_cast<const int64_t*>(index);
  task.summary = reinterpret_cast<Summary*>(summary);
  task.ignore_index = ignore_index;
  task.label_smoothing = label_smoothing;
  task.temperature = 1;
  std::optional<nb::gil_scoped_release> release;
  if (rows * classes > kWorthReleasing) release.emplace();
  const double kept = denominator_of(task), denominator = mean ? kept : 1;
  task.scale = denominator == 0 ? NAN : scale / denominator;
  if (grad != 0 && summary != 0) {
    kernels().cross_entropy_gradient(task);
    return NAN;
  }
  const double total = kernels().cross_entropy(task);
  return denominator == 0 ? NAN : total / denominator;
}

// The same of contiguous arrays with the classes last: their dimensions need no walking.
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
      classes, ignore_index, label_smoothing, mean, 1);
}

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

// The sum of the elements' losses; of a gradient alone, 0. All are adjacent elements.
double binary_cross_entropy(In logits, In target, std::optional<In> positive_weight,
                            std::optional<In> weight, std::optional<Out> loss,
                            std::optional<In> upstream, double scale, std::optional<Out> grad,
                            bool value) {
  BinaryTask task{};
  task.count = static_cast<int64_t>(logits.size());
  const auto receive = [&](const auto& a, Array& into) {
    if (a.ndim() != 1 || static_cast<int64_t>(a.size()) != task.count ||
        (task.count > 1 && a.stride(0) != 1)) {
      throw nb::value_error("one contiguous dimension of one size is wanted");
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
  nb::gil_scoped_release release;
  if (!value) {
    kernels().binary_cross_entropy(task);
    return 0;
  }
  return binary_total(task);
}

// The same of arrays without weights, by their addresses; the gradient too, or alone.
double plain_binary_cross_entropy(uintptr_t logits, uintptr_t target, uintptr_t grad, int type,
                                  int64_t count, double scale, bool value) {
  BinaryTask task{};
  task.count = count;
  task.logits = {reinterpret_cast<void*>(logits), static_cast<Type>(type), 1, {}};
  task.target = {reinterpret_cast<void*>(target), static_cast<Type>(type), 1, {}};
  task.grad = {reinterpret_cast<void*>(grad), static_cast<Type>(type), 1, {}};
  task.scale = scale;
  std::optional<nb::gil_scoped_release> release;
  if (count > kWorthReleasing) release.emplace();
  if (value) return binary_total(task);
  kernels().binary_cross_entropy(task);
  return 0;
}

void give(void* data) noexcept { give_memory(data); }

// Bytes that go back to the cache with the array, or to the system.
nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>> empty(int64_t bytes, bool keep) {
  void* data = bytes < 0 ? nullptr : take_memory(bytes, keep);
  if (!data) throw std::bad_alloc();
  nb::capsule owner(data, give);
  return {data, {static_cast<size_t>(bytes)}, owner};
}

// Whether each of the calls is streamed: of so many rows, by so many threads, taking so many
// seconds where it is and where it isn't.
std::vector<bool> streaming_turns(
    const std::vector<std::tuple<int64_t, int, double, double>>& calls) {
  Turns turns;
  std::vector<bool> streamed;
  for (const auto& [rows, threads, seconds, otherwise] : calls) {
    const Call call{nullptr, rows, 1, threads};
    streamed.push_back(turns.streams(call));
    turns.took(call, streamed.back(), streamed.back() ? seconds : otherwise);
  }
  return streamed;
}

}  // namespace
}  // namespace softxent

NB_MODULE(_native, m) {
  using namespace softxent;
  using nb::arg;
  m.doc() =
      "Compiled kernels. What a user may get wrong is checked in softxent.ops, or named there.";
  m.def("softmax", &softmax, arg("x").noconvert(), arg("out").noconvert(), nb::kw_only(),
        arg("axis") = -1, arg("log") = false);
  m.def("logsumexp", &logsumexp, arg("x").noconvert(), arg("out").noconvert(), nb::kw_only(),
        arg("axis") = -1);
  m.def("cross_entropy", &cross_entropy, arg("logits").noconvert(), nb::kw_only(), arg("axis") = -1,
        arg("index").noconvert() = nb::none(), arg("probabilities").noconvert() = nb::none(),
        arg("weight").noconvert() = nb::none(), arg("ignore_index") = -100,
        arg("label_smoothing") = 0.0, arg("z_loss") = 0.0, arg("softcap") = 0.0,
        arg("temperature") = 1.0, arg("loss").noconvert() = nb::none(),
        arg("summary").noconvert() = nb::none(), arg("from_summary") = false, arg("scale") = 1.0,
        arg("mean") = false, arg("upstream").noconvert() = nb::none(),
        arg("grad").noconvert() = nb::none(), arg("k") = 1, arg("entropy").noconvert() = nb::none(),
        arg("argmax").noconvert() = nb::none(), arg("hits").noconvert() = nb::none());
  m.def("plain_cross_entropy", &plain_cross_entropy);
  m.def("reduced_cross_entropy", &reduced_cross_entropy, arg("logits").noconvert(),
        arg("index").noconvert(), arg("grad").noconvert().none(), arg("ignore_index"),
        arg("label_smoothing"), arg("mean"));
  m.def("plain_binary_cross_entropy", &plain_binary_cross_entropy);
  m.def("binary_cross_entropy", &binary_cross_entropy, arg("logits").noconvert(),
        arg("target").noconvert(), nb::kw_only(), arg("positive_weight").noconvert() = nb::none(),
        arg("weight").noconvert() = nb::none(), arg("loss").noconvert() = nb::none(),
        arg("upstream").noconvert() = nb::none(), arg("scale") = 1.0,
        arg("grad").noconvert() = nb::none(), arg("value") = true);
  m.def("empty", &empty, arg("bytes"), arg("keep"));
  m.def("held_memory", &held_memory);
  m.def("release_memory", &release_memory);
  m.def("levels", [] {
    std::vector<std::string> names;
    for (const char* const* name = available_levels(); *name; ++name) names.emplace_back(*name);
    return names;
  });
  m.def("current_level", [] { return std::string(current_level()); });
  m.def("select_level", [](const std::string& name) { return select_level(name.c_str()); });
  m.def("processors_granted", &processors_granted, arg("root") = "");
  m.def("streaming_turns", &streaming_turns, arg("calls"));
  m.def("last_streamed", &last_streamed);
  m.def("get_num_threads", &get_num_threads);
  m.def("set_num_threads", [](int count) {
    if (count < 1) throw nb::value_error("the number of threads is at least 1");
    set_num_threads(count);
  });
}
