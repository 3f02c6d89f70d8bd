// gpupool-sim: the whole pool in virtual time, seed by seed, with faults.

#include <unistd.h>

#include <array>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <iostream>
#include <optional>
#include <string>

#include "tests/sim/run.h"

using namespace gpupool::sim;

namespace {

constexpr const char* usage =
    "usage: gpupool-sim [--seed N] [--seeds COUNT] [--trace]\n\n"
    "Simulates a pool with its clients, nodes, journal and network, and their faults: COUNT seeds\n"
    "[1] from N [1] on. Everything follows from the seed. Prints each seed that breaks a rule, "
    "and\n"
    "what happened in all of them. Exit codes: 0 none broke one, 1 some did, 2 usage.\n\n"
    "  gpupool-sim --seeds 10000           # about six minutes\n"
    "  gpupool-sim --seed 2312 --trace     # every message of one\n";

// A whole number from 1 on.
std::optional<std::uint64_t> number_in(const char* text) {
  if (text == nullptr || *text < '0' || *text > '9') return std::nullopt;
  char* end = nullptr;
  const std::uint64_t number = std::strtoull(text, &end, 10);
  if (*end != '\0' || number == 0) return std::nullopt;
  return number;
}

// A core that finds its own state broken aborts: then this says with which seed.
volatile std::uint64_t running = 0;
void say_seed(int) {
  std::array<char, 64> text{};
  const int size = std::snprintf(text.data(), text.size(), "seed %llu: aborted\n",
                                 static_cast<unsigned long long>(running));
  if (::write(2, text.data(), static_cast<std::size_t>(size)) < 0) _exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  std::uint64_t first = 1;
  std::uint64_t count = 1;
  bool traced = false;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    const auto value = i + 1 < argc ? number_in(argv[i + 1]) : std::nullopt;
    if (word == "--help" || word == "-h") {
      std::cout << usage;
      return 0;
    }
    if (word == "--trace") {
      traced = true;
    } else if ((word == "--seed" || word == "--seeds") && value) {
      (word == "--seed" ? first : count) = *value;
      ++i;
    } else {
      std::cerr << usage;
      return 2;
    }
  }
  Coverage coverage;
  std::uint64_t broken = 0;
  std::signal(SIGABRT, say_seed);
  for (std::uint64_t seed = first; seed < first + count; ++seed) {
    running = seed;
    const std::string failure = failure_of(seed, traced ? &std::cout : nullptr, coverage);
    if (failure.empty()) continue;
    ++broken;
    std::cout << "seed " << seed << ": " << failure << '\n';
  }
  std::cout << count << (count == 1 ? " seed, " : " seeds, ") << broken
            << " broken: " << coverage.summary() << '\n';
  return broken == 0 ? 0 : 1;
}
