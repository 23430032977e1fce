#include "parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdlib>
#include <mutex>
#include <thread>
#include <vector>

#include "processors.h"

namespace softxent {
namespace {

// Below this many elements a second thread costs more than it saves.
constexpr int64_t kSerialElements = 1 << 15;

struct Job {
  void* context;
  void (*body)(void*, int, int64_t, int64_t);
  int64_t count, piece;
  std::atomic<int64_t> next{0};
  std::atomic<int> working{0};

  void run(int worker) {
    for (int64_t begin; (begin = next.fetch_add(piece)) < count;) {
      body(context, worker, begin, std::min(begin + piece, count));
    }
  }
};

// Waits for a moment, some 20 microseconds, without sleeping: the steps of one long row follow each
// other faster than a thread wakes up.
template <class Done>
void spin(const Done& done) {
  for (int i = 0; i < 500 && !done(); ++i) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
  }
}

class Pool {
 public:
  // One job at a time. A caller that finds the pool busy does its own rows itself: the bits are the
  // same, and nobody waits.
  void run(Job& job, int threads) {
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) {
      job.run(0);
      return;
    }
    grow(threads - 1);
    {
      std::lock_guard<std::mutex> lock(mutex_);
      job_ = &job;
      wanted_ = threads - 1;
      ++generation_;
    }
    wake_.notify_all();
    job.run(0);
    spin([&] { return job.working.load() == 0; });
    std::unique_lock<std::mutex> lock(mutex_);
    job_ = nullptr;  // late sleepers find nothing to do
    done_.wait(lock, [&] { return job.working.load() == 0; });
  }

 private:
  void grow(int count) {
    while (static_cast<int>(threads_.size()) < count) {
      const int id = static_cast<int>(threads_.size());
      threads_.emplace_back([this, id] { work(id); });
      threads_.back().detach();  // they sleep until the process ends
    }
  }

  void work(int id) {
    uint64_t seen = 0;
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      lock.unlock();
      spin([&] { return generation_.load() != seen; });
      lock.lock();
      wake_.wait(lock, [&] { return generation_ != seen; });
      seen = generation_;
      Job* job = id < wanted_ ? job_ : nullptr;
      if (!job) continue;
      job->working.fetch_add(1);
      lock.unlock();
      job->run(id + 1);
      lock.lock();
      if (job->working.fetch_sub(1) == 1) done_.notify_one();
    }
  }

  std::mutex owner_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> threads_;
  Job* job_ = nullptr;
  int wanted_ = 0;
  std::atomic<uint64_t> generation_{0};
};

// Only the forking thread lives on in a child: its pool must be a new one. The old one is left as
// it is, since a lock may be held there by a thread that no longer exists.
std::atomic<Pool*> pool{nullptr};

Pool& the_pool() {
  Pool* current = pool.load();
  if (!current) {
    Pool* fresh = new Pool;
    if (pool.compare_exchange_strong(current, fresh)) {
      static const int registered = pthread_atfork(nullptr, nullptr, [] { pool.store(nullptr); });
      (void)registered;
      return *fresh;
    }
    delete fresh;
  }
  return *current;
}

int default_threads() {
  if (const char* text = std::getenv("OMP_NUM_THREADS")) {
    const int count = std::atoi(text);
    if (count >= 1) return std::min(count, 1024);
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

void parallel_for(int workers, int64_t count, void* context,
                  void (*body)(void*, int, int64_t, int64_t)) {
  if (workers <= 1) {
    if (count > 0) body(context, 0, 0, count);
    return;
  }
  // Four pieces a thread: late or slow threads then cost at most a quarter of a share.
  Job job{context, body, count, std::max<int64_t>(1, count / (4 * workers))};
  the_pool().run(job, workers);
}

int get_num_threads() { return thread_count().load(); }
void set_num_threads(int count) { thread_count().store(count); }

}  // namespace softxent
