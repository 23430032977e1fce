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

// Each worker has a share of its own, the same from one job to the next: what it has read or
// written is likely to be in its cache still. Who is done takes from the others' shares.
struct Share {
  alignas(64) std::atomic<int64_t> next;
  int64_t end;
};

struct Job {
  void* context;
  void (*body)(void*, int, int64_t, int64_t);
  int64_t piece;
  std::vector<Share> shares;

  Job(void* context_, void (*body_)(void*, int, int64_t, int64_t), int workers, int64_t count)
      : context(context_),
        body(body_),
        piece(std::max<int64_t>(1, count / (8 * workers))),
        shares(static_cast<size_t>(workers)) {
    for (int k = 0; k < workers; ++k) {
      shares[static_cast<size_t>(k)].next = count * k / workers;
      shares[static_cast<size_t>(k)].end = count * (k + 1) / workers;
    }
  }

  void run(size_t worker) {
    const size_t count = shares.size();
    for (size_t k = 0; k < count; ++k) {
      Share& share = shares[(worker + k) % count];
      for (int64_t begin; (begin = share.next.fetch_add(piece)) < share.end;) {
        body(context, static_cast<int>(worker), begin, std::min(begin + piece, share.end));
      }
    }
  }
};

// Waits for some 200 microseconds without sleeping, and says whether it came true: the steps of one
// long row follow each other faster than a thread wakes up, and so do a forward and a backward
// pass.
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

class Pool {
 public:
  // One job at a time. A caller that finds the pool busy does its own rows itself: the bits are the
  // same, and nobody waits.
  void run(Job& job) {
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return job.run(0);
    grow(job.shares.size() - 1);
    job_.store(&job);
    generation_.fetch_add(1);
    if (sleeping_.load() > 0) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
      }  // who is about to sleep has looked, or will
      wake_.notify_all();
    }
    job.run(0);
    job_.store(nullptr);  // who comes late finds nothing to do
    while (!spin([&] { return busy_.load() == 0; })) std::this_thread::yield();
  }

 private:
  void grow(size_t count) {
    while (threads_ < count) {
      const size_t id = ++threads_;
      std::thread([this, id] { work(id); }).detach();  // they sleep until the process ends
    }
  }

  void work(size_t id) {
    for (uint64_t seen = 0;;) {
      const auto called = [&] { return generation_.load() != seen; };
      if (!spin(called)) {
        std::unique_lock<std::mutex> lock(mutex_);
        sleeping_.fetch_add(1);
        wake_.wait(lock, called);
        sleeping_.fetch_sub(1);
      }
      seen = generation_.load();
      // The caller doesn't leave, nor its job, while somebody who may have seen it is busy.
      busy_.fetch_add(1);
      Job* job = job_.load();
      if (job && id < job->shares.size()) job->run(id);
      busy_.fetch_sub(1);
    }
  }

  std::mutex owner_, mutex_;
  std::condition_variable wake_;
  size_t threads_ = 0;
  std::atomic<Job*> job_{nullptr};
  std::atomic<uint64_t> generation_{0};
  std::atomic<int> busy_{0}, sleeping_{0};
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
  Job job(context, body, workers, count);
  the_pool().run(job);
}

int get_num_threads() { return thread_count().load(); }
void set_num_threads(int count) { thread_count().store(count); }

}  // namespace softxent
