// The Python module. This folder is the only one that knows Python: it turns arrays into pointers,
// sizes and strides, and checks what memory safety needs. softxent.ops checks everything else, with
// better messages. It relies on two errors of this folder: an index out of range (IndexError) and
// an output that overlaps another array (BufferError).
#include "bind/operations.h"

NB_MODULE(_native, m) {
  m.doc() = "The compiled kernels. softxent.ops checks the arguments that users pass.";
  softxent::bind::bind_softmax(m);
  softxent::bind::bind_cross_entropy(m);
  softxent::bind::bind_binary_cross_entropy(m);
  softxent::bind::bind_runtime(m);
}
