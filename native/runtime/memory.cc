#include "runtime/memory.h"

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <new>
#include <thread>
#include <vector>
#ifdef __linux__
#include <sys/mman.h>
#endif

namespace softxent {
namespace {

constexpr int64_t kHeader = 64;  // for the block's size; keeps the alignment
constexpr int64_t kHugePage = 2 << 20;
constexpr int64_t kDefaultLimit = 512 << 20;
constexpr int kPatience = 1000;  // milliseconds

struct Block {
  int64_t size;  // with the header
  bool keep;
};

#ifdef __linux__
Block* allocate(int64_t size, bool keep) {
  // Enough to begin at a huge page; pages that are never touched cost nothing.
  void* start = mmap(nullptr, static_cast<size_t>(size + kHugePage), PROT_READ | PROT_WRITE,
                     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (start == MAP_FAILED) return nullptr;
  const uintptr_t from = reinterpret_cast<uintptr_t>(start);
  const uintptr_t begin = (from + kHugePage - 1) / kHugePage * kHugePage,
                  end = from + size + kHugePage;
  if (begin > from) munmap(start, begin - from);
  if (end > begin + size) munmap(reinterpret_cast<void*>(begin + size), end - begin - size);
  madvise(reinterpret_cast<void*>(begin), static_cast<size_t>(size), MADV_HUGEPAGE);
  return new (reinterpret_cast<void*>(begin)) Block{size, keep};
}
void deallocate(Block* block) { munmap(block, static_cast<size_t>(block->size)); }
#else
Block* allocate(int64_t size, bool keep) {
  void* data = ::operator new(static_cast<size_t>(size), std::align_val_t{64}, std::nothrow);
  return data ? new (data) Block{size, keep} : nullptr;
}
void deallocate(Block* block) { ::operator delete(block, std::align_val_t{64}); }
#endif

// A caller never waits long for another thread, which may no longer exist: it may have held the
// lock when this process was forked. The memory then comes from the system and returns there.
struct Cache {
  std::mutex mutex;
  std::vector<Block*> blocks;  // oldest first
  int64_t bytes = 0;
};

Cache& cache() {
  static Cache* const cache = new Cache;  // arrays may be freed after static objects
  return *cache;
}

// Not by a std::timed_mutex, whose timed lock ThreadSanitizer doesn't see.
std::unique_lock<std::mutex> lock_in_time(Cache& cache) {
  std::unique_lock<std::mutex> lock(cache.mutex, std::try_to_lock);
  for (int k = 0; k < kPatience && !lock.owns_lock(); ++k) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    lock.try_lock();
  }
  return lock;
}

int64_t default_limit() {
  if (const char* text = std::getenv("SOFTXENT_CACHE_BYTES")) {
    char* end = nullptr;
    const long long bytes = std::strtoll(text, &end, 10);
    if (end != text && *end == 0 && bytes >= 0) return bytes;
  }
  return kDefaultLimit;
}

int64_t limit() {
  static const int64_t limit = default_limit();
  return limit;
}

}  // namespace

void* take_memory(int64_t bytes, bool keep) {
  const int64_t size = (bytes + kHeader + 4095) / 4096 * 4096;
  Block* block = nullptr;
  Cache& c = cache();
  std::unique_lock<std::mutex> lock(c.mutex, std::defer_lock);
  if (keep && lock.try_lock()) {
    // The newest that fits and wastes at most a third of itself.
    for (size_t k = c.blocks.size(); k-- > 0 && !block;) {
      if (c.blocks[k]->size < size || c.blocks[k]->size - size > size / 2) continue;
      block = c.blocks[k];
      c.blocks.erase(c.blocks.begin() + static_cast<std::ptrdiff_t>(k));
      c.bytes -= block->size;
    }
    lock.unlock();
  }
  if (!block) block = allocate(size, keep);
  return block ? reinterpret_cast<char*>(block) + kHeader : nullptr;
}

void give_memory(void* data) {
  Block* block = reinterpret_cast<Block*>(static_cast<char*>(data) - kHeader);
  if (!block->keep) return deallocate(block);
  Cache& c = cache();
  std::unique_lock<std::mutex> lock(c.mutex, std::try_to_lock);
  if (!lock.owns_lock() || block->size > limit()) return deallocate(block);
  while (c.bytes + block->size > limit()) {
    c.bytes -= c.blocks.front()->size;
    deallocate(c.blocks.front());
    c.blocks.erase(c.blocks.begin());
  }
  c.blocks.push_back(block);
  c.bytes += block->size;
}

int64_t cached_memory() {
  Cache& c = cache();
  const std::unique_lock<std::mutex> lock = lock_in_time(c);
  return lock.owns_lock() ? c.bytes : 0;
}

void release_memory() {
  Cache& c = cache();
  const std::unique_lock<std::mutex> lock = lock_in_time(c);
  if (!lock.owns_lock()) return;
  for (Block* block : c.blocks) deallocate(block);
  c.blocks.clear();
  c.bytes = 0;
}

}  // namespace softxent
