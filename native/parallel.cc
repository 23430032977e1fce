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

// What one worker is to do, the same from one job to the next: what it has read or written is
// likely to be in its cache still.
struct Share {
  alignas(64) std::atomic<int64_t> next;
  int64_t end;
};

}  // namespace

struct Work {
  Share* shares;
  int count;
  int64_t piece;

  void cut(int64_t items) {
    piece = std::max<int64_t>(1, items / (8 * count));
    for (int k = 0; k < count; ++k) {
      shares[k].next.store(items * k / count, std::memory_order_relaxed);
      shares[k].end = items * (k + 1) / count;
    }
  }
};

// Who is done with its share takes from the others'.
bool next_piece(Work& work, int worker, int64_t* begin, int64_t* end) {
  for (int k = 0; k < work.count; ++k) {
    Share& share = work.shares[(worker + k) % work.count];
    *begin = share.next.fetch_add(work.piece);
    *end = std::min(*begin + work.piece, share.end);
    if (*begin < share.end) return true;
  }
  return false;
}

namespace {

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
  // One job at a time: false, and nothing is done, where there is one already.
  bool run(int workers, int64_t count, void* context, void (*body)(void*, int, Work&)) {
    std::unique_lock<std::mutex> owner(owner_, std::try_to_lock);
    if (!owner.owns_lock()) return false;
    grow(workers);
    job_ = {{shares_.data(), workers, 0}, context, body};
    job_.work.cut(count);
    state_.fetch_add(kGeneration + kOpen);
    if (sleeping_.load() > 0) {
      {
        std::lock_guard<std::mutex> lock(mutex_);
      }  // who is about to sleep has looked, or will
      wake_.notify_all();
    }
    body(context, 0, job_.work);
    state_.fetch_sub(kOpen);  // who comes late finds nothing to do
    while (!spin([&] { return (state_.load() & kInside) == 0; })) std::this_thread::yield();
    return true;
  }

 private:
  struct Job {
    Work work;
    void* context;
    void (*body)(void*, int, Work&);
  };

  void grow(int workers) {
    if (static_cast<size_t>(workers) <= shares_.size()) return;
    // Nobody is inside: the job before has ended.
    shares_ = std::vector<Share>(static_cast<size_t>(workers));
    for (; threads_ < workers - 1; ++threads_) {
      // They sleep until the process ends.
      std::thread([this, id = threads_ + 1] { work(id); }).detach();
    }
  }

  void work(int id) {
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
      // The caller doesn't leave, nor is there another job, while somebody is inside.
      state = state_.fetch_add(1);
      seen = state / kGeneration;
      if ((state & kOpen) != 0 && id < job_.work.count) job_.body(job_.context, id, job_.work);
      state_.fetch_sub(1);
    }
  }

  // How many are inside a job, whether it is open to others, and its number: one word, since each
  // line that one thread writes and another reads takes a tenth of a microsecond.
  static constexpr uint64_t kInside = 0xffff, kOpen = kInside + 1, kGeneration = 2 * kOpen;
  alignas(64) std::atomic<uint64_t> state_{0};
  Job job_;

  alignas(64) std::atomic<int> sleeping_{0};
  std::mutex owner_, mutex_;
  std::condition_variable wake_;
  int threads_ = 0;
  std::vector<Share> shares_;
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

void parallel_for(int workers, int64_t count, void* context, void (*body)(void*, int, Work&)) {
  if (count <= 0) return;
  // A caller that finds the pool busy does its own rows itself: the bits are the same, and nobody
  // waits.
  if (workers > 1 && the_pool().run(workers, count, context, body)) return;
  Share share;
  Work alone{&share, 1, 0};
  alone.cut(count);
  alone.piece = count;
  body(context, 0, alone);
}

int get_num_threads() { return thread_count().load(); }
void set_num_threads(int count) { thread_count().store(count); }

}  // namespace softxent
