// The pool of threads, the choice of the instruction set and the memory of results, used by several
// threads at once: built and run with ThreadSanitizer by `make sanitize-threads`.
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

#include "kernels.h"
#include "runtime/memory.h"
#include "runtime/parallel.h"

using namespace softxent;

namespace {

void check(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "wrong: %s\n", what);
  std::exit(1);
}

// Calls f(thread) in `count` threads and waits for them.
template <class F>
void at_once(int count, const F& f) {
  std::vector<std::thread> threads;
  for (int k = 0; k < count; ++k) threads.emplace_back([&f, k] { f(k); });
  for (std::thread& thread : threads) thread.join();
}

// ---- The pool

// A job of three steps, each of which reads what other threads wrote in the one before it.
struct Chain {
  std::vector<int64_t> first, second, third;

  explicit Chain(int64_t count) : first(static_cast<size_t>(count)), second(first), third(first) {}

  static void body(void* context, Worker& worker) {
    Chain& chain = *static_cast<Chain*>(context);
    const auto count = static_cast<int64_t>(chain.first.size());
    const auto at = [=](int64_t i) { return static_cast<size_t>(i % count); };
    int64_t begin, end;
    while (worker.next(&begin, &end)) {
      for (int64_t i = begin; i < end; ++i) chain.first[at(i)] = i;
    }
    worker.join();
    while (worker.next(&begin, &end)) {
      for (int64_t i = begin; i < end; ++i) chain.second[at(i)] = chain.first[at(i + count / 2)];
    }
    worker.join();
    while (worker.next(&begin, &end)) {
      for (int64_t i = begin; i < end; ++i) chain.third[at(i)] = chain.second[at(i + count / 3)];
    }
  }

  void run(int workers, int64_t cost, int64_t own) {
    const auto count = static_cast<int64_t>(first.size());
    parallel_for(workers, {count, cost, own, this, body});
    for (int64_t i = 0; i < count; ++i) {
      const int64_t wanted = ((i + count / 3) % count + count / 2) % count;
      check(third[static_cast<size_t>(i)] == wanted, "a step's results");
    }
  }
};

// A job that starts jobs.
void nested(void* context, Worker& worker) {
  auto& sum = *static_cast<std::atomic<int64_t>*>(context);
  int64_t begin, end;
  while (worker.next(&begin, &end)) {
    Chain(20).run(4, 1 << 20, 0);
    sum.fetch_add(end - begin);
  }
}

void use_pool() {
  for (int round = 0; round < 200; ++round) {
    for (const int64_t cost : {int64_t{1}, int64_t{1} << 20}) {
      Chain(1 + round).run(2 + round % 7, cost, round % 3);
    }
    // Pauses after which threads wait awake, and after which they sleep.
    if (round % 20 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(2));
  }
  at_once(4, [](int thread) {
    for (int round = 0; round < 100; ++round) {
      set_num_threads(1 + (round + thread) % 5);
      const ThreadLimit limit(thread);
      Chain(100).run(workers_for(100, 1 << 12), 1 << 12, 0);
    }
  });
  std::atomic<int64_t> sum{0};
  for (int round = 0; round < 50; ++round) parallel_for(4, {40, 1 << 20, 0, &sum, nested});
  check(sum == 50 * 40, "jobs inside of a job");
}

// ---- The kernels

struct Batch {
  int64_t rows, classes;
  std::vector<float> logits, grad;
  std::vector<int64_t> index;
  std::vector<double> loss, saved;

  Batch(int64_t rows_, int64_t classes_)
      : rows(rows_),
        classes(classes_),
        logits(static_cast<size_t>(rows * classes)),
        grad(logits.size()),
        index(static_cast<size_t>(rows)),
        loss(index.size()),
        saved(2 * index.size()) {
    for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * i % 17) - 8;
    for (size_t i = 0; i < index.size(); ++i) index[i] = static_cast<int64_t>(i) % classes;
  }

  double compute(double z_loss) {
    CrossEntropyTask task{};
    task.shape = {rows, classes, 1, {rows}};
    task.logits = {logits.data(), Type::kFloat32, 1, {classes}};
    task.grad = {grad.data(), Type::kFloat32, 1, {classes}};
    task.index = index.data();
    task.ignore_index = -100;
    task.temperature = task.scale = 1;
    task.z_loss = z_loss;
    task.loss = loss.data();
    task.saved = reinterpret_cast<SavedStatistics*>(saved.data());
    check(kernels().check_targets(task).valid, "class indices");
    const double total = kernels().cross_entropy(task);
    const std::vector<float> first = grad;
    kernels().cross_entropy_gradient(task);
    check(std::memcmp(first.data(), grad.data(), first.size() * sizeof(float)) == 0, "a gradient");
    kernels().softmax({task.shape, task.logits, task.grad, false});
    return total;
  }
};

void use_kernels() {
  const struct {
    int64_t rows, classes;
  } shapes[] = {{20'000, 10}, {300, 500}, {2, 70'000}};
  for (const auto [rows, classes] : shapes) {
    for (const double z_loss : {0.0, 1e-3}) {
      set_num_threads(1);
      const double want = Batch(rows, classes).compute(z_loss);
      check(std::isfinite(want), "a loss");
      set_num_threads(4);
      for (int round = 0; round < 5; ++round) {
        check(Batch(rows, classes).compute(z_loss) == want, "a loss by four threads");
      }
      at_once(3, [&](int thread) {
        for (int round = 0; round < 3; ++round) {
          select_level(available_levels()[0]);
          set_num_threads(1 + (round + thread) % 4);
          check(Batch(rows, classes).compute(z_loss) == want, "a loss beside others");
        }
      });
    }
  }
  // A result so large that the kernels choose between two kinds of stores by timing.
  set_num_threads(4);
  at_once(2, [](int) {
    Batch large(3000, 1500);
    for (int round = 0; round < 3; ++round) large.compute(0);
  });
}

void use_memory() {
  at_once(4, [](int thread) {
    for (int round = 0; round < 300; ++round) {
      const int64_t bytes = (1 + round % 5) << 20;
      auto* const memory = static_cast<char*>(take_memory(bytes, round % 7 != 0));
      check(memory != nullptr, "memory");
      memory[0] = memory[bytes - 1] = static_cast<char>(thread);
      check(memory[0] == memory[bytes - 1], "memory of one's own");
      give_memory(memory);
      if (round % 50 == 0) release_memory();
    }
  });
  release_memory();
  check(cached_memory() == 0, "released memory");
}

}  // namespace

int main() {
  // The first use of everything, by several threads at once.
  at_once(4, [](int) {
    Chain(50).run(3, 1 << 20, 0);
    check(kernels().softmax != nullptr, "kernels");
  });
  use_pool();
  use_kernels();
  use_memory();
  std::puts("no race was found");
  return 0;
}
