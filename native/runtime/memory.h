// A cache of large buffers for results.
//
// A fresh array costs its pages: the system clears and maps each of them, which for a result of
// many megabytes takes longer than computing it. The cache holds at most as many bytes as its
// limit; what doesn't fit goes back to the system at once, the oldest buffers first.
//
// Buffers that aren't to be kept come from the system and return there directly. malloc wouldn't do
// that: from the first large block that is freed on, it keeps up to twice as much.
#pragma once

#include <cstdint>

namespace softxent {

// Memory for `bytes`, aligned to 64; null if there is none.
void* take_memory(int64_t bytes, bool keep);
void give_memory(void* data);

int64_t cached_memory();
void release_memory();  // returns all cached buffers to the system

}  // namespace softxent
