#include "runtime/parallel.h"

#include <pthread.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "runtime/cache_line.h"
#include "runtime/processors.h"
#include "runtime/rhythm.h"

namespace softxent {
namespace {

// With fewer elements a second thread costs more than it saves.
constexpr int64_t kSerialElements = 1 << 15;

// With fewer elements it costs more than it saves to wake a thread that sleeps, which takes some
// ten microseconds.
constexpr int64_t kWorthWaking = 1 << 16;

// A pause is short if it ends before a thread that slept would have been worth waking.
constexpr int64_t kShortPause = 200'000;  // nanoseconds

constexpr int kSteps = 3;

int64_t now() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(
             std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// The share of one worker. It is the same from one job to the next, so that what the worker has
// read or written is probably still in its cache.
struct Share {
  alignas(kCacheLine) std::atomic<int64_t> next[kSteps];
  int64_t end;
  std::atomic<bool> has_come;  // whether its worker has arrived
  std::atomic<int64_t> done;   // items its worker had done when it joined
};

// Waits awake for a short pause and returns whether the condition became true: the steps of one
// long row, and a forward and a backward pass, follow each other faster than a thread wakes up.
template <class Done>
bool spin(const Done& done) {
  const int64_t end = now() + kShortPause;
  do {
    for (int i = 0; i < 64; ++i) {
      if (done()) return true;
#if defined(__x86_64__)
      __builtin_ia32_pause();
#elif defined(__aarch64__)
      __asm__ volatile("yield");
#endif
    }
  } while (now() < end);
  return false;
}

template <class Done>
void wait_until(const Done& done) {
  if (spin(done)) return;
  while (!done()) std::this_thread::yield();
}

// Starts a thread that ends with the process; false where the system makes no more. All signals are
// blocked in it, so that they reach a thread of the program, which may wait for one or have a
// handler that relies on its thread. Those by which the processor reports a fault are not: they
// come to the thread that has it.
bool start_thread(void* (*run)(void*), void* argument) {
  sigset_t blocked, before;
  sigfillset(&blocked);
  for (const int fault : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS}) {
    sigdelset(&blocked, fault);
  }
  pthread_sigmask(SIG_BLOCK, &blocked, &before);  // a new thread inherits it
  pthread_t thread;
  const bool started = pthread_create(&thread, nullptr, run, argument) == 0;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (started) pthread_detach(thread);
  return started;
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
  // Runs one job at a time. Returns false, and does nothing, if there is one already, and where the
  // job isn't worth its threads or there are none.
  bool run(int workers, const Job& job) {
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    const int64_t begin = now();
    const bool expects_more = rhythm_.add(begin - end_ < kShortPause);
    end_ = begin;  // of a job that is left to the caller
    const bool is_asleep = threads_.empty() || threads_[0]->sleeping.load();
    if (is_asleep && !expects_more && job.count * job.cost < kWorthWaking) return false;
    workers = recruit(workers);
    if (workers < 2) return false;
    expects_more_.store(expects_more, std::memory_order_relaxed);
    work_ = {shares_.data(), workers, job.count, job.own, 0};
    work_.cut();
    job_ = job;
    state_.fetch_add(kGeneration + kOpen);
    wake_after(0);
    Worker caller(work_, 0);
    is_inside = true;
    job.body(job.context, caller);
    is_inside = false;
    state_.fetch_sub(kOpen);  // late threads find nothing to do
    wait_until([&] { return (state_.load() & kInside) == 0; });
    end_ = now();
    return true;
  }

  PoolActivity activity() {
    std::lock_guard<std::mutex> owner(owner_);
    PoolActivity sum{static_cast<int>(threads_.size()), 0, 0};
    for (const auto& thread : threads_) {
      sum.waits_awake += thread->waits_awake.load();
      sum.sleeps += thread->sleeps.load();
    }
    return sum;
  }

 private:
  struct Thread {
    Pool& pool;
    const int id;  // in the jobs that it takes part in; 0 is the caller's
    // What other threads look at.
    alignas(kCacheLine) std::atomic<bool> sleeping{false};
    std::mutex mutex;
    std::condition_variable wake;
    // What they don't.
    alignas(kCacheLine) std::atomic<int64_t> waits_awake{0}, sleeps{0};

    Thread(Pool& pool_, int id_) : pool(pool_), id(id_) {}

    // Until the condition is true, of which wake_up() tells.
    template <class Done>
    void sleep(const Done& done) {
      sleeps.fetch_add(1, std::memory_order_relaxed);
      std::unique_lock<std::mutex> lock(mutex);
      sleeping.store(true);
      wake.wait(lock, done);
      sleeping.store(false);
    }
    void wake_up() {
      if (!sleeping.load()) return;
      {
        std::lock_guard<std::mutex> lock(mutex);
      }  // a thread about to sleep has seen the job or will see it
      wake.notify_one();
    }
  };

  // Makes the threads that a job of so many workers lacks. Returns how many workers it can have:
  // fewer where the system makes no more threads, or has no memory for them. Then the next job
  // tries again.
  int recruit(int workers) {
    // No thread is inside: the previous job has ended.
    try {
      if (shares_.size() < static_cast<size_t>(workers)) {
        shares_ = std::vector<Share>(static_cast<size_t>(workers));
      }
      while (threads_.size() + 1 < static_cast<size_t>(workers)) {
        threads_.push_back(std::make_unique<Thread>(*this, static_cast<int>(threads_.size()) + 1));
        const auto work = [](void* thread) -> void* {
          static_cast<Thread*>(thread)->pool.work(*static_cast<Thread*>(thread));
          return nullptr;
        };
        if (!start_thread(work, threads_.back().get())) {
          threads_.pop_back();
          break;
        }
      }
    } catch (const std::bad_alloc&) {
    }
    return static_cast<int>(std::min(
        {static_cast<size_t>(workers), threads_.size() + 1, std::max<size_t>(shares_.size(), 1)}));
  }

  // Wakes the threads of a job in a tree: each wakes two, so that nobody wakes many.
  void wake_after(int id) {
    for (int k = 2 * id + 1; k <= 2 * id + 2 && k < work_.count; ++k) {
      threads_[static_cast<size_t>(k) - 1]->wake_up();
    }
  }

  void work(Thread& own) {
    is_inside = true;
    bool expects_more = false;
    for (uint64_t seen = 0;;) {
      uint64_t state;
      const auto called = [&] {
        state = state_.load();
        return state / kGeneration != seen;
      };
      if (expects_more) own.waits_awake.fetch_add(1, std::memory_order_relaxed);
      if (!(expects_more && spin(called))) own.sleep(called);
      seen = state / kGeneration;
      if ((state & kOpen) != 0) {
        // While a thread is inside, the caller doesn't return and no other job starts.
        state = state_.fetch_add(1);
        seen = state / kGeneration;
        if ((state & kOpen) != 0 && own.id < work_.count) {
          wake_after(own.id);
          Worker worker(work_, own.id);
          job_.body(job_.context, worker);
        }
        state_.fetch_sub(1);
      }
      expects_more = expects_more_.load(std::memory_order_relaxed);
    }
  }

  // How many threads are inside a job, whether it is open to others, and its number, all in one
  // word: every cache line that one thread writes and another reads takes a tenth of a microsecond.
  static constexpr uint64_t kInside = 0xffff, kOpen = kInside + 1, kGeneration = 2 * kOpen;
  alignas(kCacheLine) std::atomic<uint64_t> state_{0};
  Work work_;
  Job job_;
  std::atomic<bool> expects_more_{false};  // whether to wait awake for the next job

  alignas(
      kCacheLine) std::mutex owner_;  // of what follows; no other thread reads it outside of a job
  Rhythm rhythm_;
  int64_t end_ = -kShortPause;  // of the last job
  std::vector<std::unique_ptr<Thread>> threads_;
  std::vector<Share> shares_;
};

// Only the forking thread lives on in a child, which needs a new pool. The old one is abandoned:
// one of its locks may be held by a thread that no longer exists.
std::atomic<Pool*> pool{nullptr};
[[maybe_unused]] const int registered = pthread_atfork(nullptr, nullptr, [] {
  pool.store(nullptr);
  is_inside = false;
});

Pool& the_pool() {
  Pool* current = pool.load();
  if (!current) {
    Pool* created = new Pool;
    if (pool.compare_exchange_strong(current, created)) return *created;
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

thread_local int thread_limit = 0;

}  // namespace

int workers_for(int64_t count, int64_t cost) {
  if (count < 2 || count < kSerialElements / (cost < 1 ? 1 : cost)) return 1;
  return static_cast<int>(std::min<int64_t>(get_num_threads(), count));
}

void parallel_for(int workers, const Job& job) {
  if (job.count <= 0) return;
  // A caller that finds the pool busy computes all rows itself, to the same bits, rather than wait.
  if (workers > 1 && !is_inside && the_pool().run(workers, job)) return;
  Share share;
  Work alone{&share, 1, job.count, job.own, 0};
  alone.cut();
  alone.piece = job.count;
  Worker caller(alone, 0);
  job.body(job.context, caller);
}

int get_num_threads() {
  const int count = thread_count().load();
  return thread_limit > 0 ? std::min(count, thread_limit) : count;
}
void set_num_threads(int count) { thread_count().store(count); }

ThreadLimit::ThreadLimit(int count) : before_(thread_limit) { thread_limit = count; }
ThreadLimit::~ThreadLimit() { thread_limit = before_; }

PoolActivity pool_activity() {
  Pool* const current = pool.load();
  return current ? current->activity() : PoolActivity{};
}

}  // namespace softxent
