#pragma once
// A world of its own for what a test starts: network, mounts and processes of this machine stay as
// they are, and when the test program ends, however it ends, the kernel ends everything in it.

#include <functional>
#include <string>

namespace gpupool::test {

// Why there can be none here; empty: there can.
std::string why_no_world();

// Runs `inner` in namespaces of its own, as a child of their first process, which only waits for it
// and for orphans. Returns its exit code. Before any thread is started.
int run_in_own_world(const std::function<int()>& inner);

}  // namespace gpupool::test
