# Stops with one line where the kernels can't be compiled, instead of the first of a thousand errors
# in native/. They are written with the vector types that GCC and Clang share, and need their
# atomics and built-in functions; the threads are POSIX's.
#
# tests/test_compilers.py runs this file by itself (cmake -P) with the names of other
# compilers.
set(compiler "${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}")
set(oldest_GNU 11)
set(oldest_Clang 14)
set(oldest_AppleClang 14)

if(CMAKE_SYSTEM_NAME STREQUAL "Windows")
  message(FATAL_ERROR "softxent can't be compiled for Windows: its kernels need POSIX threads. "
                      "Install it in the Windows Subsystem for Linux (WSL).")
elseif(NOT DEFINED oldest_${CMAKE_CXX_COMPILER_ID})
  message(FATAL_ERROR "softxent can't be compiled with ${compiler}: its kernels need GCC 11, "
                      "Clang 14 or a newer version of these. The environment variable CXX names "
                      "the compiler, such as CXX=g++.")
elseif(CMAKE_CXX_COMPILER_VERSION VERSION_LESS oldest_${CMAKE_CXX_COMPILER_ID})
  message(FATAL_ERROR "softxent can't be compiled with ${compiler}: its kernels need version "
                      "${oldest_${CMAKE_CXX_COMPILER_ID}} or newer. The environment variable CXX "
                      "names the compiler, such as CXX=g++-12.")
endif()
