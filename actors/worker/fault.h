#pragma once
// Whose fault the end of a run is, and with which exit code an executor says so: what the worker
// does next depends on nothing else. Transient and device faults are the pool's: the run is not
// charged and runs again (at most twice, design 2.4). Pure; for executors too.

#include <cstdint>

#include "base/result.h"

namespace gpupool {

// A program that ends by itself without being told to, by its exit code.
enum class ExecutorExit : std::int32_t {
  model = 1,        // its model can't be loaded
  usage = 2,        // called with words that it does not know
  worker_gone = 3,  // its socket is closed
  device = 4,       // there is no such device, or it can't be used
  poisoned = 5,     // the device's context is broken: nothing more can run in this process
};

enum class Fault : std::uint8_t {
  transient = 1,  // runs again; the slot goes on as ever
  device = 2,     // runs again; the slot rests and is checked before it is lent again
  program = 3,    // the user's own: charged, and not run again
};

constexpr Fault fault_of(Errc cause) {
  if (cause == Errc::program_failed) return Fault::program;
  return cause == Errc::device_failed ? Fault::device : Fault::transient;
}

// Of an executor that ended without an answer. A signal says nothing about the device.
constexpr Errc cause_of_exit(std::int32_t signal, std::int32_t exit_code) {
  const bool device = signal == 0 && (exit_code == static_cast<int>(ExecutorExit::device) ||
                                      exit_code == static_cast<int>(ExecutorExit::poisoned));
  return device ? Errc::device_failed : Errc::executor_crashed;
}

}  // namespace gpupool
