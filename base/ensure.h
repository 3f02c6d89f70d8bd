#pragma once
// GPUPOOL_ENSURE(condition, values...): states one fact that only a bug of ours can break. It is on
// in every build, prints the place, the condition and the values, and aborts. Never used on input
// from outside: that becomes an Error.

#include <cstdio>
#include <cstdlib>
#include <iostream>

namespace gpupool::detail {

template <class... Values>
[[noreturn]] void ensure_failed(const char* file, int line, const char* condition,
                                const Values&... values) {
  std::cerr << file << ":" << line << ": broken invariant: " << condition;
  ((std::cerr << " [" << values << "]"), ...);
  std::cerr << std::endl;
  std::abort();
}

}  // namespace gpupool::detail

#define GPUPOOL_ENSURE(condition, ...)                                                             \
  do {                                                                                             \
    if (!(condition))                                                                              \
      ::gpupool::detail::ensure_failed(__FILE__, __LINE__, #condition __VA_OPT__(, ) __VA_ARGS__); \
  } while (false)
