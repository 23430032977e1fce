// Large buffers for results, kept for the next one when they are given back.
//
// A fresh array costs its pages: the system clears and maps each of them, which for a result of
// many megabytes takes longer than computing it. Held here are at most as many bytes as the limit
// says; what doesn't fit is given back to the system at once, the oldest first.
//
// What isn't to be kept comes from the system and goes back there at once. malloc would not do
// that: the first large block that it gets back makes it keep up to twice as much from then on.
#pragma once

#include <cstdint>

namespace softxent {

// Memory for `bytes`, aligned to 64. Null where there is none.
void* take_memory(int64_t bytes, bool keep);
void give_memory(void* data);

int64_t held_memory();
void release_memory();  // all that is held goes back to the system

}  // namespace softxent
