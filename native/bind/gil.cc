#include "bind/gil.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

namespace softxent::bind {

WithoutGil::~WithoutGil() {
  if (!thread_) return;
  try {
    PyEval_RestoreThread(thread_);
  } catch (...) {  // the thread is being ended, and leaving this block would end the process
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, nullptr);
    for (;;) pause();
  }
}

}  // namespace softxent::bind
