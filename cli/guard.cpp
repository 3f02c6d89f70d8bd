#include "cli/guard.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "actors/worker/process_guard.h"
#include "actors/worker/process_tree.h"
#include "base/clock.h"

namespace gpupool {
namespace {

constexpr int round_ms = 10;            // between two looks at what is being killed
constexpr int last_rounds_max = 1'000;  // then what is left cannot be killed

struct Guarded {
  ProcessTree tree;
  Instant kill_at = Instant::never();
  bool is_ending = false;
};

class Guard {
 public:
  int run();

 private:
  // False: the worker is gone.
  bool take_orders();
  void take(const GuardOrder& order, std::string group);
  void kill_what_is_due(Instant now);
  int timeout(Instant now) const;

  std::vector<Guarded> guarded_;
};

int Guard::run() {
  for (bool has_worker = true; has_worker;) {
    pollfd source{guard_control_descriptor, POLLIN, 0};
    ::poll(&source, 1, timeout(boot_time()));
    if (source.revents != 0) has_worker = take_orders();
    kill_what_is_due(boot_time());
  }
  for (Guarded& one : guarded_) one.is_ending = true;
  for (int round = 0; round < last_rounds_max && !guarded_.empty(); ++round) {
    kill_what_is_due(boot_time());
    ::poll(nullptr, 0, round_ms);
  }
  return 0;
}

bool Guard::take_orders() {
  std::array<char, guard_packet_max> packet;
  for (;;) {
    const ssize_t got =
        ::recv(guard_control_descriptor, packet.data(), packet.size(), MSG_DONTWAIT);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return errno == EAGAIN;
    GuardOrder order;
    if (static_cast<std::size_t>(got) < sizeof order) return false;  // 0: the end
    std::memcpy(&order, packet.data(), sizeof order);
    take(order, {packet.data() + sizeof order, static_cast<std::size_t>(got) - sizeof order});
  }
}

void Guard::take(const GuardOrder& order, std::string group) {
  const ProcessName root{.pid = order.pid, .started = order.started};
  auto found = std::find_if(guarded_.begin(), guarded_.end(),
                            [&](const Guarded& one) { return one.tree.root == root; });
  if (order.kind == GuardOrder::Kind::forget) {
    if (found != guarded_.end()) guarded_.erase(found);
    return;
  }
  if (found == guarded_.end())
    found = guarded_.insert(guarded_.end(), {.tree = {.root = root, .group = std::move(group)}});
  found->kill_at = order.kill_at_ms > 0 ? Instant{order.kill_at_ms} : Instant::never();
}

void Guard::kill_what_is_due(Instant now) {
  std::erase_if(guarded_, [now](Guarded& one) {
    one.is_ending = one.is_ending || now >= one.kill_at;
    if (!one.is_ending) return false;
    one.tree.kill();
    return one.tree.is_gone();
  });
}

int Guard::timeout(Instant now) const {
  Instant next = Instant::never();
  for (const Guarded& one : guarded_)
    next = std::min(next, one.is_ending ? now + milliseconds(round_ms) : one.kill_at);
  if (next == Instant::never()) return -1;
  return static_cast<int>(std::clamp<std::int64_t>((next - now).ms, 0, 3'600'000));
}

}  // namespace

int guard() {
  // What ends its worker's group or terminal is not for it: it has something to do then.
  for (const int each : {SIGTERM, SIGINT, SIGHUP, SIGPIPE}) ::signal(each, SIG_IGN);
  return Guard{}.run();
}

}  // namespace gpupool
