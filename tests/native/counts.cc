// Calls each main kernel on rows of several lengths and types under callgrind, which dumps its
// count of instructions after each call: built and run by `python -m benches.counts`.
#include <valgrind/callgrind.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "kernels.h"
#include "runtime/parallel.h"

using namespace softxent;

namespace {

// Below the number from which a call wakes other threads.
constexpr int64_t kElements = 64000;
constexpr int64_t kClasses[] = {10, 100, 1000, 32000};

struct Stored {
  const char* name;
  Type type;
  size_t size;
};
constexpr Stored kTypes[] = {{"float32", Type::kFloat32, 4},
                             {"bfloat16", Type::kBfloat16, 2},
                             {"float64", Type::kFloat64, 8}};

// Memory that begins a page, so that the count doesn't depend on where it lies.
class Memory {
 public:
  explicit Memory(size_t bytes) : data_(std::aligned_alloc(4096, (bytes + 4095) / 4096 * 4096)) {
    if (data_ == nullptr) std::abort();
    std::memset(data_, 0, bytes);
  }
  ~Memory() { std::free(data_); }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  void* data() const { return data_; }

 private:
  void* data_;
};

// The same numbers everywhere: about normal, from a linear congruential generator.
class Numbers {
 public:
  double next() {
    double sum = 0;
    for (int k = 0; k < 12; ++k) sum += uniform();
    return sum - 6;
  }
  double uniform() {
    state_ = state_ * 6364136223846793005u + 1442695040888963407u;
    return static_cast<double>(state_ >> 11) * 0x1p-53;
  }

 private:
  uint64_t state_ = 1;
};

void store(void* data, Type type, int64_t i, double value) {
  const auto number = static_cast<float>(value);
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  if (type == Type::kFloat64) static_cast<double*>(data)[i] = value;
  if (type == Type::kFloat32) static_cast<float*>(data)[i] = number;
  if (type == Type::kBfloat16) static_cast<uint16_t*>(data)[i] = static_cast<uint16_t>(bits >> 16);
}

// Calls once for what is only done the first time, and once for the count.
template <class F>
void count(const std::string& operation, const Stored& stored, int64_t classes, const F& call) {
  const std::string name = operation + ", " + stored.name + ", " + std::to_string(classes);
  call();
  CALLGRIND_ZERO_STATS;
  call();
  CALLGRIND_DUMP_STATS_AT(name.c_str());
}

void count_all(const Stored& stored, int64_t classes) {
  const int64_t rows = kElements / classes;
  const auto bytes = static_cast<size_t>(rows * classes) * stored.size;
  const Memory logits(bytes), upstream(bytes), out(bytes), index(static_cast<size_t>(rows) * 8),
      saved(static_cast<size_t>(rows) * sizeof(SavedStatistics)),
      loss(static_cast<size_t>(rows) * 8);
  Numbers numbers;
  for (int64_t i = 0; i < rows * classes; ++i) {
    store(logits.data(), stored.type, i, 3 * numbers.next());
    store(upstream.data(), stored.type, i, numbers.next());
  }
  for (int64_t i = 0; i < rows; ++i) {
    static_cast<int64_t*>(index.data())[i] =
        static_cast<int64_t>(numbers.uniform() * static_cast<double>(classes));
  }
  const Shape shape{rows, classes, 1, {rows}};
  const auto array = [&](const Memory& memory) {
    return Array{memory.data(), stored.type, 1, {classes}};
  };

  SoftmaxTask softmax{shape, array(logits), array(out), false};
  count("softmax", stored, classes, [&] { kernels().softmax(softmax); });
  softmax.log = true;
  count("log_softmax", stored, classes, [&] { kernels().softmax(softmax); });
  const SoftmaxGradientTask gradient{shape,      array(logits), array(upstream),
                                     array(out), false,         false};
  count("gradient of softmax", stored, classes, [&] { kernels().softmax_gradient(gradient); });
  const LogSumExpTask logsumexp{shape, array(logits), static_cast<double*>(loss.data())};
  count("logsumexp", stored, classes, [&] { kernels().logsumexp(logsumexp); });

  CrossEntropyTask task{};
  task.shape = shape;
  task.logits = array(logits);
  task.index = static_cast<const int64_t*>(index.data());
  task.ignore_index = -100;
  task.temperature = 1;
  task.scale = 1 / static_cast<double>(rows);
  const auto forward = [&] { kernels().cross_entropy(task); };
  count("loss", stored, classes, forward);
  task.grad = array(out);
  count("loss and gradient", stored, classes, forward);
  task.saved = static_cast<SavedStatistics*>(saved.data());
  task.grad = {};
  count("loss with saved statistics", stored, classes, forward);
  task.grad = array(out);
  count("gradient from saved statistics", stored, classes,
        [&] { kernels().cross_entropy_gradient(task); });
}

}  // namespace

int main() {
  if (!RUNNING_ON_VALGRIND) {
    std::fprintf(stderr, "counts: run this under valgrind --tool=callgrind\n");
    return 1;
  }
  set_num_threads(1);
  for (const Stored& stored : kTypes) {
    for (const int64_t classes : kClasses) count_all(stored, classes);
  }
  return 0;
}
