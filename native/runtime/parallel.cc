#include "runtime/parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "runtime/cache_line.h"
#include "runtime/processors.h"

namespace softxent {
namespace {

// With fewer elements a second thread costs more than it saves.
constexpr int64_t kSerialElements = 1 << 15;

constexpr int kSteps = 3;

// The share of one worker. It is the same from one job to the next, so that what the worker has
// read or written is probably still in its cache.
struct Share {
  alignas(kCacheLine) std::atomic<int64_t> next[kSteps];
  int64_t end;
  std::atomic<bool> has_come;  // whether its worker has arrived
  std::atomic<int64_t> done;   // items its worker had done when it joined
};

// Spins for some 200 microseconds and returns whether the condition became true: the steps of one
// long row, and a forward and a backward pass, follow each other faster than a thread wakes up.
template <class Done>
bool spin(const Done& done) {
  for (int i = 0; i < 20000; ++i) {
    if (done()) return true;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
  }
  return false;
}

template <class Done>
void wait_until(const Done& done) {
  while (!spin(done)) std::this_thread::yield();
}

}  // namespace

struct Work {
  Share* shares;
  int count;
  int64_t items, own, piece;

  // Rounded up: the caller starts first and gets more.
  int64_t begin_of(int k) const { return (items * k + count - 1) / count; }

  void cut() {
    piece = std::max<int64_t>(1, items / (8 * count));
    for (int k = 0; k < count; ++k) {
      for (auto& next : shares[k].next) next.store(begin_of(k), std::memory_order_relaxed);
      shares[k].end = begin_of(k + 1);
      shares[k].done.store(0, std::memory_order_relaxed);
      shares[k].has_come.store(false, std::memory_order_relaxed);
    }
  }

  int64_t done() const {
    int64_t sum = 0;
    for (int k = 0; k < count; ++k) sum += shares[k].done.load(std::memory_order_acquire);
    return sum;
  }
};

Worker::Worker(Work& work, int id) : work_(work), id_(id) {
  work.shares[id].has_come.store(true, std::memory_order_relaxed);
}

int Worker::id() const { return id_; }

// A worker that has finished its share takes from the others, except for the last `own` items of a
// worker that has arrived and has them in its cache.
bool Worker::next(int64_t* begin, int64_t* end) {
  assert(step_ < kSteps);
  for (int k = 0; k < work_.count; ++k) {
    Share& share = work_.shares[(id_ + k) % work_.count];
    std::atomic<int64_t>& next = share.next[step_];
    if (k > 0 && share.has_come.load(std::memory_order_relaxed) &&
        share.end - next.load(std::memory_order_relaxed) <= work_.own) {
      continue;
    }
    *begin = next.fetch_add(work_.piece, std::memory_order_relaxed);
    *end = std::min(*begin + work_.piece, share.end);
    if (*begin < share.end) {
      done_ += *end - *begin;
      return true;
    }
  }
  return false;
}

bool Worker::owns(int64_t item) const {
  return item >= work_.begin_of(id_) && item < work_.begin_of(id_ + 1);
}

void Worker::join() {
  work_.shares[id_].done.store(done_, std::memory_order_release);
  ++step_;
  wait_until([&] { return work_.done() >= work_.items * step_; });
}

namespace {

// Whether this thread computes part of a job: what it starts itself then, it computes alone.
thread_local bool is_inside = false;

class Pool {
 public:
  // Runs one job at a time: returns false, and does nothing, if there is one already.
  bool run(int workers, int64_t count, int64_t own, void* context, void (*body)(void*, Worker&)) {
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    grow(workers);
    job_ = {{shares_.data(), workers, count, own, 0}, context, body};
    job_.work.cut();
    state_.fetch_add(kGeneration + kOpen);
    if (sleeping_.load() > 0) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
      }  // a thread about to sleep has seen the job or will see it
      wake_.notify_all();
    }
    Worker caller(job_.work, 0);
    is_inside = true;
    body(context, caller);
    is_inside = false;
    state_.fetch_sub(kOpen);  // late threads find nothing to do
    wait_until([&] { return (state_.load() & kInside) == 0; });
    return true;
  }

 private:
  struct Job {
    Work work;
    void* context;
    void (*body)(void*, Worker&);
  };

  void grow(int workers) {
    if (static_cast<size_t>(workers) <= shares_.size()) return;
    // No thread is inside: the previous job has ended.
    shares_ = std::vector<Share>(static_cast<size_t>(workers));
    for (; threads_ < workers - 1; ++threads_) {
      // The threads sleep until the process ends.
      std::thread([this, id = threads_ + 1] { work(id); }).detach();
    }
  }

  void work(int id) {
    is_inside = true;
    for (uint64_t seen = 0;;) {
      uint64_t state;
      const auto called = [&] {
        state = state_.load();
        return state / kGeneration != seen;
      };
      if (!spin(called)) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, called);
        sleeping_.fetch_sub(1);
      }
      seen = state / kGeneration;
      if ((state & kOpen) == 0) continue;
      // While a thread is inside, the caller doesn't return and no other job starts.
      state = state_.fetch_add(1);
      seen = state / kGeneration;
      if ((state & kOpen) != 0 && id < job_.work.count) {
        Worker worker(job_.work, id);
        job_.body(job_.context, worker);
      }
      state_.fetch_sub(1);
    }
  }

  // How many threads are inside a job, whether it is open to others, and its number, all in one
  // word: every cache line that one thread writes and another reads takes a tenth of a microsecond.
  static constexpr uint64_t kInside = 0xffff, kOpen = kInside + 1, kGeneration = 2 * kOpen;
  alignas(kCacheLine) std::atomic<uint64_t> state_{0};
  Job job_;

  alignas(kCacheLine) std::atomic<int> sleeping_{0};
  std::mutex owner_, mutex_;
  std::condition_variable wake_;
  int threads_ = 0;
  std::vector<Share> shares_;
};

// Only the forking thread lives on in a child, which needs a new pool. The old one is abandoned:
// one of its locks may be held by a thread that no longer exists.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  Pool* current = pool.load();
  if (!current) {
    Pool* created = new Pool;
    if (pool.compare_exchange_strong(current, created)) {
      static const int registered = pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr); });
      (void)registered;
      return *created;
    }
    delete created;
  }
  return *current;
}

int default_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const int count = std::atoi(text);
    if (count >= 1) return std::min(count, kMostThreads);
  }
  return usable_processors();
}

std::atomic<int>& thread_count() {
  static std::atomic<int> count{default_threads()};
  return count;
}

}  // namespace

int workers_for(int64_t count, int64_t cost) {
  if (count < 2 || count < kSerialElements / (cost < 1 ? 1 : cost)) return 1;
  return static_cast<int>(std::min<int64_t>(thread_count().load(), count));
}

void parallel_for(int workers, int64_t count, int64_t own, void* context,
                  void (*body)(void*, Worker&)) {
  if (count <= 0) return;
  // A caller that finds the pool busy computes all rows itself, to the same bits, rather than wait.
  if (workers > 1 && !is_inside && the_pool().run(workers, count, own, context, body)) return;
  Share share;
  Work alone{&share, 1, count, own, 0};
  alone.cut();
  alone.piece = count;
  Worker caller(alone, 0);
  body(context, caller);
}

int get_num_threads() { return thread_count().load(); }
void set_num_threads(int count) { thread_count().store(count); }

}  // namespace softxent
